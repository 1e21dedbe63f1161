"""Fits the logistic regression that turns joining's evidence into confidence (the settings
inference.confidence.*).

Every clip weighs the same, and each is also judged by weights that never saw it. The weights make
scores as they are before contrast, which is not fitted here.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float

from dinotrack import chunks
from dinotrack.api import load
from dinotrack.benchmarks import options
from dinotrack.benchmarks.datasets import find_clips
from dinotrack.benchmarks.report import Say
from dinotrack.benchmarks.truth import AnnotatedClip, PointTruth
from dinotrack.certainty import auroc, calibration_error
from dinotrack.chunks import in_chunks
from dinotrack.config import ConfidenceConfig
from dinotrack.errors import InputError
from dinotrack.fitted import Fitted
from dinotrack.geometry import rescale
from dinotrack.tracking.evidence import Joined
from dinotrack.tracking.joining import join

HELP = "the weights of confidence, from truth"
DECAY = 1e-4
"""Of the squared weights, so that they stay finite where truth is separable."""
OTHERS = ("visible", "taught", "contrast", "usual")
"""The settings of confidence that are no weights."""
WEIGHTS = tuple(name for name in ConfidenceConfig.kinds if name not in OTHERS)
"""The names of the weights, in the order of the evidence's features."""


@dataclass(frozen=True)
class Sample:
    """The judged observations of one truth."""

    features: Float[np.ndarray, "M D"]
    """What speaks for the point being seen where it was put."""
    correct: Bool[np.ndarray, " M"]
    """Whether the point was visible and near."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    options.add_data(parser)
    parser.add_argument(
        "--models",
        type=Path,
        required=True,
        metavar="DIR",
        help="fits kept by `accuracy --models DIR`",
    )


def run(args: argparse.Namespace, say: Say) -> dict[str, float]:
    """Says the weights, and how well they do on clips left out; returns them by name."""
    samples = [
        sample
        for clip in find_clips(args.data, args.clips)
        for sample in collect(clip, args.models / f"{clip.name}-0")
    ]
    if len(samples) < 2:
        raise InputError(
            f"{len(samples)} truth files judge visibility in {args.data}; "
            "leaving one out takes 2 or more"
        )
    weights = named(regress(samples))
    for name, weight in weights.items():
        say(f"inference.confidence.{name}={weight}")
    say(f"on clips left out: {describe(leave_one_out(samples), samples)}")
    return weights


def named(weights: Float[np.ndarray, " D"]) -> dict[str, float]:
    """The weights by the names that the settings have, as many digits as matter."""
    return {name: round(float(w), 3) for name, w in zip(WEIGHTS, weights, strict=True)}


def collect(clip: AnnotatedClip, folder: Path) -> list[Sample]:
    """The judged observations of each truth of a clip that says when points are hidden.

    folder: the fit of the clip.
    """
    truths = clip.point_truths
    if not truths:
        return []
    fitted = load(folder, clip.video)
    return [observe(fitted, truth) for truth in truths]


def observe(fitted: Fitted, truth: PointTruth) -> Sample:
    """The evidence that joining collects about a truth's queries, and what is so."""
    xy, features = _joined(fitted, truth)
    correct = truth.certainty(xy, np.zeros(xy.shape[:2])).correct
    return Sample(features[:, : truth.frames][truth.points.judged], correct)


def _joined(
    fitted: Fitted, truth: PointTruth
) -> tuple[Float[np.ndarray, "N S 2"], Float[np.ndarray, "N S D"]]:
    """Positions in px of the video, and features of the evidence."""
    video = fitted.tracked
    queries = fitted.working_queries(truth.queries.astype(np.float32))

    def track(part: slice) -> Joined:
        return join(video, queries[part], fitted.config.inference)

    parts = in_chunks(track, len(queries), chunks.JOINED_QUERIES, "points")
    joined = [found for _, found in parts]
    xy = torch.cat([found.xy for found in joined])
    features = torch.cat([found.evidence.regressors() for found in joined])
    in_video = rescale(xy, fitted.flow.size, fitted.video.size)
    return in_video.cpu().numpy(), features.cpu().numpy()


def leave_one_out(samples: Sequence[Sample]) -> Float[np.ndarray, " M"]:
    """Scores of all observations, each by weights that never saw its sample."""
    scores = []
    for number, sample in enumerate(samples):
        others = [*samples[:number], *samples[number + 1 :]]
        scores.append(sample.features @ regress(others))
    return np.concatenate(scores)


def describe(scores: Float[np.ndarray, " M"], samples: Sequence[Sample]) -> str:
    """How well scores, before the logistic function, say what is correct."""
    correct = np.concatenate([sample.correct for sample in samples])
    error = calibration_error(1 / (1 + np.exp(-scores)), correct)
    return f"AUROC {auroc(scores, correct):.3f}, calibration error {error:.3f}"


def regress(samples: Sequence[Sample]) -> Float[np.ndarray, " D"]:
    """The weights of a logistic regression on several samples, each of which weighs the same."""
    shares = [
        np.full(len(sample.correct), 1 / (len(sample.correct) * len(samples))) for sample in samples
    ]
    share = torch.from_numpy(np.concatenate(shares))
    features = torch.from_numpy(np.concatenate([sample.features for sample in samples])).double()
    correct = torch.from_numpy(np.concatenate([sample.correct for sample in samples])).double()
    weights = torch.zeros(features.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimizer.zero_grad()
        scores = features @ weights
        loss = F.binary_cross_entropy_with_logits(scores, correct, share, reduction="sum")
        loss = loss + DECAY * weights.square().sum()
        loss.backward()
        return loss.item()

    optimizer.step(closure)
    return weights.detach().float().numpy()
