"""Chains: golden numbers, a plain oracle that loops over pixels, and motions whose chains are known
exactly."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from dinotrack.chains import Chains, flow_chains, in_foreground
from dinotrack.config import TrajectoryConfig
from dinotrack.flow import Flow, VideoFlow
from dinotrack.pairs import is_sampled, sampled_pairs
from tests.dense import chains_of, table_of
from tests.golden import Golden


def neighbours(flow: Tensor) -> VideoFlow:
    """Flow between neighbours out of flow between all frames [T, T, 2, H, W]."""
    t = torch.arange(len(flow) - 1)
    return VideoFlow(flow[t, t + 1], flow[t + 1, t])


def between(flow: Tensor) -> Callable[[int, int], tuple[Flow, Flow]]:
    """Flow both ways between any two frames, out of flow between all frames [T, T, 2, H, W]."""
    return lambda i, j: (Flow(flow[i, j]), Flow(flow[j, i]))


def with_nan(chains: Chains) -> np.ndarray:
    """Chains as the golden numbers hold them: NaN where not valid, by start frame, then row by
    row."""
    xy, valid = table_of(chains)
    return in_order(xy.masked_fill(~valid[..., None], torch.nan).numpy())


def in_order(xy: np.ndarray) -> np.ndarray:
    start = (~np.isnan(xy[..., 0])).argmax(axis=1)
    first = xy[np.arange(len(xy)), start]
    return xy[np.lexsort((first[:, 0], first[:, 1], start))]


def constant_flow(frames: int, dx: float, dy: float, height: int, width: int) -> VideoFlow:
    forward = torch.tensor((dx, dy)).reshape(1, 2, 1, 1).expand(frames - 1, 2, height, width)
    return VideoFlow(forward, -forward)


@pytest.mark.parametrize("filtered", [False, True])
def test_golden(golden: Golden, filtered: bool) -> None:
    numbers = golden("flow_trajectories")
    flow = torch.from_numpy(numbers["flow"])
    config = TrajectoryConfig(
        cycle_error=float(numbers["threshold"]),
        direct_cycle_error=float(numbers["threshold"]),
        direct_error=float(numbers["direct_flow_threshold"]),
        min_length=int(numbers["min_length"]),
    )
    direct = between(flow) if filtered else None
    found = with_nan(flow_chains(neighbours(flow), config, direct))
    expected = in_order(numbers["trajectories_direct_filtered" if filtered else "trajectories"])
    assert found.shape == expected.shape
    assert (np.isnan(found) == np.isnan(expected)).all()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.nanmax(expected))


def random_flow(seed: int, frames: int = 5, height: int = 9, width: int = 11) -> Tensor:
    """Flow between all frames of a moving frame with noise, so that parts are consistent and parts
    are not."""
    draw = torch.Generator().manual_seed(seed)
    motion = torch.randn(frames, 2, 1, 1, generator=draw).cumsum(0) * 1.2
    flow = motion[None] - motion[:, None]
    return flow + torch.randn(frames, frames, 2, height, width, generator=draw) * 0.5


class PlainFlow:
    """Flow [2, H, W] read at one point at a time."""

    def __init__(self, flow: Tensor) -> None:
        self.flow = flow.double().numpy()
        self.height, self.width = flow.shape[-2:]

    def at(self, x: float, y: float, outside_is_zero: bool = False) -> np.ndarray:
        if not outside_is_zero:
            x, y = min(max(x, 0), self.width - 1), min(max(y, 0), self.height - 1)
        left, top = math.floor(x), math.floor(y)
        total = np.zeros(2)
        for i, j in itertools.product((top, top + 1), (left, left + 1)):
            if 0 <= i < self.height and 0 <= j < self.width:
                total += self.flow[:, i, j] * (1 - abs(x - j)) * (1 - abs(y - i))
        return total

    def inside(self, x: float, y: float) -> bool:
        return 0 <= x <= self.width - 1 and 0 <= y <= self.height - 1


def plain_chains(flow: Tensor, config: TrajectoryConfig, filtered: bool) -> np.ndarray:
    """`docs/method.md` 1 word by word: every pixel and every chain on its own."""
    frames, height, width = len(flow), flow.shape[-2], flow.shape[-1]
    flows = [[PlainFlow(flow[i, j]) for j in range(frames)] for i in range(frames)]
    step = config.step
    lattice = list(itertools.product(range(step // 2, height, step), range(step // 2, width, step)))

    def cell(x: float, y: float) -> tuple[int, int]:
        return round(y) // step, round(x) // step

    def goes_on(chain: dict[int, np.ndarray], t: int) -> bool:
        there, back = flows[t][t + 1], flows[t + 1][t]
        p = chain[t]
        q = p + there.at(*p)
        if np.linalg.norm(q - p + back.at(*q)) >= config.cycle_error or not there.inside(*q):
            return False
        chain[t + 1] = q
        i = min(chain)
        if not filtered or not is_sampled(i, t + 1, config.direct_near):
            return True
        there, back = flows[i][t + 1], flows[t + 1][i]
        d = chain[i] + there.at(*chain[i])
        sure = np.linalg.norm(
            d - chain[i] + back.at(*d)
        ) < config.direct_cycle_error and there.inside(*d)
        if sure and np.linalg.norm(d - q) >= config.direct_error:
            del chain[t + 1]
            return False
        return True

    alive = [{0: np.array((j, i), float)} for i, j in lattice]
    chains = list(alive)
    for t in range(frames - 1):
        alive = [chain for chain in alive if goes_on(chain, t)]
        there, back = flows[t][t + 1], flows[t + 1][t]
        passed = {cell(*chain[t + 1]) for chain in alive}
        pixels = itertools.product(range(height), range(width))
        landed = {cell(*(np.array((j, i)) + there.at(j, i))) for i, j in pixels}
        for i, j in lattice:
            p = np.array((j, i), float)
            came = back.at(*p)
            disoccluded = (
                np.linalg.norm(came + there.at(*(p + came), outside_is_zero=True))
                >= config.cycle_error
            )
            if cell(j, i) not in passed or cell(j, i) not in landed or disoccluded:
                alive.append({t + 1: p})
                chains.append(alive[-1])
    kept = [chain for chain in chains if len(chain) >= config.min_length]
    xy = np.full((len(kept), frames, 2), np.nan)
    for row, chain in zip(xy, kept, strict=True):
        for t, position in chain.items():
            row[t] = position
    return xy


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("near", [0, 1])
@pytest.mark.parametrize(
    ("step", "min_length", "seed"), [(1, 2, 0), (1, 3, 1), (2, 2, 2), (3, 2, 3), (4, 1, 4)]
)
def test_the_plain_oracle_agrees(
    step: int, min_length: int, seed: int, near: int, filtered: bool
) -> None:
    flow = random_flow(seed)
    config = TrajectoryConfig(step=step, min_length=min_length, direct_error=1.2, direct_near=near)
    direct = between(flow) if filtered else None
    found = with_nan(flow_chains(neighbours(flow), config, direct))
    expected = in_order(plain_chains(flow, config, filtered))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_a_translation_is_followed_to_the_border() -> None:
    frames, height, width = 6, 12, 20
    chains = flow_chains(constant_flow(frames, 3.0, -1.0, height, width), TrajectoryConfig())
    t = torch.arange(frames)
    truth = chains.first[:, None] + (t - chains.start[:, None])[..., None] * torch.tensor(
        (3.0, -1.0)
    )
    here = (truth[..., 0] <= width - 1) & (truth[..., 1] >= 0) & (t >= chains.start[:, None])
    xy, valid = table_of(chains)
    assert (valid == here).all()
    torch.testing.assert_close(xy, truth * here[..., None], rtol=0, atol=1e-5)
    first = chains.start == 0
    assert first.sum() == (height - 1) * (width - 3)  # those that stay for a second frame
    entered = chains.first[~first]
    assert (
        (entered[:, 0] < 3) | (entered[:, 1] > height - 2)
    ).all()  # only what enters starts later


@pytest.mark.parametrize(
    ("step", "rows", "cols"), [(1, 10, 15), (2, 5, 7), (4, 2, 4), (7, 1, 2), (64, 0, 0)]
)
def test_chains_start_on_the_lattice(step: int, rows: int, cols: int) -> None:
    chains = flow_chains(constant_flow(3, 0.0, 0.0, 10, 15), TrajectoryConfig(step=step))
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    expected = torch.stack((x, y), dim=-1).reshape(-1, 2) * step + step // 2
    xy, valid = table_of(chains)
    assert torch.equal(xy, expected[:, None].expand(-1, 3, -1).float())
    assert valid.all()


def test_inconsistent_flow_gives_no_chain() -> None:
    forward = constant_flow(4, 3.0, 0.0, 8, 8).forward
    chains = flow_chains(VideoFlow(forward, forward), TrajectoryConfig())
    assert chains.xy.shape == (0, 2)
    assert chains.start.shape == chains.length.shape == (0,)
    assert chains.frame_count == 4
    assert in_foreground(chains, torch.ones(4, 8, 8, dtype=torch.bool)).shape == (0,)


def test_one_frame_gives_no_chain() -> None:
    nothing = torch.zeros(0, 2, 8, 9)
    chains = flow_chains(VideoFlow(nothing, nothing), TrajectoryConfig())
    assert chains.xy.shape == (0, 2)
    assert chains.frame_count == 1


def test_half_precision_flow_is_followed_in_single_precision() -> None:
    flow = neighbours(random_flow(5))
    rounded = VideoFlow(flow.forward.half(), flow.backward.half())
    half = flow_chains(rounded, TrajectoryConfig())
    widened = VideoFlow(rounded.forward.float(), rounded.backward.float())
    single = flow_chains(widened, TrajectoryConfig())
    assert half.xy.dtype == torch.float32
    assert torch.equal(half.xy, single.xy)


def test_chains_are_finite_and_long_enough() -> None:
    chains = flow_chains(neighbours(random_flow(6)), TrajectoryConfig())
    assert chains.xy.isfinite().all()
    assert len(chains.xy) == chains.length.sum()
    assert (chains.length >= 2).all()
    assert (chains.end <= chains.frame_count).all()
    assert (chains.start.diff() >= 0).all()


def test_chains_tell_what_their_table_tells() -> None:
    chains = flow_chains(neighbours(random_flow(8)), TrajectoryConfig())
    xy, valid = table_of(chains)
    rows = torch.randperm(len(valid), generator=torch.Generator().manual_seed(0))[:50]
    assert torch.equal(chains.first, xy[torch.arange(len(xy)), chains.start])
    frames = torch.arange(chains.frame_count)
    assert torch.equal(chains.seen_in(frames[:, None]).T, valid)
    assert torch.equal(chains.seen_in(frames[:, None], rows).T, valid[rows])
    for t in frames.tolist():
        assert torch.equal(chains.seen_in(t), valid[:, t])
        there = rows[valid[rows, t]]
        assert torch.equal(chains.at(there, t), xy[there, t])
    last = chains.end[rows] - 1
    assert torch.equal(chains.at(rows, last), xy[rows, last])
    back = chains_of(xy, valid)
    for name in ("xy", "start", "length"):
        assert torch.equal(getattr(back, name), getattr(chains, name))


@pytest.mark.parametrize("near", [0, 1, 2])
def test_direct_flow_is_asked_for_once_a_sampled_pair_and_not_for_neighbours(near: int) -> None:
    flow = random_flow(7, frames=9)
    asked = []

    def direct(i: int, j: int) -> tuple[Flow, Flow]:
        asked.append((i, j))
        return Flow(flow[i, j]), Flow(flow[j, i])

    flow_chains(neighbours(flow), TrajectoryConfig(direct_near=near), direct)
    assert asked
    assert len(set(asked)) == len(asked)
    assert set(asked) <= {(i, j) for i, j in sampled_pairs(9, near) if i < j - 1}
    assert [j for _, j in asked] == sorted(j for _, j in asked)


def test_progress_reaches_the_end() -> None:
    calls = []
    flow_chains(
        constant_flow(4, 0.0, 0.0, 8, 8),
        TrajectoryConfig(),
        progress=lambda *call: calls.append(call),
    )
    assert calls == [("labels", t, 4) for t in range(5)]


def test_foreground_is_told_by_the_mask_at_the_first_point() -> None:
    xy = torch.tensor(
        [[[1.4, 2.0], [4.0, 4.0]], [[0.0, 0.0], [2.6, 1.0]], [[0.0, 3.0], [1.0, 2.0]]]
    )
    chains = chains_of(xy, torch.tensor([[True, True], [False, True], [True, False]]))
    masks = torch.zeros(2, 5, 6, dtype=torch.bool)
    masks[0, 2, 1] = True
    masks[1, 1, 3] = True
    assert in_foreground(chains, masks).tolist() == [True, True, False]
