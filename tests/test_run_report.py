"""The report of a run: its sections, what it holds, and what is said where it can't be made."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import importlib.util
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from dinotrack import cli, features, load
from dinotrack.config import BackboneConfig
from dinotrack.formats import load_tracks
from dinotrack.geometry import Grid
from dinotrack.maps import FeatureMaps
from dinotrack.media.encoding import write_video
from dinotrack.report import browser, charts, colours, likeness, markup, motion, neighbours
from dinotrack.report.repeating import command
from dinotrack.report.sections import SECTIONS, report_page
from dinotrack.report.story import Story
from dinotrack.report.truth import read_truth
from dinotrack.synthesis import Clip, generate
from dinotrack.video import read_video
from tests.fakes import FakeBackbone

SIZE, LENGTH = (64, 96), 8
HOSTILE = "<script>alert(1)</script>&\"'"
FILE = "<b>&pony;.mp4"
"""What a file may be called on Linux."""
TINY = (
    "training.steps=4", "training.batch=32", "model.widths=8,16", "model.dims=16", "model.blocks=1",
)  # fmt: skip
MOST_BYTES = 15_000_000
VOID = {"meta", "link", "img", "br", "input"}


class Outline(HTMLParser):
    """Whether tags are closed in turn, the text, the scripts, and all that a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.scripts: list[str] = []
        self.targets: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        told = dict(attrs)
        self.targets += [
            told[key] or "" for key in ("src", "href", "srcset", "poster") if key in told
        ]
        self.ids += [told["id"] or ""] if "id" in told else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        else:
            self.text += data


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def clip() -> Clip:
    return generate(SIZE, LENGTH, 2, seed=3, points=6)


@pytest.fixture(scope="module", autouse=True)
def colours_as_backbone() -> Iterator[None]:
    """A small network stands in for a ViT, under the name "colours"."""

    def make(config: BackboneConfig, device: torch.device) -> FakeBackbone:
        return FakeBackbone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(features.MAKERS, "colours", make)
        yield


@pytest.fixture(scope="module")
def run(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its report, of a video and points whose names are HTML."""
    folder = tmp_path_factory.mktemp("runs")
    write_video(folder / FILE, clip.frames, 12.0)
    rows = [[*query.tolist(), f"{HOSTILE}{n}"] for n, query in enumerate(clip.queries)]
    (folder / "points.json").write_text(json.dumps(rows))
    argv = [str(folder / FILE), "--queries", str(folder / "points.json"), "--backbone", "colours"]
    argv += ["--out", str(folder / "run"), "--preset", "fast", "--report", "--set", *TINY]
    assert cli.main(argv) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def story(run: Path) -> Story:
    record = json.loads((run / "run.json").read_text())
    return Story("run", load(run / "model"), load_tracks(run / "tracks.npz"), record)


@pytest.fixture(scope="module")
def truth_file(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is known of all points but one, in frames that are twice as large."""
    path = tmp_path_factory.mktemp("truth") / "truth.npz"
    larger = np.array((2, 2))
    queries = clip.queries[1:].astype(float)
    queries[:, 1:] = (queries[:, 1:] + 0.5) * larger - 0.5
    known = (clip.tracks[1:] + 0.5) * larger - 0.5
    size = np.array((2 * SIZE[0], 2 * SIZE[1]))
    np.savez(path, query=queries, tracks=known[:, :-1], visible=clip.visible[1:, :-1], size=size)
    return path


def island(page: str) -> dict[str, Any]:
    """What the script of the track browser is told."""
    found = re.search(r'<script type="application/json" id="browsed">(.*?)</script>', page)
    assert found is not None
    values: dict[str, Any] = json.loads(found[1])
    return values


def with_tracks(story: Story, count: int) -> Story:
    """As many points as asked for, of those that there are."""
    rows = [n % len(story.tracks.queries) for n in range(count)]
    return dataclasses.replace(story, tracks=story.tracks.chosen(rows))


# --- the page -------------------------------------------------------------------------------------


def test_a_run_writes_it_and_lists_it(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    content = (run / "report.html").read_bytes()
    assert record["outputs"]["report.html"] == hashlib.sha256(content).hexdigest()
    assert record["complete"] is True
    assert "report" in record["seconds"]


def test_a_new_report_is_listed_in_the_place_of_the_old_one(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    before = json.loads((copy / "run.json").read_text())
    assert cli.main(["report", str(copy), "--points", "0"]) == 0
    record = json.loads((copy / "run.json").read_text())
    new = hashlib.sha256((copy / "report.html").read_bytes()).hexdigest()
    assert new != before["outputs"]["report.html"]
    assert record == before | {"outputs": before["outputs"] | {"report.html": new}}


@pytest.mark.parametrize("title", SECTIONS)
def test_every_section_is_there_and_says_something(title: str, page: str) -> None:
    (section,) = re.findall(rf'<section id="{markup.anchor(title)}">(.*?)</section>', page, re.S)
    assert f"<h2>{title}</h2>" in section
    assert f'href="#{markup.anchor(title)}"' in page
    assert len(outline(section).text) > len(title) + 40


def test_it_stands_by_itself(page: str) -> None:
    seen = outline(page)
    assert [target for target in seen.targets if not target.startswith(("data:", "#"))] == []
    assert len(seen.targets) > 20
    assert len(seen.ids) == len(set(seen.ids))
    for fetches in ("http:", "https:", "url(", "@import", "import(", "fetch(", "XMLHttp", "//cdn"):
        assert fetches not in page, fetches
    assert len(page) < MOST_BYTES


def test_only_its_own_script_may_run(page: str) -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    (script,) = [text for text in outline(page).scripts if text.lstrip().startswith("(() =>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:;")
    assert len(re.findall(r"<script(?! type=.application/json)", page)) == 1


def test_names_are_text_and_never_html(page: str) -> None:
    assert "<script>alert" not in page
    assert "<b>&pony" not in page
    assert "\\u003cscript\\u003ealert(1)" in page
    assert "&lt;script&gt;alert(1)" in page
    names = island(page)["names"]
    assert sorted(names) == [f"{HOSTILE}{n}" for n in range(6)]
    assert FILE in outline(page).text


def test_the_overlay_is_a_video_that_plays(page: str, tmp_path: Path) -> None:
    (content,) = re.findall(r'<video src="data:video/mp4;base64,([^"]+)"', page)
    (tmp_path / "o.mp4").write_bytes(base64.b64decode(content))
    video = read_video(tmp_path / "o.mp4")
    assert video.frames.shape == (LENGTH, *SIZE, 3)
    assert video.fps == 12


def test_images_are_pictures(page: str) -> None:
    images = re.findall(r"image/jpeg;base64,([^\"]+)", page)
    assert len(images) > LENGTH
    for image in images:
        pixels = np.frombuffer(base64.b64decode(image), np.uint8)
        assert cv2.imdecode(pixels, cv2.IMREAD_COLOR) is not None


def test_the_browser_has_exact_positions(story: Story, page: str) -> None:
    told, tracks = island(page), story.tracks
    assert told["frames"] == told["columns"] == list(range(LENGTH))
    listed = told["numbers"]
    assert sorted(listed) == list(range(len(tracks.queries)))
    xy = np.frombuffer(base64.b64decode(told["xy"]), "<f4").reshape(-1, LENGTH, 2)
    assert np.array_equal(xy, tracks.xy[listed])
    states = np.frombuffer(base64.b64decode(told["strips"]), np.uint8).reshape(-1, LENGTH)
    assert np.array_equal(states > 127, tracks.visible[listed])
    level = (states & 127) / (len(told["heat"]) - 1)
    np.testing.assert_allclose(level, tracks.confidence[listed], atol=0.5 / 63 + 1e-6)
    assert len(told["images"]) == LENGTH


def test_the_same_run_gives_the_same_bytes(
    run: Path, page: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.html", "b.html"):
        assert cli.main(["report", str(run), "-o", str(tmp_path / name)]) == 0
        assert f"wrote {tmp_path / name}" in capfd.readouterr().out
    again = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert again == (tmp_path / "b.html").read_text(encoding="utf-8")
    assert island(again) == island(page)


def test_a_report_of_other_points_does_not_stay(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    video = str(run.parent / FILE)
    argv = [video, "--out", str(copy), "--backbone", "colours", "--preset", "fast", "--grid", "2"]
    assert cli.main([*argv, "--no-overlay", "--set", *TINY]) == 0
    assert not (copy / "report.html").exists()


# --- many, few, and none --------------------------------------------------------------------------


def test_a_thousand_points_fit_in(story: Story) -> None:
    many = with_tracks(story, browser.MOST_POINTS + 200)
    page = report_page(many)
    assert len(page) < MOST_BYTES
    assert len(island(page)["names"]) == browser.MOST_POINTS
    assert "Only the 1,000 worst of 1,200 points are listed" in outline(page).text


def test_a_long_video_is_thinned_out(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "MOST_FRAMES", 3)
    monkeypatch.setattr(browser, "MOST_COLUMNS", 5)
    told: Any = browser.browsed(story)
    assert told["frames"] == [0, 4, 7]
    assert told["columns"] == [0, 2, 4, 5, 7]
    assert len(base64.b64decode(told["strips"])) == 5 * len(story.tracks.queries)


def test_an_overlay_that_is_too_large_is_left_out(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(motion, "SIZES", ((96, 24), (48, 34)))
    small = len(motion.small_overlay(story, 48, 34))
    assert small < len(motion.small_overlay(story, 96, 24))
    monkeypatch.setattr(motion, "MOST_BYTES", small)
    assert "<video" in motion.overlay_section(story)
    monkeypatch.setattr(motion, "MOST_BYTES", small - 1)
    assert "too long to be shown in a page" in motion.overlay_section(story)


@pytest.mark.parametrize("count", [0, 1])
def test_one_point_and_none(story: Story, count: int) -> None:
    seen = outline(report_page(with_tracks(story, count)))
    assert ("No point was tracked." in seen.text) == (count == 0)
    assert "Too few points" in seen.text


@pytest.mark.parametrize(("frames", "blank"), [(1, []), (LENGTH, []), (LENGTH, [0, 3])])
def test_without_a_vit(clip: Clip, frames: int, blank: list[int], tmp_path: Path) -> None:
    """Of one frame too, and where frames show nothing, which have no features."""
    shown = clip.frames[:frames].copy()
    shown[blank] = 0
    write_video(tmp_path / "v.mp4", shown, 12.0)
    argv = [str(tmp_path / "v.mp4"), "--out", str(tmp_path / "run"), "--backbone", "none"]
    argv += ["--preset", "fast", "--grid", "2", "--no-overlay", "--set", *TINY]
    assert cli.main([*argv, "--query-frame", str(frames // 2)]) == 0
    points = ["--points", "0,3", "--frames", f"0,{frames // 3},{frames - 1}"]
    assert cli.main(["report", str(tmp_path / "run"), *points]) == 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "This fit has no ViT, so there are no raw features." in outline(page).text
    assert "raw, frame" not in page
    assert f"refined, frame {1 if blank else 0}<" in page
    assert page.count("correspondence map,") == 6


def test_a_record_that_says_nonsense(story: Story) -> None:
    wild = {"seconds": {"<b>": 1.0, "x": "<i>", "y": float("nan")}, "versions": {"<u>": "<s>"}}
    page = report_page(dataclasses.replace(story, record=wild | {"device": "<em>"}))
    for tag in ("<b>:", "<b></td", "<i>", "<u>", "<s>", "<em>"):
        assert tag not in page
    nothing = dataclasses.replace(story, record={"seconds": [1], "versions": 3})
    assert "There is no run.json that tells it." in report_page(nothing)


# --- sections -------------------------------------------------------------------------------------


def test_without_scikit_learn_one_sentence_stands_there(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    hidden = lambda name, *rest: None if name == "sklearn" else found(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    section = neighbours.neighbours_section(story)
    assert section.count(neighbours.MISSING) == 1
    assert "<svg" not in section
    assert "of the refined features" in section


def test_alike_features_lie_together() -> None:
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    owners = np.repeat(np.arange(3), 12)
    apart = np.eye(3, 8)[owners] + 0.05 * rng.standard_normal((36, 8))
    unit = torch.nn.functional.normalize(torch.from_numpy(apart).float(), dim=1)
    places = neighbours.embedded(unit)
    assert ((places >= 0) & (places <= 1)).all()
    assert neighbours.known_again(unit, owners) == 1
    gaps = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(gaps, 9)
    assert (owners[gaps.argmin(axis=1)] == owners).all()
    shuffled = rng.permutation(owners)
    assert neighbours.known_again(unit, shuffled) < 0.7


def test_components_tell_things_apart() -> None:
    """Two kinds of cells become two colours, and what is not chosen has no say in them."""
    values = torch.zeros(2, 4, 6, 8)
    values[:, 0], values[:, 1, :, :4], values[:, 2, :, 4:] = 0.2, 1.0, 1.0
    values[:, 3, 0] = 50.0
    where = torch.ones(2, 6, 8, dtype=torch.bool)
    where[:, 0] = False
    maps = FeatureMaps(values, Grid(6, 8, 8.0, 3.5))
    rgb = colours.component_colours(maps, where).int()
    left, right = rgb[:, 1:, :4].reshape(-1, 3), rgb[:, 1:, 4:].reshape(-1, 3)
    assert (left == left[0]).all()
    assert (right == right[0]).all()
    assert sorted((left[0, 0].item(), right[0, 0].item())) == [0, 255]
    alike = FeatureMaps(torch.ones(1, 2, 3, 4), Grid(3, 4, 8.0, 3.5))
    every = torch.ones(1, 3, 4, dtype=torch.bool)
    assert (colours.component_colours(alike, every)[..., 0] == 128).all()


def test_maps_of_a_point_peak_where_it_was_asked_for(story: Story) -> None:
    """In its own frame a query is most like itself, and a correspondence map is a probability."""
    query = story.tracks.queries[:1]
    t = int(query[0, 0])
    cosines = likeness.correlations(story.fitted, query, t)
    chances = likeness.correspondences(story.fitted, cosines)
    assert float(chances.sum()) == pytest.approx(1, abs=1e-4)
    found = likeness.located(story.fitted, cosines)[0]
    assert np.abs(found - query[0, 1:]).max() < 2 * story.fitted.maps.grid.stride


def test_worst_first(story: Story) -> None:
    confidence = np.full_like(story.tracks.confidence, 0.99)
    confidence[2], confidence[4, :3], confidence[1] = 0.5, 0.4, 0.02
    told = dataclasses.replace(
        story, tracks=dataclasses.replace(story.tracks, confidence=confidence)
    )
    assert told.order[:3] == [2, 4, 1]
    assert told.looked_at == [2, told.order[2], told.order[-1]]
    own = int(told.tracks.queries[4, 0])
    assert set(told.moments(4)) & ({0, 1, 2} - {own})
    asked = dataclasses.replace(story, points=[5], frames=[0, 3])
    assert asked.looked_at == [5]
    assert asked.moments(5) == [0, 3]


def test_the_command_makes_the_run_again(story: Story) -> None:
    line = command(story)
    assert line.startswith("dinotrack '/")
    assert "--queries tracks.npz --preset fast --seed 0" in line
    for changed in ("training.steps=4", "model.widths=8,16", "backbone.name=colours"):
        assert changed in line


def test_curves_hold_what_is_finite() -> None:
    drawn = charts.curve("a<b", np.array((1.0, np.nan, 3.0, 2.0)))
    assert "a&lt;b" in drawn
    assert "nan" not in drawn
    assert "3" in drawn
    assert charts.curve("x", np.full(3, np.nan)) == ""
    assert drawn.count("<polyline") == 2
    many = charts.curve("x", np.arange(10_000.0))
    assert len(many) < 20_000


# --- truth ----------------------------------------------------------------------------------------


def test_truth_is_found_by_the_queries(story: Story, clip: Clip, truth_file: Path) -> None:
    """The file knows other numbers of points, of frames and of pixels."""
    truth = read_truth(truth_file, story.tracks)
    assert not truth.visible[0].any()
    assert not truth.visible[:, -1].any()
    assert np.array_equal(truth.visible[1:, :-1], clip.visible[1:, :-1])
    np.testing.assert_allclose(truth.xy[1:, :-1], clip.tracks[1:, :-1], atol=1e-3)
    perfect = dataclasses.replace(story.tracks, xy=clip.tracks + 3.0)
    off = 3 * np.hypot(256 / SIZE[0], 256 / SIZE[1])
    np.testing.assert_allclose(truth.error(perfect)[truth.visible], off, rtol=1e-3)


def test_a_report_with_truth(run: Path, truth_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.html"
    argv = ["report", str(run), "-o", str(out), "--truth", str(truth_file)]
    assert cli.main([*argv, "--points", "1,2", "--frames", "3"]) == 0
    page = out.read_text(encoding="utf-8")
    assert "Green ring: the truth." in page
    assert page.count("correspondence map,") == 2
    told = island(page)
    errors = dict(zip(told["numbers"], told["errors"], strict=True))
    assert errors[0] is None
    known = [errors[n] for n in told["numbers"] if errors[n] is not None]
    assert known == sorted(known, reverse=True)
    true = np.frombuffer(base64.b64decode(told["true"]), "<f4")
    assert np.isnan(true).any()
    assert not np.isnan(true).all()


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"tracks": None}, "it has no `tracks`"),
        ({"visible": np.ones((5, 3), bool)}, "its `visible` has the shape"),
        ({"query": np.full((5, 3), 40.0)}, "none of its points was tracked in this run"),
        ({"size": np.array((0, 5))}, "its frames are 5 x 0"),
    ],
)
def test_truth_that_does_not_fit(
    arrays: dict[str, Any], said: str, run: Path, truth_file: Path, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with np.load(truth_file) as file:
        changed = {key: value for key, value in (dict(file) | arrays).items() if value is not None}
    np.savez(tmp_path / "t.npz", **changed)
    assert cli.main(["report", str(run), "--truth", str(tmp_path / "t.npz")]) == 2
    assert said in capfd.readouterr().err


# --- what can't be --------------------------------------------------------------------------------


def refused(capfd: pytest.CaptureFixture[str], *argv: object) -> str:
    """The one line that says what is wrong."""
    capfd.readouterr()
    assert cli.main(["report", *map(str, argv)]) == 2
    out, err = capfd.readouterr()
    (line,) = [line for line in err.splitlines() if line.startswith("dinotrack: ")]
    assert out == ""
    assert "Traceback" not in err
    return line


def test_what_is_no_run(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "is no folder that exists" in refused(capfd, tmp_path / "absent")
    assert "tracks.npz is missing" in refused(capfd, tmp_path)
    shutil.copy(run / "tracks.npz", tmp_path)
    assert "holds no fit" in refused(capfd, tmp_path)
    (tmp_path / "tracks.npz").write_bytes(b"PK")
    assert "can't be read as a tracks.npz of ours" in refused(capfd, tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_what_is_asked_for_is_not_there(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "no point is called 'mane'" in refused(capfd, run, "--points", "0,mane")
    assert "--frames: '8' is out of range" in refused(capfd, run, "--frames", "0,8")
    assert "does not end in .html or .htm" in refused(capfd, run, "-o", run / "tracks.npz")
    assert "absent" in refused(capfd, run, "-o", run / "absent" / "r.html")
    assert "no such file" in refused(capfd, run, "--truth", run / "absent.npz")


def test_a_video_that_moved_and_another_one(
    run: Path, clip: Clip, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "moved.mp4"
    (run.parent / FILE).rename(moved)
    try:
        line = refused(capfd, run)
        assert "can't be read" in line
        assert "--video" in line
        out = tmp_path / "moved.html"
        assert cli.main(["report", str(run), "--video", str(moved), "-o", str(out)]) == 0
        assert len(island(out.read_text(encoding="utf-8"))["names"]) == 6
    finally:
        moved.rename(run.parent / FILE)
    write_video(tmp_path / "other.mp4", clip.frames[::-1], 12.0)
    assert "was fitted to another video" in refused(capfd, run, "--video", tmp_path / "other.mp4")


def test_tracks_of_another_video(
    run: Path, story: Story, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    story.tracks.resampled(5).save(copy / "tracks.npz")
    line = refused(capfd, copy)
    assert "the tracks are of 5 frames" in line
    assert "give the video that was tracked" in line


def test_overlay_points_are_looked_up_before_the_fit(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    argv = [str(run.parent / FILE), "--grid", "2", "--out", str(tmp_path / "new")]
    capfd.readouterr()
    assert cli.main([*argv, "--overlay-points", "point_3,4"]) == 2
    assert "no point is called '4'; give names, or numbers up to 3" in capfd.readouterr().err
    assert not (tmp_path / "new").exists()
