"""The stage that refines the features of all frames with the networks that were fitted."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dinotrack.chunks import CNN_FRAMES, CNN_LAYERS_HELD, fitting, in_chunks
from dinotrack.maps import FeatureMaps
from dinotrack.mishaps import astray
from dinotrack.model import Tracker
from dinotrack.progress import Progress, silent
from dinotrack.run import Run


def refined_features(
    tracker: Tracker, frames: UInt8[Tensor, "T 3 H W"], features: FeatureMaps | None, run: Run
) -> FeatureMaps:
    """The stage: refined features of all frames, from which points are tracked.

    The networks are in evaluation mode from then on. Raises InputError where the features are not
    finite.
    """
    tracker.eval()
    with run.stage("refine"):
        maps = refine_video(tracker, frames, features, progress=run.progress)
    if not all(bool(values.isfinite().all()) for values in maps.values):
        raise astray("the refined features", run.config)
    return maps


@torch.no_grad()
def refine_video(
    tracker: Tracker,
    frames: UInt8[Tensor, "T 3 H W"],
    features: FeatureMaps | None,
    dtype: torch.dtype = torch.float16,
    progress: Progress = silent,
) -> FeatureMaps:
    """Refined features of a whole video, in evaluation mode (docs/method.md 4).

    The frames and the frozen features may lie on any device, and the refined ones lie on the
    tracker's. They are kept in half precision, which halves the memory. The tracker's own mode is
    left as it was.
    """
    device = next(tracker.parameters()).device
    size = int(frames.shape[-2]), int(frames.shape[-1])
    grid = tracker.grid(size, None if features is None else features.grid)
    shape = len(frames), tracker.dims, grid.rows, grid.cols
    refined = torch.empty(shape, dtype=dtype, device=device)

    def refine(part: slice) -> Float[Tensor, "B C h w"]:
        some = frames[part].to(device).float() / 255
        frozen = None if features is None else features[part].to(device)
        return tracker.refine(some, frozen).values

    training = tracker.training
    tracker.eval()
    each = CNN_LAYERS_HELD * 4 * max(tracker.config.widths) * size[0] * size[1]
    at_once = fitting(device, each, CNN_FRAMES)
    progress("refine", 0, len(frames))
    for part, values in in_chunks(refine, len(frames), at_once, "frames"):
        refined[part] = values
        progress("refine", part.stop, len(frames))
    tracker.train(training)
    return FeatureMaps(refined, grid)
