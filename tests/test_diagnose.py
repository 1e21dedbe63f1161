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

from dinotrack.benchmarks import diagnose
from dinotrack.benchmarks.__main__ import main
from dinotrack.benchmarks.datasets import Clip, Truth
from dinotrack.benchmarks.diagnose import FOUND, TILE, TRUE, Case
from dinotrack.benchmarks.methods import Configuration
from dinotrack.synthesis import generate

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
def clip() -> Clip:
    scene = generate(SIZE, FRAMES, 3, seed=6, points=10)
    arrays = {
        "tracks": scene.tracks,
        "visible": scene.visible,
        "query": scene.queries,
        "size": np.array(SIZE),
    }
    short = {
        key: value[:, : FRAMES - 2] if key in ("tracks", "visible") else value
        for key, value in arrays.items()
    }
    early = scene.queries[:, 0] < FRAMES - 2
    short = {key: value if key == "size" else value[early] for key, value in short.items()}
    return Clip(
        "pony",
        scene.frames,
        (Truth("layers", arrays), Truth("short", short | {"mode": np.array("strided")})),
    )


@pytest.fixture(scope="module")
def cases(clip: Clip) -> list[Case]:
    return diagnose.diagnose(clip, Configuration("fast", TINY, "cpu", None), seed=0)


@pytest.fixture
def case(cases: list[Case]) -> Case:
    return cases[0]


def perfect(case: Case) -> Case:
    """The same, had the fit known the truth."""
    sure = case.true_visible.astype(np.float32)
    error = np.zeros_like(case.error)
    return replace(
        case,
        xy=case.true_xy,
        visible=case.true_visible,
        confidence=sure,
        error=error,
        best=case.true_xy,
    )


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


def test_a_page_for_each_truth_stands_by_itself(cases: list[Case]) -> None:
    assert [case.name for case in cases] == ["pony", "pony-1"]
    assert cases[1].error.shape[1] == FRAMES - 2
    for case in cases:
        page = diagnose.page(case, "a <tiny> fit")
        text = outline(page).text
        assert "a <tiny> fit" in text
        assert "average Jaccard" in text
        assert "Point" in text
        assert not re.findall(r'(?:src|href)="(?!data:)', page)
        assert "http" not in page
        assert "nan" not in page.replace("data:image", "").lower().split("base64")[0]
        images = re.findall(r"base64,([^\"]+)", page)
        assert len(images) > 6
        for image in images:
            assert (
                cv2.imdecode(np.frombuffer(base64.b64decode(image), np.uint8), cv2.IMREAD_COLOR)
                is not None
            )


def test_a_perfect_fit_has_no_worst_points(case: Case) -> None:
    good = perfect(case)
    assert diagnose.worst_points(good) == []
    assert diagnose.faults(good)[1:] == (0, 0)
    assert diagnose.mistakes(good, True) == diagnose.mistakes(good, False) == []
    text = outline(diagnose.page(good, "")).text
    assert text.count("Never.") == 2
    assert "average Jaccard100.0 %" in text


def test_errors_are_blamed_on_the_path_or_the_features(case: Case) -> None:
    """Half the judged observations of point 0 are far off; in one of them the best cell was far off
    too."""
    good = perfect(case)
    n = int(good.seen.sum(axis=1).argmax())
    times = np.flatnonzero(good.seen[n])[:3]
    error, best = good.error.copy(), good.best.copy()
    error[n, times] = (diagnose.NEAR, 50, 50)
    best[n, times[2]] += 40
    bad = replace(good, error=error, best=best)
    assert diagnose.faults(bad) == (good.seen.sum(), 3, 2)
    assert diagnose.worst_points(bad) == [n]


def test_worst_first_and_leaps_are_capped(case: Case) -> None:
    error = np.zeros_like(case.error)
    seen = np.zeros_like(case.judged)
    seen[:3, :4] = True
    error[0, 0], error[1, :4], error[2, :2] = 1e4, 20, 17
    case = replace(case, error=error, judged=seen, truth=always_visible(case.truth))
    assert diagnose.worst_points(case) == [1, 2, 0]
    assert diagnose.worst_points(case, 1) == [1]


def always_visible(truth: Truth) -> Truth:
    return replace(truth, arrays={**truth.arrays, "visible": np.ones_like(truth.arrays["visible"])})


def test_moments_are_the_worst_and_apart() -> None:
    error = np.array([1.0, 9, 8, 0, 7, 99, 6, 3, 2, 5])
    where = np.arange(10) != 5
    assert diagnose.moments(error, where, 3) == [1, 4, 9]
    assert diagnose.moments(error, where & (error > 8), 3) == [1]
    assert diagnose.moments(error, np.zeros(10, bool)) == []


def test_surest_mistakes_come_first_one_a_point(case: Case) -> None:
    shape = case.error.shape
    truth, said = np.zeros(shape, bool), np.zeros(shape, bool)
    confidence = np.full(shape, 0.1, np.float32)
    said[2, [3, 5]], said[4, 1] = True, True
    confidence[2, [3, 5]], confidence[4, 1] = (0.7, 0.8), 0.9
    arrays = {**case.truth.arrays, "visible": truth}
    case = replace(
        case, truth=replace(case.truth, arrays=arrays), visible=said, confidence=confidence
    )
    case = replace(case, judged=np.ones(shape, bool))
    assert diagnose.mistakes(case, said=True) == [(4, 1), (2, 5)]
    assert diagnose.mistakes(case, said=False) == []
    arrays["visible"] = ~truth
    confidence[6, 2] = 0.01
    assert diagnose.mistakes(case, said=False)[0] == (6, 2)
    assert all(n in range(shape[0]) for n, _ in diagnose.mistakes(case, said=False))


def test_best_cells_are_where_correlations_peak(case: Case) -> None:
    """A point is most similar to itself: in its own frame its best cell holds it."""
    rows = np.arange(len(case.own))
    off = np.abs(case.best[rows, case.own] - case.truth.queries[:, 1:]).max(axis=1)
    assert np.median(off) <= case.fitted.grid.stride


@pytest.mark.parametrize("apart", [12.0, 300.0])
def test_crops_mark_both_places(apart: float) -> None:
    """Whatever the distance, both marks lie in the tile, the true one on the left."""
    frame = np.full((200, 400, 3), 90, np.uint8)
    tile = diagnose.crop(frame, np.array([40.0, 100]), np.array([40.0 + apart, 100]))
    assert tile.shape == (TILE, TILE, 3)
    centres = [
        np.argwhere((np.abs(tile.astype(int) - colour) < 30).all(-1)).mean(axis=0)
        for colour in (TRUE, FOUND)
    ]
    scale = TILE / max(diagnose.LEAST_CROP, 1.4 * apart)
    np.testing.assert_allclose(centres[1] - centres[0], [0, apart * scale], atol=2)
    np.testing.assert_allclose(np.mean(centres, axis=0), [TILE / 2, TILE / 2], atol=2)


def test_heat_lies_where_its_cell_is(case: Case) -> None:
    grid = case.fitted.grid
    cosines = np.zeros((grid.rows, grid.cols), np.float32)
    cosines[3, 9] = 1
    heat = diagnose.heat_overlay(case.fitted, 0, cosines)
    plain = diagnose.heat_overlay(case.fitted, 0, np.zeros_like(cosines))
    brighter = heat.sum(axis=-1, dtype=int) - plain.sum(axis=-1, dtype=int)
    y, x = np.unravel_index(
        cv2.GaussianBlur(brighter.astype(np.float32), (0, 0), 3).argmax(), brighter.shape
    )
    scale = diagnose.WIDE / SIZE[1]  # the working frame is as large as this one
    centre = grid.origin + grid.stride * np.array((9, 3))
    np.testing.assert_allclose((x, y), (centre + 0.5) * scale - 0.5, atol=3)


def test_error_map_colours_by_error(case: Case) -> None:
    error = np.zeros_like(case.error)
    good = replace(perfect(case), error=error)
    assert f'fill="{diagnose.COLOURS[5]}" d=""' in diagnose.error_map(good)
    error[np.nonzero(good.seen)[0][0], np.nonzero(good.seen)[1][0]] = 17
    drawn = diagnose.error_map(replace(good, error=error))
    assert re.search(f'fill="{diagnose.COLOURS[5]}" d="M[0-9]+ 0h14v7h-14z"', drawn)


def test_spans() -> None:
    assert diagnose.spans(np.array([1, 0, 1, 1, 1, 0, 0, 1, 1], bool)) == ["0", "2-4", "7-8"]
    assert diagnose.spans(np.zeros(3, bool)) == []


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--set", *(f"{key}={value}" for key, value in TINY.items())]
    asked = [
        "diagnose",
        "--datasets",
        "synthetic:size=48x64,frames=4,points=6",
        "--out",
        str(tmp_path),
        *settings,
    ]
    assert main([*asked, "--device", "cpu", "--models", str(tmp_path / "kept")]) == 0
    (page,) = tmp_path.glob("*.html")
    assert f"wrote {page}" in capsys.readouterr().out
    outline(page.read_text(encoding="utf-8"))
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_methods_without_a_fit_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "--method", "still", "--datasets", "demo"]) == 2
    assert "has no fit to look into" in capsys.readouterr().err


def test_truth_without_hidden_points_is_refused(
    clip: Clip, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    joints = {
        "keypoints": clip.truths[0].arrays["tracks"],
        "visible": clip.truths[0].arrays["visible"],
    }
    badja = replace(clip, truths=(Truth("badja", joints),))
    monkeypatch.setattr(diagnose, "open_datasets", lambda *_: iter([badja]))
    assert main(["diagnose", "--out", str(tmp_path)]) == 2
