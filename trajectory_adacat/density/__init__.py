"""Density estimation, apart from planning."""

from trajectory_adacat.density.estimator import AdaCatDensity

__all__ = ["AdaCatDensity"]
