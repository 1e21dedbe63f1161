"""The presets: three values of one `Config`, `fast`, `quality` and `paper`."""

from dataclasses import replace

from dinotrack.config.inference import (
    InferenceConfig,
)
from dinotrack.config.numbers import (
    BackboneConfig,
    BuddyConfig,
    Config,
    FlowConfig,
    FocusConfig,
    ForegroundConfig,
    ModelConfig,
    TrainingConfig,
    TrajectoryConfig,
    VideoConfig,
)
from dinotrack.errors import InputError

# The paper's numbers. Layer -1 is layer 15 of this ViT's 24, as in the paper.
PAPER = Config(
    preset="paper",
    video=VideoConfig(height=476, width=854, filter="lanczos"),
    backbone=BackboneConfig(
        name="vit_large_patch14_dinov2",
        stride=7,
        precision="float32",
        exact_centres=False,
    ),
    flow=FlowConfig(name="raft_large", area=476 * 854),
    model=ModelConfig(exact_centres=False),
    inference=InferenceConfig(pin_query=False),
)

# Minutes on a CPU (docs/method.md 8): a small ViT, which needs no finer grid next to the CNN's, a
# small CNN that starts from our own weights, flow by DIS, and the two losses of labels.
# buddies.near only matters where a user asks for a loss of buddies.
FAST = Config(
    preset="fast",
    backbone=BackboneConfig(name="auto", stride=14, components=48),
    flow=FlowConfig(name="dis"),
    trajectories=TrajectoryConfig(step=4, cycle_error=0.75, direct_filter=False, direct_near=4),
    foreground=ForegroundConfig(method="motion", homography_error=1.0),
    buddies=BuddyConfig(near=4),
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
        steps=300,
        steps_a_frame=3.0,
        batch=512,
        frames=3,
        shared_frames=True,
        max_gap=48,
        window=0.5,
        optimizer="muon",
        learning_rate=2e-3,
        matrix_rate=4.0,
        schedule="cosine",
        weight_decay=1e-2,
        gradient_clip=1.0,
        precision="bfloat16",
        # With this delta, a pixel off costs an eighth, about as much as in the cross-entropy.
        flow_weight=6000.0,
        huber_delta=1 / 216,
        heatmap_weight=1.0,
        buddy_weight=0.0,
        refined_buddy_weight=0.0,
        cycle_weight=0.0,
        norm_weight=0.0,
        angle_weight=0.0,
    ),
    focus=FocusConfig(share=0.33),
    inference=InferenceConfig(method="join"),
)

# `fast` with more: a finer grid of the ViT's features, RAFT's flow, more chains, labels
# and steps. More frames in a step made no difference. The rest of what the paper has is left out
# for what it costs: the refiner on whole maps (in the disc, the softmax's normaliser cancels),
# direct flow and best buddies between all pairs of frames, and the losses of the later half, which
# match each pair of a step's frames again. Distant frames are joined by matches, flow and memory.
QUALITY = replace(
    FAST,
    preset="quality",
    backbone=BackboneConfig(name="auto", stride=7, components=128),
    flow=FlowConfig(name="auto"),
    trajectories=replace(FAST.trajectories, step=2),
    training=replace(FAST.training, steps=1200, steps_a_frame=8.0, batch=1024),
    focus=FocusConfig(share=0.25),
)

PRESETS: dict[str, Config] = {"fast": FAST, "quality": QUALITY, "paper": PAPER}


def preset(name: str) -> Config:
    """The preset of that name. Raises InputError for an unknown one."""
    if not isinstance(name, str) or name not in PRESETS:
        raise InputError(f"unknown preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
