"""Every number of the method, each with its meaning. Presets are values of one frozen `Config`.

Pixels are those of the working frame (the frame the model sees) unless said otherwise.
"""

import dataclasses
import math
import operator
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dinotrack.errors import InputError


@dataclass(frozen=True)
class VideoConfig:
    """The working frame.

    Either a fixed size whatever the aspect (the paper), or an area that keeps the aspect.
    """

    height: int = 0  # fixed height; 0: from the area
    width: int = 0  # fixed width; 0: from the area
    area: int = 432 * 243  # at most this many working pixels; frames are not enlarged to it
    multiple: int = 8  # sides are rounded to multiples of this
    min_side: int = 16  # px: frames are enlarged so that no side is shorter
    filter: str = "area"  # how frames are resized: area or lanczos


@dataclass(frozen=True)
class BackboneConfig:
    """The frozen ViT."""

    name: str = "none"  # dinotrack_vit, a timm ViT by short or full name; none: the CNN alone; auto: the best there is
    layer: int = -1  # block whose output is used, counted from 0; negative: two thirds of the depth
    stride: int = 7  # px between patch centres; 0: the patch size
    pretrained: bool = True
    components: int = 0  # keep that many principal components of the features; 0: all
    precision: str = "float16"  # features are kept in: float16 or float32
    exact_centres: bool = True  # False: the reference's half pixel off


@dataclass(frozen=True)
class FlowConfig:
    """Optical flow between consecutive frames."""

    name: str = "auto"  # dis, raft_small, raft_large, or auto
    area: int = (
        854 * 480
    )  # flow is computed on frames of at most this many px, then expressed in working px
    updates: int = 24  # RAFT's refinement steps
    finest_scale: int = (
        0  # DIS: halvings at which it stops; its medium preset's 1 loses thin and fast parts
    )
    coarsest_scale: int = (
        3  # DIS: halvings at which it starts, too many lose what is small; 0: as OpenCV decides
    )
    smoothness: float = 20.0  # DIS: weight of smoothness


@dataclass(frozen=True)
class TrajectoryConfig:
    """Flow chains, the pseudo-labels (METHOD 1)."""

    step: int = 1  # chains start on every step-th pixel of rows and columns
    cycle_error: float = (
        1.5  # px: forward-backward error from which a chain ends and a pixel counts as disoccluded
    )
    direct_filter: bool = True  # end a chain where direct flow from its start disagrees
    direct_cycle_error: float = 1.5  # px: direct flow counts below this forward-backward error
    direct_error: float = 2.5  # px: distance to direct flow from which a chain ends
    direct_near: int = 0  # compared in every frame up to that many from a chain's start, then in few; 0: in every one
    min_length: int = 2  # frames


@dataclass(frozen=True)
class ForegroundConfig:
    """Which labels count as foreground (METHOD 2)."""

    method: str = "pca"  # pca: first component of ViT features; motion: flow against the frame's homography; none
    threshold: float = 0.6  # pca: foreground lies below, on the component rescaled to [0, 1]
    homography_error: float = 2.0  # px, motion: RANSAC's inlier distance
    share: float = 0.2  # motion: this share of the video's pixels, those of the largest residuals


@dataclass(frozen=True)
class BuddyConfig:
    """Best buddies (METHOD 3)."""

    near: int = 0  # frame pairs searched: all up to that many frames apart, and few far ones (pairs.py); 0: all
    max_pairs: int = 0  # of these at most that many, counted in both orders; 0: all of them
    candidates: int = 400  # best matches looked at for ambiguity
    box: int = 30  # px: half-size of their boxes
    overlap: float = 0.2  # IoU above which a box is suppressed
    slope: float = 27.0  # weight = sigmoid(slope (1 - r) - offset)
    offset: float = 5.7


@dataclass(frozen=True)
class ModelConfig:
    """What is trained: Delta-DINO and the refiner (METHOD 4)."""

    widths: tuple[int, ...] = (64, 128, 256)  # one stage each; every stage halves the map
    blocks: int = 0  # extra 3x3 convolutions at the last stage's resolution
    kernel: int = 5
    norm: str = "batch"  # batch or group
    downsample: str = "blur"  # blur: anti-aliased; stride: strided convolution
    dims: int = 128  # feature width where no ViT gives it
    gain: float = 0.05  # initial gain of the last normalisation
    dilation: int = 2  # of the last convolution
    exact_centres: bool = (
        True  # False: Delta-DINO's map read where the reference reads it, 3.5 px off
    )
    fusion: str = (
        "sum"  # of ViT and CNN: sum, the paper's equation 1; or beside, on the CNN's finer grid
    )
    vit_weight: float = 0.5  # beside: of the ViT's unit features before the CNN's
    start: str = (
        "random"  # of the CNN; auto: our own weights where they fit its shape; or pretrained
    )
    refiner: bool = True  # False: no refiner, the softmax of the correlations themselves
    refiner_width: int = 16
    sharp_start: bool = False  # the refiner begins as almost the identity
    whole_map: bool = True  # refine whole maps; False: only the disc, with the same answer
    radius: float = 35.0  # px around the argmax that the soft-argmax looks at
    temperature: float = 1.0  # correlations are divided by it before the refiner


@dataclass(frozen=True)
class TrainingConfig:
    """The loop (METHOD 5)."""

    steps: int = 10_000
    steps_a_frame: float = (
        0.0  # a video so long that this makes more steps takes them, unless `steps` is given
    )
    batch: int = 512  # point pairs a step, half of them foreground
    frames: int = 4  # frames drawn for each half of the batch
    shared_frames: bool = False  # both halves from the same frames
    max_gap: int = 0  # frames drawn lie at most that many from one of them; 0: anywhere
    optimizer: str = "adam"  # adam, adamw or muon
    learning_rate: float = 1e-2
    matrix_rate: float = (
        2.0  # muon: learning rate of Delta-DINO's convolutions, but the first, over learning_rate
    )
    schedule: str = "step"  # step: x decay every decay_every steps, Delta-DINO only; cosine: warm-up, then to zero
    decay: float = 0.999
    decay_every: int = 40
    weight_decay: float = 0.0
    gradient_clip: float = 0.0  # 0: none
    precision: str = (
        "float32"  # of the networks: float32 or, on CUDA, bfloat16; kernels then compare in float16
    )
    recorded: bool = True  # on CUDA, steps are replays of a recorded one, where they are alike
    flow_weight: float = 1.0
    huber_delta: float = 1 / 32  # in the [-1, 1] scale
    heatmap_weight: float = (
        0.0  # cross-entropy of the softmax over all correlations against the target cell
    )
    heatmap_temperature: float = 0.05
    buddy_weight: float = 2.5e-4
    buddy_scale: float = 700.0
    refined_buddy_weight: float = 5e-5
    refined_buddy_scale: float = 900.0
    cycle_weight: float = 0.5
    cycle_error: float = 4.0  # px: points that return within become labels
    cycle_gamma: float = 0.8
    norm_weight: float = 1e-4
    angle_weight: float = 1e-4
    contrastive_temperature: float = 0.1
    contrastive_points: int = 256  # a frame pair
    contrastive_pairs: int = 4  # frame pairs a step
    contrastive_foreground: float = 0.7
    late: float = 0.5  # refined buddies and cycle consistency start at this fraction of the steps


@dataclass(frozen=True)
class InferenceConfig:
    """From a trained model to trajectories (METHOD 6)."""

    method: str = "match"  # match: every frame on its own, anchors decide visibility; join: matches joined by flow
    anchor_cosine: float = 0.7
    visible_cosine: float = 0.6
    max_anchors: int = 0  # anchors used for visibility, spread evenly; 0: all
    pin_query: bool = True  # in its own frame a point is the query itself and visible
    # join: distances in working px, costs in units of -log probability
    candidates: int = 4  # matches proposed in each frame
    match_scale: float = 0.05  # cosine that costs one unit
    step_scale: float = 4.0  # px off flow that cost one unit
    jump_cost: float = 4.0  # most a step costs where flow is sure of itself
    occluded_jump_cost: float = 0.5  # and where it isn't
    chain_error: float = 3.0  # px: forward-backward error that ends the flow from the query
    flow_error: float = 1.0  # px: forward-backward error up to which flow is sure of itself
    flow_noise: float = 0.05  # px a frame
    match_noise: float = 6.0  # px
    match_reach: float = 2.0  # px: a match this near the path is a measurement of it
    patch_reach: int = 4  # px: a query's patch spans that far to each side
    patch_likeness: float = 0.8  # normalised cross-correlation from which the patch is found
    patch_lost: float = 0.1  # correlation below which flow from the query is taken to have lost it
    patch_shift: float = 2.0  # px: most by which the patch mends a step of flow
    patch_noise: float = 0.3  # px
    patch_search: float = 4.0  # px off the path within which a lost patch is looked for
    patch_refound: float = 0.75  # correlation from which it is found
    stray: float = 16.0  # px off the path from which smoothing starts anew
    support_reach: float = (
        2.0  # px from a query to the four points that are tracked with it; 0: none
    )
    memory_weight: float = 2.0  # of what was surely seen in other frames beside the query's own look; 0: no second pass
    memory_confidence: float = 0.8  # from which a point was surely seen
    # logistic regression on what joining.Evidence lists, in its order; made by
    # python -m dinotrack.benchmarks calibrate
    confidence_weights: tuple[float, ...] = (
        -0.941,
        2.089,
        -0.685,
        -0.004,
        3.639,
        1.479,
        -0.324,
        1.358,
    )
    visible_confidence: float = 0.4  # a point is visible from this confidence on


@dataclass(frozen=True)
class Config:
    """One fit, entirely described."""

    preset: str
    video: VideoConfig = field(default_factory=VideoConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    trajectories: TrajectoryConfig = field(default_factory=TrajectoryConfig)
    foreground: ForegroundConfig = field(default_factory=ForegroundConfig)
    buddies: BuddyConfig = field(default_factory=BuddyConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)


PAPER = Config(
    preset="paper",
    video=VideoConfig(height=476, width=854, filter="lanczos"),
    backbone=BackboneConfig(
        name="vit_large_patch14_dinov2", stride=7, precision="float32", exact_centres=False
    ),  # layer 15 of its 24
    flow=FlowConfig(name="raft_large", area=476 * 854),
    model=ModelConfig(exact_centres=False),
    inference=InferenceConfig(pin_query=False),
)

FAST = Config(
    preset="fast",
    backbone=BackboneConfig(
        name="none", stride=8
    ),  # where a ViT is asked for, the CNN beside it is what is fine
    flow=FlowConfig(name="dis"),
    trajectories=TrajectoryConfig(step=4, cycle_error=0.75, direct_filter=False, direct_near=4),
    foreground=ForegroundConfig(method="motion", homography_error=1.0),
    buddies=BuddyConfig(near=4),  # where training.buddy_weight asks for them
    model=ModelConfig(
        widths=(48, 96),
        blocks=3,
        kernel=3,
        norm="group",
        downsample="stride",
        dims=96,
        gain=1.0,
        dilation=1,
        fusion="beside",
        start="auto",
        refiner_width=4,
        sharp_start=True,
        whole_map=False,
        radius=14.0,
        temperature=0.2,
    ),
    training=TrainingConfig(
        steps=115,
        steps_a_frame=1.15,
        batch=256,
        frames=3,
        shared_frames=True,
        max_gap=24,
        optimizer="muon",
        learning_rate=2e-3,
        matrix_rate=4.0,
        schedule="cosine",
        weight_decay=1e-2,
        gradient_clip=1.0,
        flow_weight=6000.0,  # beside huber_delta: a pixel off costs an eighth, as cross-entropy does
        huber_delta=1 / 216,
        heatmap_weight=1.0,
        buddy_weight=0.0,
        refined_buddy_weight=0.0,
        cycle_weight=0.0,
        norm_weight=0.0,
        angle_weight=0.0,
    ),
    inference=InferenceConfig(method="join"),
)

# `fast` with more: features of a large ViT beside the CNN's, RAFT, more chains, labels and steps.
# More frames a step made no difference. What the paper has beyond that is left out for what it
# costs: whole-map refinement (in the disc the softmax's normaliser cancels), direct flow and best
# buddies between all pairs of frames, and the losses of the later half, which match each pair of a
# step's frames again. Distant frames are joined by matches, flow and memory.
QUALITY = dataclasses.replace(
    FAST,
    preset="quality",
    backbone=BackboneConfig(name="auto", stride=7, components=128),
    flow=FlowConfig(name="auto"),
    trajectories=dataclasses.replace(FAST.trajectories, step=2),
    training=dataclasses.replace(
        FAST.training, steps=600, steps_a_frame=4.0, batch=512, precision="bfloat16"
    ),
)

PRESETS: dict[str, Config] = {"fast": FAST, "quality": QUALITY, "paper": PAPER}

CHOICES: dict[str, tuple[str | int, ...]] = {
    "video.filter": ("area", "lanczos"),
    "backbone.precision": ("float16", "float32"),
    "model.fusion": ("sum", "beside"),
    "model.start": ("random", "auto", "pretrained"),
    "foreground.method": ("pca", "motion", "none"),
    "model.kernel": (1, 3, 5, 7, 9, 11),
    "model.norm": ("batch", "group"),
    "model.downsample": ("blur", "stride"),
    "training.optimizer": ("adam", "adamw", "muon"),
    "training.schedule": ("step", "cosine"),
    "training.precision": ("float32", "bfloat16"),
    "inference.method": ("match", "join"),
}
"""What some settings may be. Names of ViTs and flows are looked up where these are made."""

LEAST: dict[str, float] = {
    "backbone.layer": -math.inf,
    "inference.candidates": 2,
    "training.batch": 2,
    "training.frames": 2,
    **dict.fromkeys(
        (
            *(
                "video.area",
                "video.multiple",
                "video.min_side",
                "flow.area",
                "flow.updates",
                "trajectories.step",
            ),
            *("buddies.candidates", "buddies.box", "training.decay_every"),
            *("model.widths", "model.dims", "model.dilation", "model.refiner_width"),
        ),
        1,
    ),
    **dict.fromkeys(
        (
            *(
                "model.temperature",
                "training.heatmap_temperature",
                "training.contrastive_temperature",
            ),
            *("training.huber_delta", "training.buddy_scale", "training.refined_buddy_scale"),
            *(
                "inference.match_scale",
                "inference.step_scale",
                "inference.flow_noise",
                "inference.match_noise",
            ),
        ),
        1e-6,
    ),
    **dict.fromkeys(
        (
            "training.learning_rate",
            "training.matrix_rate",
            "training.weight_decay",
            "training.gradient_clip",
            "training.late",
        ),
        0,
    ),
    "inference.support_reach": 0,
}
"""The least some numbers may be; other whole numbers are 0 or more."""

LENGTH: dict[str, int] = {"inference.confidence_weights": 8}
"""How many numbers some lists have."""

MOST: dict[str, float] = {
    "foreground.share": 1,
    "inference.visible_confidence": 1,
    "inference.memory_confidence": 1,
    "training.contrastive_foreground": 1,
}


def preset(name: str) -> Config:
    """The preset of that name. Raises InputError for an unknown one."""
    if name not in PRESETS:
        raise InputError(f"unknown preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def override(config: Config, assignments: Iterable[str] | Mapping[str, Any]) -> Config:
    """A config with some numbers changed: ["training.steps=2000"] or {"training.steps": 2000}.

    Raises InputError for an unknown key or a value that can't be, and lists the right ones.
    """
    if not isinstance(assignments, Mapping):
        assignments = dict(parse_assignment(a) for a in assignments)
    for key, value in assignments.items():
        section, _, name = key.partition(".")
        if section not in _sections():
            raise InputError(
                f"unknown setting {key!r}; sections are {', '.join(_sections())}, as in training.steps=2000"
            )
        part = getattr(config, section)
        types = typing.get_type_hints(type(part))
        if name not in types:
            raise InputError(f"unknown setting {key!r}; {section} has {', '.join(types)}")
        parsed = _parse(key, value, types[name])
        _check(key, parsed)
        config = dataclasses.replace(
            config, **{section: dataclasses.replace(part, **{name: parsed})}
        )
    return config


def parse_assignment(text: str) -> tuple[str, str]:
    """ "training.steps=2000" -> ("training.steps", "2000").

    Raises InputError where there is no "=".
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"{text!r} sets nothing; write KEY=VALUE, as in training.steps=2000")
    return key.strip(), value.strip()


def to_dict(config: Config) -> dict[str, Any]:
    """A config as plain JSON values."""
    return dataclasses.asdict(config)


def from_dict(values: Mapping[str, Any]) -> Config:
    """The inverse of `to_dict`. Raises InputError for unknown keys or types."""
    base = Config(preset=str(values.get("preset", "custom")))
    flat = {f"{s}.{k}": v for s, part in values.items() if s != "preset" for k, v in part.items()}
    return override(base, flat)


def difference(a: Config, b: Config) -> list[str]:
    """What differs for a fit, one line a setting: "training.steps: 600 / 2000".

    Inference comes after a fit.
    """
    return [
        f"{s}.{f.name}: {getattr(getattr(a, s), f.name)} / {getattr(getattr(b, s), f.name)}"
        for s in _sections()
        if s != "inference"
        for f in dataclasses.fields(getattr(a, s))
        if getattr(getattr(a, s), f.name) != getattr(getattr(b, s), f.name)
    ]


def _sections() -> list[str]:
    return [f.name for f in dataclasses.fields(Config) if f.name != "preset"]


def _check(key: str, value: Any) -> None:
    """Raises InputError for a value out of range, or a list with such a number."""
    if key in CHOICES and value not in CHOICES[key]:
        raise InputError(
            f"{key}={value} is unknown; choose one of {', '.join(map(str, CHOICES[key]))}"
        )
    if key in LENGTH and len(value) != LENGTH[key]:
        raise InputError(f"{key} has {LENGTH[key]} numbers, not {len(value)}")
    if isinstance(value, str):
        return
    numbers = value if isinstance(value, tuple) else (value,)
    least = LEAST.get(key, -math.inf if any(isinstance(n, float) for n in numbers) else 0)
    most = MOST.get(key, math.inf)
    if not numbers or not all(math.isfinite(n) and least <= n <= most for n in numbers):
        bounds = [f"at least {least:g}"] * (least > -math.inf) + [f"at most {most:g}"] * (
            most < math.inf
        )
        raise InputError(
            f"{key}={value} is out of range; it must be {' and '.join(bounds or ['finite'])}"
        )


def _parse(key: str, value: Any, kind: Any) -> Any:
    """A value of the field's type from text or from a plain value.

    Raises InputError where it is of another type.
    """
    try:
        return _cast(value, kind)
    except (ValueError, KeyError, TypeError):
        name = (
            "list of numbers, as in 64,128" if typing.get_origin(kind) is tuple else kind.__name__
        )
        raise InputError(f"{key}={value} has the wrong type; {key} is a {name}") from None


def _cast(value: Any, kind: Any) -> Any:
    """As `kind(value)`, but nothing is rounded, and neither a truth value nor a number is taken for
    something else."""
    if typing.get_origin(kind) is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        return tuple(_cast(part, typing.get_args(kind)[0]) for part in parts)
    if kind is bool:
        return {"true": True, "false": False, "1": True, "0": False}[str(value).lower()]
    if isinstance(value, bool) or (kind is str and not isinstance(value, str)):
        raise TypeError
    return operator.index(value) if kind is int and not isinstance(value, str) else kind(value)
