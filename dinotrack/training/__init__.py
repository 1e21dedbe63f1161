"""Training: what a step draws (`sampling`), sees (`view`) and adds up (`terms`), and the loop that
takes step after step (`loop`).

`muon` is one of the optimizers, `graphs` makes steps fast on CUDA, and `checkpoint` keeps a fit on
disk.
"""
