"""The diagnosis page: of a tiny fit, whole; and its choices on small arrays where one can see what
is right."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from dinotrack.benchmarks import case as cases_of
from dinotrack.benchmarks import diagnose, diagnose_page
from dinotrack.benchmarks.__main__ import main
from dinotrack.benchmarks.case import Case, faults, mistakes, worst_points
from dinotrack.benchmarks.datasets import generated_clip
from dinotrack.benchmarks.methods import Configuration, Options
from dinotrack.benchmarks.truth import NEAR, AnnotatedClip, JointTruth, PointTruth
from dinotrack.geometry import Grid
from dinotrack.metrics import Annotation, Joints
from dinotrack.report import pictures
from dinotrack.report.likeness import moments
from dinotrack.report.pictures import FOUND, TILE, TRUE, WIDE

SIZE, FRAMES = (64, 96), 8
TINY = {
    "training.steps": 3,
    "training.batch": 32,
    "model.widths": "8,16",
    "model.dims": 16,
    "model.blocks": 1,
}
VOID = {"meta", "img", "br"}


@pytest.fixture(scope="module")
def clip() -> AnnotatedClip:
    """Two truths, of which the second knows two frames less."""
    arguments = {"size": SIZE, "frames": FRAMES, "layers": 3, "seed": 6, "points": 10}
    made = generated_clip("layers", "pony", arguments)
    (truth,) = made.point_truths
    known = truth.points
    early = known.queries[:, 0] < FRAMES - 2
    part = np.s_[early, : FRAMES - 2]
    short = Annotation(known.queries[early], known.xy[part], known.visible[part], "strided")
    return replace(made, truths=(truth, PointTruth("short", short, SIZE)))


@pytest.fixture(scope="module")
def cases(clip: AnnotatedClip) -> list[Case]:
    return diagnose.diagnose(clip, Configuration("fast", Options(TINY, "cpu")), seed=0)


@pytest.fixture
def case(cases: list[Case]) -> Case:
    return cases[0]


def perfect(case: Case) -> Case:
    """The same, had the fit known the truth."""
    return replace(
        case,
        xy=case.true_xy,
        visible=case.true_visible,
        confidence=case.true_visible.astype(np.float32),
        error=np.zeros_like(case.error),
        best=case.true_xy,
    )


def annotated(case: Case, visible: np.ndarray) -> Case:
    """The same points asked before the first frame, so that all is judged, and so visible."""
    known = case.truth.points
    before = np.column_stack((np.full(len(visible), -1.0), known.queries[:, 1:]))
    points = Annotation(before, known.xy, visible, "first")
    return replace(case, truth=replace(case.truth, points=points))


class Outline(HTMLParser):
    """Whether tags are closed in turn, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    assert parser.open == []
    return parser


def test_a_case_for_each_truth(cases: list[Case]) -> None:
    assert [case.name for case in cases] == ["pony", "pony-1"]
    assert cases[1].error.shape[1] == FRAMES - 2


@pytest.mark.parametrize("number", [0, 1])
def test_a_page_stands_by_itself(cases: list[Case], number: int) -> None:
    page = diagnose_page.page(cases[number], "a <tiny> fit")
    text = outline(page).text
    for words in ("a <tiny> fit", "average Jaccard", "Point"):
        assert words in text
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "http" not in page
    assert "nan" not in page.replace("data:image", "").lower().split("base64")[0]
    images = re.findall(r"base64,([^\"]+)", page)
    assert len(images) > 6
    for image in images:
        pixels = np.frombuffer(base64.b64decode(image), np.uint8)
        assert cv2.imdecode(pixels, cv2.IMREAD_COLOR) is not None


def test_a_perfect_fit_has_no_worst_points(case: Case) -> None:
    good = perfect(case)
    assert worst_points(good) == []
    assert (faults(good).path, faults(good).features) == (0, 0)
    assert mistakes(good, True) == mistakes(good, False) == []
    text = outline(diagnose_page.page(good, "")).text
    assert text.count("Never.") == 2
    assert "average Jaccard100.0 %" in text


def test_errors_are_blamed_on_the_path_or_the_features(case: Case) -> None:
    """Three judged observations of a point are far off; in one of them the best cell was far off
    too."""
    good = perfect(case)
    n = int(good.seen.sum(axis=1).argmax())
    times = np.flatnonzero(good.seen[n])[:3]
    error, best = good.error.copy(), good.best.copy()
    error[n, times] = (NEAR, 50, 50)
    best[n, times[2]] += 40
    bad = replace(good, error=error, best=best)
    assert faults(bad) == cases_of.Faults(seen=int(good.seen.sum()), path=2, features=1)
    assert worst_points(bad) == [n]


def test_worst_first_and_leaps_are_capped(case: Case) -> None:
    error = np.zeros_like(case.error)
    seen = np.zeros(error.shape, bool)
    seen[:3, :4] = True
    error[0, 0], error[1, :4], error[2, :2] = 1e4, 20, 17
    case = replace(annotated(case, seen), error=error)
    assert worst_points(case) == [1, 2, 0]
    assert worst_points(case, 1) == [1]


ERROR = np.array([1.0, 9, 8, 0, 7, 99, 6, 3, 2, 5])
ALLOWED = np.arange(10) != 5


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (ALLOWED, [1, 4, 9]),
        (ALLOWED & (ERROR > 8), [1]),
        (np.zeros(10, bool), []),
    ],
)
def test_moments_are_the_worst_and_apart(where: np.ndarray, expected: list[int]) -> None:
    assert moments(ERROR, where, 3) == expected


def test_surest_mistakes_come_first_one_a_point(case: Case) -> None:
    shape = case.error.shape
    said = np.zeros(shape, bool)
    confidence = np.full(shape, 0.1, np.float32)
    said[2, [3, 5]], said[4, 1] = True, True
    confidence[2, [3, 5]], confidence[4, 1] = (0.7, 0.8), 0.9
    case = replace(case, visible=said, confidence=confidence)
    hidden = annotated(case, np.zeros(shape, bool))
    assert mistakes(hidden, said=True) == [(4, 1), (2, 5)]
    assert mistakes(hidden, said=False) == []
    confidence[6, 2] = 0.01
    seen = annotated(case, np.ones(shape, bool))
    assert mistakes(seen, said=False)[0] == (6, 2)
    assert mistakes(seen, said=True) == []


def test_best_cells_are_where_correlations_peak(case: Case) -> None:
    """A point is most similar to itself: in its own frame its best cell holds it."""
    rows = np.arange(len(case.query_frame))
    off = np.abs(case.best[rows, case.query_frame] - case.truth.queries[:, 1:]).max(axis=1)
    assert np.median(off) <= case.fitted.maps.grid.stride


@pytest.mark.parametrize("apart", [12.0, 300.0])
def test_crops_mark_both_places(apart: float) -> None:
    """Whatever the distance, both marks lie in the tile, the true one on the left."""
    frame = np.full((200, 400, 3), 90, np.uint8)
    tile = pictures.crop(frame, np.array([40.0, 100]), np.array([40.0 + apart, 100]))
    assert tile.shape == (TILE, TILE, 3)
    centres = [
        np.argwhere((np.abs(tile.astype(int) - colour) < 30).all(-1)).mean(axis=0)
        for colour in (TRUE, FOUND)
    ]
    scale = TILE / max(pictures.LEAST_CROP, 1.4 * apart)
    np.testing.assert_allclose(centres[1] - centres[0], [0, apart * scale], atol=2)
    np.testing.assert_allclose(np.mean(centres, axis=0), [TILE / 2, TILE / 2], atol=2)


def test_heat_lies_where_its_cell_is() -> None:
    """On a frame twice as large as the working frame."""
    grid = Grid(8, 12, 8.0, 3.5)
    frame = np.full((128, 192, 3), 90, np.uint8)
    cosines = np.zeros((8, 12), np.float32)
    cosines[3, 9] = 1
    heat = pictures.heat(frame, cosines, grid, (64, 96))
    assert heat.shape == (WIDE * 2 // 3, WIDE, 3)
    plain = pictures.heat(frame, np.zeros_like(cosines), grid, (64, 96))
    brighter = heat.sum(axis=-1, dtype=int) - plain.sum(axis=-1, dtype=int)
    smooth = cv2.GaussianBlur(brighter.astype(np.float32), (0, 0), 3)
    y, x = np.unravel_index(smooth.argmax(), brighter.shape)
    centre = grid.origin + grid.stride * np.array((9, 3))
    np.testing.assert_allclose((x, y), (centre + 0.5) * WIDE / 96 - 0.5, atol=3)


def test_error_map_colours_by_error(case: Case) -> None:
    worst = diagnose_page.COLOURS[-1]
    good = perfect(case)
    assert f'fill="{worst}" d=""' in diagnose_page.error_map(good)
    error = np.zeros_like(case.error)
    n, t = np.argwhere(good.seen)[0]
    error[n, t] = 17
    drawn = diagnose_page.error_map(replace(good, error=error))
    assert re.search(f'fill="{worst}" d="M[0-9]+ 0h14v7h-14z"', drawn)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ([1, 0, 1, 1, 1, 0, 0, 1, 1], ["0", "2-4", "7-8"]),
        ([0, 0, 0], []),
        ([1], ["0"]),
    ],
)
def test_spans(where: list[int], expected: list[str]) -> None:
    assert diagnose_page.spans(np.array(where, bool)) == expected


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [f"{key}={value}" for key, value in TINY.items()]
    made = "synthetic:size=48x64,frames=4,points=6"
    asked = ["diagnose", "--datasets", made, "--out", str(tmp_path / "new"), "--set", *settings]
    assert main([*asked, "--device", "cpu", "--models", str(tmp_path / "kept")]) == 0
    (page,) = (tmp_path / "new").glob("*.html")
    assert f"wrote {page}" in capsys.readouterr().out
    outline(page.read_text(encoding="utf-8"))
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_methods_without_a_fit_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "--method", "still", "--datasets", "demo"]) == 2
    assert "has no fit to look into" in capsys.readouterr().err


def test_truth_without_hidden_points_is_refused(
    clip: AnnotatedClip, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = clip.point_truths[0].points
    joints = Joints(known.xy, known.visible, np.full(FRAMES, 500.0), 0)
    badja = replace(clip, truths=(JointTruth("badja", known.queries, joints, SIZE),))
    monkeypatch.setattr(diagnose, "open_datasets", lambda *_: iter([badja]))
    assert main(["diagnose"]) == 2
    assert "none of these clips" in capsys.readouterr().err
