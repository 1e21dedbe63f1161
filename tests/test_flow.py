"""Optical flow: known displacements, units after resizing, and which estimator stands behind a
name."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models import optical_flow

from dinotrack.config import FAST, FlowConfig, override
from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.flow import Flow, FlowEstimator, VideoFlow, make_flow_estimator, video_flow
from dinotrack.flow_methods import (
    FLOWS,
    FlowFunction,
    dis,
    raft_estimator,
    raft_origin,
    resize_flow,
    resolve_flow_name,
)
from dinotrack.progress import Watch
from dinotrack.run import Run
from dinotrack.video import Video

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


def texture(height: int, width: int, seed: int = 0) -> Tensor:
    """A smooth random picture, uint8 [3, H, W]."""
    noise = torch.rand(
        1, 3, height // 4 + 3, width // 4 + 3, generator=torch.Generator().manual_seed(seed)
    )
    return (
        (F.interpolate(noise, (height, width), mode="bicubic").clamp(0, 1)[0] * 255).round().byte()
    )


def shifted(height: int, width: int, step: tuple[int, int], frames: int) -> Tensor:
    """A picture that moves by step (x, y) px a frame: uint8 [T, 3, H, W]."""
    (x, y), margin = step, 40
    big = texture(height + 2 * margin, width + 2 * margin)
    return torch.stack(
        [
            big[:, margin - t * y :, margin - t * x :][:, :height, :width].contiguous()
            for t in range(frames)
        ]
    )


class Constant:
    """An estimator that always answers the same; forward and backward are told apart by the frames'
    order."""

    def __init__(self, x: float, y: float) -> None:
        self.motion = torch.tensor((x, y))[:, None, None]

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        sign = (second.float().mean((1, 2, 3)) - first.float().mean((1, 2, 3))).sign()
        return (
            self.motion * sign[:, None, None, None] * torch.ones(len(first), 2, *first.shape[-2:])
        )


def test_flow_is_sampled_followed_and_checked() -> None:
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing="ij")
    forth = Flow(torch.stack((0.5 * x + y, 2 - 0.25 * x)).half())
    back = Flow(torch.stack((-torch.ones(6, 8), torch.zeros(6, 8))))
    xy = torch.tensor(((1.5, 2.25), (0.0, 0.0), (3.0, 1.0)))
    motion = torch.stack((0.5 * xy[:, 0] + xy[:, 1], 2 - 0.25 * xy[:, 0]), dim=-1)
    assert torch.allclose(forth.at(xy), motion)
    assert torch.allclose(forth.move(xy), xy + motion)
    step = forth.step(back, xy)
    assert torch.equal(step.xy, forth.move(xy))
    assert torch.allclose(step.error, (motion - torch.tensor((1.0, 0.0))).norm(dim=-1))
    assert forth.at(xy).dtype == torch.float32
    assert forth.at(torch.empty(0, 2)).shape == (0, 2)


def test_flow_outside_the_frame_is_that_of_the_border() -> None:
    flow = Flow(torch.arange(24.0).reshape(2, 3, 4))
    assert torch.equal(
        flow.at(torch.tensor(((-5.0, -5.0), (99.0, 99.0)))),
        torch.tensor(((0.0, 12.0), (11.0, 23.0))),
    )


@pytest.mark.parametrize(
    ("size", "error"),
    # With odd ratios the filter's taps lie unevenly about a place: linear flow is kept to 0.1 px
    # times its gradient.
    [
        ((20, 30), 1e-4),
        ((10, 15), 1e-4),
        ((80, 120), 1e-4),
        ((40, 60), 1e-5),
        ((13, 47), 0.01),
        ((80, 31), 0.01),
    ],
)
def test_resized_flow_is_told_in_px_of_the_new_frame(size: tuple[int, int], error: float) -> None:
    height, width = 40, 60
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij")
    resized = resize_flow(torch.stack((0.1 * x + 3, 0.2 * y - 1))[None], size)[0]
    v, u = torch.meshgrid(torch.arange(float(size[0])), torch.arange(float(size[1])), indexing="ij")
    x, y = (
        (u + 0.5) * width / size[1] - 0.5,
        (v + 0.5) * height / size[0] - 0.5,
    )  # the same places in the old frame
    expected = torch.stack(((0.1 * x + 3) * size[1] / width, (0.2 * y - 1) * size[0] / height))
    assert torch.allclose(resized[:, 2:-2, 2:-2], expected[:, 2:-2, 2:-2], rtol=0, atol=error)


def estimator(frames: Tensor, estimate: FlowFunction, size: tuple[int, int]) -> FlowEstimator:
    return FlowEstimator(frames, size, estimate, "constant")


def test_flow_between_neighbours_goes_both_ways_in_working_px() -> None:
    frames = torch.arange(4, dtype=torch.uint8)[:, None, None, None].expand(4, 3, 20, 40) * 10
    calls: list[tuple[str, int, int]] = []
    small = estimator(frames, Constant(8.0, 4.0), (10, 10))
    flow = small.neighbours(lambda *call: calls.append(call))
    assert flow.forward.shape == flow.backward.shape == (3, 2, 10, 10)
    assert (flow.frame_count, flow.size) == (4, (10, 10))
    assert flow.forward.dtype == torch.float16
    expected = torch.tensor((2.0, 2.0)).half()[:, None, None].expand(3, 2, 10, 10)
    assert torch.equal(flow.forward, expected)
    assert torch.equal(flow.backward, -flow.forward)
    assert calls == [("flow", done, 3) for done in range(4)]
    forth, back = estimator(frames, Constant(8.0, 4.0), (20, 40)).between(0, 2)
    assert (forth.displacement[0] == 8).all()
    assert (back.displacement[1] == -4).all()


def test_a_videos_flow_is_followed_from_frame_to_frame() -> None:
    forward = torch.arange(2.0)[:, None, None, None].expand(2, 2, 5, 6) + 1
    flow = VideoFlow(forward, -2 * forward)
    xy = torch.tensor(((0.5, 1.0), (2.0, 0.0)))
    for t, u, motion in ((0, 1, 1.0), (1, 2, 2.0), (1, 0, -2.0), (2, 1, -4.0)):
        assert (flow.between(t, u).displacement == motion).all()
        step = flow.step(xy, t, u)
        assert torch.equal(step.xy, xy + motion)
        back = flow.between(u, t).displacement[0, 0, 0]
        assert torch.allclose(step.error, (motion + back).abs() * torch.tensor(2.0).sqrt())
    with pytest.raises(AssertionError, match="no flow between frames 0 and 2"):
        flow.between(0, 2)


def test_one_frame_has_no_flow() -> None:
    flow = estimator(texture(20, 30)[None], Constant(1, 1), (10, 15)).neighbours()
    assert flow.forward.shape == flow.backward.shape == (0, 2, 10, 15)
    assert flow.frame_count == 1


@pytest.mark.parametrize("step", [(3, 0), (0, -2), (-4, 3)])
def test_dis_finds_a_known_shift(step: tuple[int, int]) -> None:
    frames = shifted(96, 120, step, frames=3)
    flow = estimator(frames, dis(FlowConfig(), CPU), (96, 120)).neighbours()
    truth = torch.tensor(step).float()[:, None, None]
    inner = slice(12, -12)
    assert (flow.forward[..., inner, inner].float() - truth).abs().median() < 0.1
    assert (flow.backward[..., inner, inner].float() + truth).abs().median() < 0.1


def test_flow_sees_larger_frames_than_the_networks() -> None:
    config = override(FAST, {"flow.name": "dis"})
    told: list[tuple[str, int, int]] = []
    run = Run(config, CPU, watch=Watch(lambda *report: told.append(report)))
    video = Video(shifted(60, 80, (1, 0), 3).permute(0, 2, 3, 1).numpy(), 24.0, "shifted")
    estimator = make_flow_estimator(video, shifted(15, 20, (1, 0), 3), range(3), run)
    assert estimator.frames[0].shape == (3, 60, 80)
    flow = video_flow(estimator, run)
    assert flow.size == (15, 20)
    assert flow.forward[:, 0, 4:-4, 4:-4].float().median() == pytest.approx(0.25, abs=0.05)
    assert told[-1] == ("flow", 2, 2)


@pytest.mark.parametrize(
    "size", [(1, 1), (5, 30), (30, 11), (12, 12), (13, 96), (96, 13), (2, 400)]
)
def test_dis_takes_any_size_and_black_frames(size: tuple[int, int]) -> None:
    estimate = dis(FlowConfig(), CPU)
    frames = torch.randint(
        0, 256, (2, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    flow = estimate(frames, frames.flip(0))
    assert flow.shape == (2, 2, *size)
    assert flow.dtype == torch.float32
    assert flow.isfinite().all()
    assert (estimate(frames * 0, frames * 0) == 0).all()


def test_dis_on_a_tiny_frame_answers_in_its_px() -> None:
    frames = shifted(8, 64, (2, 0), frames=2)
    flow = dis(FlowConfig(), CPU)(frames[:1], frames[1:])
    assert flow[0, 0, :, 16:-16].median() == pytest.approx(2, abs=0.5)


class Spy(torch.nn.Module):
    """In place of RAFT: keeps what it was given; its flow is the index of the padded pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[Tensor, Tensor, int]] = []

    def forward(self, first: Tensor, second: Tensor, num_flow_updates: int) -> list[Tensor]:
        self.seen.append((first, second, num_flow_updates))
        height, width = first.shape[-2:]
        y, x = torch.meshgrid(
            torch.arange(float(height)), torch.arange(float(width)), indexing="ij"
        )
        return [torch.stack((x, y)).expand(len(first), 2, height, width)]


@pytest.mark.parametrize("size", [(128, 128), (130, 251), (40, 300), (1, 1), (476, 853)])
def test_raft_is_given_padded_frames_and_its_answer_is_cropped(size: tuple[int, int]) -> None:
    spy = Spy()
    frames = torch.randint(
        0, 256, (2, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    flow = raft_estimator(spy, updates=7)(frames[:1], frames[1:])
    first, second, updates = spy.seen[0]
    height, width = first.shape[-2:]
    assert (height % 8, width % 8, updates) == (0, 0, 7)
    assert min(height, width) >= 128
    assert flow.shape == (1, 2, *size)
    left, top = int(flow[0, 0, 0, 0]), int(flow[0, 1, 0, 0])
    inside = first[0, :, top : top + size[0], left : left + size[1]]
    assert torch.allclose(inside, frames[0] / 127.5 - 1)
    assert torch.equal(first[0, :, 0, 0], inside[:, 0, 0])
    assert torch.equal(second[0, :, -1, -1], (frames[1, :, -1, -1] / 127.5 - 1))
    assert abs(left - (width - size[1] - left)) <= 1


def test_raft_runs_on_tiny_frames_with_weights_from_a_folder(no_weights: Path) -> None:
    torch.manual_seed(0)
    model = optical_flow.raft_small()
    path = no_weights / raft_origin("raft_small").names[0]
    torch.save(model.state_dict(), path)
    with pytest.raises(InputError, match="hash"):  # not the file that torch published
        FLOWS["raft_small"](FlowConfig(name="raft_small"), CPU)
    frames = shifted(30, 140, (1, 0), frames=2)
    flow = raft_estimator(model, updates=2)(frames[:1], frames[1:])
    assert flow.shape == (1, 2, 30, 140)
    assert flow.isfinite().all()


@pytest.mark.parametrize("name", FLOWS)
def test_a_name_stands_for_itself(name: str) -> None:
    assert resolve_flow_name(name, CPU) == name


@pytest.mark.parametrize("name", ["raft_small", "raft_large"])
def test_a_named_raft_without_weights_is_refused_with_the_way_out(
    no_weights: Path, name: str
) -> None:
    with pytest.raises(InputError, match=rf"put {name}_C_T_.*\.pth into ./weights"):
        FLOWS[name](FlowConfig(name=name), CPU)


def test_auto_is_dis_on_cpu_and_warns_once_on_cuda(no_weights: Path) -> None:
    assert resolve_flow_name("auto", CPU) == "dis"
    with pytest.warns(DinotrackWarning, match="RAFT large.*using dis flow instead") as record:
        assert resolve_flow_name("auto", CUDA) == "dis"
    assert len(record) == 1
    assert "\n" not in str(record[0].message)
    with pytest.raises(InputError, match="RAFT large"):
        resolve_flow_name("auto", CUDA, required=True)


def test_auto_on_cuda_is_raft_where_its_weights_are(no_weights: Path) -> None:
    (no_weights / raft_origin("raft_large").names[0]).touch()
    assert resolve_flow_name("auto", CUDA) == "raft_large"


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="auto, dis, raft_small, raft_large"):
        resolve_flow_name("no-such-flow", CPU)
