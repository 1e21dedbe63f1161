"""Methods we are measured against: on pictures that move in a known way, and on the clips their
figures come from."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from dinotrack import InputError, metrics, weights
from dinotrack.benchmarks.datasets import open_datasets
from dinotrack.benchmarks.methods import Method, Options, make_method
from dinotrack.tracks import Tracks

SIZE, FRAMES, STEP = (96, 128), 7, (4, 2)  # the picture moves 4 px right and 2 down a frame
VIT = {"backbone.name": "vit_tiny_patch16_224", "backbone.pretrained": False, "backbone.stride": 8}
CPU = Options(device="cpu")


@pytest.fixture(scope="module")
def moving() -> np.ndarray:
    """RGB uint8 [T, H, W, 3]."""
    rng = np.random.default_rng(0)
    room = SIZE[0] + STEP[1] * FRAMES, SIZE[1] + STEP[0] * FRAMES
    noise = cv2.GaussianBlur(rng.random((*room, 3)), (0, 0), 2.5)
    picture = np.uint8(255 * (noise - noise.min()) / np.ptp(noise))
    corners = [(STEP[1] * (FRAMES - t), STEP[0] * (FRAMES - t)) for t in range(FRAMES)]
    return np.stack([picture[y : y + SIZE[0], x : x + SIZE[1]] for y, x in corners])


def way(queries: np.ndarray) -> np.ndarray:
    """Where points of the moving picture are: [N, T, 2]."""
    lag = np.arange(FRAMES)[None] - queries[:, :1]
    return queries[:, None, 1:] + lag[..., None] * np.array(STEP)


def is_its_query(tracks: Tracks, queries: np.ndarray) -> None:
    rows, own = np.arange(len(queries)), queries[:, 0].astype(int)
    np.testing.assert_array_equal(tracks.xy[rows, own], queries[:, 1:])
    assert tracks.visible[rows, own].all()
    assert (tracks.confidence[rows, own] == 1).all()
    assert (tracks.xy.dtype, tracks.visible.dtype, tracks.confidence.dtype) == (
        np.float32,
        np.bool_,
        np.float32,
    )


def test_still_never_moves(moving: np.ndarray) -> None:
    queries = np.array([[3, 10.5, 20], [0, 50, 60]], np.float32)
    tracks = make_method("still", CPU)("clip", moving, queries, 0)
    np.testing.assert_array_equal(tracks.xy, np.broadcast_to(queries[:, None, 1:], (2, FRAMES, 2)))
    assert tracks.visible.all()
    is_its_query(tracks, queries)


@pytest.mark.parametrize("name", ["lucas-kanade", "dis"])
def test_chains_follow_both_ways(moving: np.ndarray, name: str) -> None:
    queries = np.array([[3, 60.25, 50.5], [0, 40, 30], [6, 80, 60]], np.float32)
    tracks = make_method(name, CPU)("clip", moving, queries, 0)
    assert tracks.visible.all()
    assert np.abs(tracks.xy - way(queries)).max() < 0.75
    is_its_query(tracks, queries)


@pytest.mark.parametrize("name", ["lucas-kanade", "dis"])
def test_lost_points_stay_where_they_were(moving: np.ndarray, name: str) -> None:
    queries = np.array([[3, 118, 50]], np.float32)  # outside from frame 6 on
    tracks = make_method(name, CPU)("clip", moving, queries, 0)
    assert tracks.visible[0, :4].all()
    assert not tracks.visible[0, 6]
    last = np.flatnonzero(tracks.visible[0])[-1]
    np.testing.assert_array_equal(
        tracks.xy[0, last:], np.broadcast_to(tracks.xy[0, last], (FRAMES - last, 2))
    )
    assert np.abs(tracks.xy[0, last] - way(queries)[0, last]).max() < 1


def test_lucas_kanade_ends_at_a_cut(moving: np.ndarray) -> None:
    noise = np.random.default_rng(1).integers(0, 256, moving[:3].shape, dtype=np.uint8)
    queries = np.array([[0, x, y] for x in (20, 40, 60, 80) for y in (20, 40, 60)], np.float32)
    visible = make_method("lucas-kanade", CPU)(
        "clip", np.concatenate((moving[:4], noise)), queries, 0
    ).visible
    assert visible[:, :4].all()
    assert visible[:, 4:].mean() < 0.1


def test_raft_without_weights_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DINOTRACK_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(weights, "PACKAGE", tmp_path / "package" / "dinotrack")
    monkeypatch.setattr(weights, "reachable", lambda url: False)
    with pytest.raises(InputError, match="RAFT large"):
        make_method("raft", CPU)


def vit(**settings: object) -> Method:
    return make_method(
        "vit", Options(settings=VIT | {key.replace("__", "."): v for key, v in settings.items()})
    )


def test_raw_features_find_what_looks_the_same(moving: np.ndarray) -> None:
    """In frames that repeat, a point is found where it was; elsewhere the cosine decides."""
    queries = np.array([[0, 60, 50], [1, 24, 30], [0, 100, 70]], np.float32)
    video = np.stack([moving[0], moving[0], 255 - moving[0]])
    found = vit()("clip", video, queries, 0)
    assert np.linalg.norm(found.xy[:, :2] - queries[:, None, 1:], axis=-1).max() < 8
    assert (found.confidence[:, :2] > 0.75).all()
    is_its_query(found, queries)
    other = np.array([[False, True, True], [True, False, True], [False, True, True]])
    least = float(np.median(found.confidence[other]))
    strict = vit(inference__matching__visible_cosine=least)("clip", video, queries, 0)
    np.testing.assert_array_equal(
        strict.visible[other], found.confidence[other] >= np.float32(least)
    )
    assert set(strict.visible[other]) == {False, True}


def test_raw_features_need_a_vit() -> None:
    with pytest.raises(InputError, match=r"backbone\.name"):
        vit(backbone__name="none")


@pytest.fixture
def predictions(tmp_path: Path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {"tracks": rng.uniform(0, 90, (2, FRAMES, 2)), "visible": rng.random((2, FRAMES)) < 0.5}


QUERIES = np.array([[3, 10.5, 20], [0, 50, 60]], np.float32)


def test_predictions_come_from_files(
    moving: np.ndarray, predictions: dict[str, np.ndarray], tmp_path: Path
) -> None:
    confidence = np.full((2, FRAMES), 0.3)
    np.savez(tmp_path / "pony.npz", **predictions)
    np.savez(tmp_path / "pony-1.npz", **predictions | {"confidence": confidence})
    method = make_method(f"file:{tmp_path}", CPU)
    plain, seeded = method("pony", moving, QUERIES, 0), method("pony", moving, QUERIES, 1)
    later = np.ones((2, FRAMES), bool)
    later[[0, 1], [3, 0]] = False
    for tracks in (plain, seeded):
        np.testing.assert_allclose(tracks.xy[later], predictions["tracks"][later], rtol=1e-6)
        np.testing.assert_array_equal(tracks.visible[later], predictions["visible"][later])
        is_its_query(tracks, QUERIES)
    np.testing.assert_array_equal(plain.confidence, plain.visible)
    np.testing.assert_allclose(seeded.confidence[later], 0.3)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"tracks": np.zeros((3, FRAMES, 2))}, r"tracks has shape \[3, 7, 2\].* give \[2, 7, 2\]"),
        ({"visible": np.ones((2, FRAMES - 1), bool)}, r"visible has shape \[2, 6\]"),
        ({"confidence": np.ones(2)}, r"confidence has shape \[2\]"),
        ({"tracks": np.full((2, FRAMES, 2), np.nan)}, "not finite"),
        ({"tracks": None}, "it needs `tracks` and `visible`"),
    ],
)
def test_bad_predictions_are_refused(
    moving: np.ndarray,
    predictions: dict[str, np.ndarray],
    tmp_path: Path,
    changes: dict,
    complaint: str,
) -> None:
    arrays = {key: value for key, value in (predictions | changes).items() if value is not None}
    np.savez(tmp_path / "pony.npz", **arrays)
    with pytest.raises(InputError, match=complaint):
        make_method(f"file:{tmp_path}", CPU)("pony", moving, QUERIES, 0)


def test_missing_predictions_are_named(moving: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"pony-2\.npz or pony\.npz"):
        make_method(f"file:{tmp_path}", CPU)("pony", moving, QUERIES, 2)


TEN = (
    "bmx-trees", "breakdance", "car-shadow", "gold-fish", "goat", "horsejump-high", "india",
    "libby", "scooter-black", "shooting",
)  # fmt: skip
"""The clips that the figures of EVALUATION.md are of."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected", "within"),
    [  # AJ, OA, recall mean of EVALUATION.md; where lost points are put changes delta alone
        ("still", (15.2, 87.8, 50.0), 0.05),
        ("lucas-kanade", (46.2, 62.9, 71.5), 0.5),
        ("dis", (55.8, 74.7, 69.6), 0.2),
    ],
)
def test_figures_on_the_davis_clips(
    shared_data: Path, name: str, expected: tuple[float, ...], within: float
) -> None:
    method, rows = make_method(name, CPU), []
    for clip in open_datasets(["davis"], shared_data, TEN):
        tracks = method(clip.name, clip.video, clip.truths[0].queries, 0)
        rows.append(clip.truths[0].score(tracks.xy, tracks.visible))
    mean = metrics.mean_metrics(rows)
    ours = [100 * mean[key] for key in ("average_jaccard", "occlusion_accuracy", "recall_mean")]
    assert len(rows) == 10
    assert ours == pytest.approx(expected, abs=within)
