"""The project's own DINO trainer: a small ViT from nothing but pictures the project paints itself.

`python -m dinotrack.pretraining --recipe cpu --out weights/dinotrack_vit.safetensors` retrains it.
"""
