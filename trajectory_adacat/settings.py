"""Settings as nested frozen dataclasses: the only place of a default, a type, the choices and a help text.

Each field is one line, with its help text as the comment beside it::

    @dataclass(frozen=True, kw_only=True)
    class LossConfig:
        action_weight: float = 5.0  # weight of the action's dimensions in the loss

A field may hold another such dataclass, or one of several (`variant`). Flags and configuration files name all settings
in one flat list: `settings_of` lists them, `build` reads values, `to_flat` returns them. Checkpoints and results nest
them: `to_nested`, `from_nested`. Both leave out settings that have no effect.
"""

import dataclasses
import functools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from trajectory_adacat.checks import fits, suggest, type_name
from trajectory_adacat.errors import InputError

Config = TypeVar("Config")
NAME = "name"  # the key of a variant's name in nested settings


@dataclass(frozen=True)
class Setting:
    """A field as a flag shows it. The default is `dataclasses.MISSING` if the command sets the value."""

    name: str
    annotation: Any
    default: Any
    help: str


def variant(flag: str, variants: Mapping[str, type], default: str) -> Any:
    """Declare a field that holds one of several dataclasses, chosen by ``--flag <name>``."""
    return dataclasses.field(default=variants[default](), metadata={"flag": flag, "variants": variants})


def check_choices(config: Any) -> None:
    """Check the fields of a ``Literal`` type; call it in ``__post_init__``.

    Raises:
        InputError: if a value is not one of the choices.
    """
    for name, annotation in get_type_hints(type(config)).items():
        if get_origin(annotation) is Literal and getattr(config, name) not in get_args(annotation):
            choices = ", ".join(map(str, get_args(annotation)))
            raise InputError(f"{name} must be one of {choices}, got {getattr(config, name)!r}.")


def settings_of(kind: type) -> dict[str, Setting]:
    """Return the settings of a dataclass and of all dataclasses in it, by name."""
    found: dict[str, Setting] = {}
    help_texts = _help_texts(kind)
    for field, annotation in _fields(kind):
        help_text = help_texts.get(field.name, "")
        if _variants(field):
            names = tuple(_variants(field))
            default = _name_of(field, field.default)
            found[_flag(field)] = Setting(_flag(field), Literal[names], default, help_text)
            for inner in _variants(field).values():
                found |= settings_of(inner)
        elif dataclasses.is_dataclass(annotation):
            found |= settings_of(annotation)  # type: ignore[arg-type]
        else:
            found[field.name] = Setting(field.name, annotation, field.default, help_text)
    return found


def build(kind: type[Config], values: Mapping[str, Any], given: Collection[str] = ()) -> Config:
    """Build a dataclass from flat ``values``; settings without a value take their defaults.

    Args:
        kind: the dataclass.
        values: values by name. Those of other variants than the chosen ones are ignored.
        given: names of the flags on the command line. Each must have an effect.

    Raises:
        InputError: if a value is out of range, or a given setting has no effect.
    """
    arguments: dict[str, Any] = {}
    for field, annotation in _fields(kind):
        if _variants(field):
            chosen = values.get(_flag(field), _name_of(field, field.default))
            arguments[field.name] = build(_chosen_kind(field, chosen), values, given)
            _refuse_other_variants(field, chosen, given)
        elif dataclasses.is_dataclass(annotation):
            arguments[field.name] = build(annotation, values, given)  # type: ignore[arg-type]
        elif field.name in values:
            arguments[field.name] = values[field.name]
    config = kind(**arguments)
    for name, reason in _without_effect(config).items():
        if name in given:
            raise InputError(f"--{name} has no effect with {reason}: leave it out, or change the other setting.")
    return config


def to_nested(config: Any) -> dict[str, Any]:
    """Return the settings that have an effect as nested JSON values; a variant has a key "name"."""
    nested: dict[str, Any] = {}
    idle = _without_effect(config)
    for field in dataclasses.fields(config):
        if field.name in idle:
            continue
        value = getattr(config, field.name)
        name = {NAME: _name_of(field, value)} if _variants(field) else {}
        nested[field.name] = {**name, **to_nested(value)} if dataclasses.is_dataclass(value) else value
    return nested


def from_nested(kind: type[Config], nested: Any) -> Config:
    """Rebuild the dataclass from what `to_nested` returned.

    Raises:
        InputError: if a key is unknown or missing, a variant is unknown, or a value has the wrong type.
    """
    _check_keys(kind, nested)
    arguments = {
        field.name: _read(field, annotation, nested[field.name])
        for field, annotation in _fields(kind)
        if field.name in nested
    }
    return kind(**arguments)


def to_flat(config: Any) -> dict[str, Any]:
    """Return the settings that have an effect, by the names of their flags, as `build` takes them."""
    flat: dict[str, Any] = {}
    idle = _without_effect(config)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if _variants(field):
            flat[_flag(field)] = _name_of(field, value)
        if dataclasses.is_dataclass(value):
            flat |= to_flat(value)
        elif field.name not in idle:
            flat[field.name] = value
    return flat


def _fields(kind: type) -> Iterator[tuple[Field, Any]]:
    """Yield each field of a dataclass with its type."""
    annotations = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        yield field, annotations[field.name]


@functools.cache
def _help_texts(kind: type) -> dict[str, str]:
    """Return the comments beside the fields, including those of base classes."""
    from tap.utils import get_class_variables  # only parsers need it

    bases = [base for base in reversed(kind.__mro__) if dataclasses.is_dataclass(base)]
    return {name: found["comment"] for base in bases for name, found in get_class_variables(base).items()}


def _variants(field: Field) -> Mapping[str, type]:
    return field.metadata.get("variants", {})


def _flag(field: Field) -> str:
    return field.metadata["flag"]


def _name_of(field: Field, config: Any) -> str:
    return next(name for name, kind in _variants(field).items() if kind is type(config))


def _without_effect(config: Any) -> dict[str, str]:
    """Return the settings that have no effect, each with the flag that is the reason."""
    return config.without_effect() if hasattr(config, "without_effect") else {}


def _chosen_kind(field: Field, name: Any) -> type:
    if name not in list(_variants(field)):
        raise InputError(f"{_flag(field)} must be one of {', '.join(_variants(field))}, got {name!r}.")
    return _variants(field)[name]


def _refuse_other_variants(field: Field, chosen: str, given: Collection[str]) -> None:
    for setting in given:
        owners = [name for name, kind in _variants(field).items() if setting in settings_of(kind)]
        if owners and chosen not in owners:
            flag = _flag(field)
            raise InputError(f"--{setting} has no effect with --{flag} {chosen}: it belongs to {' and '.join(owners)}.")


def _check_keys(kind: type, nested: Any) -> None:
    if not isinstance(nested, Mapping):
        raise InputError(f"The settings of {kind.__name__} are {nested!r}, not a dictionary.")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in nested:
        if name not in fields:
            raise InputError(f"{kind.__name__} has no setting {name!r}: {suggest(name, fields)}")
    for name, field in fields.items():
        if name not in nested and field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"The settings of {kind.__name__} lack {name!r}.")


def _read(field: Field, annotation: Any, value: Any) -> Any:
    """Return a field's value from its nested form."""
    if _variants(field):
        if not isinstance(value, Mapping) or NAME not in value:
            raise InputError(f"{field.name} is {value!r}, not a dictionary with a {NAME!r}.")
        rest = {key: inner for key, inner in value.items() if key != NAME}
        return from_nested(_chosen_kind(field, value[NAME]), rest)
    if dataclasses.is_dataclass(annotation):
        return from_nested(annotation, value)  # type: ignore[arg-type]
    if not fits(value, annotation):
        raise InputError(f"{field.name} is {value!r}, which is not of type {type_name(annotation)}.")
    return value
