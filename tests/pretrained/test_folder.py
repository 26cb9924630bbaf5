"""The models that ship: which there are, how large they are, and what is refused."""

from pathlib import Path

import pytest

from trajectory_adacat.checkpoint import read_training
from trajectory_adacat.errors import InputError
from trajectory_adacat.pretrained.folder import find_pretrained, listing, shipped

ROBOTS = ("hopper", "halfcheetah", "walker2d")
MEGABYTES = 1e6


def test_each_robot_has_a_model_trained_on_its_collected_data() -> None:
    names = {f"{robot}-medium-collected" for robot in ROBOTS}
    assert set(shipped()) == names
    for name in names:
        assert read_training(find_pretrained(name).model)["dataset"]["name"] == name


@pytest.mark.parametrize("name", list(shipped()))
def test_a_model_takes_less_than_two_megabytes(name: str) -> None:
    files = [path for path in find_pretrained(name).folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2 * MEGABYTES


def test_the_listing_names_each_model_and_its_card() -> None:
    lines = listing().splitlines()
    assert [line.split()[0] for line in lines] == list(shipped())
    assert [line.split()[-1] for line in lines] == [str(found.card) for found in shipped().values()]
    assert all(Path(line.split()[-1]).exists() for line in lines)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "hopper-medium-colected",
            "no pretrained model 'hopper-medium-colected': did you mean hopper-medium-collected",
        ),
        ("zzz", "known are halfcheetah-medium-collected, hopper-medium-collected, walker2d-medium-collected"),
        ("/nowhere", "no pretrained model '/nowhere'"),
    ],
)
def test_an_unknown_name_is_refused_with_those_that_exist(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_pretrained(name)
