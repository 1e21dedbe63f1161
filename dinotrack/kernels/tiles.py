"""What the kernels share: Triton where it is installed, products of tiles, and packed maxima."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
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
"""Rows and columns of the largest tile. One such tile takes a whole multiprocessor."""

VARYING = ("frames", "parts", "rows", "columns")
"""Counts that change from call to call. Triton would compile a kernel anew where one of these is 1
or a multiple of 16."""


# --- launching


def jit(kernel: Callable[..., Any]) -> Any:
    """triton.jit, where Triton is installed.

    Annotations are not evaluated, so that kernels load without Triton.
    """
    return triton.jit(do_not_specialize=VARYING)(kernel) if AVAILABLE else kernel


@dataclass(frozen=True)
class Tuned:
    """A kernel with the tile sizes of each precision."""

    single: Any
    """For float32, whose products are plain fused multiply-adds."""
    half: Any
    """For float16 and bfloat16, on tensor cores."""

    def of(self, dtype: torch.dtype) -> Any:
        """The kernel for features of this type."""
        return self.single if dtype == torch.float32 else self.half


def tuned(kernel: Any) -> Tuned:
    """A kernel of BLOCK_M x BLOCK_N tiles that picks its tile sizes when it is first called.

    The kernel picks anew for each number of channels. That first call can't be captured in a CUDA
    graph and runs the kernel many times, so what the kernel writes must not depend on how often it
    runs. Each size takes seconds to compile.
    """
    if not AVAILABLE:
        return Tuned(kernel, kernel)
    single = half = [(16, 32, 16, 4, 1)]  # for the interpreter: tests then have many tiles
    if not INTERPRETED:
        single = [(64, 64, 16, 4, 2)]
        # the best of 13 on an H100: of maxima along rows, and of maxima along rows and columns
        half = [(128, 256, 64, 8, 3), (128, 128, 64, 4, 3)]
    return Tuned(_with_sizes(kernel, single), _with_sizes(kernel, half))


def _with_sizes(kernel: Any, sizes: list[tuple[int, int, int, int, int]]) -> Any:
    """The kernel, which tries sizes (BLOCK_M, BLOCK_N, BLOCK_K, warps, stages)."""
    configs = [
        triton.Config(
            {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k}, num_warps=warps, num_stages=stages
        )
        for m, n, k, warps, stages in sizes
    ]
    return triton.autotune(configs, key=["CHANNELS", "BOTH"])(kernel)


def launch(kernel: Any, programs: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
    """Run a kernel as that many programs, on the device of its first argument.

    Where no program has anything to do, nothing runs: CUDA refuses an empty grid.
    """
    if math.prod(programs):
        with torch.cuda.device_of(arguments[0]):
            kernel[programs](*arguments, **constants)


def precision() -> str:
    """How tl.dot multiplies float32."""
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee"


def splits(rows: int, columns: int, device: torch.device, block_m: int, block_n: int) -> int:
    """Into how many parts to split the columns, so that tiles of block_m rows fill the device once.

    More parts have more beginnings and ends, fewer parts leave multiprocessors idle. Two of the
    smaller tiles share one multiprocessor.
    """
    if device.type != "cuda":
        return 3
    share = max(1, math.prod(LARGEST_TILE) // (block_m * block_n))
    wanted = share * torch.cuda.get_device_properties(device).multi_processor_count
    return max(1, min(wanted // blocks(rows, block_m), blocks(columns, block_n)))


def blocks(size: int, block: int) -> int:
    """How many blocks cover a size."""
    return -(-size // block)


def power_of_two(size: int, least: int = 1) -> int:
    """The least power of two that is no less than size and least: tiles have such sides."""
    return max(least, 1 << max(0, size - 1).bit_length())


def half_precision_scale(gradient: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """The largest magnitude of a gradient, by which it is divided before it is rounded.

    Small gradients would vanish in half precision. The host does not wait for the number.
    """
    if gradient.numel() == 0:
        return gradient.sum()
    return gradient.abs().amax().clamp(min=torch.finfo(torch.float32).tiny)


# --- packed maxima


@jit
def pack(value, index):
    """float32 value and int32 index as one int64, ordered by value and, where values tie, by index.

    Of equal values the lowest index is the greatest. So atomic maxima give the lowest index of the
    highest value, whichever program comes first.
    """
    bits = tl.where(value == 0, 0.0, value).to(tl.int32, bitcast=True)  # minus zero is zero
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # the integers' order is now that of the floats
    return (ordered.to(tl.int64) << 32) | (0x7FFFFFFF - index.to(tl.int32)).to(tl.int64)


@jit
def positive_index(packed):
    """The int32 index of a packed maximum, and 0 where the value is not above 0."""
    return tl.where((packed >> 32) > 0, 0x7FFFFFFF - packed.to(tl.int32), 0)


def unpack_maxima(packed: Int[Tensor, " N"]) -> tuple[Int[Tensor, " N"], Float[Tensor, " N"]]:
    """Indices and float32 values of packed maxima."""
    index = torch.empty_like(packed)
    value = packed.new_empty(len(packed), dtype=torch.float32)
    programs = (blocks(len(packed), LINE),)
    launch(unpack_maxima_fwd, programs, packed, index, value, len(packed), BLOCK=LINE)
    return index, value


@jit
def unpack_maxima_fwd(packed, index, value, rows, BLOCK: tl.constexpr):
    """The inverse of `pack`."""
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    both = tl.load(packed + row, mask=row < rows, other=0)
    ordered = (both >> 32).to(tl.int32)
    tl.store(index + row, (0x7FFFFFFF - (both & 0xFFFFFFFF)), mask=row < rows)
    bits = ordered ^ ((ordered >> 31) & 0x7FFFFFFF)
    tl.store(value + row, bits.to(tl.float32, bitcast=True), mask=row < rows)


# --- products


@jit
def tile_product(
    left, right, left_step, right_step,
    CHANNELS: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Products of rows with columns, summed over channels: float32 [BLOCK_M, BLOCK_N].

    left [BLOCK_M, 1] and right [1, BLOCK_N] point to the first channel of each row and column.
    The steps lead from one channel to the next.
    """
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
