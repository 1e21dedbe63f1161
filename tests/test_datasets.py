"""Data sets read from where they are published, and pickles that want more than to be read."""

import copyreg
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dinotrack import metrics
from dinotrack.benchmarks import datasets
from dinotrack.benchmarks.datasets import DATASETS, data_folder, find_clips, open_datasets
from dinotrack.benchmarks.pickles import read_pickle
from dinotrack.benchmarks.tapvid import Entry, tapvid_truth
from dinotrack.benchmarks.truth import AnnotatedClip, JointTruth, PointTruth, Truth
from dinotrack.errors import InputError
from dinotrack.media.encoding import write_video
from dinotrack.metrics import Annotation, Mode
from dinotrack.synthesis import generate

SIZE, FRAMES, POINTS = (96, 150), 11, 30


def clip_entry(seed: int = 0, size: tuple[int, int] = SIZE) -> dict[str, np.ndarray]:
    """A clip as TAP-Vid pickles it."""
    rng = np.random.default_rng(seed)
    occluded = rng.random((POINTS, FRAMES)) < 0.4
    occluded[0] = True  # never seen: nothing is asked of it
    points = rng.random((POINTS, FRAMES, 2)).astype(np.float32)
    return {
        "video": rng.integers(0, 256, (FRAMES, *size, 3), np.uint8),
        "points": points,
        "occluded": occluded,
    }


def encoded(frames: np.ndarray) -> list[bytes]:
    """As Kinetics' and RoboTAP's frames are, but without loss."""
    out = []
    for frame in frames:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "png")
        out.append(file.getvalue())
    return out


def as_entry(packed: dict[str, np.ndarray]) -> Entry:
    return Entry(packed["video"], packed["points"].astype(float), packed["occluded"])


def dump(path: Path, held: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(held, protocol))
    return path


def open_one(text: str, data: Path = Path("nowhere")) -> AnnotatedClip:
    (clip,) = open_datasets([text], data)
    return clip


def points_of(truth: Truth) -> Annotation:
    assert isinstance(truth, PointTruth)
    return truth.points


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A shared folder with one clip that has TAP-Vid and BADJA truth, and one of layers."""
    scene = generate((48, 64), 6, 1, seed=1, points=8)
    size = np.array((48, 64))
    pony = tmp_path / "eval" / "davis" / "pony"
    (pony / "frames").mkdir(parents=True)
    for t, frame in enumerate(scene.frames):
        Image.fromarray(frame).save(pony / "frames" / f"{t:05d}.png")
    known = {"visible": scene.visible, "query": scene.queries, "size": size}
    np.savez(pony / "tapvid.npz", **known, tracks=scene.tracks, mode=np.array("strided"))
    np.savez(
        pony / "badja.npz",
        **known,
        keypoints=scene.tracks,
        annotated=np.array([0, 3]),
        area=np.full(6, 500),
    )
    write_video(tmp_path / "eval" / "cards.mp4", scene.frames, 24)
    np.savez(tmp_path / "eval" / "cards.npz", **known, tracks=scene.tracks)
    return tmp_path


# ---- every data set


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_gives_clips_with_queries(name: str, data: Path) -> None:
    shard = dump(data / "shard.pkl", {"a": clip_entry()})
    texts = {
        "tapvid": f"tapvid:{shard}",
        "synthetic": "synthetic:frames=3,size=40x56,points=5",
    }
    clip = open_one(texts.get(name, name), data)
    (truth,) = clip.truths
    assert isinstance(clip.video, np.ndarray) or clip.video.exists()
    known = truth.joints if isinstance(truth, JointTruth) else truth.points
    assert len(truth.queries) == len(known.visible) > 0
    assert truth.queries.dtype == np.float32
    scores = truth.score(known.xy, known.visible)
    assert scores.get("average_jaccard", scores.get("pck")) == 1.0


def test_the_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DINOTRACK_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    for nothing in ("", None):
        monkeypatch.delenv("DINOTRACK_DATA")
        if nothing is not None:
            monkeypatch.setenv("DINOTRACK_DATA", nothing)
        assert data_folder() == datasets.ROOT.parent / "shared"
        monkeypatch.setenv("DINOTRACK_DATA", "again")


def test_the_shared_folder_by_default_and_one_clip_a_video(data: Path) -> None:
    clips = find_clips(data)
    assert [clip.name for clip in clips] == ["pony", "cards"]
    assert [truth.dataset for truth in clips[0].truths] == ["davis", "badja"]
    (only_joints,) = open_datasets(["badja", "badja"], data)
    assert [truth.dataset for truth in only_joints.truths] == ["badja"]
    assert only_joints.point_truths == []


def test_a_name_that_only_a_pickle_has(data: Path) -> None:
    path = dump(data / "shard.pkl", {"zebra": clip_entry()})
    (clip,) = open_datasets(["davis", f"tapvid:{path}"], data, ["shard-zebra-256"])
    assert clip.name == "shard-zebra-256"
    with pytest.raises(InputError, match=r"no clip named gnu; there are pony, shard-zebra-256"):
        list(open_datasets(["davis", f"tapvid:{path}"], data, ["gnu"]))


def test_a_wrong_name_is_told_before_anything_runs(data: Path) -> None:
    with pytest.raises(InputError, match="no clip named gnu; there are cards, pony"):
        next(open_datasets([], data, ["pony", "gnu"]))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("kitti", "unknown data set 'kitti'; choose one of davis, badja"),
        ("davis:mode=first", "has no option 'mode'; it has none"),
        ("davis:there", "takes no path"),
        ("tapvid", "needs a path"),
        ("tapvid:nowhere.pkl", "nowhere.pkl: no such file or folder"),
        ("tapvid:.,mode=last", "mode is first or strided"),
        ("tapvid:.,size=512", "size is 256 or native"),
        ("tapvid:.,sise=256", "no option 'sise'; it has mode, size"),
        ("synthetic:speed=3", "no option 'speed'; it has size, frames"),
        ("synthetic:seed=x", "seed=x can't be"),
        ("synthetic:seed=1+-2", "seed=-2 can't be"),
        ("synthetic:difficulty=inf", "difficulty=inf can't be"),
        ("synthetic:size=480", "write it like size=480x854"),
        ("synthetic:size=8x8", "size=8x8 can't be"),
        ("synthetic:frames=1", "frames=1 can't be"),
        ("layers", "no truth of layers under"),
    ],
)
def test_wrong_names_say_what_is_right(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=complaint):
        next(open_datasets([text], tmp_path))


def test_an_empty_data_folder_is_told_from_none(tmp_path: Path) -> None:
    assert [clip.name for clip in find_clips(tmp_path)] == ["demo"]
    (tmp_path / "eval").mkdir()
    with pytest.raises(InputError, match="no truth files under"):
        find_clips(tmp_path)


def test_synthetic_clips_are_the_generator_s() -> None:
    text = "synthetic:seed=3+5,difficulty=1.5,frames=4,size=40x56,points=9"
    clips = list(open_datasets([text], Path("nowhere")))
    assert len({clip.name for clip in clips}) == 2
    for seed, clip in zip((3, 5), clips, strict=True):
        expected = generate((40, 56), 4, seed=seed, points=9, difficulty=1.5)
        np.testing.assert_array_equal(clip.video, expected.frames)
        np.testing.assert_array_equal(points_of(clip.truths[0]).xy, expected.tracks)
        assert clip.truths[0].dataset == text


# ---- what is judged


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_certainty_against_a_plain_loop(mode: Mode) -> None:
    """Of confidence, every judged frame counts; true is what is seen and found within 8 px at 256 x
    256."""
    rng = np.random.default_rng(4)
    truth = tapvid_truth("x", as_entry(clip_entry(2)), SIZE, mode)
    true_xy, visible = truth.points.xy, truth.points.visible
    two_too_many = true_xy[:, :2]
    xy = np.concatenate((true_xy + rng.normal(0, 4, true_xy.shape), two_too_many), axis=1)
    confidence = rng.random(xy.shape[:2])
    sure, correct = [], []
    for n, (t0, *_) in enumerate(truth.queries):
        for t in range(FRAMES):
            if t > t0 or (mode == "strided" and t != t0):
                dx, dy = (xy[n, t] - true_xy[n, t]) * (256 / SIZE[1], 256 / SIZE[0])
                sure.append(confidence[n, t])
                correct.append(visible[n, t] and (dx * dx + dy * dy) ** 0.5 < 8)
    certainty = truth.certainty(xy, confidence)
    np.testing.assert_array_equal(certainty.confidence, sure)
    np.testing.assert_array_equal(certainty.correct, correct)
    assert 0.1 < certainty.correct.mean() < 0.9


def test_joints_say_nothing_of_confidence(data: Path) -> None:
    (truth,) = open_one("badja", data).truths
    assert isinstance(truth, JointTruth)
    certainty = truth.certainty(truth.joints.xy, np.ones(truth.joints.visible.shape))
    assert len(certainty.confidence) == len(certainty.correct) == 0


def test_some_points_are_judged_as_among_all() -> None:
    truth = tapvid_truth("x", as_entry(clip_entry(2)), SIZE, "first")
    rng = np.random.default_rng(0)
    xy = truth.points.xy + rng.normal(0, 4, truth.points.xy.shape)
    rows = np.array([5, 2, 9])
    np.testing.assert_array_equal(truth.some(rows).distance(xy[rows]), truth.distance(xy)[rows])
    np.testing.assert_array_equal(truth.some(rows).queries, truth.queries[rows])


# ---- TAP-Vid


@pytest.mark.parametrize("mode", ["first", "strided"])
@pytest.mark.parametrize("size", ["256", "native"])
def test_scores_are_those_of_the_official_convention(tmp_path: Path, mode: Mode, size: str) -> None:
    """Official: fractions of the frame times 256, for truth, queries and predictions alike."""
    entry = clip_entry(1)
    path = dump(tmp_path / "tapvid_davis.pkl", {"goat": entry})
    clip = open_one(f"tapvid:{path},mode={mode},size={size}")
    (truth,) = clip.truths
    assert truth.dataset == f"tapvid_davis {mode} {size}"
    height, width = (256, 256) if size == "256" else SIZE
    assert isinstance(clip.video, np.ndarray)
    assert clip.video.shape == (FRAMES, height, width, 3)
    assert truth.size == (height, width)

    official, rows = metrics.sample_queries(entry["points"] * 256.0, ~entry["occluded"], mode)
    asked = (truth.queries[:, 1:] + 0.5) * (256 / width, 256 / height)
    np.testing.assert_allclose(asked, official[:, 1:], atol=1e-3)
    np.testing.assert_array_equal(truth.queries[:, 0], official[:, 0])
    rng = np.random.default_rng(3)
    true_xy, visible = entry["points"][rows] * 256.0, ~entry["occluded"][rows]
    found, said = true_xy + rng.normal(0, 5, true_xy.shape), rng.random(visible.shape) < 0.5
    asked_officially = Annotation(official, true_xy, visible, mode)
    expected = metrics.tapvid_metrics(asked_officially, found, said)
    ours = truth.score(found * (width / 256, height / 256) - 0.5, said)
    assert {key: ours[key] for key in expected} == pytest.approx(expected)
    assert 0.1 < expected["average_jaccard"] < 0.9


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_golden_queries_and_metrics(
    golden: Callable[[str], dict[str, np.ndarray]], tmp_path: Path, mode: Mode
) -> None:
    stored = golden("tapvid_queries")
    points, hidden = stored["points"], stored["occluded"]
    video = np.zeros((points.shape[1], 256, 256, 3), np.uint8)
    path = dump(
        tmp_path / "golden.pkl", [{"video": video, "points": points / 256.0, "occluded": hidden}]
    )
    (truth,) = open_one(f"tapvid:{path},mode={mode}").truths
    np.testing.assert_allclose(
        np.add(truth.queries, (0, 0.5, 0.5)),
        stored[f"{mode}/query_points"][0][:, [0, 2, 1]],
        rtol=1e-5,
    )
    ours = truth.score(stored[f"{mode}/pred_tracks"][0] - 0.5, ~stored[f"{mode}/pred_occluded"][0])
    expected = {
        k.rpartition("/")[2]: v.item()
        for k, v in stored.items()
        if k.startswith(f"{mode}/metrics/")
    }
    assert len(expected) == 13
    assert {key: ours[key] for key in expected} == pytest.approx(expected, abs=1e-12)


def test_both_modes_are_tracked_at_once(tmp_path: Path) -> None:
    path = dump(tmp_path / "a.pkl", [clip_entry()])
    first, strided = open_one(f"tapvid:{path},mode=first+strided,size=native").truths
    assert (points_of(first).mode, points_of(strided).mode) == ("first", "strided")
    assert len(first.queries) == POINTS - 1
    assert len(strided.queries) == (~clip_entry()["occluded"][:, ::5]).sum()


def test_frames_at_256_are_averages_of_what_they_cover(tmp_path: Path) -> None:
    entry = clip_entry(size=(512, 768))
    clip = open_one(f"tapvid:{dump(tmp_path / 'a.pkl', [entry])}")
    averages = entry["video"].reshape(FRAMES, 256, 2, 256, 3, 3).mean((2, 4))
    assert np.abs(clip.video - averages).max() <= 0.51
    assert clip.video.flags.c_contiguous


def as_objects(frames: list[bytes]) -> np.ndarray:
    out = np.empty(len(frames), object)
    out[:] = frames
    return out


@pytest.mark.parametrize("pack", [list, tuple, as_objects, np.array])
def test_encoded_frames(tmp_path: Path, pack: Callable[[list[bytes]], Any]) -> None:
    """Kinetics and RoboTAP: a list or an array of encoded images."""
    entry = clip_entry()
    path = dump(tmp_path / "a.pkl", [entry | {"video": pack(encoded(entry["video"]))}])
    clip = open_one(f"tapvid:{path},size=native")
    np.testing.assert_array_equal(clip.video, entry["video"])


def test_shards_of_a_folder_in_natural_order(tmp_path: Path) -> None:
    for shard in (0, 2, 10):
        held = [clip_entry(shard), clip_entry(shard + 1)] if shard else {"a/../b": clip_entry(0)}
        dump(tmp_path / f"part{shard}.pkl", held)
    clips = list(open_datasets([f"tapvid:{tmp_path},size=native"], tmp_path))
    assert [clip.name for clip in clips] == [
        "part0-a_.._b",
        "part2-0000",
        "part2-0001",
        "part10-0000",
        "part10-0001",
    ]
    for seed, clip in zip((0, 2, 3, 10, 11), clips, strict=True):
        np.testing.assert_array_equal(clip.video, clip_entry(seed)["video"])


def test_clips_are_read_one_after_another(tmp_path: Path) -> None:
    dump(tmp_path / "0.pkl", [clip_entry()])
    (tmp_path / "1.pkl").write_bytes(b"no pickle")
    clips = open_datasets([f"tapvid:{tmp_path}"], tmp_path)
    assert next(clips).name == "0-0000-256"
    with pytest.raises(InputError, match=r"1\.pkl"):
        next(clips)


def test_clips_where_nothing_is_seen_are_left_out(tmp_path: Path) -> None:
    blind = clip_entry() | {"occluded": np.ones((POINTS, FRAMES), bool)}
    path = dump(tmp_path / "a.pkl", [blind, clip_entry()])
    assert open_one(f"tapvid:{path}").name == "a-0001-256"
    with pytest.raises(InputError, match="nothing is asked"):
        open_one(f"tapvid:{dump(path, [blind])}")


def test_points_a_hair_outside_can_be_asked() -> None:
    points = np.array([[[1.001, -0.001], [0.5, 0.5]]])
    frames = np.zeros((2, 10, 20, 3), np.uint8)
    truth = tapvid_truth("x", Entry(frames, points, np.zeros((1, 2), bool)), (10, 20), "first")
    np.testing.assert_allclose(truth.queries, [[0, 19.5, -0.5]])
    np.testing.assert_allclose(truth.points.xy, [[[19.52, -0.51], [9.5, 4.5]]])


@pytest.mark.parametrize(
    "held",
    [
        [],
        {},
        "text",
        [3],
        [{"video": 3}],
        [{key: part for key, part in clip_entry().items() if key != "points"}],
        [clip_entry() | {"points": clip_entry()["points"][:, 1:]}],
        [clip_entry() | {"occluded": np.zeros((POINTS, FRAMES + 1), bool)}],
        [clip_entry() | {"points": np.full((POINTS, FRAMES, 2), np.nan)}],
        [clip_entry() | {"video": clip_entry()["video"].astype(float)}],
        [clip_entry() | {"video": clip_entry()["video"][..., 0]}],
        [clip_entry() | {"video": [b"no image"] * FRAMES}],
        [
            clip_entry()
            | {
                "video": encoded(clip_entry()["video"])[:-1]
                + encoded(clip_entry(size=(9, 9))["video"])[:1]
            }
        ],
        [clip_entry() | {"video": [encoded(clip_entry()["video"])[0][:500]] * FRAMES}],
        [clip_entry() | {"video": np.zeros((FRAMES, 9, 0, 3), np.uint8)}],
        [clip_entry() | {"video": np.zeros((10**11, 0))}],
        [clip_entry() | {"video": []}],
        [clip_entry() | {"video": [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"] * FRAMES}],
        [clip_entry() | {"video": [np.zeros((9, 9, 3), np.uint16)] * FRAMES}],
        [clip_entry() | {"points": [[[0.5, 0.5]] * FRAMES] * POINTS}],
        [clip_entry() | {"occluded": np.zeros((10**11, 0), bool)}],
    ],
)
def test_other_pickles_are_told_apart(tmp_path: Path, held: Any) -> None:
    with pytest.raises(InputError, match=r"a\.pkl"):
        open_one(f"tapvid:{dump(tmp_path / 'a.pkl', held)}")


def test_many_references_to_one_picture_take_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickle of some kilobytes may ask for terabytes of frames."""
    picture = io.BytesIO()
    Image.new("L", (3000, 2000)).save(picture, "png")
    path = dump(tmp_path / "a.pkl", [clip_entry() | {"video": [picture.getvalue()] * 2000}])
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(Image.Image, "convert", None)  # nothing is decoded
    with pytest.raises(InputError, match=r"its 2000 frames of 3000 x 2000 fill the memory"):
        open_one(f"tapvid:{path}")


# ---- pickles


def same(a: Any, b: Any) -> bool:
    """Equal, of equal types, all the way down; only that NumPy turns some arrays into the machine's
    byte order."""
    if isinstance(a, dict):
        return type(b) is dict and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        equal = (
            a.dtype.newbyteorder("=") == b.dtype.newbyteorder("=")
            and a.shape == b.shape
            and np.array_equal(a, b)
        )
        return bool(equal and a.flags.f_contiguous == b.flags.f_contiguous)
    return type(a) is type(b) and bool(a == b)


ARRAY = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
PLAIN: dict[str, Any] = {
    "containers": {"a": [1, 2.5, None, True, (b"bytes", "tëxt", b"")], 3: {}, "big": 2**80},
    "arrays": [
        ARRAY,
        ARRAY.T,
        ARRAY[:, ::2],
        ARRAY.astype(">f8"),
        ARRAY > 3,
        ARRAY.astype(np.uint8),
        np.zeros((0, 5)),
    ],
    "text": [np.array(["ab", "c"]), np.array([b"ab", b"c"]), as_objects([b"ab", b"", b"\x00c"])],
    "scalars": [np.float32(1.5), np.int64(-3), np.bool_(True), np.array(7)],
    "shared": [ARRAY, [ARRAY] * 3],
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", PLAIN)
def test_plain_pickles_read_as_by_pickle_itself(tmp_path: Path, name: str, protocol: int) -> None:
    path = dump(tmp_path / "a.pkl", PLAIN[name], protocol)
    assert same(pickle.loads(path.read_bytes()), read_pickle(path))


def test_pickles_of_older_numpy(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    old = pickle.dumps(ARRAY, 2).replace(b"numpy._core.", b"numpy.core.")
    assert b"numpy.core.multiarray" in old
    path.write_bytes(old)
    np.testing.assert_array_equal(read_pickle(path), ARRAY)


class Call:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.how = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.how


def code(module: str, name: str, argument: str = "1") -> bytes:
    """A pickle by hand: module.name(argument)."""
    return f"c{module}\n{name}\n(V{argument}\ntR.".encode()


class Elsewhere(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return "key-in-a-store" if isinstance(obj, set) else None


def persistent() -> bytes:
    file = io.BytesIO()
    Elsewhere(file, 4).dump([set()])
    return file.getvalue()


def forged(dtype_state: bytes, dtype: bytes = b"O8", data: bytes = b"C\x08AAAAAAAA") -> bytes:
    """An array [1] of a dtype whose state, opcodes, is given: pointers of the attacker's choice,
    for NumPy."""
    made = b"cnumpy\ndtype\n(V" + dtype + b"\nI00\nI01\ntR" + dtype_state + b"b"
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR"
    return b"\x80\x03" + empty + b"(I1\n(I1\nt" + made + b"I00\n" + data + b"tb."


HARM = "open('HARM', 'w').close()"
HOSTILE: dict[str, tuple[bytes, str]] = {
    "system": (code("os", "system", "touch HARM"), r"os\.system"),
    "posix": (pickle.dumps(Call(os.system, "touch HARM")), r"(posix|nt)\.system"),
    "popen": (code("subprocess", "Popen", "touch HARM"), r"subprocess\.Popen"),
    "eval": (code("builtins", "eval", HARM), r"builtins\.eval"),
    "exec": (pickle.dumps([Call(exec, HARM)], 4), r"builtins\.exec"),
    "python 2": (code("__builtin__", "eval", HARM), r"__builtin__\.eval"),
    "getattr": (pickle.dumps(Call(getattr, np.load, "__globals__")), r"builtins\.getattr"),
    "load": (pickle.dumps(Call(np.load, "x.npy")), r"numpy\.load"),
    "memmap": (code("numpy", "memmap", "HARM"), r"numpy\.memmap"),
    "fromfile": (code("numpy.core.multiarray", "fromfile", "x"), r"multiarray\.fromfile"),
    "f2py": (code("numpy.f2py.crackfortran", "myeval", HARM), r"f2py\.crackfortran\.myeval"),
    "runstring": (code("numpy.testing._private.utils", "runstring", "x"), r"runstring"),
    "dotted": (
        pickle.dumps(0, 4)[:2] + b"\x8c\x05numpy\x8c\x09core.load\x93.",
        r"numpy\.core\.load",
    ),
    "ours": (code("dinotrack.benchmarks.pickles", "read_pickle", "x"), r"dinotrack"),
    "instance": (b"(Vtouch HARM\nios\nsystem\n.", r"os\.system"),
    "persistent": (persistent(), "key-in-a-store"),
    "persistent text": (b"Pkey-in-a-store\n.", "key-in-a-store"),
    "extension": (b"\x80\x02\x82\x07(Vtouch HARM\ntR.", "extension code 7|system"),
    "out of band": (pickle.dumps(ARRAY, 5, buffer_callback=lambda _: None), "buffers"),
    "codec": (b"c_codecs\nencode\n(Vx\nVzlib_codec\ntR.", "zlib_codec"),
    "bytes of a size": (b"c__builtin__\nbytes\n(I9\ntR.", "argument"),
    "function": (b"c_codecs\nencode\n.", "method"),
    "set": (pickle.dumps({1, 2}, 4), "set"),
    "dtype": (pickle.dumps(np.dtype("f4")), "_Dtype"),
    "call of an argument": (b"cnumpy\nndarray\n(I1\ntR.", "callable"),
    "objects": (pickle.dumps(np.array([{}, None], object)), "aren't bytes"),
    "arrays in arrays": (pickle.dumps(as_objects([ARRAY, ARRAY])), "aren't bytes"),
    "records": (pickle.dumps(np.zeros(2, [("a", "f4"), ("b", "O")])), "arrays of"),
    "dates": (pickle.dumps(np.zeros(2, "M8[s]")), "arrays of 'M8'"),
    "pointers": (forged(b"(I3\nV|\nNNNI-1\nI-1\nI0\nt"), "aren't bytes"),
    "pointers in records": (forged(b"(I3\nV|\nN(Va\nt}I8\nI1\nI0\nt"), "records"),
    "too large": (forged(b"(I3\nV<\nNNNI-1\nI-1\nI0\nt", b"f8", b"C\x01A"), "too small"),
    "elements of no size": (forged(b"(I3\nV|\nNNNI0\nI1\nI0\nt", b"S0", b"C\0"), "arrays of 'S0'"),
    "endless": (b"\x80\x02]q\x00h\x00a.", "recursion"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    payload, asked = HOSTILE[name]
    path = tmp_path / "a.pkl"
    path.write_bytes(payload)
    with pytest.raises(InputError, match=asked) as refused:
        read_pickle(path)
    assert str(path) in str(refused.value)
    assert "publisher" in str(refused.value)
    assert not (tmp_path / "HARM").exists()


def test_most_of_these_would_do_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The payloads are real: pickle itself runs them."""
    monkeypatch.chdir(tmp_path)
    for name in ("posix", "exec", "eval", "system", "instance"):
        pickle.loads(HOSTILE[name][0])
        assert (tmp_path / "HARM").exists(), name
        (tmp_path / "HARM").unlink()


def test_extension_codes_that_this_process_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registered, and even cached: the cache passes `find_class` by."""
    monkeypatch.chdir(tmp_path)
    path, payload = tmp_path / "a.pkl", HOSTILE["extension"][0]
    path.write_bytes(payload)
    copyreg.add_extension("os", "system", 7)
    try:
        pickle.loads(payload)  # harm done, and cached
        (tmp_path / "HARM").unlink()
        with pytest.raises(InputError, match=r"os\.system"):
            read_pickle(path)
    finally:
        copyreg.remove_extension("os", "system", 7)
    assert not (tmp_path / "HARM").exists()


def test_damaged_files(tmp_path: Path) -> None:
    path = dump(tmp_path / "a.pkl", {"a": clip_entry(size=(8, 8))})
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for end in (0, 1, 2, 10, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(InputError, match=r"a\.pkl"):
            read_pickle(path)
    for _ in range(30):
        path.write_bytes(rng.bytes(200))
        with pytest.raises(InputError, match=r"a\.pkl"):
            read_pickle(path)
    with pytest.raises(InputError, match="can't be read"):
        read_pickle(tmp_path)
    with pytest.raises(InputError, match="No such file"):
        read_pickle(tmp_path / "b.pkl")


def test_help_names_every_data_set() -> None:
    assert all(f"\n  {name}" in datasets.HELP for name in DATASETS)
