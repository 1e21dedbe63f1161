"""The project's own DINO trainer: a small ViT from nothing but pictures the project paints itself.

`python -m dinotrack.pretraining` writes weights/dinotrack_vit.safetensors, and
`--backbone dinotrack_vit` takes it.
"""
