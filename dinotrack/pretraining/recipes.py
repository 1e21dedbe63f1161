"""Every number of the pretraining, each with its meaning, and two named recipes."""

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class PretrainConfig:
    """A pretraining from nothing. Lengths are in px of the pictures that the ViT sees."""

    # the ViT
    patch: int = 8
    dim: int = 192
    depth: int = 6
    heads: int = 3
    native: int = 224  # side of the picture its own grid of positions belongs to

    # pictures
    materials: int = 160  # painted things that are kept at once
    worlds: int = 48  # painted backgrounds that are kept at once
    world_side: int = 512
    refresh: int = 300  # steps after which each of them has been painted anew
    thing_radius: tuple[float, float] = (9.0, 90.0)
    layers: int = 6  # at most that many things move before the background

    # views
    # (side, pictures) of a step; steps take turns
    shapes: tuple[tuple[int, int], ...] = ((96, 6), (96, 6), (144, 3), (192, 2))
    local_side: int = 48
    locals: int = 2  # small crops of each picture
    points: int = 96  # known correspondences of each picture
    zoom: tuple[float, float] = (0.6, 1.6)  # of a camera
    zoom_change: float = 0.25  # deviation of the log of the zoom between the two views
    turn: float = 0.35  # deviation of the angle between the two views, radians
    shift: float = 0.12  # deviation of the camera's motion, as a share of the side
    photometric: float = 0.7  # strength of all changes of light and colour
    # cells of the native grid that the positions of a view span
    window: tuple[float, float] = (3.0, 28.0)
    masked_pictures: float = 0.5  # share of the views of which cells are masked
    masked_cells: tuple[float, float] = (0.1, 0.4)  # share of the cells that are masked there
    ease: float = 0.3  # at first, all changes between the views have this share of their strength
    eased: float = 0.4  # share of the run over which they grow to their full strength

    # heads and losses
    prototypes: int = 512
    hidden: int = 256
    bottleneck: int = 64
    student_temperature: float = 0.1
    teacher_temperature: float = 0.05
    dense_temperature: float = 0.07
    dino_weight: float = 0.05
    ibot_weight: float = 0.1
    dense_weight: float = 1.0

    # optimisation
    steps: int = 3000
    rate: float = 1e-3  # at the peak
    final_rate: float = 1e-5
    warmup: float = 0.03  # share of the run over which the rate rises
    weight_decay: float = 0.04
    clip: float = 1.0  # norm of the gradient
    momentum: float = 0.99  # of the teacher at first; grows along a cosine to
    final_momentum: float = 0.999
    workers: int = 0  # processes that paint; 0: the training process itself

    def at(self, step: int) -> "PretrainConfig":
        """The numbers of a step.

        A run begins with mild changes between the views, as strong ones teach a new ViT nothing for
        long.
        """
        strength = self.ease + (1 - self.ease) * min(step / max(self.eased * self.steps, 1), 1.0)
        names = ("photometric", "turn", "zoom_change", "masked_pictures")
        return self.replace(**{name: strength * getattr(self, name) for name in names})

    def replace(self, **changes: object) -> "PretrainConfig":
        """The same with other numbers."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


RECIPES: dict[str, PretrainConfig] = {
    # about an hour on one or two CPU cores
    "cpu": PretrainConfig(),
    # about half an hour on one data-centre GPU with some ten cores to paint
    "gpu": PretrainConfig(
        dim=256,
        depth=8,
        heads=4,
        materials=400,
        worlds=100,
        shapes=((128, 64), (128, 64), (192, 28), (256, 16)),
        locals=4,
        points=192,
        prototypes=2048,
        hidden=1024,
        bottleneck=128,
        dino_weight=0.2,
        ibot_weight=0.3,
        steps=8000,
        momentum=0.994,
        final_momentum=0.9995,
        workers=10,
    ),
}
