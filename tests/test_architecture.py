"""What the house promises: who may use whom, how large a room may be, and where things stand."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dinotrack
from tests import structure
from tests.structure import Module

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = structure.modules(ROOT)

LAYERS: list[set[str]] = [
    {"errors", "progress"},
    {"config", "chunks", "files"},
    {"geometry", "frames", "tracks"},
    {"queries", "cache", "weights", "ffmpeg", "metrics", "pairs", "delta_dino", "backbones"},
    {"maps", "video", "run", "kernels"},
    {"correlation", "working", "points", "overlay", "vits"},
    {"losses", "flow", "formats"},
    {"model", "foreground", "trajectories"},
    {"refinement", "features", "buddies", "labels"},
    {"tracking", "training"},
    {"pipeline"},
    {"api"},
    {"arguments", "display"},
    {"cli"},
    {"synthesis"},
    {"pretraining"},
    {"benchmarks"},
]
"""Rooms from the ground up. A room uses those below it, and no other of its own floor."""

CORE = [module for module in PACKAGE if "benchmarks" not in module.path.parts]


def name_of(module: Module) -> str:
    """The dotted name of a file of the package, such as dinotrack.training.loop."""
    parts = module.path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def room_of(name: str) -> str:
    """The room of a dotted name: the file or the folder right below the package."""
    return [*name.split("."), ""][1]


def floor_of(room: str) -> int:
    """Which layer a room belongs to."""
    return next(floor for floor, rooms in enumerate(LAYERS) if room in rooms)


def imports(module: Module) -> Iterator[str]:
    """Dotted names of what a file takes from the package, wherever in the file it does so."""
    known = {name_of(other) for other in PACKAGE}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("dinotrack."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dinotrack"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else str(node.module)


def by_name(module: Module) -> str:
    return name_of(module)


def test_every_room_has_its_floor() -> None:
    rooms = {room_of(name_of(module)) for module in PACKAGE} - {"", "__main__"}
    assert rooms == set().union(*LAYERS)


@pytest.mark.parametrize("module", PACKAGE, ids=by_name)
def test_arrows_point_down(module: Module) -> None:
    own = room_of(name_of(module))
    if own in ("", "__main__"):  # the doors of the package
        return
    for name in imports(module):
        other = room_of(name)
        if other in ("", own):
            continue
        assert floor_of(other) < floor_of(own), f"{own} uses {other}"


def test_no_two_modules_need_each_other() -> None:
    graph = {
        name_of(module): {name for name in imports(module) if room_of(name)} for module in PACKAGE
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name in done:
            return
        for other in graph.get(name, ()):
            visit(other, (*above, name))
        done.add(name)

    for name in graph:
        visit(name, ())


def test_kernels_are_reached_only_through_correlation() -> None:
    users = {
        name_of(module)
        for module in PACKAGE
        if any(room_of(name) == "kernels" for name in imports(module))
        and room_of(name_of(module)) != "kernels"
    }
    users = {name for name in users if not name.startswith("dinotrack.benchmarks.kernel_speed")}
    assert users == {"dinotrack.correlation"}


def test_there_is_one_grid_sample() -> None:
    users = [name_of(module) for module in PACKAGE if "grid_sample(" in module.text]
    assert users == ["dinotrack.geometry"]


def test_only_the_command_lines_print() -> None:
    for module in PACKAGE:
        if module.path.name in ("cli.py", "__main__.py"):
            continue
        for node in ast.walk(module.tree):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            assert not (called and node.func.id == "print"), name_of(module)


def test_public_names() -> None:
    assert dinotrack.__all__ == sorted(
        dinotrack.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )
    for name in dinotrack.__all__:
        value = getattr(dinotrack, name)
        assert name == "PRESETS" or value.__doc__, f"{name} says nothing of itself"
    assert set(dinotrack.__all__) <= set(dir(dinotrack))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        getattr(dinotrack, "nonsense")  # noqa: B009


CHOICES = {
    "FLOWS": "dinotrack.flow",
    "TERMS": "dinotrack.training.terms",
    "FORMATS": "dinotrack.formats",
    "STYLES": "dinotrack.overlay",
    "PRESETS": "dinotrack.config",
    "BACKBONES": "dinotrack.backbones",
    "METHODS": "dinotrack.benchmarks.methods",
    "ABLATIONS": "dinotrack.benchmarks.methods",
    "DATASETS": "dinotrack.benchmarks.datasets",
}
"""The dicts that a stranger adds a line to, and where they stand."""


@pytest.mark.parametrize("name", CHOICES)
def test_every_dict_of_choices_is_covered_by_a_parametrised_test(name: str) -> None:
    assert isinstance(getattr(importlib.import_module(CHOICES[name]), name), dict)
    for file in sorted((ROOT / "tests").glob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("parametrize"):
                words = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
                if name in words:
                    return
    raise AssertionError(f"no test is parametrised with {name}")


@pytest.mark.parametrize("module", PACKAGE, ids=by_name)
def test_a_room_is_no_larger_than_one_takes_in(module: Module) -> None:
    assert len(module.lines) <= structure.LONG_FILE
    wide = [n for n, line in enumerate(module.lines, 1) if len(line) > structure.WIDE_LINE]
    assert not wide
    for function in module.functions():
        assert structure.length(function) <= structure.LONG_FUNCTION, function.name
        prescribed = structure.is_kernel(function) or structure.is_autograd(function)
        if not prescribed:
            assert structure.positional(function) <= structure.MANY_PARAMETERS, function.name


@pytest.mark.parametrize("module", CORE, ids=by_name)
def test_tensors_say_their_shape(module: Module) -> None:
    if room_of(name_of(module)) == "kernels":
        return
    bare = sum(structure.bare_tensors(annotation) for annotation in structure.annotations(module))
    assert bare <= BARE.get(name_of(module), 0)


BARE: dict[str, int] = {}
"""Types that say Tensor and no shape, where no shape is known."""


def test_maps_and_their_grid_travel_together() -> None:
    apart = [
        f"{name_of(module)}.{function.name}"
        for module in CORE
        for function in module.functions()
        if structure.takes_maps_and_grid(function)
    ]
    assert apart == []


def test_tests_do_not_lean_on_each_other() -> None:
    for file in sorted((ROOT / "tests").glob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("tests.test_"), file.name


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after some code."""
    probe = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(run.stdout.split("\n"))


def test_what_is_wrong_with_arguments_is_said_before_torch_is_loaded() -> None:
    wrong = (
        "import dinotrack.cli as cli\n"
        "assert cli.main(['missing.mp4']) == 2\n"
        "assert cli.main(['videos/demo.mp4', '--queries', 'README.md']) == 2\n"
        "assert cli.main(['videos/demo.mp4', '--set', 'training.stepz=1']) == 2\n"
    )
    assert "torch" not in loaded_by(wrong)


def test_the_package_loads_no_model_zoo() -> None:
    loaded = loaded_by("import dinotrack; dinotrack.fit")
    assert "torch" in loaded
    assert not loaded & {"torchvision", "timm", "kornia", "torch._dynamo", "huggingface_hub"}
