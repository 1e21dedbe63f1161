"""Training: what a step draws (`sampling`), sees (`view`) and adds up (`terms`), and the loop that
takes step after step (`loop`).

`fitting` is a whole fit, from its beginning to its end. `muon` is one of the optimizers, and
`graphs` makes steps fast on CUDA. `stored` is a fit as plain values, `checkpoint` has them in a
folder (`older` reads those of before), and `keeping` decides when they are written.
"""

from dinotrack.training.checkpoint import Store
from dinotrack.training.fitting import begin, train
from dinotrack.training.loop import State
from dinotrack.training.sampling import TrainingData
from dinotrack.training.stored import Stored

__all__ = ["State", "Store", "Stored", "TrainingData", "begin", "train"]
