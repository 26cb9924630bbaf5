"""Read the published scores that results are compared with."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PUBLISHED = Path(__file__).with_name("published_scores.json")


@dataclass(frozen=True)
class PublishedScore:
    """A published normalized score (0 to 100) on the official dataset of this name."""

    group: str
    method: str
    dataset: str
    mean: float
    standard_error: float | None
    source: str


def load_published(groups: Iterable[str]) -> list[PublishedScore]:
    """Return the published scores of some groups (``paper``: this method's Table 4, ``peers``), with their sources."""
    data = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    scores = [PublishedScore(**{**entry, "source": data["sources"][entry["source"]]}) for entry in data["scores"]]
    return [score for score in scores if score.group in set(groups)]
