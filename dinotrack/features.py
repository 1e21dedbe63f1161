"""A frozen ViT -> feature maps, with overlapping patches (METHOD "Conventions")."""

import difflib
import hashlib
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import timm
import torch
import torch.nn.functional as F
from timm.layers.patch_embed import PatchEmbed
from timm.layers.pos_embed_sincos import (
    RotaryEmbeddingCat,
    RotaryEmbeddingDinoV3,
    RotaryEmbeddingMixed,
)
from timm.models import Eva, VisionTransformer
from torch import Tensor

from dinotrack import weights
from dinotrack.chunks import fitting, in_chunks
from dinotrack.config import BackboneConfig
from dinotrack.errors import DinotrackWarning, InputError
from dinotrack.geometry import Grid, patch_grid
from dinotrack.progress import Progress, silent

BACKBONES: dict[str, str] = {
    "dino_vits16": "vit_small_patch16_224.dino",
    "dino_vits8": "vit_small_patch8_224.dino",
    "dino_vitb16": "vit_base_patch16_224.dino",
    "dino_vitb8": "vit_base_patch8_224.dino",
    "dinov2_vits14": "vit_small_patch14_dinov2.lvd142m",
    "dinov2_vitb14": "vit_base_patch14_dinov2.lvd142m",
    "dinov2_vitl14": "vit_large_patch14_dinov2.lvd142m",
    "dinov2_vitg14": "vit_giant_patch14_dinov2.lvd142m",
    "dinov2_vits14_reg": "vit_small_patch14_reg4_dinov2.lvd142m",
    "dinov2_vitb14_reg": "vit_base_patch14_reg4_dinov2.lvd142m",
    "dinov2_vitl14_reg": "vit_large_patch14_reg4_dinov2.lvd142m",
    "dinov2_vitg14_reg": "vit_giant_patch14_reg4_dinov2.lvd142m",
    "dinov3_vits16": "vit_small_patch16_dinov3.lvd1689m",
    "dinov3_vits16plus": "vit_small_plus_patch16_dinov3.lvd1689m",
    "dinov3_vitb16": "vit_base_patch16_dinov3.lvd1689m",
    "dinov3_vitl16": "vit_large_patch16_dinov3.lvd1689m",
    "mae_vitb16": "vit_base_patch16_224.mae",
    "mae_vitl16": "vit_large_patch16_224.mae",
    "clip_vitb16": "vit_base_patch16_clip_quickgelu_224.openai",
    "clip_vitl14": "vit_large_patch14_clip_quickgelu_224.openai",
    "deit3_vits16": "deit3_small_patch16_224.fb_in22k_ft_in1k",
}
"""Short names of timm's ViTs. Any other name of timm's, with or without tag, works as it is."""

SHIPPED = "dinotrack_vit"
"""The ViT that comes with the project (dinotrack.pretraining). Its file says what it is made of."""

AUTO = ("dinov2_vitl14", "dinov2_vitb14", "dinov2_vits14")
"""What "auto" chooses from: the best first on CUDA, the lightest first elsewhere."""

VIT_MODULES = (
    "vision_transformer",
    "eva",
    "deit",
)  # the files of timm's with ViTs as TimmBackbone takes them
FINGERPRINT = 1000  # values of a tensor
FRAMES_AT_ONCE = 4  # on a CPU
LAYERS_HELD = 16  # values a token and channel that a block's attention and MLP hold
PCA_FRAMES = 16  # frames the principal components are taken from


class Backbone(Protocol):
    """Frames -> feature maps, frozen."""

    patch: int
    dims: int

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    def grid(self, height: int, width: int) -> Grid:
        """The grid of the features of a height x width frame."""
        ...

    def __call__(self, frames: Tensor) -> Tensor:
        """frames: [B, 3, H, W], uint8 or float in [0, 1] -> float features [B, C, h, w] on
        `device`."""
        ...


class TimmBackbone:
    """The tokens a block of a timm ViT puts out, before the final norm; class and register tokens
    dropped.

    Blocks and weights are timm's, the resampling of the positions to the grid of overlapping
    patches is ours.
    layer: counted from 0. stride: px between patch centres. exact_centres: see
    `geometry.patch_grid`.
    identity: a text that tells ViTs apart which give other features.
    Raises InputError for a layer the ViT doesn't have, and for models of timm's that are no plain
    ViT.
    """

    def __init__(
        self, model: torch.nn.Module, layer: int, stride: int, exact_centres: bool = True
    ) -> None:
        vit: Any = model.eval().requires_grad_(False)
        if (
            not isinstance(model, VisionTransformer | Eva)
            or type(vit.patch_embed) is not PatchEmbed
        ):
            raise InputError(
                f"{type(model).__name__} is no plain ViT; choose one of {', '.join(BACKBONES)}"
            )
        if not 0 <= layer < len(vit.blocks):
            raise InputError(
                f"backbone.layer={layer}, but this ViT has blocks 0 to {len(vit.blocks) - 1}"
            )
        if stride < 1:
            raise InputError(
                f"backbone.stride={stride} is no distance in px; use 1 or more, or 0 for the patch size"
            )
        self.model = vit
        self.layer = layer
        self.stride = stride
        self.exact_centres = exact_centres
        self.depth: int = len(vit.blocks)
        self.patch: int = vit.patch_embed.proj.kernel_size[0]
        self.dims: int = vit.embed_dim
        self.identity = f"{fingerprint(model)} block {layer} stride {stride} {'exact' if exact_centres else 'reference'}"
        self._mean = torch.tensor(vit.pretrained_cfg["mean"])[:, None, None]
        self._std = torch.tensor(vit.pretrained_cfg["std"])[:, None, None]
        self._positions: Tensor | None = vit.pos_embed
        self._native: tuple[int, int] = vit.patch_embed.grid_size
        self._rotary: Any = getattr(vit, "rope", None)
        self._rotary_span: Any = getattr(self._rotary, "ref_feat_shape", None)
        self._rotary_offset: float = getattr(self._rotary, "grid_offset", 0.0)
        self._prepared: Grid | None = None
        vit.patch_embed.proj.stride = (stride, stride)
        vit.patch_embed.img_size = None  # frames of any size

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        device: torch.device = self.model.patch_embed.proj.weight.device
        return device

    def grid(self, height: int, width: int) -> Grid:
        """The grid of the features of a height x width frame; a side below the patch counts as one
        patch."""
        return patch_grid(
            max(height, self.patch),
            max(width, self.patch),
            self.patch,
            self.stride,
            self.exact_centres,
        )

    @torch.no_grad()
    def __call__(self, frames: Tensor) -> Tensor:
        """frames: [B, 3, H, W], uint8 or float in [0, 1] -> features [B, C, h, w] on `device`.

        A side below the patch size is lengthened to it, right and bottom, by repeating the border.
        """
        height, width = frames.shape[-2:]
        grid = self.grid(height, width)
        values = frames.to(self.device).float() / (1 if frames.is_floating_point() else 255)
        values = (values - self._mean.to(self.device)) / self._std.to(self.device)
        values = F.pad(
            values,
            (0, max(self.patch - width, 0), 0, max(self.patch - height, 0)),
            mode="replicate",
        )
        self._prepare(grid)
        tokens: Tensor = self.model.forward_intermediates(
            values, indices=[self.layer], stop_early=True, output_fmt="NLC", intermediates_only=True
        )[0]
        return tokens.transpose(1, 2).reshape(len(frames), self.dims, grid.rows, grid.cols)

    def _prepare(self, grid: Grid) -> None:
        """Give the ViT the positions of that grid."""
        if grid == self._prepared:
            return
        self.model.patch_embed.grid_size = (grid.rows, grid.cols)
        if self._positions is not None:
            resampled = resample_positions(self._positions, self._native, (grid.rows, grid.cols))
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


def resample_positions(positions: Tensor, native: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Learned positions [1, prefix + N, C] of a native grid (N = rows x cols) -> [1, prefix + h w,
    C] at size (h, w).

    METHOD "Conventions": bicubic, half-pixel centres, scale (n + 0.1) / native per axis, no
    antialiasing; the entries of class and register tokens stay. The native grid itself stays
    untouched, as in DINO's own code.
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
    """Set rotary positions to where overlapping patches lie: cell i is i stride / patch cells of
    the native grid along.

    span, offset: timm's `ref_feat_shape` and `grid_offset` as the model was built with.
    """
    kind: Any = type(rope)
    step = grid.stride / patch
    size = (grid.rows, grid.cols)
    extent = [1 + (n - 1) * step for n in size]  # in native cells
    if issubclass(kind, RotaryEmbeddingDinoV3):  # cells' centres, [-1, 1] over the extent
        axes = [
            (torch.arange(n) * step + 0.5) / e * 2 - 1 for n, e in zip(size, extent, strict=True)
        ]
        coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 1)
        rope.pos_embed_cached = torch.cat(rope._get_pos_embed_from_coords(coordinates), dim=-1)
        return
    rope.feat_shape = [
        0,
        0,
    ]  # so that timm builds the positions anew even where only the stride differs
    if issubclass(kind, RotaryEmbeddingCat):  # (index + offset) / n * span
        rope.grid_offset = offset / step
        rope.ref_feat_shape = [
            r * n * step / e for r, n, e in zip(span or extent, size, extent, strict=True)
        ]
    rope.update_feat_shape(list(size))
    if issubclass(kind, RotaryEmbeddingMixed):  # index
        rope.t_x, rope.t_y = rope.t_x * step, rope.t_y * step


def make_backbone(
    config: BackboneConfig, device: torch.device, offline: bool = False
) -> TimmBackbone | None:
    """The frozen ViT config asks for, on that device; None for "none", and for "auto" where no
    DINOv2 can be had.

    Random weights (pretrained False) are the same ones every time. offline: nothing is downloaded.
    Raises InputError for unknown names, layers and weights that can't be had.
    """
    name = resolve_backbone_name(config, device, offline)
    if name == "none":
        return None
    if name == SHIPPED:
        model: Any = load_shipped(config.pretrained)
        layer = (
            len(model.blocks) - 1 if config.layer < 0 else config.layer
        )  # its local tokens are trained at the end
    else:
        path = (
            weights.obtain(weight_source(name, config.name != "auto"), offline)
            if config.pretrained
            else None
        )
        model = load_vit(name, path)
        layer = round(len(model.blocks) * 2 / 3) - 1 if config.layer < 0 else config.layer
    stride = config.stride or model.patch_embed.proj.kernel_size[0]
    return TimmBackbone(model.to(device), layer, stride, config.exact_centres)


def resolve_backbone_name(
    config: BackboneConfig, device: torch.device, offline: bool = False
) -> str:
    """What config.name stands for: "none", or timm's full name of a ViT.

    "auto": a DINOv2 on this machine, else one downloaded, else "none" with a DinotrackWarning.
    Raises InputError for a name nobody knows.
    """
    if config.name in ("none", SHIPPED):
        return config.name
    if config.name != "auto":
        return full_name(config.name)
    names = [BACKBONES[n] for n in (AUTO if device.type == "cuda" else AUTO[::-1])]
    sources = {name: weight_source(name, named=False) for name in names}
    found = next((n for n in names if not config.pretrained or weights.find(sources[n])), None)
    if found is not None:
        return found
    try:
        weights.obtain(sources[names[0]], offline)
    except InputError as missing:
        warnings.warn(f"{missing}; using no backbone instead", DinotrackWarning, stacklevel=2)
        return "none"
    return names[0]


def load_shipped(pretrained: bool = True) -> torch.nn.Module:
    """The ViT in weights/, or one of its make with random weights.

    Raises InputError where the file is missing.
    """
    advice = "or do without it with --set backbone.name=none"
    path = weights.obtain(
        weights.Source(SHIPPED, files=(f"{SHIPPED}.safetensors",), advice=advice), offline=True
    )
    facts = weights.facts(path)
    make = {
        key: facts[key]
        for key in ("patch_size", "embed_dim", "depth", "num_heads", "img_size", "num_classes")
    }
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
        choice = [
            SHIPPED,
            *BACKBONES,
            *timm.list_models(module="vision_transformer"),
            *timm.list_models(module="eva"),
        ]
        close = difflib.get_close_matches(name, choice, n=4) or list(BACKBONES)
        raise InputError(
            f"unknown backbone {name!r}; choose a ViT of timm's, such as {', '.join(close)}"
        )
    try:
        facts = timm.models.get_pretrained_cfg(known)
    except RuntimeError:
        tags = ", ".join(timm.list_pretrained(f"{architecture}.*"))
        raise InputError(f"unknown weights {name!r}; {architecture} comes as {tags}") from None
    return f"{facts.architecture}.{facts.tag}" if facts and facts.tag else architecture


def weight_source(name: str, named: bool = True) -> weights.Source:
    """Where the weights of a ViT (timm's full name) come from. named: the user asked for this very
    ViT."""
    facts: Any = timm.models.get_pretrained_cfg(name)
    architecture = name.partition(".")[0]
    aliases = [alias for alias, full in BACKBONES.items() if full == name]
    stems = [*aliases, name, *([architecture] if full_name(architecture) == name else [])]
    official = Path(urlsplit(facts.url or "").path).name
    hub = facts.hf_hub_id
    return weights.Source(
        label=aliases[0] if aliases else name,
        files=(
            *(s + suffix for s in stems for suffix in (".safetensors", ".pth")),
            *([official] if official else []),
        ),
        hub=((hub, facts.hf_hub_filename or "model.safetensors"),) if hub else (),
        any_file=named,
        advice="or take random weights with --set backbone.pretrained=false",
    )


def load_vit(name: str, path: Path | None, **facts: Any) -> torch.nn.Module:
    """timm's ViT with the weights of a file, in timm's or the official layout; random but fixed
    ones without a file.

    facts: arguments for timm's model that differ from the name's (embed_dim, depth, ...).
    Raises InputError where the file doesn't fit, to the last tensor.
    """
    state = weights.read(path) if path else None
    try:
        with torch.random.fork_rng(devices=[]):
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
        detail = " ".join(str(error).split())[:200]
        raise InputError(f"the weights {path} don't fit {name}: {detail}") from error
    model.pretrained_cfg.pop("state_dict", None)
    return cast(torch.nn.Module, model)


def extract_features(
    backbone: Backbone,
    frames: Tensor,
    components: int = 0,
    precision: torch.dtype = torch.float32,
    dtype: torch.dtype = torch.float32,
    progress: Progress = silent,
) -> Tensor:
    """Features of a video, frames uint8 [T, 3, H, W] -> [T, C, h, w] of `dtype`, on the frames'
    device.

    precision: of the computation (autocast where it is not float32).
    components: project onto that many principal components (`principal_components`); 0, or as many
    as there are
    channels: all of them. C is min(components, channels) then.
    """
    basis = None
    if 0 < components < backbone.dims:
        spread = torch.linspace(0, len(frames) - 1, min(PCA_FRAMES, len(frames))).round().long()
        basis = principal_components(
            (maps for _, maps in _features(backbone, frames[spread], precision)), components
        )
    result = None
    for part, maps in _features(backbone, frames, precision):
        if basis is not None:
            maps = torch.einsum("kc,bchw->bkhw", basis, maps)
        if result is None:
            result = torch.empty(len(frames), *maps.shape[1:], dtype=dtype, device=frames.device)
        result[part] = maps.to(frames.device, dtype)
        progress("features", part.stop, len(frames))
    assert result is not None, "a video has at least one frame"
    return result


def _features(
    backbone: Backbone, frames: Tensor, precision: torch.dtype
) -> Iterator[tuple[slice, Tensor]]:
    """Float32 feature maps of a video, some frames after the other, on the backbone's device."""

    def compute(part: slice) -> Tensor:
        with torch.autocast(
            backbone.device.type, dtype=precision, enabled=precision != torch.float32
        ):
            maps = backbone(frames[part])
        return maps.float()

    grid = backbone.grid(frames.shape[-2], frames.shape[-1])
    each = LAYERS_HELD * 4 * grid.rows * grid.cols * backbone.dims
    return in_chunks(compute, len(frames), fitting(backbone.device, each, FRAMES_AT_ONCE), "frames")


def principal_components(maps: Iterable[Tensor], components: int) -> Tensor:
    """The orthonormal directions [components, C] that keep the cosines between tokens of maps [B,
    C, h, w] best.

    They are the top eigenvectors of the second moment of L2-normalised tokens: by Eckart and Young
    no other projection of that rank keeps their inner products closer. Nothing is centred, as
    subtracting a mean changes cosines.
    """
    moment: Tensor | float = 0.0
    for part in maps:
        unit = F.normalize(part.float(), dim=1).transpose(0, 1).flatten(1)
        moment = moment + unit @ unit.T
    assert isinstance(moment, Tensor), "no maps"
    directions: Tensor = torch.linalg.eigh(moment.cpu().double()).eigenvectors  # MPS has no doubles
    return directions[:, -components:].flip(1).T.float().to(moment.device)
