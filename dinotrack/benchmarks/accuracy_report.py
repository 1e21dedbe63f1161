"""Accuracy reports as Markdown."""

from collections.abc import Callable, Sequence

from dinotrack.benchmarks import report
from dinotrack.benchmarks.report import SHARES
from dinotrack.benchmarks.summary import PEAKS, AccuracyReport, Mean, across_seeds

COSTS = {"seconds": "seconds", "peak_mb": "MB", "gpu_mb": "GPU MB"}
"""Cost -> its name in tables."""

LEGEND = """\
Percent, but for costs. AJ, delta and OA are TAP-Vid's average Jaccard, position accuracy and
visibility accuracy at 256 x 256; recall mean is the mean of the shares of visible and of hidden
frames named rightly; after occlusion is delta of points that had been hidden for 3 frames or more,
pooled over clips; AJ_RD is tapnet's re-detection score, the average Jaccard of points from their
return on. PCK and in 3 px are BADJA's, at 512 x 320. ECE (15 bins of equal mass, lower is better)
and AUROC judge confidence as the probability of being visible and within 8 px at 256 x 256, pooled
over clips. Seconds are those of a clip, fit and tracking together, or tracking alone where --models
had kept the fit. MB is the most memory that the process had held until then, so what was
measured before counts too; GPU MB is the method's own on one clip. A ± is the standard deviation
over seeds."""


def markdown(measured: AccuracyReport) -> str:
    """Means of every method on every data set, then each method clip by clip."""
    sets = list(dict.fromkeys(mean.dataset for mean in measured.means))
    means = sorted(measured.means, key=lambda mean: sets.index(mean.dataset))
    clips = across_seeds(measured.rows)
    parts = [LEGEND, "## Means", _table(means, MEAN_LABELS)]
    for method in dict.fromkeys(clip.method for clip in clips):
        own = [clip for clip in clips if clip.method == method]
        parts += [f"## {method}", _table(own, CLIP_LABELS)]
    return report.page("Accuracy", parts, measured.runs)


Label = Callable[[Mean], str]

MEAN_LABELS: dict[str, Label] = {
    "data set": lambda mean: mean.dataset,
    "method": lambda mean: mean.method,
    "clips": lambda mean: f"{mean.mean['clips']:.0f}",
    "seeds": lambda mean: str(len(mean.seeds)),
}
CLIP_LABELS: dict[str, Label] = {
    "data set": lambda mean: mean.dataset,
    "clip": lambda mean: mean.clip or "all",
}


def _table(means: Sequence[Mean], labels: dict[str, Label]) -> str:
    """Columns in which no row has a number are left out."""
    columns = {
        key: name
        for key, name in (SHARES | COSTS).items()
        if any(key in mean.mean for mean in means)
    }
    rows = [
        [label(mean) for label in labels.values()] + [_cell(key, mean) for key in columns]
        for mean in means
    ]
    return report.table([*labels, *columns.values()], rows)


def _cell(key: str, mean: Mean) -> str:
    """A number and its spread; shares in percent, memory in whole MB."""
    if key not in mean.mean:
        return "-"
    scale = 100 if key in SHARES else 1
    spread = mean.spread.get(key)
    scaled = None if spread is None else scale * spread
    return report.spread_around(scale * mean.mean[key], scaled, 0 if key in PEAKS else 1)
