"""Offline datasets as lists of episodes."""

from trajectory_adacat.datasets.episodes import Episode
from trajectory_adacat.datasets.sources import Dataset, load_dataset, load_episodes

__all__ = ["Dataset", "Episode", "load_dataset", "load_episodes"]
