"""Kernels compile to machine code of data-centre GPUs, which needs none: Triton brings its own
assembler.

Run in a process of its own (this file as a script), as kernels here belong to Triton's interpreter.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dinotrack.kernels import contrast, match, tiles

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
HALF = ("*fp16", "*bf16")
LONG = ("order", "offsets", "best_cell", "best_query", "best", "index", "packed")
FEATURE_POINTERS = ("vectors", "maps", "softmax")
FLOATS = ("temperature", "sharpness", "reach_squared")
POINTERS = (
    "values",
    "taps",
    "weights",
    "found",
    "slopes",
    "sums",
    "partial",
    "log_sum",
    "scale",
    "gradient",
    "value",
)
FILTERS = ("first", "first_bias", "second", "second_bias")


def cases():
    """(kernel, its features' type, constants, warps)."""
    for kernel in (match._hide, match._expect, match._score_slopes, match._unhide, match._unlook):
        yield kernel, "*fp32", WINDOW, 8
    for kernel in (match._group, tiles._unpack):
        yield kernel, "*fp32", {"BLOCK": tiles.LINE}, 4
    for kernel in (match._expect, match._unlook):
        yield kernel, "*fp32", WINDOW | {"WIDTH": 0}, 4
    for features in (*HALF, "*fp32"):
        tile = LARGE if features in HALF else SMALL
        warps = 8 if features in HALF else 4
        for both in (False, True):
            yield (
                match._nearest_kernel,
                features,
                FEATURES | tile | {"FRAMES": 8, "BOTH": both},
                warps,
            )
        yield match._look, features, FEATURES | WINDOW | {"BLOCK_K": 32}, 8
        yield match._to_vectors, features, FEATURES | WINDOW | {"BLOCK_K": 32}, 8
        yield (
            match._to_maps,
            features,
            FEATURES | WINDOW | {"BLOCK_N": 64, "BLOCK_K": 128, "BLOCK_Q": 32},
            4,
        )
        yield contrast._accumulate_kernel, features, FEATURES | tile, warps
        yield contrast._normalised_kernel, features, FEATURES | tile, warps


def kind(kernel, name, features):
    """Triton's name of an argument's type."""
    if name in FEATURE_POINTERS or (name == "gradient" and kernel is not match._score_slopes):
        return features
    if name == "cells" and kernel in (contrast._accumulate_kernel, contrast._normalised_kernel):
        return features
    if name in LONG:
        return "*i64"
    if name == "peaks":
        return "*i32"
    return "fp32" if name in FLOATS else "*fp32" if name in POINTERS + FILTERS else "i32"


def compile_all():
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
            if types[name].startswith("*")
            or name in ("vector_row", "map_cell", "map_frame", "cell_row", "softmax_row")
        }
        source = ASTSource(
            kernel, types, {(names.index(name),): value for name, value in known.items()}, aligned
        )
        for architecture in (80, 90):
            options = {"num_warps": warps, "num_stages": 3}
            made = triton.compile(
                source, target=GPUTarget("cuda", architecture, 32), options=options
            )
            assert made.metadata.shared <= 163 * 2**10, (kernel.__name__, made.metadata.shared)
            if kernel is match._nearest_kernel and features in HALF:
                assert ("wgmma" if architecture == 90 else "mma.sync") in made.asm[
                    "ptx"
                ]  # on tensor cores


@pytest.mark.slow
@pytest.mark.skipif(not tiles.AVAILABLE, reason="Triton is not installed")
def test_kernels_compile(tmp_path):
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
