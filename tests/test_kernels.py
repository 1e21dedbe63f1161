"""Triton kernels against their plain twins, and the twins against loops.

The kernels run in Triton's interpreter, and on CUDA where tests are marked gpu.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dinotrack import chunks, correlation
from dinotrack.config import FAST
from dinotrack.correlation import Correlation, Filters, correlation_maps, normalise
from dinotrack.errors import InputError
from dinotrack.geometry import Grid
from dinotrack.kernels import contrast, nearest, tiles
from dinotrack.kernels.contrast import log_sum_exp_torch, log_sum_exp_triton
from dinotrack.kernels.locate import locate_torch, locate_triton
from dinotrack.kernels.mutual import mutual_nearest_torch, mutual_nearest_triton
from dinotrack.kernels.nearest import best_cells_torch, best_cells_triton
from dinotrack.maps import FeatureMaps
from dinotrack.model import Tracker
from tests.noise import draw

TOLERANCE = {torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 3e-2}
"""Of gradients, as a share of the largest: those of half precision are rounded to it."""

Inputs = tuple[Float[Tensor, "N C"], Float[Tensor, "B C h w"], Int[Tensor, " N"]]
"""Vectors, maps, and the map that each vector belongs to."""

needs_interpreter = pytest.mark.skipif(
    not (tiles.AVAILABLE and tiles.INTERPRETED),
    reason="needs Triton and TRITON_INTERPRET=1" if tiles.AVAILABLE else "Triton is not installed",
)
on_kernels = pytest.mark.parametrize(
    ("device", "dtype"),
    [
        pytest.param("cpu", dtype, marks=needs_interpreter)
        for dtype in (torch.float32, torch.float16)
    ]
    # the interpreter multiplies bit patterns of bfloat16
    + [pytest.param("cuda", dtype, marks=pytest.mark.gpu) for dtype in TOLERANCE],
    ids=str,
)


@pytest.fixture(autouse=True)
def compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA tests need compiled kernels, for the smallest tiles alone: to try all takes long."""
    if request.node.get_closest_marker("gpu"):
        if tiles.INTERPRETED or not tiles.AVAILABLE:
            pytest.skip("needs Triton, not its interpreter")
        for tuned in (nearest.BEST_CELLS, contrast.LOG_SUM_EXP, contrast.SOFTMAX):
            monkeypatch.setattr(tuned.half, "configs", tuned.half.configs[-1:])


@pytest.fixture
def few_cosines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twins compare a few queries at a time, and a single one where there are many cells."""
    monkeypatch.setattr(chunks, "COSINES", 100)


def features(
    seed: int, shape: tuple[int, ...], dim: int, device: str, dtype: torch.dtype
) -> Float[Tensor, "..."]:
    return normalise(draw(seed, *shape), dim).to(device, dtype)


def scene(
    channels: int,
    size: tuple[int, int],
    count: int,
    frames: int,
    device: str,
    dtype: torch.dtype,
    layout: str = "channels_last",
) -> Inputs:
    """Vectors, maps and index; where there are several frames, the last but one has no queries."""
    vectors = features(0, (count, channels), 1, device, dtype)
    maps = features(1, (frames, channels, *size), 1, device, dtype)
    if layout == "channels_last":
        maps = maps.contiguous(memory_format=torch.channels_last)
    if layout == "strided":
        wide = torch.zeros((frames, channels + 2, size[0], 2 * size[1]), device=device, dtype=dtype)
        wide[:, 1:-1, :, ::2] = maps
        maps = wide[:, 1:-1, :, ::2]
    index = torch.randint(frames, (count,), generator=torch.Generator().manual_seed(2))
    return vectors, maps, torch.where(index == frames - 2, frames - 1, index).to(device)


def make_filters(width: int | None, device: str) -> Filters | None:
    """Slices that sum to 1, some weights below 0."""
    if width is None:
        return None
    first = draw(3, width, 1, 3, 3) * 0.2 + 0.3
    second = draw(4, 1, width, 3, 3) * 0.2 + 0.3
    first = first / first.sum((2, 3), keepdim=True)
    second = second / second.sum((2, 3), keepdim=True)
    parts = first, 0.3 * draw(5, width), second / width, draw(6, 1)
    return tuple(part.to(device) for part in parts)


def gradients(
    result: Float[Tensor, "..."], seed: int, inputs: Sequence[Float[Tensor, "..."]]
) -> tuple[Float[Tensor, "..."], ...]:
    weight = draw(seed, *result.shape).to(result.device)
    return torch.autograd.grad((result * weight).sum(), inputs)


def agree(found: Float[Tensor, "..."], expected: Float[Tensor, "..."], tolerance: float) -> None:
    """Relative to the largest."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    limit = tolerance * max(1e-6, expected.float().abs().max().item())
    torch.testing.assert_close(found.float(), expected.float(), rtol=0, atol=limit)


SHAPES = [
    (1, (2, 5), 5, 1),
    (3, (7, 9), 37, 3),
    (16, (1, 1), 5, 2),
    (33, (13, 17), 37, 4),
    (96, (7, 9), 1, 1),
]


@on_kernels
@pytest.mark.parametrize(("channels", "size", "count", "frames"), [*SHAPES, (100, (13, 17), 37, 9)])
def test_best_cells(
    channels: int, size: tuple[int, int], count: int, frames: int, device: str, dtype: torch.dtype
) -> None:
    inputs = scene(channels, size, count, frames, device, dtype)
    cells, values = best_cells_triton(*inputs)
    expected = best_cells_torch(*inputs)
    assert torch.equal(cells, expected[0])
    torch.testing.assert_close(values, expected[1], rtol=0, atol=1e-6)


@on_kernels
def test_of_equal_cells_the_first_is_best(
    device: str, dtype: torch.dtype, few_cosines: None
) -> None:
    maps = torch.zeros(2, 2, 5, 40, device=device, dtype=dtype)
    maps[0, 0, 1, 2:] = 1  # equal cells in several tiles
    maps[0, 0, 4] = 1
    maps[1, 0] = -1
    vectors = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [1, 0]], device=device, dtype=dtype)
    index = torch.tensor([0, 0, 0, 1], device=device)
    cells, values = best_cells_triton(vectors, maps, index)
    assert cells.tolist() == [42, 0, 0, 0]
    assert values.tolist() == [1, 0, 0, -1]
    assert torch.equal(cells, best_cells_torch(vectors, maps, index)[0])


@on_kernels
def test_below_zero_the_first_cell_is_found(device: str, dtype: torch.dtype) -> None:
    """As after the ReLU, where all cells are equal."""
    maps = -torch.rand(1, 1, 6, 7, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    vectors = torch.ones(1, 1, device=device, dtype=dtype)
    inputs = vectors, maps, torch.zeros(1, dtype=torch.long, device=device)
    found = locate_triton(*inputs, None, 1.0, 0.0)
    assert found.tolist() == [[0, 0]]
    assert torch.equal(found, locate_torch(*inputs, None, 1.0, 0.0))


@on_kernels
@pytest.mark.parametrize(("count", "frames"), [(1, 2), (5, 1), (37, 4), (2500, 3)])
def test_queries_are_grouped_by_their_map(
    count: int, frames: int, device: str, dtype: torch.dtype
) -> None:
    _, _, index = scene(1, (1, 1), count, frames, device, dtype)
    groups = nearest.group(index, frames)
    assert torch.equal(groups.order, index.argsort(stable=True))
    assert groups.offsets.tolist() == [int((index < b).sum()) for b in range(frames + 1)]


@on_kernels
@pytest.mark.parametrize(
    ("channels", "size", "count", "frames", "reach", "width", "layout"),
    [
        (1, (2, 5), 2, 1, 1.5, 1, "contiguous"),
        (3, (7, 9), 3, 3, 1.5, 4, "strided"),
        (33, (13, 17), 2, 2, 3.5, 16, "channels_last"),
        (16, (1, 1), 1, 1, 0.0, 3, "contiguous"),
        (100, (13, 17), 3, 1, 0.0, None, "channels_last"),
        (96, (7, 9), 5, 4, 5.0, None, "contiguous"),
        (20, (9, 7), 37, 5, 1.5, None, "strided"),
    ],
)
def test_located_and_its_gradients(
    channels: int,
    size: tuple[int, int],
    count: int,
    frames: int,
    reach: float,
    width: int | None,
    layout: str,
    device: str,
    dtype: torch.dtype,
    few_cosines: None,
) -> None:
    vectors, maps, index = scene(channels, size, count, frames, device, dtype, layout)
    filters = make_filters(width, device)
    inputs = [t.requires_grad_() for t in (vectors, maps, *(filters or ()))]
    found = locate_triton(vectors, maps, index, filters, 0.2, reach)
    expected = locate_torch(vectors, maps, index, filters, 0.2, reach)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    one = gradients(found, 7, inputs)
    other = gradients(expected, 7, inputs)
    for k in range(min(len(inputs), 5)):
        agree(one[k], other[k], TOLERANCE[dtype])
    assert not one[5:] or (one[5] == 0).all()  # the softmax ignores what is added to all scores


@on_kernels
def test_without_gradients_the_answer_is_the_same(
    device: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "KERNEL_QUERIES", 2)
    inputs = scene(6, (6, 7), 3, 2, device, dtype)
    filters = make_filters(2, device)
    found = locate_triton(inputs[0].requires_grad_(), *inputs[1:], filters, 0.2, 1.5)
    with torch.no_grad():
        assert torch.equal(locate_triton(*inputs, filters, 0.2, 1.5), found)


@pytest.mark.parametrize(
    "device",
    [pytest.param("cpu", marks=needs_interpreter), pytest.param("cuda", marks=pytest.mark.gpu)],
)
def test_queries_may_be_more_precise_than_maps(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As sampled features are, of maps kept in half precision."""
    vectors, maps, index = scene(6, (6, 7), 5, 2, device, torch.float32)
    inputs = vectors, maps.half(), index, make_filters(2, device), 0.2, 1.5
    cells = maps[0].half().flatten(1).T
    answers = []
    for side in ("torch", "triton"):
        monkeypatch.setenv("DINOTRACK_KERNELS", side)
        located = correlation.locate(*inputs)
        total = correlation.log_sum_exp(vectors, cells, 0.1)
        answers.append((located, total, *correlation.mutual_nearest(vectors, cells)))
    for one, other in zip(*answers, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=5e-3)


@on_kernels
def test_small_gradients_survive_half_precision(device: str, dtype: torch.dtype) -> None:
    vectors, maps, index = scene(8, (5, 6), 4, 2, device, dtype)
    inputs = [vectors.requires_grad_(), maps.requires_grad_()]
    found = locate_triton(*inputs, index, None, 0.2, 1.5)
    expected = locate_torch(*inputs, index, None, 0.2, 1.5)
    tiny = [torch.autograd.grad(result.sum() * 1e-4, inputs)[1] for result in (found, expected)]
    agree(*tiny, TOLERANCE[dtype])


@on_kernels
@pytest.mark.parametrize("locate", [locate_triton, locate_torch])
def test_nothing_to_locate(locate: Callable[..., Tensor], device: str, dtype: torch.dtype) -> None:
    vectors, maps, index = scene(5, (3, 4), 0, 2, device, dtype)
    filters = make_filters(2, device)
    inputs = [t.requires_grad_() for t in (vectors, maps, *filters)]
    found = locate(vectors, maps, index, filters, 0.2, 1.5)
    assert found.shape == (0, 2)
    ways = {"allow_unused": True, "materialize_grads": True}
    for gradient in torch.autograd.grad(found.sum(), inputs, **ways):
        assert (gradient == 0).all()


@on_kernels
@pytest.mark.parametrize("best_cells", [best_cells_triton, best_cells_torch])
def test_nothing_has_no_best_cells(
    best_cells: Callable[..., tuple[Tensor, Tensor]], device: str, dtype: torch.dtype
) -> None:
    cells, values = best_cells(*scene(5, (3, 4), 0, 2, device, dtype))
    assert (len(cells), len(values)) == (0, 0)


@on_kernels
def test_log_sum_exp_of_nothing(device: str, dtype: torch.dtype) -> None:
    none = features(0, (0, 5), 1, device, dtype)
    queries = torch.ones((2, 5), device=device, dtype=dtype, requires_grad=True)
    assert log_sum_exp_triton(none, queries.detach(), 0.1).shape == (0,)
    nothing = log_sum_exp_triton(queries, none, 0.1)
    assert (nothing == -torch.inf).all()
    assert (torch.autograd.grad(nothing.sum(), queries)[0] == 0).all()


@on_kernels
@pytest.mark.parametrize(
    ("channels", "p", "q"), [(1, 1, 5), (3, 6, 1), (16, 17, 70), (33, 70, 33), (100, 40, 40)]
)
def test_mutual_nearest(
    channels: int, p: int, q: int, device: str, dtype: torch.dtype, few_cosines: None
) -> None:
    a = features(0, (p, channels), 1, device, dtype)
    b = features(1, (q, channels), 1, device, dtype)
    found = mutual_nearest_triton(a, b)
    expected = mutual_nearest_torch(a, b)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    torch.testing.assert_close(found[2], expected[2], rtol=0, atol=1e-6)


@on_kernels
def test_of_equal_neighbours_the_first_is_nearest(
    device: str, dtype: torch.dtype, few_cosines: None
) -> None:
    a, b = (torch.ones(count, 2, device=device, dtype=dtype) for count in (40, 70))
    a[:3] = -1
    b[33:] = -1
    for find in (mutual_nearest_triton, mutual_nearest_torch):
        rows, columns, cosine = find(a, b)
        assert (rows.tolist(), columns.tolist(), cosine.tolist()) == ([0, 3], [33, 0], [2, 2])


@on_kernels
@pytest.mark.parametrize(
    ("channels", "n", "p"), [(1, 1, 1), (3, 5, 33), (33, 37, 70), (96, 17, 131)]
)
@pytest.mark.parametrize("temperature", [0.1, 0.005])
def test_log_sum_exp_and_its_gradients(
    channels: int,
    n: int,
    p: int,
    temperature: float,
    device: str,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chunks, "SOFTMAX_ENTRIES", 40 * n)  # several strips
    vectors = features(0, (n, channels), 1, device, dtype).requires_grad_()
    cells = features(1, (p, channels), 1, device, dtype).requires_grad_()
    inputs = vectors, cells
    found = log_sum_exp_triton(*inputs, temperature)
    expected = log_sum_exp_torch(*inputs, temperature)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    pairs = zip(gradients(found, 2, inputs), gradients(expected, 2, inputs), strict=True)
    for one, other in pairs:
        agree(one, other, TOLERANCE[dtype])


ROWS = torch.ones(5, 3)
MAPS = torch.ones(2, 3, 4, 6)
INDEX = torch.zeros(5, dtype=torch.long)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: best_cells_torch(ROWS, MAPS, INDEX[:4]), r"one map a query: .* index \[4\]"),
        (
            lambda: best_cells_triton(ROWS, MAPS[:, :2], INDEX),
            r"differ in channels: .* maps \[2, 2, 4, 6\]",
        ),
        (
            lambda: locate_torch(ROWS[0], MAPS, INDEX, None, 1.0, 1.0),
            r"must be \[N, C\]: vectors \[3\]",
        ),
        (
            lambda: locate_triton(ROWS, MAPS[0], INDEX, None, 1.0, 1.0),
            r"must be \[B, C, h, w\]: .*\[3, 4, 6\]",
        ),
        (
            lambda: mutual_nearest_torch(ROWS, ROWS[:, :2]),
            r"differ in channels: a \[5, 3\], b \[5, 2\]",
        ),
        (lambda: mutual_nearest_triton(ROWS[0], ROWS), r"\[P, C\] and \[Q, C\]: a \[3\]"),
        (lambda: log_sum_exp_torch(ROWS, ROWS[0], 0.1), r"\[N, C\] and \[P, C\]: .*cells \[3\]"),
        (
            lambda: log_sum_exp_triton(ROWS, ROWS[:, :2], 0.1),
            r"differ in channels: .*cells \[5, 2\]",
        ),
        (lambda: correlation.locate_in_disc(MAPS, None, 1.0, 1.0), r"must be \[N, h, w\]"),
        (lambda: correlation.refiner_scores(MAPS, make_filters(2, "cpu")), r"must be \[N, h, w\]"),
    ],
)
def test_wrong_shapes_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        call()


@pytest.mark.parametrize(("channels", "size", "count", "frames"), SHAPES)
def test_the_twin_finds_what_a_loop_finds(
    channels: int, size: tuple[int, int], count: int, frames: int, few_cosines: None
) -> None:
    vectors, maps, index = scene(channels, size, count, frames, "cpu", torch.float32)
    cells, values = best_cells_torch(vectors, maps, index)
    for n in range(count):
        cosines = torch.stack([vectors[n] @ cell for cell in maps[index[n]].flatten(1).T])
        assert cells[n] == cosines.argmax()
        torch.testing.assert_close(values[n], cosines.max(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(9, 12), (2, 5), (1, 1)])
@pytest.mark.parametrize("refiner", [True, False])
def test_locating_needs_no_whole_maps(size: tuple[int, int], refiner: bool) -> None:
    torch.manual_seed(0)
    grid = Grid(*size, 4.0, 1.5)
    index = torch.randint(3, (20,))
    config = replace(FAST.model, refiner=refiner, sharp_start=False)
    part = Tracker(config, None)
    whole = Tracker(replace(config, whole_map=True), None)
    for layer in (whole.refiner.cnn_refiner[0], whole.refiner.cnn_refiner[2]):
        torch.nn.init.uniform_(layer.weight, 0.1, 1)  # no slice whose sum is near zero
    part.load_state_dict(whole.state_dict())
    vectors = torch.randn(20, 6, requires_grad=True)
    maps = torch.randn(3, 6, *size, requires_grad=True)
    inputs = vectors, maps
    for tracker in (part, whole):
        expected = whole.locate_in(correlation_maps(vectors, maps, index), grid)
        found = tracker.locate(vectors, FeatureMaps(maps, grid), index)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
        pairs = zip(gradients(found, 1, inputs), gradients(expected, 1, inputs), strict=True)
        for one, other in pairs:
            limit = 1e-3 * max(1, other.abs().max().item())
            torch.testing.assert_close(one, other, rtol=0, atol=limit)
    with torch.no_grad():
        found = part.locate(vectors, FeatureMaps(maps, grid), index)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


@needs_interpreter
def test_either_side_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, maps, cells = draw(0, 5, 6), draw(1, 2, 6, 4, 5), draw(2, 30, 6)
    index = torch.tensor([1, 0, 1, 1, 0])
    filters = make_filters(2, "cpu")
    called = []

    def counted(kernel: Callable[..., object]) -> Callable[..., object]:
        return lambda *inputs: called.append(kernel) or kernel(*inputs)

    for name in ("locate_triton", "mutual_nearest_triton", "log_sum_exp_triton"):
        monkeypatch.setattr(correlation, name, counted(getattr(correlation, name)))
    results = []
    for side in ("torch", "triton"):
        monkeypatch.setenv("DINOTRACK_KERNELS", side)
        located = correlation.locate(vectors, maps, index, filters, 0.2, 1.5)
        contrast_of = correlation.info_nce(vectors, cells[:5], cells, 0.1)
        results.append((located, *correlation.mutual_nearest(vectors, cells), contrast_of))
        assert len(called) == (0 if side == "torch" else 3)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-3)


@needs_interpreter
def test_answers_are_the_same_with_and_without_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid(4, 5, 7.0, 3.0)
    vectors = draw(0, 8, 6).requires_grad_()
    maps = draw(1, 3, 6, 4, 5).requires_grad_()
    index = torch.tensor([1, 0, 2, 2, 0, 0, 1, 1])
    xy = 40 * torch.rand(8, 2, generator=torch.Generator().manual_seed(2)) - 4
    answers = []
    for side in ("torch", "triton"):
        monkeypatch.setenv("DINOTRACK_KERNELS", side)
        assert correlation.makes_maps(maps) == (side == "torch")
        asked = Correlation(vectors, FeatureMaps(maps, grid), index, shared=True)
        located = asked.located(make_filters(2, "cpu"), 0.1, 1.5)
        log_softmax = asked.log_softmax_at(xy, 0.2)
        total = located.sum() + log_softmax.sum()
        answers.append((located, log_softmax, *torch.autograd.grad(total, (vectors, maps))))
        assert ("cosines" in vars(asked)) == (side == "torch")
    for one, other in zip(*answers, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_a_side_that_can_not_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DINOTRACK_KERNELS", "cuda")
    with pytest.raises(InputError, match="choose torch or triton"):
        correlation.mutual_nearest(torch.ones(1, 2), torch.ones(1, 2))
    monkeypatch.setenv("DINOTRACK_KERNELS", "triton")
    monkeypatch.setattr(tiles, "INTERPRETED", False)
    with pytest.raises(InputError, match="features are on cpu"):
        correlation.info_nce(torch.ones(1, 2), torch.ones(1, 2), torch.ones(1, 2), 0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_kernels_multiply_what_they_are_given(dtype: torch.dtype) -> None:
    unit = correlation._multiplied(draw(0, 2, 3, 4, 5).to(dtype), dim=1)
    assert unit.dtype == dtype
    assert unit.is_contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        assert correlation._multiplied(draw(0, 2, 3), dim=1).dtype == torch.bfloat16


def test_the_refiner_is_the_plain_one() -> None:
    """Two convolutions whose slices sum to 1, written out."""
    refiner = Tracker(FAST.model, None).refiner
    first, second = refiner.cnn_refiner[0], refiner.cnn_refiner[2]
    maps = draw(0, 2, 5, 6).abs()
    weights = [layer.weight / layer.weight.sum((2, 3), keepdim=True) for layer in (first, second)]
    hidden = F.conv2d(maps[:, None], weights[0], first.bias, padding=1)
    expected = F.conv2d(F.relu(hidden), weights[1], second.bias, padding=1)
    torch.testing.assert_close(refiner.scores(maps), expected[:, 0])
