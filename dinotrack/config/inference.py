"""Every number of tracking, the `inference` section, each with its meaning, type and bounds.

What is said in numbers.py holds here, too.
"""

from dataclasses import dataclass
from typing import Literal

from dinotrack.config.section import (
    Amount,
    Count,
    Few,
    PatchReach,
    Pixels,
    Positive,
    Section,
    Share,
    Span,
    TwoOrFew,
)


@dataclass(frozen=True)
class MatchingConfig(Section, key="inference.matching"):
    """The paper's tracker: every frame is matched alone, and anchors decide visibility."""

    anchor_cosine: float = 0.7  # a frame is an anchor from this similarity to the query on
    visible_cosine: float = 0.6  # a point is occluded below this similarity
    max_anchors: Count = 0  # anchors that are used, spread evenly; 0: all of them
    confidence_gain: float = 4.0  # of the logistic function: full agreement has confidence 0.98


@dataclass(frozen=True)
class ChainConfig(Section, key="inference.chain"):
    """Flow that is followed from the query, with the query's own patch to correct it."""

    cycle_error: Pixels = 3.0  # forward-backward error that ends the chain
    lost: float = 0.1  # likeness, a cross-correlation up to 1, below which the chain ends
    found: float = 0.8  # likeness from which the patch counts as found and corrects flow
    shift: Pixels = 2.0  # the most that the patch may correct in a frame
    # Flow over so many frames at once takes the place of many steps from frame to frame.
    leaps: tuple[Span, ...] = (8, 16)
    leap_error: Pixels = 1.5  # forward-backward error below which a leap counts; 0: no leaps
    hops: Count = 4  # after so many flows since the patch was found, a place still is precise


@dataclass(frozen=True)
class PatchConfig(Section, key="inference.patches"):
    """The query's own patch, and how it is located to a fraction of a pixel (Lucas-Kanade)."""

    reach: PatchReach = 4  # px from the query to the patch's edge
    rounds: Few = 3  # Gauss-Newton steps
    half: Positive = 0.5  # px, half the distance that gradients are measured over
    # A patch that shows too little can't be located.
    least_contrast: Amount = 0.004  # deviation of its grey levels, which are 0 to 1
    least_gradient: Amount = 1e-5  # smaller eigenvalue of its mean squared gradient
    stretch: tuple[Positive, Positive] = (0.5, 2.0)  # least and most that flow may stretch it


@dataclass(frozen=True)
class RefindingConfig(Section, key="inference.refinding"):
    """The search, near the path, for a patch that flow has lost."""

    rounds: Few = 2  # each starts nearer to the patch than the one before
    moved: Pixels = 0.25  # a round that starts so near to an earlier one would find the same
    search: Pixels = 4.0  # the patch is searched within this distance of the path
    likeness: float = 0.5  # cross-correlation, up to 1, from which it is found
    sharp: float = 0.75  # likeness from which its place is as precise as where flow followed it
    # How the patch may have changed while it was not seen.
    zooms: tuple[Positive, ...] = (0.8, 1.0, 1.25)
    turns: tuple[float, ...] = (-0.4, 0.0, 0.4)  # radians


@dataclass(frozen=True)
class PathConfig(Section, key="inference.path"):
    """The best path through the matches of all frames (Viterbi); costs are -log probabilities."""

    candidates: TwoOrFew = 4  # matches that each frame proposes
    match_scale: Positive = 0.05  # a match whose cosine is lower by this costs one more
    step_scale: Positive = 4.0  # px, a step this far from where flow leads costs one more
    jump_cost: Amount = 4.0  # the most that a step costs where flow is sure of itself
    occluded_jump_cost: Amount = 0.5  # the most that a step costs where flow is not
    flow_error: Pixels = 1.0  # flow is sure of itself below this forward-backward error


@dataclass(frozen=True)
class SmoothingConfig(Section, key="inference.smoothing"):
    """Smoothing along the path (Kalman): motion is flow, measurements are matches and patches.

    Each noise is a standard deviation in px.
    """

    flow_error: Pixels = 1.0  # forward-backward error from which smoothing starts anew
    restart: Pixels = 16.0  # distance between flow and path from which it starts anew
    flow_noise: Positive = 0.2  # in each frame
    match_noise: Positive = 6.0
    match_reach: Pixels = 2.0  # only a match this near to the path is a measurement
    patch_noise: Pixels = 0.3
    query_noise: Pixels = 0.01


@dataclass(frozen=True)
class SupportConfig(Section, key="inference.support"):
    """Four points around each query that are tracked with it, and vote on where it went."""

    reach: Pixels = 2.0  # from the query to each of them; 0: none


@dataclass(frozen=True)
class MemoryConfig(Section, key="inference.memory"):
    """What was surely seen in other frames is remembered, and everything is tracked once more."""

    weight: Amount = 2.0  # of the memory, where the query itself has 1; 0: tracked only once
    confidence: Share = 0.75  # a point was surely seen from this confidence on


@dataclass(frozen=True)
class ConfidenceConfig(Section, key="inference.confidence"):
    """A logistic regression from evidence to the probability that a point is seen where we say.

    Each weight has the name of its evidence. `python -m dinotrack.benchmarks calibrate` makes them.
    """

    visible: Share = 0.4  # a point is visible from this confidence on
    bias: float = -1.241
    taught: float = -0.5  # added to the bias where a fit learned from its own tracks, and is surer
    cosine: float = 2.089  # similarity between the features at the point and at the query
    cycle_error: float = -0.685  # log(1 + px) between the query and its match from the point
    followed: float = -0.004  # flow from the query reached the point unbroken
    distinctness: float = 3.639  # how much better the best match of the frame is than the second
    likeness: float = 1.479  # between the patches at the point and at the query
    disagreement: float = -0.324  # log(1 + px) between the path and where flow leads
    neighbours: float = 1.358  # mean cosine in the frames before and after
    # Scores are log-odds. Of what the median score of a point, where it looks visible, lies above
    # the usual one, this share is taken from all scores of the point.
    contrast: Share = 0.3
    usual: float = 2.2


@dataclass(frozen=True)
class InferenceConfig(Section, key="inference"):
    """From a trained model to trajectories (docs/method.md 6 and 8)."""

    # match: every frame is matched alone, as in the paper; join: flow joins the matches
    method: Literal["match", "join"] = "match"
    pin_query: bool = True  # in its own frame a point is the query itself, and visible
    matching: MatchingConfig = MatchingConfig()
    chain: ChainConfig = ChainConfig()
    patches: PatchConfig = PatchConfig()
    refinding: RefindingConfig = RefindingConfig()
    path: PathConfig = PathConfig()
    smoothing: SmoothingConfig = SmoothingConfig()
    support: SupportConfig = SupportConfig()
    memory: MemoryConfig = MemoryConfig()
    confidence: ConfidenceConfig = ConfidenceConfig()
