"""What README.md and the other pages say, is so.

The Python code runs, commands and their options exist, links lead somewhere, and every setting and
every function that a page names is where the page says. The pages in docs/ that a benchmark writes
are not looked at.
"""

import ast
import importlib
import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dinotrack
from dinotrack import cli
from dinotrack.benchmarks.methods import Options, make_method
from dinotrack.config import FAST, PRESETS, flatten, override
from dinotrack.formats import RESULTS
from dinotrack.media.encoding import write_video
from dinotrack.synthesis import generate
from dinotrack.terminal.arguments import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
METHOD = (ROOT / "docs" / "method.md").read_text()
PAGES = (
    "README.md",
    "docs/formats.md",
    "docs/many-videos.md",
    "docs/method.md",
    "docs/report.md",
    "docs/studio.md",
    "videos/README.md",
    "weights/README.md",
)
SECTIONS = (
    "Conventions",
    "1 Flow trajectories",
    "2 Foreground",
    "3 Best buddies",
    "4 Networks",
    "5 Training",
    "6 Inference and visibility",
    "7 Metrics",
    "8 What fast and quality do instead",
    "9 Blank frames and cuts",
    "References",
)

FILES = (".safetensors", ".npz", ".csv", ".mp4", ".json", ".py")

every_page = pytest.mark.parametrize("page", PAGES)


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


# --- Python code ----------------------------------------------------------------------------------


def test_python_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two blocks run as they stand, on a short clip and with two steps of training."""
    length, height, width = 14, 104, 208
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # so that `fast` is the default
    few = {"training.steps": 2, "training.steps_a_frame": 0.0, "teaching.steps": 2}
    quick = override(FAST, few)
    monkeypatch.setitem(PRESETS, "fast", quick)
    frames = generate((height, width), length, 2, seed=1, points=4).frames
    write_video("my.mp4", frames, 12.0)
    mask = np.zeros((height, width), bool)
    mask[40:60, 80:110] = True
    first, second = re.findall(r"```python\n(.*?)```", README, re.DOTALL)

    names: dict[str, Any] = {"frames": frames, "mask": mask}
    exec(first, names)
    tracks = names["tracks"]
    assert (tracks.xy.dtype, tracks.xy.shape) == (np.float32, (2, length, 2))
    assert (tracks.visible.dtype, tracks.visible.shape) == (bool, (2, length))
    assert (tracks.confidence.dtype, tracks.confidence.shape) == (np.float32, (2, length))
    assert tracks.queries.tolist() == names["queries"]
    drawn = dinotrack.read_video("overlay.mp4").frames
    assert drawn.shape == (length, height, width, 3)

    assert '"training.steps": 2000' in second
    exec(second.replace('"training.steps": 2000', '"training.steps": 3'), names)
    x, y = names["tracks"].queries[:, 1:].round().astype(int).T
    assert (names["tracks"].queries[:, 0] == 5).all()
    assert mask[y, x].all()
    assert names["fitted"].steps == 3


# --- commands -------------------------------------------------------------------------------------


def commands(text: str) -> Iterator[list[str]]:
    """The words of each line of a page, and each span in it, that runs Python: after `python`."""
    text = text.replace("\\\n", " ")
    lines = re.findall(r"^    (.*)$", text, re.MULTILINE)
    for line in (*lines, *re.findall(r"`(python [^`]*)`", text)):
        words = shlex.split(line, comments=True)
        while words and "=" in words[0]:  # environment variables
            words = words[1:]
        if words and words[0] == "python":
            yield words[1:]


@cache
def main_and_argv(words: tuple[str, ...]) -> tuple[Callable[[list[str]], int], list[str]]:
    """The function that a command runs, and the arguments that ask it for help."""
    if words[0] == "track.py":
        return cli.main, ["--help"]
    dash_m, name, *arguments = words
    assert dash_m == "-m"
    module = importlib.import_module(name)
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{name}.__main__")
    subcommand = arguments[:1] if name == "dinotrack.benchmarks" else []
    return module.main, [*subcommand, "--help"]


def help_of(words: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    """What a command says of its options."""
    main, argv = main_and_argv(tuple(words))
    with pytest.raises(SystemExit) as leaves:
        main(argv)
    assert leaves.value.code == 0
    return capfd.readouterr().out


def values_of(option: str, words: list[str]) -> list[str]:
    """The words that follow an option, up to the next one."""
    if option not in words:
        return []
    rest = words[words.index(option) + 1 :]
    ends = [place for place, word in enumerate(rest) if word.startswith("--")]
    return rest[: ends[0]] if ends else rest


@every_page
def test_commands_and_their_options_exist(page: str, capfd: pytest.CaptureFixture[str]) -> None:
    for words in commands(text_of(page)):
        known = re.findall(r"--[\w-]+", help_of(words, capfd))
        assert [w for w in words if w.startswith("--") and w not in known] == [], words
        for name in values_of("--methods", words):
            make_method(name, Options())


def test_readme_has_commands_of_every_kind() -> None:
    programs = {" ".join(words[: 1 if words[0] == "track.py" else 2]) for words in commands(README)}
    assert programs >= {"track.py", "-m dinotrack.benchmarks", "-m dinotrack.synthesis"}


def test_options_named_in_the_text_exist(capfd: pytest.CaptureFixture[str]) -> None:
    known = help_of(["track.py"], capfd)
    known += help_of(["-m", "dinotrack.benchmarks", "speed"], capfd)
    known += help_of(["-m", "dinotrack.pretraining.start"], capfd)
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        known += capfd.readouterr().out
    for page in PAGES:
        for span in re.findall(r"`(--[^`]*)`", text_of(page)):
            assert re.search(rf"{span.split()[0]}\b", known), span


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_option_is_told_of(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Each option that --help lists is explained on a page, too; --resume has no effect."""
    with pytest.raises(SystemExit):
        cli.main([*command.split(), "--help"])
    options = re.findall(r"^  (?:-o FILE, )?(--[a-z-]+)", capfd.readouterr().out, re.MULTILINE)
    told = " ".join(text_of(page) for page in PAGES)
    untold = {name for name in options if not re.search(rf"{name}(?![\w-])", told)}
    assert untold - {"--resume", "--out"} == set()


def test_two_commands_for_a_fresh_machine() -> None:
    job, tests = re.findall(r"^    (python3 -m venv .*)$", README, re.MULTILINE)
    assert "pip install" in job
    assert job.endswith("track.py videos/demo.mp4")
    assert "pip install" in tests
    assert tests.endswith("-m pytest -n auto")


# --- settings -------------------------------------------------------------------------------------


@every_page
def test_settings_exist(page: str) -> None:
    """Whatever looks like a setting is one, and may have the value it is given."""
    known = flatten(FAST).keys()
    sections = {key.rpartition(".")[0] for key in known}
    tops = {section.split(".")[0] for section in sections}
    text = re.sub(r"```.*?```|\[`[^`]*`\]\([^)]*\)", "", text_of(page), flags=re.DOTALL)
    spans = [*re.findall(r"`([^`]*)`", text), *(" ".join(words) for words in commands(text))]
    for word in " ".join(spans).split():
        key, _, value = word.partition("=")
        if not re.fullmatch(r"[a-z]+(\.[a-z_]+)+", key) or key.split(".")[0] not in tops:
            continue
        if Path(key).suffix not in FILES:
            assert key in known or key in sections, word
        if value:
            override(FAST, {key: value})


def test_numbers_of_the_presets() -> None:
    """The table of docs/method.md holds every number that differs between presets, in the order of
    the config, and no other."""
    table = METHOD.partition("### Numbers that differ")[2].partition("###")[0]
    rows = re.findall(r"^\| `([\w.]+)` \| (.*) \| (.*) \| (.*) \|$", table, re.MULTILINE)
    paper, fast, quality = (flatten(PRESETS[name]) for name in ("paper", "fast", "quality"))
    every = {key: (paper[key], fast[key], quality[key]) for key in paper}
    differing = {key: values for key, values in every.items() if len(set(values)) > 1}
    assert [key for key, *_ in rows] == [*differing]
    for key, *told in rows:
        assert told == [shown(value) for value in differing[key]], key


def shown(value: Any) -> str:
    """A setting's value as the table has it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


@pytest.mark.parametrize("name", PRESETS)
def test_steps_of_the_presets(name: str) -> None:
    training = PRESETS[name].training
    steps = f"{training.steps:,}"
    if training.steps_a_frame:
        steps += f", or {training.steps_a_frame:g} a frame"
    assert re.search(rf"^\| `{name}` .* \| {steps} \|$", README, re.MULTILINE)


# --- links and names ------------------------------------------------------------------------------


@every_page
def test_links_lead_somewhere(page: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text_of(page)) if "://" not in link]
    folder = (ROOT / page).parent
    assert [link for link in links if not (folder / link).exists()] == []


@every_page
def test_named_code_is_where_the_page_says(page: str) -> None:
    """[`flow.Flow.step`](../dinotrack/flow.py): the file defines what stands before the link."""
    for name, link in re.findall(r"\[`([\w.]+)`\]\(([^)]+\.py)\)", text_of(page)):
        file = ((ROOT / page).parent / link).resolve()
        inside = file.relative_to(ROOT / "dinotrack").with_suffix("").parts
        module = ".".join(part for part in inside if part != "__init__")
        parts = [part for part in re.sub(rf"^{module}\.?", "", name).split(".") if part]
        body: list[ast.stmt] = ast.parse(file.read_text()).body
        for part in parts:
            found = definitions(body)
            assert part in found, f"{name} is not in {link}"
            body = found[part]


def definitions(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """The names that some statements define, each with the statements inside."""
    found: dict[str, list[ast.stmt]] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node.body
        elif isinstance(node, ast.Assign):
            found |= {target.id: [] for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = []
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname: [] for alias in node.names if alias.asname == alias.name}
    return found


def test_method_has_its_sections() -> None:
    assert tuple(re.findall(r"^## (.*)$", METHOD, re.MULTILINE)) == SECTIONS


def test_what_the_code_cites_is_in_the_method() -> None:
    """`docs/method.md 4, "Position"` names a section and, perhaps, a paragraph of the page."""
    numbers = {title.split()[0] for title in SECTIONS}
    pattern = re.compile(r'docs/method\.md(?:\s+(\d))?(?:,?\s+"([^"]+)")?')
    count = 0
    for file in sorted((ROOT / "dinotrack").rglob("*.py")):
        source = " ".join(file.read_text().split())  # what it cites may go over two lines
        assert not re.search(r"\bMETHOD\b(?!/)", source), file
        for number, paragraph in pattern.findall(source):
            count += 1
            assert not number or number in numbers, (file, number)
            titles = (f"# {paragraph}\n", f"**{paragraph}.**", f"**{paragraph}**")
            assert not paragraph or any(title in METHOD for title in titles), (file, paragraph)
    assert count > 20


def test_names_all_outputs_and_presets() -> None:
    for name in (*RESULTS, *PRESETS, "overlay.mp4", "run.json", "model/"):
        assert f"`{name}`" in README, name


@pytest.mark.parametrize("page", ["results", "performance", "corrections"])
def test_commands_of_generated_pages_name_no_machine(page: str) -> None:
    lines = text_of(f"docs/{page}.md").splitlines()
    commands = [line for line in lines if line.startswith("    python")]
    assert commands
    assert [line for line in commands if re.search(r"[\s=]/\w", line)] == []


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md", "pyproject.toml", ".ci/run"])
def test_lines_are_short(page: str) -> None:
    lines = [line for line in text_of(page).splitlines() if not line.startswith("|")]
    assert [line for line in lines if len(line) > 100] == []


# --- extensions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "file", "names", "told"),
    [
        ("another kind of backbone", "fakes.py", ["FakeBackbone"], "{} + 1"),
        ("a flow", "test_extending.py", ["drift"], "{} + 1"),
        ("a loss", "test_terms.py", ["sparsity_loss", "sparsity"], "{} + 1 + {} + 1"),
        ("a file of every run", "test_extending.py", ["save_counts"], "{} + 1"),
        ("an overlay style", "test_extending.py", ["crosses"], "{} + 1"),
    ],
)
def test_lines_of_an_extension(row: str, file: str, names: list[str], told: str) -> None:
    """README counts the lines of the examples that other tests run."""
    source = (ROOT / "tests" / file).read_text()
    found = [node for node in ast.parse(source).body if getattr(node, "name", None) in names]
    lengths = [lines_of(source, node) for node in found]
    assert len(lengths) == len(names)
    cell = re.escape(told.format(*lengths))
    assert re.search(rf"^\| {row} \| .* \| {cell} \|$", README, re.MULTILINE), lengths


def lines_of(source: str, node: ast.stmt) -> int:
    """Lines of a function or class that are not blank."""
    text = ast.get_source_segment(source, node)
    assert text is not None
    return sum(bool(line.strip()) for line in text.splitlines())
