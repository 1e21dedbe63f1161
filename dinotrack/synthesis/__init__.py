"""Clips with exact truth: moving, deforming, occluding textured layers under a moving camera."""

from dinotrack.synthesis.clip import Clip, generate

__all__ = ["Clip", "generate"]
