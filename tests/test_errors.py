"""One sentence, in the words of the door the user came through."""

import pickle
import warnings

import pytest

from dinotrack.config import FAST, override, parse_assignment
from dinotrack.errors import Argument, DinotrackWarning, InputError, on_command_line, setting

UNFINISHED = InputError(
    "runs/a holds an unfinished fit; continue it with ",
    Argument("resume", True),
    ", or choose another ",
    Argument("folder"),
)


def test_python_and_the_command_line_each_read_their_own_words() -> None:
    start = "runs/a holds an unfinished fit; continue it with "
    assert str(UNFINISHED) == start + "resume=True, or choose another folder"
    assert on_command_line(UNFINISHED, folder="--out") == (
        start + "--resume, or choose another --out"
    )


@pytest.mark.parametrize(
    ("argument", "python", "flag"),
    [
        (Argument("resume", True), "resume=True", "--resume"),
        (Argument("device", "cpu"), "device='cpu'", "--device cpu"),
        (Argument("query_frame", 3), "query_frame=3", "--query-frame 3"),
        (Argument("folder"), "folder", "--folder"),
        (
            setting("backbone.pretrained", False),
            "settings={'backbone.pretrained': False}",
            "--set backbone.pretrained=false",
        ),
        (
            setting("model.widths", (64, 128)),
            "settings={'model.widths': (64, 128)}",
            "--set model.widths=64,128",
        ),
    ],
)
def test_arguments_are_named(argument: Argument, python: str, flag: str) -> None:
    error = InputError("give ", argument, "\nor not")
    assert str(error) == f"give {python} or not"
    assert on_command_line(error) == f"give {flag} or not"


@pytest.mark.parametrize(
    ("key", "value"),
    [("training.steps", 9), ("backbone.pretrained", False), ("backbone.name", "none")],
)
def test_a_setting_can_be_given_as_the_command_line_is_told(key: str, value: object) -> None:
    told = on_command_line(InputError(setting(key, value)))
    typed = parse_assignment(told.removeprefix("--set "))
    assert override(FAST, dict([typed])) == override(FAST, {key: value})


@pytest.mark.parametrize("kind", [InputError, DinotrackWarning])
def test_names_of_files_steer_no_terminal_where_nobody_catches_it(kind: type[Exception]) -> None:
    told = str(kind("\x1b]0;owned\x07.mp4 of \udcff is damaged"))
    assert told == r"\x1b]0;owned\x07.mp4 of \udcff is damaged"


def test_a_message_is_passed_on_with_its_arguments() -> None:
    more = InputError(*UNFINISHED.args, "; or take ", setting("model.start", "random"))
    assert on_command_line(more).endswith("--folder; or take --set model.start=random")


def test_plain_messages_are_what_they_say() -> None:
    assert str(InputError("no such file")) == on_command_line(InputError("no such file"))
    assert isinstance(InputError("no such file"), ValueError)


def test_warnings_are_messages_too() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn(DinotrackWarning("take ", Argument("device", "cpu")), stacklevel=1)
    message = caught[0].message
    assert isinstance(message, DinotrackWarning)
    assert str(message) == "take device='cpu'"
    assert on_command_line(message) == "take --device cpu"


def test_errors_survive_pickling() -> None:
    assert pickle.loads(pickle.dumps(UNFINISHED)).args == UNFINISHED.args
