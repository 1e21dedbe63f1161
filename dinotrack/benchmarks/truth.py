"""Clips with truth: what is known about a video's points or joints, and how predictions are judged.

Letters: N points, T frames that the truth knows, S >= T frames of the video, M observations.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from dinotrack import metrics
from dinotrack.certainty import Certainty
from dinotrack.metrics import Annotation, Joints, Mode, Scores

NEAR = 8.0
"""Px at 256 x 256: how near to the truth confidence promises to be."""


@dataclass(frozen=True)
class PointTruth:
    """Where points are and when they are occluded, as TAP-Vid annotates and our generator knows."""

    dataset: str
    """Means are taken over each data set."""
    points: Annotation
    """In px of the video."""
    size: tuple[int, int]
    """(H, W) of the video."""

    @property
    def queries(self) -> Float[np.ndarray, "N 3"]:
        """(t, x, y)."""
        return self.points.queries

    @property
    def frames(self) -> int:
        """T. Later frames of the video are not judged."""
        return int(self.points.visible.shape[1])

    def some(self, rows: Int[np.ndarray, " K"]) -> "PointTruth":
        """The truth about some of the points."""
        known = self.points
        part = Annotation(known.queries[rows], known.xy[rows], known.visible[rows], known.mode)
        return PointTruth(self.dataset, part, self.size)

    def distance(self, xy: Float[np.ndarray, "N S 2"]) -> Float[np.ndarray, "N T"]:
        """How far off predictions are in the T frames, in px at 256 x 256."""
        off = np.subtract(xy[:, : self.frames], self.points.xy, dtype=float)
        scaled = metrics.scale_to_256(off, self.size)
        return np.asarray(np.linalg.norm(scaled, axis=-1))

    def score(self, xy: Float[np.ndarray, "N S 2"], visible: Bool[np.ndarray, "N S"]) -> Scores:
        """TAP-Vid's metrics, and ours beside them, of predictions."""
        part = np.s_[:, : self.frames]
        return metrics.track_metrics(self.points, xy[part], visible[part], self.size)

    def certainty(
        self, xy: Float[np.ndarray, "N S 2"], confidence: Float[np.ndarray, "N S"]
    ) -> Certainty:
        """Confidence in the judged observations, and whether the point was visible and near."""
        judged = self.points.judged
        correct = self.points.visible & (self.distance(xy) < NEAR)
        return Certainty(confidence[:, : self.frames][judged], correct[judged])


@dataclass(frozen=True)
class JointTruth:
    """Where an animal's joints are, as BADJA marks them, which says nothing of occluded ones."""

    dataset: str
    queries: Float[np.ndarray, "N 3"]
    """(t, x, y): all joints of the first frame that was marked."""
    joints: Joints
    """In px of the video."""
    size: tuple[int, int]
    """(H, W) of the video."""

    @property
    def frames(self) -> int:
        """T. Later frames of the video are not judged."""
        return int(self.joints.visible.shape[1])

    def score(self, xy: Float[np.ndarray, "N S 2"], visible: Bool[np.ndarray, "N S"]) -> Scores:
        """BADJA's metrics of predictions, whose visibility does not matter."""
        return metrics.badja_metrics(self.joints, xy[:, : self.frames], self.size)

    def certainty(
        self, xy: Float[np.ndarray, "N S 2"], confidence: Float[np.ndarray, "N S"]
    ) -> Certainty:
        """Nothing, as nobody knows which joints are occluded."""
        return Certainty(np.zeros(0), np.zeros(0, bool))


Truth = PointTruth | JointTruth


@dataclass(frozen=True)
class AnnotatedClip:
    """A video and what is known about it."""

    name: str
    video: Path | UInt8[np.ndarray, "S H W 3"]
    truths: tuple[Truth, ...]

    @property
    def point_truths(self) -> list[PointTruth]:
        """The truths that say when points are occluded."""
        return [truth for truth in self.truths if isinstance(truth, PointTruth)]


def read_truth(dataset: str, path: Path) -> Truth:
    """The truth in an .npz file of the data folder.

    All files hold query [N, 3], visible [N, T] and size (H, W). TAP-Vid's and the generator's hold
    tracks [N, T, 2], and "strided" as mode where frames are asked so. BADJA's hold keypoints
    [N, T, 2], the annotated frames, and the area of the animal in each frame.
    """
    with np.load(path) as file:
        arrays = dict(file)
    height, width = arrays["size"].tolist()
    if "keypoints" in arrays:
        joints = Joints(
            arrays["keypoints"],
            arrays["visible"],
            arrays["area"].astype(float),
            int(arrays["annotated"][0]),
        )
        return JointTruth(dataset, arrays["query"], joints, (height, width))
    mode: Mode = "strided" if str(arrays.get("mode", "")) == "strided" else "first"
    points = Annotation(arrays["query"], arrays["tracks"], arrays["visible"], mode)
    return PointTruth(dataset, points, (height, width))
