"""Training: what a step draws (`sampling`), sees (`view`) and adds up (`terms`), and the loop around
it (`loop`).

`muon` is one of the optimizers, `graphs` makes steps on CUDA fast, and `checkpoint` keeps a fit on
disk.
"""
