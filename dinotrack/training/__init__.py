"""Training: what a step draws (`sampling`), sees (`view`) and adds up (`terms`), and the loop that
takes step after step (`loop`).

`fitting` is a whole fit, from its beginning to its end. `muon` is one of the optimizers, `graphs`
makes steps fast on CUDA, and `checkpoint` keeps a fit on disk.
"""

from dinotrack.training.checkpoint import Store, Stored
from dinotrack.training.fitting import begin, train
from dinotrack.training.loop import State
from dinotrack.training.sampling import TrainingData

__all__ = ["State", "Store", "Stored", "TrainingData", "begin", "train"]
