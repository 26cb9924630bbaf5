"""Checks of names and values of user input."""

from typing import Any, Literal

import pytest

from trajectory_adacat.checks import check_positive, fits, suggest, type_name
from trajectory_adacat.errors import InputError


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (3, int),
        (3, float),
        (3.5, float),
        (True, bool),
        ("a", str),
        (None, int | None),
        (4, int | None),
        ("uniform", Literal["uniform", "normal"]),
        ([1, 2], list[int]),
        ({"a": [1]}, dict[str, Any]),
    ],
)
def test_values_of_the_type_fit(value: Any, annotation: Any) -> None:
    assert fits(value, annotation)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (True, int),
        (True, float),
        (1, bool),
        (3.0, int),
        ("3", int),
        (None, int),
        (float("nan"), float),
        (float("inf"), float | None),
        ("unifrom", Literal["uniform", "normal"]),
        ([1, "2"], list[int]),
        ({"a": 1}, dict[str, str]),
        ({1: "a"}, dict[str, str]),
    ],
)
def test_values_of_another_type_do_not_fit(value: Any, annotation: Any) -> None:
    assert not fits(value, annotation)


def test_the_closest_name_is_suggested() -> None:
    assert suggest("horizn", ["beam_width", "horizon"]) == "did you mean horizon?"
    assert suggest("zzz", ["a", "b"]) == "known are a, b."


def test_types_are_named_as_in_source_code() -> None:
    kinds = (int, int | None, list[int], Literal["a", "b"], float | Literal["mean"])
    assert [type_name(kind) for kind in kinds] == ["int", "int | None", "list[int]", "a|b", "float | mean"]


class Flags:
    count = 3
    width = 0
    unset: int | None = None
    depth = -2


@pytest.mark.parametrize("name", ["width", "depth"])
def test_flags_below_one_are_refused_by_name(name: str) -> None:
    check_positive(Flags(), "count", "unset")
    with pytest.raises(InputError, match=f"--{name} must be at least 1, got {getattr(Flags, name)}"):
        check_positive(Flags(), "count", name)
