"""Leaps are flow over several frames, and begin at where shorter flows lead."""

import dataclasses
import itertools
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import dinotrack
from dinotrack.cache import Cache
from dinotrack.config import FAST, PAPER, Config, override
from dinotrack.flow import Flow, FlowEstimator, VideoFlow
from dinotrack.flow_methods import dis
from dinotrack.geometry import Grid, pixel_grid
from dinotrack.run import Run
from dinotrack.tracking.leaps import with_leaps

CPU = torch.device("cpu")
HEIGHT, WIDTH = 64, 96


def panned(frames: int, shift: tuple[float, float], side: float = 6.0) -> Tensor:
    """A picture of smooth spots, about `side` px wide, that moves so many px a frame."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand((1, 1, 80, 80), generator=rng)
    wide = F.interpolate(coarse, scale_factor=side / 2, mode="bicubic").clamp(0, 1)
    plane = Grid(*wide.shape[-2:], 1.0, 0.0)
    places = pixel_grid(HEIGHT, WIDTH).centres() + 70.0
    read = [plane.sample(wide, (places - t * torch.tensor(shift))[None]) for t in range(frames)]
    grey = torch.stack([values[0, :, 0].reshape(HEIGHT, WIDTH) for values in read])
    return (255 * grey).round().byte()[:, None].repeat(1, 3, 1, 1)


def leapt(flow: VideoFlow, frames: Tensor, config: Config, folder: Path | None = None) -> VideoFlow:
    run = Run(config, CPU, cache=Cache(folder, video="v"))
    estimator = FlowEstimator(frames, flow.size, dis(config.flow, CPU), "dis")
    return with_leaps(flow, frames, estimator, run)


def leaping(*spans: int) -> Config:
    return override(FAST, {"inference.chain.leaps": spans})


def uniform(frames: int, shift: tuple[float, float], size: tuple[int, int]) -> VideoFlow:
    forward = torch.tensor(shift)[None, :, None, None].expand(frames - 1, 2, *size).clone().half()
    return VideoFlow(forward, -forward)


def test_a_leap_mends_what_steps_got_wrong() -> None:
    """Steps that are each 0.4 px off are 3.2 px off after eight; a leap looks anew."""
    shift = 2.5, -1.0
    frames = panned(10, shift)
    wrong = uniform(10, (shift[0] + 0.4, shift[1]), (HEIGHT, WIDTH))
    flow = leapt(wrong, frames, leaping(8))
    assert [leaps.span for leaps in flow.leaps] == [8]
    xy = pixel_grid(HEIGHT, WIDTH).centres().view(HEIGHT, WIDTH, 2)[24:40, 16:60].reshape(-1, 2)
    error = (flow.between(0, 8).at(xy) - 8 * torch.tensor(shift)).norm(dim=-1)
    assert error.median() < 0.15
    back = (flow.between(9, 1).at(xy + 20) + 8 * torch.tensor(shift)).norm(dim=-1)
    assert back.median() < 0.15
    assert flow.step(xy, 0, 8).error.median() < 0.2
    assert torch.equal(flow.forward, wrong.forward)


def test_a_leap_begins_where_shorter_flows_lead() -> None:
    """Over 40 px, DIS alone takes another spot for the same one."""
    shift = 5.0, 0.0
    frames = panned(9, shift)
    config = leaping(8)
    xy = pixel_grid(HEIGHT, WIDTH).centres().view(HEIGHT, WIDTH, 2)[20:44, 16:40].reshape(-1, 2)
    alone = Flow(dis(config.flow, CPU)(frames[:1], frames[8:9])[0]).at(xy)
    lost = (alone - torch.tensor((40.0, 0.0))).norm(dim=-1)
    flow = leapt(uniform(9, shift, (HEIGHT, WIDTH)), frames, config)
    error = (flow.between(0, 8).at(xy) - torch.tensor((40.0, 0.0))).norm(dim=-1)
    assert error.median() < 0.2 < 5 < lost.median()


@pytest.mark.parametrize(("height", "width"), [(17, 24), (16, 31), (40, 56)])
def test_leaps_are_made_of_frames_of_any_size(height: int, width: int) -> None:
    frames = panned(4, (1.0, 0.0))[..., :height, :width]
    flow = leapt(uniform(4, (1.0, 0.0), (height, width)), frames, leaping(2, 3))
    assert [leaps.span for leaps in flow.leaps] == [2, 3]
    for leaps in flow.leaps:
        shape = 4 - leaps.span, 2, -(-height // 2), -(-width // 2)
        assert leaps.forward.shape == leaps.backward.shape == shape
        assert leaps.forward.dtype == torch.float16
        middle = torch.tensor([[width / 2, height / 2]])
        moved = flow.between(0, leaps.span).move(middle) - middle
        assert (moved - leaps.span * torch.tensor([[1.0, 0.0]])).norm() < 0.5


def test_flow_at_every_second_pixel_is_that_of_the_pixels() -> None:
    y, x = torch.meshgrid(torch.arange(13.0), torch.arange(10.0), indexing="ij")
    whole = Flow(torch.stack((0.5 * x + y, 2 - 0.25 * x)))
    halved = whole.halved()
    assert halved.displacement.shape == (2, 7, 5)
    xy = torch.tensor(((1.5, 2.25), (0.5, 0.5), (7.0, 10.0)))
    torch.testing.assert_close(halved.at(xy), whole.at(xy))


def test_leaps_are_known_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = panned(6, (1.0, 0.0))
    steps = uniform(6, (1.0, 0.0), (HEIGHT, WIDTH))
    first = leapt(steps, frames, leaping(2, 4), tmp_path)
    monkeypatch.setattr("dinotrack.tracking.leaps.dis_from", None)  # to compute anything would fail
    again = leapt(steps, frames, leaping(4, 2, 2), tmp_path)
    for one, other in zip(first.leaps, again.leaps, strict=True):
        assert one.span == other.span
        assert torch.equal(one.forward, other.forward)
        assert torch.equal(one.backward, other.backward)
    with pytest.raises(TypeError):
        leapt(steps, frames, leaping(3), tmp_path)


@pytest.mark.parametrize(
    "config",
    [PAPER, override(FAST, {"inference.chain.leap_error": 0.0}), leaping(4, 9)],
    ids=["paper", "none believed", "longer than the video"],
)
def test_no_leaps_where_none_are_used(config: Config) -> None:
    steps = uniform(4, (1.0, 0.0), (HEIGHT, WIDTH))
    assert leapt(steps, panned(4, (1.0, 0.0)), config) is steps


def wavy(frames: int) -> VideoFlow:
    """Smooth motion that differs by frame, place and way."""
    rng = torch.Generator().manual_seed(7)
    coarse = 2 * torch.randn((2, frames - 1, 2, 3, 4), generator=rng)
    both = [F.interpolate(c, (HEIGHT, WIDTH), mode="bicubic").half() for c in coarse]
    return VideoFlow(*both)


def followed(flow: VideoFlow, xy: Tensor, frames: list[int]) -> Tensor:
    """Where positions of the first of some neighbouring frames are in the last, step by step."""
    for t, u in itertools.pairwise(frames):
        xy = flow.between(t, u).move(xy)
    return xy


INNER = pixel_grid(HEIGHT, WIDTH).centres().view(HEIGHT, WIDTH, 2)[20:44:3, 24:72:3].reshape(-1, 2)
"""Positions that stay in the frame."""


def test_a_leap_begins_at_one_step_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinotrack.tracking.leaps.dis_from", lambda start, *_: start)
    steps = wavy(7)
    flow = leapt(steps, panned(7, (0.0, 0.0)), leaping(3))
    for t in range(4):
        for frames in ([t, t + 1, t + 2, t + 3], [t + 3, t + 2, t + 1, t]):
            expected = followed(steps, INNER, frames)
            found = flow.between(frames[0], frames[-1]).move(INNER)
            assert (found - expected).norm(dim=-1).max() < 0.3


def test_a_leap_begins_at_where_shorter_leaps_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as they fit into it a whole number of times."""
    monkeypatch.setattr("dinotrack.tracking.leaps.dis_from", lambda start, *_: start + 1.0)
    flow = leapt(
        uniform(9, (0.0, 0.0), (HEIGHT, WIDTH)), panned(9, (0.0, 0.0)), leaping(2, 3, 4, 8)
    )
    for span, off in ((2, 1), (3, 1), (4, 2 + 1), (8, 2 * 3 + 1)):
        assert (flow.between(0, span).displacement == off).all()


def test_motion_without_an_end_ends_no_process() -> None:
    steps = uniform(5, (1.0, 0.0), (HEIGHT, WIDTH))
    steps.forward[1, :, 10, 10] = torch.nan
    steps.backward[2, :, 20:30] = torch.inf
    flow = leapt(steps, panned(5, (1.0, 0.0)), leaping(2, 4))
    assert all(leaps.forward.isfinite().all() for leaps in flow.leaps)
    assert all(leaps.backward.isfinite().all() for leaps in flow.leaps)


def test_leaps_of_other_flow_are_other_leaps(tmp_path: Path) -> None:
    frames = panned(6, (1.0, 0.0))
    steps = uniform(6, (1.0, 0.0), (HEIGHT, WIDTH))
    one = leapt(steps, frames, leaping(4), tmp_path)
    smooth = override(leaping(4), {"flow.smoothness": 300.0})
    other = leapt(steps, frames, smooth, tmp_path)
    assert not torch.equal(one.leaps[0].forward, other.leaps[0].forward)


def test_a_fit_knows_leaps() -> None:
    frames = panned(18, (1.0, 0.0)).permute(0, 2, 3, 1).numpy()
    settings = {"training.steps": 1, "model.widths": "8,16", "model.dims": 16, "model.blocks": 1}
    fitted = dinotrack.fit(frames, preset="fast", device="cpu", settings=settings)
    assert [leaps.span for leaps in fitted.flow.leaps] == [8, 16]


def test_flow_without_a_leap_says_so() -> None:
    flow = leapt(uniform(6, (1.0, 0.0), (HEIGHT, WIDTH)), panned(6, (1.0, 0.0)), leaping(2))
    with pytest.raises(AssertionError, match="no flow between frames 0 and 3"):
        flow.between(0, 3)
    assert flow.numel() == 2 * 5 * 2 * HEIGHT * WIDTH + 2 * 4 * 2 * HEIGHT * WIDTH // 4
    assert flow.to(dtype=torch.float32).leaps[0].forward.dtype == torch.float32
    assert dataclasses.replace(flow, cuts=frozenset({3})).is_cut(2, 4)
    assert not dataclasses.replace(flow, cuts=frozenset({3})).is_cut(3, 5)
