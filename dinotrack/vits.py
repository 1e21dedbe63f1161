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
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers import pos_embed_sincos
from timm.layers.patch_embed import PatchEmbed
from timm.models import Eva, VisionTransformer
from torch import Tensor

from dinotrack import state_dicts, weights
from dinotrack.backbones import BACKBONES, SHIPPED, FrameBatch
from dinotrack.config import BackboneConfig
from dinotrack.errors import InputError, setting
from dinotrack.geometry import Grid, patch_grid

AUTO = ("dinov2_vitl14", "dinov2_vitb14", "dinov2_vits14")
"""What "auto" chooses from: the best first on CUDA, the lightest first elsewhere."""

VIT_MODULES = ("vision_transformer", "eva", "deit")
"""The files of timm's with ViTs as TimmBackbone takes them."""
FINGERPRINT = 1000
"""Values of a tensor that tell weights apart."""
ONE_AT_A_TIME = threading.Lock()
"""timm draws random weights from torch's default generator, which all threads share."""


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
            _place_rotary(self._rotary, grid, self.patch, self._rotary_span, self._rotary_offset)
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


def resample_positions(
    positions: Float[Tensor, "1 tokens C"], native: tuple[int, int], size: tuple[int, int]
) -> Float[Tensor, "1 resampled C"]:
    """Learned positions of a native grid (rows, columns) at another size (h, w).

    They are resampled bicubically, with half-pixel centres, the scale (n + 0.1) / native on each
    axis, and no antialiasing (`docs/method.md` "Conventions"). The entries of class and register
    tokens, which come first, stay. The native grid itself stays untouched, as in DINO's own code.
    """
    if size == native:
        return positions
    prefix = positions.shape[1] - native[0] * native[1]
    maps = positions[:, prefix:].transpose(1, 2).reshape(1, -1, *native)
    scale: Any = tuple((n + 0.1) / m for n, m in zip(size, native, strict=True))
    maps = F.interpolate(maps, scale_factor=scale, mode="bicubic", align_corners=False)
    assert maps.shape[-2:] == size, (maps.shape, size)
    return torch.cat((positions[:, :prefix], maps.flatten(2).transpose(1, 2)), dim=1)


def _place_rotary(
    rope: Any, grid: Grid, patch: int, span: tuple[int, int] | None, offset: float
) -> None:
    """Set rotary positions to where overlapping patches lie.

    Cell i lies i stride / patch cells of the native grid along. span, offset: timm's
    `ref_feat_shape` and `grid_offset`, as the model was built with. Each kind of timm's counts
    positions in its own way.
    """
    kind: Any = type(rope)
    step = grid.stride / patch
    size = grid.rows, grid.cols
    extent = [1 + (n - 1) * step for n in size]  # in native cells
    if issubclass(kind, pos_embed_sincos.RotaryEmbeddingDinoV3):
        # The cells' centres, in [-1, 1] over the extent.
        axes = [
            (torch.arange(n) * step + 0.5) / e * 2 - 1 for n, e in zip(size, extent, strict=True)
        ]
        coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1)
        rope.pos_embed_cached = torch.cat(rope._get_pos_embed_from_coords(coordinates), dim=-1)
        return
    # So that timm builds the positions anew even where only the stride differs.
    rope.feat_shape = [0, 0]
    if issubclass(kind, pos_embed_sincos.RotaryEmbeddingCat):
        # (index + offset) / n * span
        rope.grid_offset = offset / step
        reference = zip(span or extent, size, extent, strict=True)
        rope.ref_feat_shape = [r * n * step / e for r, n, e in reference]
    rope.update_feat_shape(list(size))
    if issubclass(kind, pos_embed_sincos.RotaryEmbeddingMixed):
        # The index itself.
        rope.t_x = rope.t_x * step
        rope.t_y = rope.t_y * step


def make_vit(
    config: BackboneConfig, device: torch.device, required: bool = False, offline: bool = False
) -> TimmBackbone | None:
    """One of timm's ViTs, as `features.make_backbone` says. Its block lies two thirds deep, unless
    the config says another."""
    name = resolve_name(config, device, required, offline)
    if name is None:
        return None
    path = None
    if config.pretrained:
        origin = weight_origin(name, any_file=config.name != "auto")
        path = weights.obtain(origin, offline)
    model: Any = load_vit(name, path)
    two_thirds = round(len(model.blocks) * 2 / 3) - 1
    return _as_configured(model, config, device, two_thirds)


def make_shipped(config: BackboneConfig, device: torch.device) -> TimmBackbone:
    """The ViT that comes with the project.

    Its pretraining trains the local tokens of the last block, which is therefore the one to use.
    """
    model: Any = load_shipped(config.pretrained)
    return _as_configured(model, config, device, len(model.blocks) - 1)


def _as_configured(
    model: Any, config: BackboneConfig, device: torch.device, default_layer: int
) -> TimmBackbone:
    layer = default_layer if config.layer < 0 else config.layer
    stride = config.stride or model.patch_embed.proj.kernel_size[0]
    return TimmBackbone(model.to(device), layer, stride, config.exact_centres)


def resolve_name(
    config: BackboneConfig, device: torch.device, required: bool = False, offline: bool = False
) -> str | None:
    """timm's full name of the ViT that config.name stands for.

    "auto" is a DINOv2 that is on this machine, or else one that is downloaded. Where none can be
    had, the answer is None with a DinotrackWarning, unless one is `required`.

    Raises InputError for a name that nobody knows, and for what is missing though it must be there.
    """
    if config.name != "auto":
        return full_name(config.name)
    names = [BACKBONES[n] for n in (AUTO if device.type == "cuda" else AUTO[::-1])]
    origins = {name: weight_origin(name, any_file=False) for name in names}
    for name in names:
        if not config.pretrained or weights.find(origins[name]):
            return name
    first = names[0]
    path = weights.obtain_or_warn(origins[first], "using no backbone", required, offline)
    return None if path is None else first


def load_shipped(pretrained: bool = True) -> torch.nn.Module:
    """The ViT in weights/, or one of its make with random weights.

    Raises InputError where the file is missing.
    """
    advice = "or do without it with ", setting("backbone.name", "none")
    origin = weights.Origin(SHIPPED, files=(f"{SHIPPED}.safetensors",), advice=advice)
    path = weights.obtain(origin, offline=True)
    described = "patch_size", "embed_dim", "depth", "num_heads", "img_size", "num_classes"
    facts = state_dicts.facts(path, *described, "architecture", "mean", "std")
    make = {key: facts[key] for key in described}
    model: Any = load_vit(facts["architecture"], path if pretrained else None, **make)
    model.pretrained_cfg.update(mean=tuple(facts["mean"]), std=tuple(facts["std"]))
    return cast(torch.nn.Module, model)


def full_name(name: str) -> str:
    """timm's full name, architecture.tag, for a short, bare or full one.

    Raises InputError for others.
    """
    known = BACKBONES.get(name, name.removeprefix("timm/"))
    architecture = known.partition(".")[0]
    if not timm.models.is_model_in_modules(architecture, VIT_MODULES):
        theirs = timm.list_models(module="vision_transformer") + timm.list_models(module="eva")
        close = difflib.get_close_matches(name, [SHIPPED, *BACKBONES, *theirs], n=4)
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
