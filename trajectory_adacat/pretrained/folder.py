"""Folders of a trained model, its critic if it has one, and their card; those that ship with the package, by name."""

from pathlib import Path
from typing import NamedTuple

from trajectory_adacat.checkpoint import DESCRIPTION
from trajectory_adacat.checks import suggest
from trajectory_adacat.errors import InputError

SHIPPED = Path(__file__).parent
MODEL, CRITIC, RETURNS, CARD = "model", "critic", "returns.json", "CARD.md"


class Pretrained(NamedTuple):
    """A folder that the export command wrote.

    Attributes:
        folder: the folder; its name is the model's.
    """

    folder: Path

    @property
    def name(self) -> str:
        """The name of the model."""
        return self.folder.resolve().name

    @property
    def model(self) -> Path:
        """The folder of the model's checkpoint."""
        return self.folder / MODEL

    @property
    def critic(self) -> Path | None:
        """The folder of the critic's checkpoint; None if there is no critic."""
        folder = self.folder / CRITIC
        return folder if (folder / DESCRIPTION).exists() else None

    @property
    def card(self) -> Path:
        """The file that says where the model comes from and what it returns."""
        return self.folder / CARD


def shipped() -> dict[str, Pretrained]:
    """Return the models that ship with the package, by name."""
    folders = sorted(path.parents[1] for path in SHIPPED.glob(f"*/{MODEL}/{DESCRIPTION}"))
    return {folder.name: Pretrained(folder) for folder in folders}


def find_pretrained(name: str) -> Pretrained:
    """Return the model that ships under a name, or the one in a folder of the user's.

    Raises:
        InputError: if there is neither, naming those that ship.
    """
    known = shipped()
    if name in known:
        return known[name]
    folder = Path(name)
    if (folder / MODEL / DESCRIPTION).exists():
        return Pretrained(folder)
    raise InputError(f"There is no pretrained model {name!r}: {suggest(name, known)}")


def listing() -> str:
    """Return one line for each model that ships: its name, what scores its plans, and the path of its card."""
    known = shipped()
    width = max(map(len, known), default=0)
    return "\n".join(
        f"{name:<{width}}  {'value tokens' if found.critic is None else 'critic':<12}  {found.card}"
        for name, found in known.items()
    )
