"""What the kernels share: Triton where there is one, products of tiles, and maxima packed for
atomics."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # CPU wheels and Macs: kernels are then plain functions that nobody calls
    triton = tl = None

AVAILABLE = triton is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "yes", "y")
"""Whether kernels run in Triton's interpreter, on the CPU.

Triton itself reads the variable when it is imported.
"""

LINE = 1024
"""Numbers that a program of a kernel without tiles goes through at a time."""

NOTHING = (-2139095041 << 32) | 0x7FFFFFFF
"""The packed maximum of nothing: minus infinity, at index 0."""


LARGEST_TILE = 128, 256
"""Rows and columns; one of these takes a whole multiprocessor."""

VARYING = ("frames", "parts", "rows", "columns")
"""Counts that change from call to call: a kernel must not be compiled anew where one is 1 or a
multiple of 16."""


def jit(kernel: Callable[..., Any]) -> Any:
    """triton.jit, where there is Triton.

    Annotations are not evaluated, so that kernels load without it.
    """
    return triton.jit(do_not_specialize=VARYING)(kernel) if AVAILABLE else kernel


def tuned(kernel: Any, half: bool) -> Any:
    """A kernel of BLOCK_M x BLOCK_N tiles that on its first call, for each number of channels,
    picks its tile sizes.

    That call can't be captured in a CUDA graph, and runs the kernel many times: what it writes must
    not depend on that.
    Each size takes seconds to compile.
    half: for tensor cores; otherwise for float32, whose products are plain fused multiply-adds.
    """
    if not AVAILABLE:
        return kernel
    if INTERPRETED:
        sizes = [(16, 32, 16, 4, 1)]  # small, so that tests have many tiles
    elif half:
        sizes = [
            (128, 256, 64, 8, 3),
            (128, 128, 64, 4, 3),
        ]  # the best of 13 on an H100: of plain maxima, of both
    else:
        sizes = [(64, 64, 16, 4, 2)]
    configs = [
        triton.Config(
            {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k}, num_warps=warps, num_stages=stages
        )
        for m, n, k, warps, stages in sizes
    ]
    return triton.autotune(configs, key=["CHANNELS", "BOTH"])(kernel)


def precision() -> str:
    """How tl.dot multiplies float32."""
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee"


def splits(rows: int, columns: int, device: torch.device, block_m: int, block_n: int) -> int:
    """Into how many parts to split the columns, so that tiles of block_m rows fill the device once.

    More parts are more beginnings and ends, less parts leave multiprocessors idle; two of the
    smaller tiles share one.
    """
    if device.type != "cuda":
        return 3
    share = max(1, math.prod(LARGEST_TILE) // (block_m * block_n))
    wanted = share * torch.cuda.get_device_properties(device).multi_processor_count
    return max(1, min(wanted // math.ceil(rows / block_m), math.ceil(columns / block_n)))


def power_of_two(size: int, least: int = 1) -> int:
    """The least power of two that is no less than size and least: tiles have such sides."""
    return max(least, 1 << max(0, size - 1).bit_length())


def unpack_maxima(packed: Tensor) -> tuple[Tensor, Tensor]:
    """int64 [N] from `pack` -> index long [N], value float32 [N]."""
    index, value = torch.empty_like(packed), packed.new_empty(len(packed), dtype=torch.float32)
    if len(packed):
        with torch.cuda.device_of(packed):
            _unpack[(-(-len(packed) // LINE),)](packed, index, value, len(packed), BLOCK=LINE)
    return index, value


@jit
def pack(value, index):
    """float32 value and int32 index as one int64 whose order is that of values and, where they tie,
    falls with index.

    So atomic maxima give the lowest index of the highest value, whichever program comes first.
    """
    bits = tl.where(value == 0, 0.0, value).to(tl.int32, bitcast=True)  # minus zero is zero
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # the integers' order is now that of the floats
    return (ordered.to(tl.int64) << 32) | (0x7FFFFFFF - index.to(tl.int32)).to(tl.int64)


@jit
def _unpack(packed, index, value, rows, BLOCK: tl.constexpr):
    """The inverse of `pack`."""
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    both = tl.load(packed + row, mask=row < rows, other=0)
    ordered = (both >> 32).to(tl.int32)
    tl.store(index + row, (0x7FFFFFFF - (both & 0xFFFFFFFF)), mask=row < rows)
    bits = ordered ^ ((ordered >> 31) & 0x7FFFFFFF)
    tl.store(value + row, bits.to(tl.float32, bitcast=True), mask=row < rows)


@jit
def tile_product(
    left,
    right,
    left_step,
    right_step,
    CHANNELS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Products, summed over channels, of rows at `left` [BLOCK_M, 1] with columns at `right` [1,
    BLOCK_N], pointers to their first channel; steps: from one channel to the next. -> float32
    [BLOCK_M, BLOCK_N]."""
    channel = tl.arange(0, BLOCK_K)
    left += channel.to(tl.int64)[None, :] * left_step
    right += channel.to(tl.int64)[:, None] * right_step
    total = tl.zeros([BLOCK_M, BLOCK_N], dtype=tl.float32)
    for start in range(0, CHANNELS, BLOCK_K):
        if CHANNELS % BLOCK_K == 0:
            a = tl.load(left)
            b = tl.load(right)
        else:
            a = tl.load(left, mask=(start + channel)[None, :] < CHANNELS, other=0.0)
            b = tl.load(right, mask=(start + channel)[:, None] < CHANNELS, other=0.0)
        total = tl.dot(a, b, total, input_precision=PRECISION)
        left += BLOCK_K * left_step
        right += BLOCK_K * right_step
    return total
