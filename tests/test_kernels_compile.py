"""Kernels compile to machine code of data-centre GPUs.

That takes no such GPU, as Triton brings its own assembler. It runs in a process of its own (this
file as a script), because the kernels of the tests' process belong to Triton's interpreter.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dinotrack.kernels import contrast, cosines, disc, nearest, refiner, tiles

Kernel = Any
"""A function of Triton's, which has no type of its own where the interpreter stands in for it."""

WINDOW = {
    "MARGIN": 7,
    "ROWS": 15,
    "COLS": 15,
    "BLOCK": 256,
    "WIDTH": 16,
    "HIDDEN": 16,
    "KEEP": True,
}
FEATURES = {
    "CHANNELS": 100,
    "PRECISION": "ieee",
    "vector_channel": 1,
    "map_channel": 1,
    "cell_channel": 1,
}
LARGE = {"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": 64}
SMALL = {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 16}
GATHERED = {"BLOCK_N": 64, "BLOCK_K": 128, "BLOCK_Q": 32}
HALF = ("*fp16", "*bf16")
LONG = ("order", "offsets", "best_cell", "best_query", "best", "index", "packed")
FEATURE_POINTERS = ("vectors", "maps", "softmax", "vector_gradient", "map_gradient")
FLOATS = ("temperature", "sharpness", "reach_squared")
POINTERS = (
    "values",
    "taps",
    "weights",
    "found",
    "sums",
    "partial",
    "log_sum",
    "scale",
    "value",
    "gradient",
    "found_gradient",
    "score_gradient",
    "cosine_gradient",
)
FILTERS = ("first", "first_bias", "second", "second_bias")
ALIGNED = ("vector_row", "map_cell", "map_frame", "cell_row", "softmax_row")


def cases() -> Iterator[tuple[Kernel, str, dict[str, Any], int]]:
    """(kernel, its features' type, constants, warps)."""
    for kernel in (
        refiner.refiner_taps_fwd,
        disc.expectation_fwd,
        disc.expectation_bwd,
        refiner.refiner_taps_bwd,
        disc.scores_bwd,
    ):
        yield kernel, "*fp32", WINDOW, 8
    for kernel in (nearest.group_fwd, tiles.unpack_maxima_fwd):
        yield kernel, "*fp32", {"BLOCK": tiles.LINE}, 4
    for kernel in (disc.expectation_fwd, disc.scores_bwd):
        yield kernel, "*fp32", WINDOW | {"WIDTH": 0}, 4
    for features in (*HALF, "*fp32"):
        tile = LARGE if features in HALF else SMALL
        warps = 8 if features in HALF else 4
        for both in (False, True):
            constants = FEATURES | tile | {"FRAMES": 8, "BOTH": both}
            yield nearest.best_cells_fwd, features, constants, warps
        for kernel in (cosines.window_cosines_fwd, cosines.vectors_bwd):
            yield kernel, features, FEATURES | WINDOW | {"BLOCK_K": 32}, 8
        yield cosines.maps_bwd, features, FEATURES | WINDOW | GATHERED, 4
        yield contrast.log_sum_exp_fwd, features, FEATURES | tile, warps
        yield contrast.softmax_bwd, features, FEATURES | tile, warps


def kind(kernel: Kernel, name: str, features: str) -> str:
    """Triton's name of an argument's type."""
    if name in FEATURE_POINTERS:
        return features
    if name == "cells" and kernel in (contrast.log_sum_exp_fwd, contrast.softmax_bwd):
        return features
    if name in LONG:
        return "*i64"
    if name == "peaks":
        return "*i32"
    if name in FLOATS:
        return "fp32"
    return "*fp32" if name in POINTERS + FILTERS else "i32"


def compile_all() -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    for kernel, features, constants, warps in cases():
        names = kernel.arg_names
        known = {name: value for name, value in constants.items() if name in names}
        types = {
            name: "constexpr" if name in known else kind(kernel, name, features) for name in names
        }
        aligned = {
            (k,): [["tt.divisibility", 16]]
            for k, name in enumerate(names)
            if types[name].startswith("*") or name in ALIGNED
        }
        fixed = {(names.index(name),): value for name, value in known.items()}
        source = ASTSource(kernel, types, fixed, aligned)
        options = {"num_warps": warps, "num_stages": 3}
        for architecture in (80, 90):
            target = GPUTarget("cuda", architecture, 32)
            made = triton.compile(source, target=target, options=options)
            shared = made.metadata.shared
            assert shared <= 163 * 2**10, (kernel.__name__, shared)
            if kernel is nearest.best_cells_fwd and features in HALF:
                on_tensor_cores = "wgmma" if architecture == 90 else "mma.sync"
                assert on_tensor_cores in made.asm["ptx"]


@pytest.mark.slow
@pytest.mark.skipif(not tiles.AVAILABLE, reason="Triton is not installed")
def test_kernels_compile(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parent.parent
    environment = os.environ | {
        "TRITON_INTERPRET": "0",
        "TRITON_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": str(root),
    }
    done = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]


if __name__ == "__main__":
    compile_all()
