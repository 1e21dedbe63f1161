"""Fits the logistic regression that turns joining's evidence into confidence
(InferenceConfig.confidence_weights).

Every clip weighs the same, and each is also judged by weights that never saw it.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from dinotrack.benchmarks.datasets import NEAR, ROOT, Clip, Truth, find_clips
from dinotrack.errors import InputError
from dinotrack.geometry import rescale
from dinotrack.joining import join, make_footage
from dinotrack.metrics import auroc, calibration_error, evaluated_frames

HELP = "the weights of confidence, from truth"
DECAY = 1e-4

Array = npt.NDArray[Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    default = os.environ.get("DINOTRACK_DATA", str(ROOT.parent / "shared"))
    parser.add_argument(
        "--data", type=Path, default=Path(default), help="folder that holds eval/ (DINOTRACK_DATA)"
    )
    parser.add_argument("--clips", nargs="+", default=[], metavar="NAME", help="only these clips")
    parser.add_argument(
        "--models",
        type=Path,
        required=True,
        metavar="DIR",
        help="fits kept by `accuracy --models DIR`",
    )


def run(args: argparse.Namespace, say: Callable[[str], None]) -> list[float]:
    """Says the weights, and how well they do on clips left out; returns them."""
    samples = [
        s
        for clip in find_clips(args.data, args.clips)
        for s in collect(clip, args.models / f"{clip.name}-0")
    ]
    if len(samples) < 2:
        raise InputError(
            f"{len(samples)} truth files judge visibility in {args.data}; leaving one out takes 2 or more"
        )
    left_out = [s[0] @ regress(samples[:k] + samples[k + 1 :]) for k, s in enumerate(samples)]
    score, truth = np.concatenate(left_out), np.concatenate([truth for _, truth in samples])
    weights = [round(float(w), 3) for w in regress(samples)]
    error = calibration_error(1 / (1 + np.exp(-score)), truth)
    say(f"confidence_weights = {tuple(weights)}")
    say(f"on clips left out: AUROC {auroc(score, truth):.3f}, calibration error {error:.3f}")
    return weights


def collect(clip: Clip, folder: Path) -> list[tuple[Array, Array]]:
    """(features [M, 8], visible and near [M]) of a clip's judged frames, one pair a TAP-Vid-like
    truth file."""
    from dinotrack import load

    truths = [t for t in clip.truths if "tracks" in t.arrays]
    fitted = load(folder, clip.video) if truths else None
    return [_judged(fitted, truth) for truth in truths]


def _judged(fitted: Any, truth: Truth) -> tuple[Array, Array]:
    asked = torch.from_numpy(truth.queries).float()
    size, working = (
        fitted.video.size,
        (fitted.flow.forward.shape[-2], fitted.flow.forward.shape[-1]),
    )
    inner = torch.cat((asked[:, :1], rescale(asked[:, 1:], size, working)), dim=1)
    footage = make_footage(
        fitted.state.tracker, fitted.maps, fitted.grid, fitted.flow, fitted.frames
    )
    xy, evidence = join(footage, inner, fitted.config.inference)
    visible, frames = truth.arrays["visible"], truth.frames
    judged = evaluated_frames(truth.queries, frames, truth.mode)
    off = (rescale(xy, working, size).numpy()[:, :frames] - truth.arrays["tracks"]) * (
        256 / np.array(size[::-1])
    )
    near = visible & (np.linalg.norm(off, axis=-1) < NEAR)
    return evidence.features().numpy()[:, :frames][judged], near[judged]


def regress(samples: list[tuple[Array, Array]]) -> Array:
    """Logistic regression on (features [M, D], truth [M]) of several clips, each with the same
    weight -> [D]."""
    features = torch.from_numpy(np.concatenate([f for f, _ in samples])).double()
    truth = torch.from_numpy(np.concatenate([t for _, t in samples])).double()
    share = torch.from_numpy(
        np.concatenate([np.full(len(t), 1 / (len(t) * len(samples))) for _, t in samples])
    )
    weights = torch.zeros(features.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> Any:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(features @ weights, truth, share, reduction="sum")
        loss = loss + DECAY * weights.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach().float().numpy()
