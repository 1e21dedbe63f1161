"""Precise positions along a path, by a Kalman filter that runs in both directions of time.

The path says which candidate is right in each frame, and this module says where exactly the point
is. The model of motion is flow, which is precise but drifts; the measurements are matches, which
are noisy but don't drift. A Kalman filter weighs the two by their variances. One filter runs
forwards and one backwards, and what they say about a frame is weighed once more, so that every
frame profits from what comes before and after it (the two-filter form of the smoother).

Sources: R. E. Kalman, "A New Approach to Linear Filtering and Prediction Problems", 1960;
D. Fraser and J. Potter, "The Optimum Linear Smoother as a Combination of Two Optimum Linear
Filters", 1969; docs/method.md 8 "Smoothing".
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dinotrack.config import SmoothingConfig
from dinotrack.flow import VideoFlow
from dinotrack.geometry import inside
from dinotrack.tracking.path import Path

UNKNOWN = 1e6
"""Variance, px squared, of a position about which nothing is known."""


class Estimate(NamedTuple):
    """Where N points are believed to be in each of T frames."""

    xy: Float[Tensor, "N T 2"]
    """Px."""
    variance: Float[Tensor, "N T"]
    """Of x as of y, px squared; infinite where xy has no meaning."""


class FrameEstimate(NamedTuple):
    """An `Estimate` of one frame."""

    xy: Float[Tensor, "N 2"]
    variance: Float[Tensor, " N"]


class Filtered(NamedTuple):
    """What a filter believes in each frame."""

    before: Estimate
    """From the frames that it has passed alone."""
    after: Estimate
    """With the measurement of the frame itself."""


def smooth(
    path: Path,
    matches: Float[Tensor, "N T K 2"],
    given: Bool[Tensor, "N T"],
    flow: VideoFlow,
    config: SmoothingConfig,
) -> Float[Tensor, "N T 2"]:
    """Positions (px) along a path.

    In each frame the match nearest to the path is a measurement. Where the path is precise, it
    itself is the measurement, and where the point is given, as in its query's frame, a sure
    one.
    """
    measured = _measure(path, matches, given, config)
    frames = range(flow.frame_count)
    past = _filter(path, measured, flow, config, frames).after
    future = _filter(path, measured, flow, config, frames[::-1]).before
    share = past.variance / (past.variance + future.variance)
    return past.xy + share[..., None] * (future.xy - past.xy)


def _measure(
    path: Path,
    matches: Float[Tensor, "N T K 2"],
    given: Bool[Tensor, "N T"],
    config: SmoothingConfig,
) -> Estimate:
    """What is measured in each frame."""
    nearest = (matches - path.xy[:, :, None]).norm(dim=-1).min(dim=2)
    index = nearest.indices[..., None, None].expand(-1, -1, 1, 2)
    match = matches.gather(2, index)[:, :, 0]
    near = nearest.values < config.match_reach
    variance = torch.where(near, config.match_noise**2, torch.inf)

    xy = torch.where((path.precise | given)[..., None], path.xy, match)
    patch_noise = config.patch_noise**path.sharpness * config.match_noise ** (1 - path.sharpness)
    variance = torch.where(path.precise, patch_noise**2, variance)
    variance = torch.where(given, config.query_noise**2, variance)
    return Estimate(xy, variance)


def _filter(
    path: Path, measured: Estimate, flow: VideoFlow, config: SmoothingConfig, order: range
) -> Filtered:
    """A Kalman filter along frames in some order, forwards or backwards in time.

    It knows nothing at first, and whenever flow has lost the point, but where the path is.
    """
    before: list[FrameEstimate] = []
    after: list[FrameEstimate] = []
    for t in order:
        expected = FrameEstimate(path.xy[:, t], torch.full_like(measured.variance[:, t], UNKNOWN))
        if after:
            expected = _predict(after[-1], expected, flow, config, t - order.step, t)
        before.append(expected)
        after.append(_update(expected, FrameEstimate(measured.xy[:, t], measured.variance[:, t])))
    return Filtered(_in_time(before[:: order.step]), _in_time(after[:: order.step]))


def _predict(
    last: FrameEstimate,
    path: FrameEstimate,
    flow: VideoFlow,
    config: SmoothingConfig,
    t: int,
    u: int,
) -> FrameEstimate:
    """Flow from what is believed in frame t to its neighbour u; the path where flow is lost."""
    step = flow.step(last.xy, t, u)
    far = (step.xy - path.xy).norm(dim=-1) > config.restart
    lost = (step.error > config.flow_error) | far | ~inside(step.xy, flow.size)
    variance = last.variance + config.flow_noise**2
    return FrameEstimate(
        torch.where(lost[:, None], path.xy, step.xy),
        torch.where(lost, path.variance, variance),
    )


def _update(expected: FrameEstimate, measured: FrameEstimate) -> FrameEstimate:
    """What is expected and what is measured, weighed by their variances."""
    gain = expected.variance / (expected.variance + measured.variance)
    xy = expected.xy + gain[:, None] * (measured.xy - expected.xy)
    return FrameEstimate(xy, (1 - gain) * expected.variance)


def _in_time(estimates: list[FrameEstimate]) -> Estimate:
    """The estimates of all frames as one."""
    return Estimate(
        torch.stack([frame.xy for frame in estimates], dim=1),
        torch.stack([frame.variance for frame in estimates], dim=1),
    )
