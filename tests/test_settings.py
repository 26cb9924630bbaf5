"""Settings as nested dataclasses: flat names in, nested JSON out, and what has no effect is refused or left out."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pytest
from tap import TapIgnore

from trajectory_adacat.command_line import CommandParser
from trajectory_adacat.errors import InputError
from trajectory_adacat.settings import build, check_choices, from_nested, settings_of, to_flat, to_nested, variant


@dataclass(frozen=True, kw_only=True)
class Round:
    """A shape without corners."""

    radius: float = 1.0  # radius of the circle


@dataclass(frozen=True, kw_only=True)
class Square:
    """A shape with corners."""

    side: float = 2.0  # length of a side
    corners: Literal["sharp", "round"] = "sharp"  # form of the corners
    chamfer: float = 0.1  # width of the chamfer

    def __post_init__(self) -> None:
        check_choices(self)
        if self.side <= 0:
            raise InputError(f"side must be above 0, got {self.side}.")

    def without_effect(self) -> dict[str, str]:
        """Sharp corners have no chamfer."""
        return {"chamfer": "--corners sharp"} if self.corners == "sharp" else {}


SHAPES = {"round": Round, "square": Square}


@dataclass(frozen=True, kw_only=True)
class Colour:
    """How it looks."""

    red: int = 0  # share of red


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A nested dataclass with a variant."""

    count: int  # number of shapes; by default one for each page
    colour: Colour = field(default_factory=Colour)
    figure: Any = variant("shape", SHAPES, default="round")  # kind of shape
    title: str | None = None  # text above


class Draw(CommandParser):
    """Draw shapes."""

    configs: TapIgnore[tuple[type, ...]] = (Drawing,)

    out: str = "a.png"  # file to write


def test_all_nested_settings_are_found_with_their_help_texts() -> None:
    found = settings_of(Drawing)
    assert list(found) == ["count", "red", "shape", "radius", "side", "corners", "chamfer", "title"]
    assert found["radius"].help == "radius of the circle"
    assert found["shape"].default == "round"
    assert found["chamfer"].default == 0.1


def test_a_setting_becomes_a_flag_with_its_type_default_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    parsed = Draw().parse(["--shape", "square", "--side", "3", "--title", "none", "--red", "7"])
    assert (parsed.arguments()["side"], parsed.arguments()["title"], parsed.arguments()["red"]) == (3.0, None, 7)
    assert parsed.arguments()["count"] is None
    with pytest.raises(SystemExit):
        Draw().parse(["--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "length of a side (float, default 2.0)" in printed
    assert "number of shapes; by default one for each page (int)" in printed


def test_flat_values_build_the_nested_dataclass() -> None:
    values = {"shape": "square", "side": 3.0, "radius": 9.0, "red": 5, "count": 2, "stranger": 1}
    assert build(Drawing, values) == Drawing(count=2, colour=Colour(red=5), figure=Square(side=3.0))


def test_nested_values_say_the_variants_name_and_leave_out_what_is_idle() -> None:
    drawing = Drawing(count=2, figure=Square())
    nested = to_nested(drawing)
    assert nested == {
        "count": 2,
        "colour": {"red": 0},
        "figure": {"name": "square", "side": 2.0, "corners": "sharp"},
        "title": None,
    }
    assert from_nested(Drawing, nested) == drawing


def test_flat_values_are_those_that_build_takes() -> None:
    drawing = Drawing(count=2, figure=Square(side=3.0))
    flat = to_flat(drawing)
    assert flat == {"count": 2, "red": 0, "shape": "square", "side": 3.0, "corners": "sharp", "title": None}
    assert build(Drawing, flat) == drawing


def test_settings_that_differ_in_an_idle_value_alone_are_the_same() -> None:
    sharp = Drawing(count=1, figure=Square(chamfer=0.3))
    assert to_nested(sharp) == to_nested(replace(sharp, figure=Square(chamfer=0.4)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shape": "round", "side": 3.0}, "--side has no effect with --shape round: it belongs to square"),
        (
            {"shape": "square", "chamfer": 0.2},
            "--chamfer has no effect with --corners sharp: leave it out, or change the other setting",
        ),
        ({"shape": "oval"}, "shape must be one of round, square, got 'oval'"),
        ({"shape": "square", "side": -1.0}, "side must be above 0"),
        ({"shape": "square", "corners": "blunt"}, "corners must be one of sharp, round, got 'blunt'"),
    ],
)
def test_a_given_value_without_effect_or_out_of_range_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(Drawing, {"count": 1, **values}, given=values)


def test_a_value_without_effect_that_was_not_given_is_ignored() -> None:
    assert build(Drawing, {"count": 1, "side": 3.0}) == Drawing(count=1)


@pytest.mark.parametrize(
    ("nested", "message"),
    [
        ({"count": 1, "size": 2}, "Drawing has no setting 'size'"),
        ({"figure": {"name": "round", "side": 1.0}, "count": 1}, "Round has no setting 'side'"),
        ({}, "settings of Drawing lack 'count'"),
        ([], r"settings of Drawing are \[\], not a dictionary"),
        (None, "settings of Drawing are None, not a dictionary"),
        ({"count": 1, "colour": "red"}, "settings of Colour are 'red', not a dictionary"),
        ({"count": "1"}, "count is '1', which is not of type int"),
        ({"count": True}, "count is True, which is not of type int"),
        ({"count": 1, "title": 3}, r"title is 3, which is not of type str \| None"),
        ({"count": 1, "figure": {}}, r"figure is \{\}, not a dictionary with a 'name'"),
        ({"count": 1, "figure": None}, "figure is None, not a dictionary with a 'name'"),
        ({"count": 1, "figure": {"name": "oval"}}, "shape must be one of round, square, got 'oval'"),
        ({"count": 1, "figure": {"name": ["round"]}}, r"shape must be one of round, square, got \['round'\]"),
    ],
)
def test_damaged_nested_settings_are_refused(nested: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_nested(Drawing, nested)


def test_a_whole_number_is_read_for_a_float() -> None:
    assert from_nested(Drawing, {"count": 1, "figure": {"name": "round", "radius": 2}}).figure == Round(radius=2)
