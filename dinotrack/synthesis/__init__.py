"""Clips with exact truth: moving, deforming, occluding textured layers under a moving camera."""

from dinotrack.synthesis.scene import Clip, generate

__all__ = ["Clip", "generate"]
