"""Refining a video is refining its frames, whatever else the tracker was doing."""

from dataclasses import replace

import pytest
import torch

from dinotrack.config import PAPER
from dinotrack.geometry import patch_grid
from dinotrack.maps import FeatureMaps
from dinotrack.model import Tracker
from dinotrack.refinement import refine_video


@pytest.mark.parametrize("dims", [6, None], ids=["vit", "cnn"])
def test_refining_a_video_is_refining_its_frames(dims: int | None) -> None:
    tracker = Tracker(replace(PAPER.model, widths=(4, 8), dims=5), dims)
    torch.nn.init.normal_(tracker.delta_dino.layers[-2].weight)
    frames = torch.randint(0, 256, (6, 3, 40, 52), dtype=torch.uint8)
    features = None
    if dims is not None:
        grid = patch_grid(40, 52, 14, 7)
        features = FeatureMaps(torch.randn(6, dims, grid.rows, grid.cols), grid)
    tracker.train()
    calls = []
    maps = refine_video(
        tracker, frames, features, torch.float32, progress=lambda *call: calls.append(call)
    )
    assert tracker.training
    assert calls == [("refine", done, 6) for done in (0, 4, 6)]
    assert maps.grid == tracker.grid((40, 52), None if features is None else features.grid)
    tracker.eval()
    for t in range(6):
        raw = None if features is None else features[t : t + 1]
        with torch.no_grad():
            expected = tracker.refine(frames[t : t + 1] / 255, raw).values[0]
        torch.testing.assert_close(maps.values[t], expected, atol=1e-5, rtol=1e-5)
    half = refine_video(tracker, frames, features)
    assert half.values.dtype == torch.float16
    assert not tracker.training
