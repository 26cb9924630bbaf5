"""Checks of input: command lines, configurations, result files."""

import difflib
import math
import os
from collections.abc import Iterable
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from trajectory_adacat.errors import InputError

BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a clause that suggests the closest of ``known``, or lists all of them if none is close."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}."


def check_positive(arguments: object, *names: str) -> None:
    """Check that attributes of ``arguments`` are None or at least 1.

    Raises:
        InputError: with the flag's name.
    """
    for name in names:
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} must be at least 1, got {value}.")


def optional_inner(annotation: Any) -> Any | None:
    """Return ``T`` if the annotation is ``T | None``, else None."""
    if get_origin(annotation) not in (Union, UnionType):
        return None
    inner = [argument for argument in get_args(annotation) if argument is not NoneType]
    return inner[0] if len(inner) == 1 and NoneType in get_args(annotation) else None


def fits(value: Any, annotation: Any) -> bool:
    """Return whether ``value`` has the type ``annotation``.

    An int fits a float, a bool fits only a bool, and a float must be finite.
    """
    origin = get_origin(annotation)
    if annotation is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, argument) for argument in get_args(annotation))
    if origin is Literal:
        return value in get_args(annotation)
    if origin is list:
        return isinstance(value, list) and all(fits(item, get_args(annotation)[0]) for item in value)
    if origin is dict:
        key_type, value_type = get_args(annotation)
        return isinstance(value, dict) and all(fits(k, key_type) and fits(v, value_type) for k, v in value.items())
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, str) if annotation is Path else isinstance(value, annotation)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float
        return False


def type_name(annotation: Any) -> str:
    """Return a type as help texts and errors show it, such as ``int | None`` or ``adamw|muon``."""
    if get_origin(annotation) is Literal:
        return "|".join(map(str, get_args(annotation)))
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(type_name(argument) for argument in get_args(annotation))
    if annotation is NoneType:
        return "None"
    is_plain = isinstance(annotation, type) and get_origin(annotation) is None
    return annotation.__name__ if is_plain else str(annotation).replace("typing.", "")


def check_can_create(folder: Path, flag: str) -> None:
    """Check that a folder exists and can be written, or can be created; change nothing.

    Raises:
        InputError: with the flag's name.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
    if not existing.is_dir():
        raise InputError(f"{existing} is a file, and {folder} is to be a folder: choose another {flag}.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"{existing} cannot be written for lack of permission: choose another {flag}.")
