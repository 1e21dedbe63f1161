"""Comparisons of features that keep little of their results, written in Triton for CUDA.

Each kernel stands beside its plain PyTorch twin, in the file of the operation that both do. The
twin is the oracle of the tests and the path of devices without CUDA. The pipeline reaches kernels
through `dinotrack.correlation` alone, which chooses between a kernel and its twin.

tiles      what the kernels share: Triton itself, tile products, maxima packed for atomics
nearest    the best cell of each vector's map
window     the part of a map around a vector's best cell
cosines    a vector's cosines with the cells of its window, and their gradients
refiner    the two convolutions that turn these cosines into scores
disc       the expectation of the scores' softmax in a disc around the best cell
locate     all of these together: from vectors and maps to positions, with gradients
mutual     pairs of features that are each other's nearest neighbour
contrast   the log-sum-exp of cosines that InfoNCE needs
"""
