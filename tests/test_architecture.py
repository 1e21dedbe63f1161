"""What the house promises: who may use whom, how large a room may be, and where things stand."""

from __future__ import annotations

import ast
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
    {"defaults", "errors", "interrupts", "progress"},
    {"config", "chunks", "files", "plain"},
    {"locks", "tensor_files"},
    {"geometry", "masks", "media", "mishaps", "options", "precision", "tracks"},
    {"weights"},
    {"queries", "cache", "state_dicts", "metrics", "pairs", "delta_dino", "backbones"},
    {"maps", "video", "run", "kernels", "certainty", "eight_bits", "vit_positions"},
    {"correlation", "working", "points", "overlay", "vits", "flow_methods"},
    {"losses", "flow", "formats"},
    {"model", "foreground", "chains", "shots"},
    {"refinement", "features", "buddies", "labels"},
    {"tracking", "training"},
    {"pipeline"},
    {"fitted"},
    {"focusing"},
    {"api"},
    {"report"},
    {"terminal"},
    {"batch", "studio"},
    {"commands"},
    {"cli"},
    {"synthesis"},
    {"pretraining", "shrinking"},
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


def test_only_cli_and_main_files_print() -> None:
    """The command lines are cli.py with its commands, and the __main__.py of each folder; all else
    is a library."""
    for module in PACKAGE:
        if module.path.name in ("cli.py", "__main__.py") or "commands" in module.path.parts:
            continue
        for node in ast.walk(module.tree):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            assert not (called and node.func.id == "print"), name_of(module)


Definition = ast.ClassDef | structure.Function


def definition_of(name: str) -> Definition:
    """The source of a public class or function."""
    home = getattr(dinotrack, name).__module__
    (module,) = [module for module in PACKAGE if name_of(module) == home]
    defined = [node for node in module.tree.body if isinstance(node, Definition)]
    (found,) = [node for node in defined if node.name == name]
    return found


@pytest.mark.parametrize("name", [name for name in dinotrack.__all__ if name != "PRESETS"])
def test_public_names_say_what_they_are(name: str) -> None:
    """The source is read, because a dataclass makes up a docstring where it is given none."""
    definition = definition_of(name)
    assert ast.get_docstring(definition)
    parts = definition.body if isinstance(definition, ast.ClassDef) else []
    for method in parts:
        if isinstance(method, structure.Function) and not method.name.startswith("_"):
            assert ast.get_docstring(method), method.name


def test_public_names_are_in_order_and_can_be_listed() -> None:
    assert dinotrack.__all__ == sorted(
        dinotrack.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )
    assert set(dinotrack.__all__) <= set(dir(dinotrack))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        getattr(dinotrack, "nonsense")  # noqa: B009


def is_choice(node: ast.AnnAssign) -> bool:
    """Whether a constant is typed as a dict from names, as all are that one chooses from."""
    is_dict = ast.unparse(node.annotation).startswith("dict[str, ")
    return is_dict and ast.unparse(node.target).isupper()


def choices() -> Iterator[str]:
    """The dicts of the package that one chooses from by name."""
    for module in PACKAGE:
        for node in module.tree.body:
            if isinstance(node, ast.AnnAssign) and is_choice(node):
                yield ast.unparse(node.target)


CHOICES = list(choices())
TESTED_ONE_BY_ONE = {
    "PARTS": "the parts of the speed benchmark have nothing in common that a test could ask for",
    "MEAN_LABELS": "the columns of a table, which tests read whole",
    "CLIP_LABELS": "the columns of a table, which tests read whole",
}
"""Dicts that no test is parametrised with, and why."""


def parametrising() -> set[str]:
    """All names that tests are parametrised with."""
    found = set()
    for file in sorted((ROOT / "tests").glob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("parametrize"):
                parts = list(ast.walk(node))
                found |= {part.id for part in parts if isinstance(part, ast.Name)}
                found |= {part.attr for part in parts if isinstance(part, ast.Attribute)}
    return found


def test_every_dict_of_choices_is_covered_by_a_parametrised_test() -> None:
    assert len(set(CHOICES)) == len(CHOICES)
    assert {"PRESETS", "FLOWS", "MAKERS", "TERMS", "FORMATS", "RESULTS", "STYLES"} <= set(CHOICES)
    assert set(CHOICES) - parametrising() <= set(TESTED_ONE_BY_ONE)


def test_the_pipeline_knows_few_modules() -> None:
    (pipeline,) = [module for module in PACKAGE if name_of(module) == "dinotrack.pipeline"]
    assert structure.fan_out(pipeline) <= MOST_USED


MOST_USED = 13
"""Modules that pipeline.py may import: one for each stage, and what they pass on."""


def test_lines_are_not_crammed() -> None:
    nodes = sum(structure.nodes(module) for module in PACKAGE)
    assert nodes / sum(len(module.lines) for module in PACKAGE) <= NODES_A_LINE
    assert nodes / sum(structure.code_lines(module) for module in PACKAGE) <= NODES_A_CODE_LINE


NODES_A_LINE = 5.0
"""Nodes of the syntax tree to a line, all lines counted."""

NODES_A_CODE_LINE = 7.5
"""The same, but neither blank lines nor comments nor docstrings are counted."""


@pytest.mark.parametrize("module", PACKAGE, ids=by_name)
def test_a_room_is_no_larger_than_one_takes_in(module: Module) -> None:
    assert len(module.lines) <= structure.LONG_FILE
    wide = [n for n, line in enumerate(module.lines, 1) if len(line) > structure.WIDE_LINE]
    assert not wide
    for function in module.functions():
        assert structure.length(function) <= structure.LONG_FUNCTION, function.name
        if not structure.is_prescribed(function):
            count = structure.parameters(module, function)
            assert count <= structure.MANY_PARAMETERS, function.name


@pytest.mark.parametrize("module", CORE, ids=by_name)
def test_tensors_say_their_shape(module: Module) -> None:
    kinds = structure.annotations(module)
    assert [ast.unparse(kind) for kind in kinds if structure.bare_tensors(kind)] == []


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


def test_help_is_there_at_once() -> None:
    """It needs the names of choices, and nothing of what they are made with."""
    asked = (
        "import dinotrack.cli as cli\n"
        "try:\n"
        "    cli.main(['--help'])\n"
        "except SystemExit as done:\n"
        "    assert done.code == 0\n"
    )
    loaded = loaded_by(asked)
    assert "dinotrack.terminal.arguments" in loaded
    assert loaded & {"torch", "cv2", "PIL", "numpy"} == set()


def test_the_package_loads_no_model_zoo() -> None:
    loaded = loaded_by("import dinotrack; dinotrack.fit")
    assert "torch" in loaded
    assert not loaded & {"torchvision", "timm", "kornia", "torch._dynamo", "huggingface_hub"}
