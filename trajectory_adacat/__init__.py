"""Trajectory Transformer with adaptive categorical (AdaCat) outputs: distributions, model and planner."""

__version__ = "0.1.0"
