"""Triton kernels that compare features and keep little of the result, each beside its plain PyTorch
twin.

The twin is the oracle and the path of devices without CUDA. Only `dinotrack.correlation` imports
from here.
"""
