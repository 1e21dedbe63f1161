"""What flow says of a video: chains of positions, and which of them are of the foreground.

Foreground is rare, and hard to track. Half of what a step learns from is therefore of the
foreground (docs/method.md 5), and this is where chains are told apart.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from dinotrack.chains import Chains, flow_chains, in_foreground
from dinotrack.flow import FlowEstimator, VideoFlow
from dinotrack.foreground import find_foreground
from dinotrack.run import Run


@dataclass(frozen=True)
class Supervision:
    """Chains of flow, and the foreground of all frames."""

    chains: Chains
    on_foreground: Bool[Tensor, " N"]
    """Which of the chains start on the foreground."""
    masks: Bool[Tensor, "T H W"]
    """The foreground of the working frames."""


def video_labels(
    flow: VideoFlow,
    estimator: FlowEstimator,
    cells: Bool[Tensor, "T h w"] | None,
    given: Bool[np.ndarray, "T height width"] | None,
    run: Run,
) -> Supervision:
    """The stage: labels of a video, from its flow.

    estimator: computes direct flow, if chains are to be compared with it. cells: the foreground
    as a ViT sees it, and given: as the user does.
    """
    config = run.config
    direct = estimator.between if config.trajectories.direct_filter else None
    with run.stage("labels"):
        chains = flow_chains(flow, config.trajectories, direct, run.progress)
        masks = find_foreground(flow, cells, given, config.foreground)
        return Supervision(chains, in_foreground(chains, masks), masks)
