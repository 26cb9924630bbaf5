"""Trajectory Transformer with adaptive categorical (AdaCat) outputs: distribution, model, planner."""

__version__ = "0.1.0"
