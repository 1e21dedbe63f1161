"""Kernels against their plain twins and the obvious PyTorch formulation.

What is reported is agreement, time, memory, and the share of the machine's peak. Times are of the
device: on CUDA the host runs ahead, unless what is timed waits for the device.

operations   what is compared: sizes, features, each operation in three forms
agreement    how far kernels differ from their twins
timing       how long everything takes
part         all of it together, and the goals
"""
