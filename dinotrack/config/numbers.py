"""Every number of the method, each with its meaning, its type and its bounds.

A default holds wherever a preset says nothing else; presets.py has the numbers in which the presets
differ. Pixels are those of the working frame, the frame that the networks see, unless a comment
says otherwise. How much is computed at a time, which changes no result, stands in chunks.py.
"""

from dataclasses import dataclass
from typing import Literal

from dinotrack.config.inference import InferenceConfig
from dinotrack.config.section import (
    Amount,
    Area,
    AtLeastOne,
    Channels,
    Count,
    Few,
    LeastSide,
    Matches,
    OneOrFew,
    Pixels,
    Positive,
    Sample,
    Section,
    Share,
    Side,
    TwoOrMoreDrawn,
    Window,
)


@dataclass(frozen=True)
class VideoConfig(Section, key="video"):
    """The working frame: either of a fixed size (the paper), or of the video's aspect."""

    height: Side = 0  # px, a fixed height; 0: it follows from the area
    width: Side = 0  # px, a fixed width; 0: it follows from the area
    area: Area = 432 * 243  # at most this many pixels; smaller frames are not enlarged
    multiple: OneOrFew = 8  # both sides are rounded to multiples of this
    min_side: LeastSide = 16  # px; frames are enlarged until no side is shorter
    filter: Literal["area", "lanczos"] = "area"  # how frames are resized


@dataclass(frozen=True)
class ShotConfig(Section, key="shots"):
    """Which frames are blank, and where the picture changes as a whole (docs/method.md 9)."""

    blank_contrast: Amount = 2.0  # grey levels of 255: a blank frame deviates by no more than this
    blank_share: Share = 0.05  # and by no more than this share of the video's largest deviation
    cut_colours: Share = 0.18  # at a cut at least this share of the colours changes,
    cut_likeness: float = 0.6  # coarse grey pictures correlate by less than this,
    cut_agreement: Share = 0.3  # and flow agrees in less than this share of where it did and will


@dataclass(frozen=True)
class BackboneConfig(Section, key="backbone"):
    """The frozen ViT (docs/method.md "Conventions")."""

    # A ViT of timm's or dinov2_vits14_8bit, which is shipped; none: the CNN alone; auto: the best
    # DINOv2 on this machine
    name: str = "none"
    # The block whose output is used, from 0. Negative: the one at two thirds of the depth, which is
    # the last one of the shipped ViT.
    layer: int = -1
    stride: Few = 7  # px between the centres of neighbouring patches; 0: the patch size
    pretrained: bool = True
    components: Count = 0  # features are reduced to so many principal components; 0: kept whole
    pca_frames: AtLeastOne = 16  # frames, spread evenly, that the components are computed from
    precision: Literal["float16", "float32"] = "float16"  # how features are stored
    exact_centres: bool = True  # False: half a pixel off, as in the paper's reference code


@dataclass(frozen=True)
class FlowConfig(Section, key="flow"):
    """Optical flow between neighbouring frames."""

    name: str = "auto"  # dis, raft_small, raft_large; auto: the best one at hand
    # Flow is computed on frames of at most so many pixels, then rescaled to the working frame.
    # Where video.height or video.width is given, this number has no effect.
    area: Area = 854 * 480
    updates: OneOrFew = 24  # RAFT: how often it updates its flow
    # DIS works on frames that were halved several times, from coarse to fine.
    # OpenCV's medium preset stops at 1, which loses thin and fast parts.
    finest_scale: Few = 0  # halvings at which it stops
    coarsest_scale: Few = 3  # halvings at which it starts; more lose small things; 0: OpenCV's
    smoothness: Amount = 20.0  # DIS: weight of a smooth flow


@dataclass(frozen=True)
class TrajectoryConfig(Section, key="trajectories"):
    """Flow chains, the labels that training starts from (docs/method.md 1)."""

    step: AtLeastOne = 1  # chains start on every step-th pixel of rows and columns
    # A chain ends, and a pixel counts as disoccluded, from this forward-backward error on.
    cycle_error: Pixels = 1.5
    direct_filter: bool = True  # a chain also ends where direct flow from its start disagrees
    direct_cycle_error: Pixels = 1.5  # direct flow counts below this forward-backward error
    direct_error: Pixels = 2.5  # distance to direct flow from which a chain ends
    # Direct flow is computed to every frame up to so many frames away, and to few that are
    # further away (pairs.py); 0: to every frame.
    direct_near: Count = 0
    min_length: Count = 2  # frames; shorter chains are dropped


@dataclass(frozen=True)
class ForegroundConfig(Section, key="foreground"):
    """Which labels count as foreground (docs/method.md 2)."""

    # pca: by the ViT features' first component; motion: by how pixels move against the camera
    method: Literal["pca", "motion", "none"] = "pca"
    threshold: Share = 0.6  # pca: foreground lies below, with the component rescaled to [0, 1]
    homography_error: Pixels = 2.0  # motion: RANSAC's inliers lie within
    lattice: AtLeastOne = 8  # motion: px between the flow vectors that a homography is fitted to
    share: Share = 0.2  # motion: the share of the video's pixels that move most
    min_residual: Pixels = 0.5  # motion: pixels that move less than this are no foreground


@dataclass(frozen=True)
class BuddyConfig(Section, key="buddies"):
    """Best buddies: cells of two frames that are each other's best match (docs/method.md 3)."""

    # All pairs of frames up to so many frames apart are searched, and few that are further apart
    # (pairs.py); 0: all pairs.
    near: Count = 0
    max_pairs: Count = 0  # at most so many of these, each counted in both orders; 0: all of them
    candidates: Matches = 400  # best matches that are looked at for ambiguity
    box: AtLeastOne = 30  # px, half the side of the box around each of them
    overlap: Share = 0.2  # intersection over union from which a box is suppressed
    # A buddy's weight is sigmoid(steepness (1 - r) - offset), where r is its ambiguity.
    steepness: float = 27.0
    offset: float = 5.7


@dataclass(frozen=True)
class ModelConfig(Section, key="model"):
    """What is trained: Delta-DINO, a CNN, and the refiner of correlations (docs/method.md 4)."""

    # Channels of Delta-DINO's stages; every stage halves the resolution.
    widths: tuple[Channels, ...] = (64, 128, 256)
    blocks: Few = 0  # extra 3x3 convolutions at the last stage's resolution
    kernel: Literal[1, 3, 5, 7, 9, 11] = 5  # side of the stages' convolutions
    norm: Literal["batch", "group"] = "batch"
    downsample: Literal["blur", "stride"] = "blur"  # anti-aliased, or by strided convolution
    dims: Channels = 128  # channels of the features, where no ViT gives their number
    gain: float = 0.05  # of the last normalisation, at the start
    dilation: OneOrFew = 2  # of the last convolution
    exact_centres: bool = True  # False: 3.5 px off, as in the paper's reference code
    # sum: the CNN's features are added to the ViT's (the paper's equation 1);
    # beside: both are kept, one after the other, on the CNN's finer grid.
    fusion: Literal["sum", "beside"] = "sum"
    vit_weight: Amount = 0.5  # beside: length of the ViT's features; the CNN's have length 1
    # The CNN's first weights. auto: our own, where they fit its shape, otherwise random.
    start: Literal["random", "auto", "pretrained"] = "random"
    refiner: bool = True  # False: the softmax is of the correlations themselves
    refiner_width: Channels = 16  # channels
    sharp_start: bool = False  # the refiner starts as almost the identity
    # Whether the refiner computes whole maps, or the disc alone, with the same answer.
    whole_map: bool = True
    radius: Pixels = 35.0  # of the disc around the best match that the soft-argmax averages
    mass_floor: Share = 1e-8  # with less softmax in the disc, its cells are averaged evenly
    temperature: Positive = 1.0  # correlations are divided by it before the refiner


@dataclass(frozen=True)
class TrainingConfig(Section, key="training"):
    """The training loop and its losses (docs/method.md 5)."""

    steps: Count = 10_000
    # A long video takes more steps, this many for each of its frames, unless `steps` is given.
    steps_a_frame: Amount = 0.0
    save_seconds: Amount = 10.0  # of work between checkpoints, in case a run is cut off

    batch: TwoOrMoreDrawn = 512  # pairs of points in a step; half of them are foreground
    frames: TwoOrMoreDrawn = 4  # frames that are drawn for each half of the batch
    shared_frames: bool = False  # both halves of the batch are from the same frames
    max_gap: Count = 0  # all drawn frames lie within so many frames of one of them; 0: anywhere
    # A step looks through a window with this share of the frame's sides, and a fit takes more of
    # these cheaper steps. 1: whole frames. Only the flow and the heatmap loss allow for less,
    # and only features that stand beside the ViT's (model.fusion).
    window: Window = 1.0

    optimizer: Literal["adam", "adamw", "muon"] = "adam"
    learning_rate: Amount = 1e-2
    # Muon, for all convolutions of Delta-DINO's but the first (docs/method.md 8)
    matrix_rate: Amount = 2.0  # their learning rate, as a multiple of learning_rate
    muon_momentum: Share = 0.95
    muon_rounds: Few = 5  # of the iteration that makes a matrix orthogonal
    # The iteration's polynomial: Jordan's numbers, which lift small singular values fast.
    muon_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315)
    # step: Delta-DINO's rate is multiplied by `decay` every `decay_every` steps, the refiner's
    # stays; cosine: both rise for the share `warm_up` of the steps, then fall to zero.
    schedule: Literal["step", "cosine"] = "step"
    decay: Amount = 0.999
    decay_every: AtLeastOne = 40
    warm_up: Share = 0.1
    weight_decay: Amount = 0.0
    gradient_clip: Amount = 0.0  # largest norm of a gradient; 0: any
    # Of the networks. bfloat16 is taken where the device has instructions for it (CUDA, and CPUs
    # with AVX512-BF16 or AMX); kernels then compare features in float16.
    precision: Literal["float32", "bfloat16"] = "float32"
    recorded: bool = True  # on CUDA, steps that are alike replay a recorded one

    # Losses, each with its weight; 0 leaves it out. The Huber loss turns from squares to absolute
    # values at `huber_delta`, in a scale where the frame reaches from -1 to 1.
    flow_weight: Amount = 1.0  # of the Huber loss between the tracker's answers and the chains
    huber_delta: Positive = 1 / 32
    heatmap_weight: Amount = 0.0  # of the cross-entropy between all correlations and the target
    heatmap_temperature: Positive = 0.05
    buddy_weight: Amount = 2.5e-4  # of the contrastive loss between best buddies
    buddy_scale: Positive = 700.0  # which the sum over points is divided by
    refined_buddy_weight: Amount = 5e-5  # of the same loss between buddies of refined features
    refined_buddy_scale: Positive = 900.0
    contrastive_temperature: Positive = 0.1
    contrastive_points: Sample = 256  # in each pair of frames, also for cycle consistency
    contrastive_pairs: Sample = 4  # pairs of frames in a step
    contrastive_foreground: Share = 0.7  # of the points
    cycle_weight: Amount = 0.5  # of cycle consistency, there and back
    cycle_error: Pixels = 4.0  # points that return within become labels
    cycle_gamma: Amount = 0.8  # a label's weight is this to the power of the distance
    norm_weight: Amount = 1e-4  # refined features are as long as the ViT's
    angle_weight: Amount = 1e-4  # refined features point where the ViT's do
    late: Amount = 0.5  # share of the steps before refined buddies and cycle consistency start


@dataclass(frozen=True)
class TeachingConfig(Section, key="teaching"):
    """How a fit goes on with what a hand corrected (docs/method.md 8 "Teaching")."""

    steps: Count = 100  # in all rounds together
    # Each round tracks the corrected points with what the one before learnt, and learns from that.
    rounds: OneOrFew = 2
    share: Share = 0.5  # of a step's labels, at most, is taught; the others are of flow
    sure: Share = 0.6  # confidence from which a frame of a corrected track is a label
    given: Positive = 3.0  # weight, in drawing frames, of a place that a hand gave; others have 1
    rate: Positive = 1.0  # learning rates, as a multiple of those of the fit


@dataclass(frozen=True)
class FocusConfig(Section, key="focus"):
    """How a fit goes on with the points that are asked for (docs/method.md 8 "Focus")."""

    # Steps on top of those of the fit, in all rounds, as a share of them; 0: none, as in the paper.
    share: Share = 0.0
    # Each round tracks these points with what the one before learnt, and learns from that.
    rounds: OneOrFew = 2
    sure: Share = 0.8  # confidence from which a frame of a track is a label
    points: AtLeastOne = 256  # that are learned from; of more, so many are taken evenly
    # Points in a larger share of 6 x 6 fields of the picture are everywhere: no place is special.
    spread: Share = 0.6


@dataclass(frozen=True)
class Config(Section, key=""):
    """Everything that describes one fit and how its points are tracked."""

    preset: str
    video: VideoConfig = VideoConfig()
    shots: ShotConfig = ShotConfig()
    backbone: BackboneConfig = BackboneConfig()
    flow: FlowConfig = FlowConfig()
    trajectories: TrajectoryConfig = TrajectoryConfig()
    foreground: ForegroundConfig = ForegroundConfig()
    buddies: BuddyConfig = BuddyConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    teaching: TeachingConfig = TeachingConfig()
    focus: FocusConfig = FocusConfig()
    inference: InferenceConfig = InferenceConfig()

    @property
    def leaps(self) -> tuple[int, ...]:
        """The spans, in frames, of the leaps that tracking goes by, the shortest first."""
        chain = self.inference.chain
        leaps = self.inference.method == "join" and chain.leap_error > 0
        return tuple(sorted(set(chain.leaps))) if leaps else ()

    @property
    def focus_steps(self) -> int:
        """How many steps look at the points that are asked for, after those of the fit."""
        return round(self.focus.share * self.training.steps)
