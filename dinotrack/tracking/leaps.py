"""Flow over several frames at once.

Where a surface shows little, each step of flow from a frame to the next is a little wrong, and
chains of steps add that up. A leap looks at two frames that lie further apart, and so is wrong but
once. Flow alone would be lost over such a distance; a leap therefore begins at where the steps
between its frames lead, or shorter leaps. See docs/method.md 8 "Leaps".

Source: M. Neoral, J. Serych and J. Matas, "MFT: Long-Term Tracking of Every Pixel", WACV 2024,
which chooses among flows over 1 to 32 frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dinotrack.chunks import in_threads
from dinotrack.flow import Flow, FlowEstimator, Leaps, VideoFlow, flow_key
from dinotrack.flow_methods import dis_from
from dinotrack.geometry import pixel_grid
from dinotrack.run import Run

Both = Float[Tensor, "M 2 2 h w"]
"""Flow there and back between M pairs of frames, px of the working frame, at every second pixel."""


class Beginning(NamedTuple):
    """What a leap there and back is computed from."""

    first: UInt8[Tensor, "2 3 H W"]
    """The frames that flow leads from, there and back."""
    second: UInt8[Tensor, "2 3 H W"]
    start: Float[Tensor, "2 2 H W"]
    """Where shorter flows lead, px."""


def with_leaps(
    flow: VideoFlow, frames: UInt8[Tensor, "T 3 H W"], estimator: FlowEstimator, run: Run
) -> VideoFlow:
    """The stage: flow that knows, besides, the leaps of config.inference.chain.leaps.

    They are computed by DIS from the working frames, whatever the method of flow, unless they are
    known. Spans as long as the video, or longer, are left out.
    """
    spans = [span for span in run.config.leaps if span < flow.frame_count]
    if not spans:
        return flow

    def compute() -> dict[str, Both]:
        return {str(span): both for span, both in _leaps(flow, frames, spans, run)}

    key = {**flow_key(estimator, run), "spans": spans}
    with run.stage("flow"):
        known = run.cache.remember("leaps", key, compute, run.progress)
    device = flow.forward.device
    both = {span: known[str(span)].to(device) for span in spans}
    return replace(flow, leaps=tuple(Leaps(n, b[:, 0], b[:, 1]) for n, b in both.items()))


def _leaps(
    flow: VideoFlow, frames: UInt8[Tensor, "T 3 H W"], spans: Sequence[int], run: Run
) -> Iterator[tuple[int, Both]]:
    """The leaps of each span, float16, there and back. Each begins with the longest leap before it
    that a whole number of times makes its span."""
    known = {1: _halved(flow)}
    frames = frames.cpu()
    total = sum(len(frames) - span for span in spans)
    done = 0

    def leap(begun: Beginning) -> Float[Tensor, "2 2 H W"]:
        return dis_from(begun.start, begun.first, begun.second, run.config.flow)

    run.progress("leaps", done, total)
    for span in spans:
        shorter = max(n for n in known if span % n == 0)
        begun = _beginnings(known[shorter], frames, shorter, span)
        known[span] = flow.forward.new_empty(
            (len(frames) - span, *known[1].shape[1:]), dtype=torch.float16, device="cpu"
        )
        for t, both in enumerate(in_threads(leap, begun, torch.get_num_threads())):
            known[span][t] = torch.stack([Flow(one).halved().displacement for one in both])
            done += 1
            run.progress("leaps", done, total)
        yield span, known[span]


def _halved(flow: VideoFlow) -> Both:
    """The steps of a video, there and back, at every second pixel."""
    both = (
        torch.stack([Flow(step).halved().displacement.half() for step in steps])
        for steps in (flow.forward.cpu(), flow.backward.cpu())
    )
    return torch.stack(tuple(both), dim=1)


def _beginnings(
    shorter: Both, frames: UInt8[Tensor, "T 3 H W"], step: int, span: int
) -> Iterator[Beginning]:
    """What the leaps of a span are computed from, in their order; `shorter` span `step` frames."""
    size = int(frames.shape[-2]), int(frames.shape[-1])
    for t in range(len(frames) - span):
        passed = range(t, t + span, step)
        there = _composed([shorter[k, 0] for k in passed], size)
        back = _composed([shorter[k, 1] for k in reversed(passed)], size)
        first, second = frames[t], frames[t + span]
        ends = torch.stack((first, second)), torch.stack((second, first))
        yield Beginning(*ends, torch.stack((there, back)))


def _composed(
    flows: Sequence[Float[Tensor, "2 h w"]], size: tuple[int, int]
) -> Float[Tensor, "2 H W"]:
    """One flow after the other, at every pixel; they are known at every second one."""
    grid = Flow(flows[0], stride=2).grid
    places = grid.centres()
    moved = places
    for flow in flows:
        moved = Flow(flow, stride=2).move(moved)
    # whoever leaves the frame is lost, and OpenCV ends the process where a start is infinite
    far = float(max(size))
    motion = (moved - places).nan_to_num().clamp(-far, far)
    whole = Flow(motion.T.reshape(2, grid.rows, grid.cols), stride=2)
    return whole.at(pixel_grid(*size).centres()).T.reshape(2, *size)
