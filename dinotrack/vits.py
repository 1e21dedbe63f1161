"""timm's vision transformers, frozen, with overlapping patches on frames of any size.

Blocks and weights are timm's. What is ours is where the cells lie: a ViT was trained on one grid
of patches side by side, and here it sees a finer one, so that its positions are resampled
(`docs/method.md` "Conventions"). Import this module only where a ViT is wanted, as timm takes
seconds to load.
"""

from __future__ import annotations

import difflib
import hashlib
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers.patch_embed import PatchEmbed
from timm.models import Eva, VisionTransformer
from torch import Tensor

from dinotrack import eight_bits, state_dicts, weights
from dinotrack.backbones import BACKBONES, DESCRIBED, SHIPPED, FrameBatch
from dinotrack.config import BackboneConfig
from dinotrack.errors import DinotrackWarning, InputError, setting
from dinotrack.geometry import Grid, patch_grid
from dinotrack.vit_positions import place_rotary, resample_positions

AUTO = ("dinov2_vitl14", "dinov2_vitb14", "dinov2_vits14")
"""What "auto" prefers to the one that is shipped: the best first on CUDA; elsewhere the lightest
alone."""
UNFIT = RuntimeError, AttributeError, TypeError, ValueError, AssertionError, ArithmeticError
"""What making a network raises where the facts about it make no sense."""
MAKE = "patch_size", "embed_dim", "depth", "num_heads", "img_size", "num_classes"
"""What a file says of the ViT in it; arguments of timm's."""

VIT_MODULES = ("vision_transformer", "eva", "deit")
"""The files of timm's with ViTs as TimmBackbone takes them."""
FINGERPRINT = 1000
"""Values of a tensor that tell weights apart."""
ONE_AT_A_TIME = threading.Lock()  # timm draws from torch's generator, which all threads share


class TimmBackbone:
    """The tokens that the blocks of a timm ViT put out: a `features.Backbone`.

    Tokens are taken before the final norm, without class and register tokens.
    """

    def __init__(
        self, model: torch.nn.Module, layer: int, stride: int, exact_centres: bool = True
    ) -> None:
        """layer: counted from 0. stride: px between patch centres. exact_centres: see
        `geometry.patch_grid`.

        Raises InputError for a layer that the ViT lacks, and for models that are no plain ViT.
        """
        vit: Any = model.eval().requires_grad_(False)
        plain = isinstance(model, VisionTransformer | Eva)
        if not plain or type(vit.patch_embed) is not PatchEmbed:
            choice = ", ".join(BACKBONES)
            raise InputError(f"{type(model).__name__} is no plain ViT; choose one of {choice}")
        self.depth: int = len(vit.blocks)
        if not 0 <= layer < self.depth:
            last = self.depth - 1
            raise InputError(f"backbone.layer={layer}, but this ViT has blocks 0 to {last}")
        centres = "exact" if exact_centres else "reference"
        self.identity = f"{fingerprint(model)} block {layer} stride {stride} {centres}"
        self.model = vit
        self.layer = layer
        self.stride = stride
        self.exact_centres = exact_centres
        self.patch: int = vit.patch_embed.proj.kernel_size[0]
        self.dims: int = vit.embed_dim
        self._mean = torch.tensor(vit.pretrained_cfg["mean"])[:, None, None]
        self._std = torch.tensor(vit.pretrained_cfg["std"])[:, None, None]
        self._positions: Float[Tensor, "1 tokens C"] | None = vit.pos_embed
        self._native: tuple[int, int] = vit.patch_embed.grid_size
        self._rotary: Any = getattr(vit, "rope", None)
        self._rotary_span: Any = getattr(self._rotary, "ref_feat_shape", None)
        self._rotary_offset: float = getattr(self._rotary, "grid_offset", 0.0)
        self._prepared: Grid | None = None
        vit.patch_embed.proj.stride = (stride, stride)
        vit.patch_embed.img_size = None  # frames of any size

    @property
    def device(self) -> torch.device:
        """Where the ViT computes."""
        device: torch.device = self.model.patch_embed.proj.weight.device
        return device

    def grid(self, height: int, width: int) -> Grid:
        """The grid of the features of a frame of height x width px.

        A side that is shorter than the patch counts as one patch.
        """
        sides = max(height, self.patch), max(width, self.patch)
        return patch_grid(*sides, self.patch, self.stride, self.exact_centres)

    @torch.no_grad()
    def __call__(self, frames: FrameBatch, layers: Sequence[int]) -> list[Float[Tensor, "B C h w"]]:
        """The features of some blocks, in the order asked for, from one pass.

        A side that is shorter than the patch is lengthened to the patch, at the right or the
        bottom, by repeating the border.
        """
        height, width = frames.shape[-2:]
        grid = self.grid(height, width)
        values = frames.to(self.device).float() / (1 if frames.is_floating_point() else 255)
        values = (values - self._mean.to(self.device)) / self._std.to(self.device)
        right, bottom = max(self.patch - width, 0), max(self.patch - height, 0)
        values = F.pad(values, (0, right, 0, bottom), mode="replicate")
        self._prepare(grid)
        ascending = sorted(set(layers))
        tokens = self.model.forward_intermediates(
            values, indices=ascending, stop_early=True, output_fmt="NLC", intermediates_only=True
        )
        shape = len(frames), self.dims, grid.rows, grid.cols
        maps = [of_block.transpose(1, 2).reshape(shape) for of_block in tokens]
        return [maps[ascending.index(layer)] for layer in layers]

    def _prepare(self, grid: Grid) -> None:
        """Give the ViT the positions of that grid."""
        if grid == self._prepared:
            return
        size = grid.rows, grid.cols
        self.model.patch_embed.grid_size = size
        if self._positions is not None:
            resampled = resample_positions(self._positions, self._native, size)
            self.model.pos_embed = torch.nn.Parameter(resampled, requires_grad=False)
        if self._rotary is not None:
            place_rotary(self._rotary, grid, self.patch, self._rotary_span, self._rotary_offset)
        self._prepared = grid


def fingerprint(model: torch.nn.Module) -> str:
    """A hash of a network's make and weights.

    Of each tensor FINGERPRINT values are looked at, spread evenly.
    """
    digest = hashlib.sha256(type(model).__name__.encode())
    for name, values in model.state_dict().items():
        step = -(-values.numel() // FINGERPRINT) or 1
        digest.update(f"{name} {list(values.shape)}".encode())
        digest.update(values.flatten()[::step].cpu().double().numpy().tobytes())
    return digest.hexdigest()


def make_vit(config: BackboneConfig, device: torch.device) -> TimmBackbone:
    """The ViT of timm's that config.name names, as `features.make_backbone` says. Its block lies
    two thirds deep, unless the config says another.

    Raises InputError for a name that nobody knows, and for weights that can't be had.
    """
    name = full_name(config.name)
    path = weights.obtain(weight_origin(name)) if config.pretrained else None
    model: Any = load_vit(name, path)
    two_thirds = round(len(model.blocks) * 2 / 3) - 1
    return _as_configured(model, config, device, two_thirds)


def best_name(config: BackboneConfig, device: torch.device) -> str:
    """What "auto" means: the best DINOv2 on this machine that suits the device (AUTO), or else the
    one that comes with the project. Nothing is downloaded.

    The answer is "none", with a DinotrackWarning, where even that one's file was taken away.
    """
    names = AUTO if device.type == "cuda" else AUTO[-1:]
    for name in names if config.pretrained else ():
        found = weights.find(weight_origin(BACKBONES[name], any_file=False))
        # a file of any name that the user's variable names would be taken for this ViT by its name
        if found is not None and found == weights.find(weight_origin(BACKBONES[name])):
            return name
    if weights.find(described_origin(SHIPPED)) is not None:
        return SHIPPED
    missing = f"the ViT that comes with the project, {SHIPPED}.safetensors, is missing; "
    advice = "put it into ./weights; using no backbone instead"
    warnings.warn(DinotrackWarning(missing, advice), stacklevel=2)
    return "none"


def make_described(config: BackboneConfig, device: torch.device) -> TimmBackbone:
    """A ViT whose file says what it is (DESCRIBED). Its last block is the one to use, unless the
    config says another."""
    model: Any = load_described(config.name, config.pretrained)
    return _as_configured(model, config, device, len(model.blocks) - 1)


def _as_configured(
    model: Any, config: BackboneConfig, device: torch.device, default_layer: int
) -> TimmBackbone:
    layer = default_layer if config.layer < 0 else config.layer
    stride = config.stride or model.patch_embed.proj.kernel_size[0]
    return TimmBackbone(model.to(device), layer, stride, config.exact_centres)


def load_described(name: str, pretrained: bool = True) -> torch.nn.Module:
    """A ViT whose file says what it is (DESCRIBED), or one of its make with random weights.

    Raises InputError where the file is missing or does not fit what it says.
    """
    path = weights.obtain(described_origin(name))
    facts = state_dicts.facts(path, *MAKE, "architecture", "mean", "std")
    state = state_dicts.read(path)
    try:
        model: Any = load_vit(facts["architecture"], None, **{key: facts[key] for key in MAKE})
        colours = torch.tensor((facts["mean"], facts["std"]), dtype=torch.float64)
        mean, std = colours.reshape(2, 3).tolist()
        state = eight_bits.restored(state)
    except UNFIT:
        raise InputError(f"{path} does not fit what it says it is; fetch the file again") from None
    if pretrained:
        state_dicts.load_into(model, state, path)
    model.pretrained_cfg.update(mean=tuple(mean), std=tuple(std))
    return cast(torch.nn.Module, model)


def described_origin(name: str) -> weights.Origin:
    """Where the file of a ViT that says what it is comes from."""
    advice = f"make it with `{DESCRIBED[name]}`, or do without it with "
    parts = advice, setting("backbone.name", "none")
    return weights.Origin(name, files=(f"{name}.safetensors",), advice=parts)


def full_name(name: str) -> str:
    """timm's full name, architecture.tag, for a short, bare or full one.

    Raises InputError for others.
    """
    known = BACKBONES.get(name, name.removeprefix("timm/"))
    architecture = known.partition(".")[0]
    if not timm.models.is_model_in_modules(architecture, VIT_MODULES):
        theirs = timm.list_models(module="vision_transformer") + timm.list_models(module="eva")
        close = difflib.get_close_matches(name, [*DESCRIBED, *BACKBONES, *theirs], n=4)
        such = ", ".join(close or BACKBONES)
        raise InputError(f"unknown backbone {name!r}; choose a ViT of timm's, such as {such}")
    try:
        facts = timm.models.get_pretrained_cfg(known)
    except RuntimeError:
        tags = ", ".join(timm.list_pretrained(f"{architecture}.*"))
        raise InputError(f"unknown weights {name!r}; {architecture} comes as {tags}") from None
    return f"{facts.architecture}.{facts.tag}" if facts and facts.tag else architecture


def weight_origin(name: str, any_file: bool = True) -> weights.Origin:
    """Where the weights of a ViT (timm's full name) come from.

    any_file: whether $DINOTRACK_WEIGHTS may name a file of any name, as where the user asked for
    this very ViT.
    """
    facts: Any = timm.models.get_pretrained_cfg(name)
    architecture = name.partition(".")[0]
    stems = [alias for alias, full in BACKBONES.items() if full == name]
    label = stems[0] if stems else name
    stems.append(name)
    if full_name(architecture) == name:
        stems.append(architecture)
    files = [stem + suffix for stem in stems for suffix in (".safetensors", ".pth")]
    official = Path(urlsplit(facts.url or "").path).name
    if official:
        files.append(official)
    hub = []
    if facts.hf_hub_id:
        hub.append((facts.hf_hub_id, facts.hf_hub_filename or "model.safetensors"))
    advice = "or take random weights with ", setting("backbone.pretrained", False)
    return weights.Origin(label, tuple(files), tuple(hub), any_file=any_file, advice=advice)


def load_vit(name: str, path: Path | None, **facts: Any) -> torch.nn.Module:
    """timm's ViT with the weights of a file, in timm's or the official layout.

    Without a file the weights are random but the same every time. facts: arguments for timm's model
    that differ from the name's (embed_dim, depth, ...).

    Raises InputError where the file does not fit, to the last tensor.
    """
    state = state_dicts.read(path) if path else None
    if state is not None:
        # timm copies the tensors, each with all the memory that it shares with others
        state = {name: values.clone() for name, values in state.items()}
    try:
        with ONE_AT_A_TIME, torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            model: Any = timm.create_model(
                name,
                pretrained=state is not None,
                pretrained_cfg_overlay={"state_dict": state},
                dynamic_img_size=False,
                **facts,
            )
    except (RuntimeError, KeyError, AttributeError, TypeError, ValueError) as error:
        if path is None:
            raise
        raise InputError(f"the weights {path} don't fit {name}; give those of that ViT") from error
    problem = state_dicts.wrong_types(model, state or {})
    if problem:
        raise InputError(f"the weights {path} don't fit {name}: {problem}; fetch the file again")
    model.pretrained_cfg.pop("state_dict", None)
    return cast(torch.nn.Module, model)
