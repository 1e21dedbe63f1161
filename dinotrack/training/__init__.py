"""Training: what a step draws (`sampling`), sees (`view`) and adds up (`terms`), and the loop that
takes step after step (`loop`).

`lessons` are what corrections of a hand teach, and `teaching` is what a step draws from them.
`fitting` is a whole fit, from its beginning to its end. `muon` is one of the optimizers, and
`graphs` makes steps fast on CUDA. `stored` is a fit as plain values, `checkpoint` has them in a
folder (`older` reads those of before), and `keeping` decides when they are written.
"""

from dinotrack.training.checkpoint import Store
from dinotrack.training.fitting import begin, go_on, train
from dinotrack.training.lessons import lesson_of
from dinotrack.training.loop import State
from dinotrack.training.sampling import TrainingData
from dinotrack.training.stored import Stored

__all__ = [
    "Lesson",
    "State",
    "Store",
    "Stored",
    "TrainingData",
    "begin",
    "go_on",
    "lesson_of",
    "train",
]
