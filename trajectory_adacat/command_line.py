"""Command-line flags from typed attributes and from settings dataclasses; errors and exit codes of commands."""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Self, TypeVar, Union, get_args, get_origin

from tap import Tap, TapIgnore

from trajectory_adacat.checks import optional_inner, suggest, type_name
from trajectory_adacat.configuration import Configuration
from trajectory_adacat.errors import InputError
from trajectory_adacat.extras import name_missing_extra
from trajectory_adacat.settings import Setting, build, settings_of

NEGATIVE_NUMBER = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$", re.IGNORECASE)  # argparse's own takes -1e-3 for a flag
BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}

UNSET: Any = object()  # the value of a flag that the command line does not give

Config = TypeVar("Config")


def run_command(main: Callable[[Sequence[str] | None], object], argv: Sequence[str] | None = None) -> None:
    """Call ``main(argv)``; on an `InputError` print its paragraph to stderr and exit with status 2.

    An interruption by the user exits with status 130, as shells do.
    """
    try:
        with name_missing_extra():
            main(argv)
    except InputError as error:
        print("error: " + " ".join(str(error).splitlines()), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def read_boolean(text: str) -> bool:
    """Read a flag's boolean."""
    if text.lower() not in BOOLEANS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a boolean: write true or false.")
    return BOOLEANS[text.lower()]


def reader(annotation: Any) -> Callable[[str], Any]:
    """Return the function that reads a flag's text as a value of the type."""
    if get_origin(annotation) in (Union, UnionType):
        return _read_any_of(annotation)
    if annotation is bool:
        return read_boolean
    if get_origin(annotation) is not Literal:
        return annotation
    choices = {str(choice): choice for choice in get_args(annotation)}

    def read_choice(text: str) -> Any:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"there is no {text!r}: {suggest(text, choices)}")
        return choices[text]

    return read_choice


def _read_any_of(annotation: Any) -> Callable[[str], Any]:
    members = [member for member in get_args(annotation) if member is not type(None)]
    *others, last = sorted(members, key=lambda member: get_origin(member) is not Literal)

    def read(text: str) -> Any:
        if optional_inner(annotation) is not None and text.lower() == "none":
            return None
        if any(text in get_args(literal) for literal in others):
            return text
        return reader(last)(text)

    read.__name__ = getattr(last, "__name__", str(last))  # argparse names it in "invalid ... value"
    return read


def _metavar(annotation: Any) -> str:
    if annotation is bool:
        return "true|false"
    is_choice = get_origin(annotation) is Literal
    return type_name(annotation) if is_choice else type_name(annotation).replace(" ", "").upper()


class CommandParser(Tap):
    """Flags from typed attributes and from dataclasses; the comment beside each is its help text, and is required.

    Flags are never abbreviated. A boolean is set by ``--flag``, ``--flag true`` or ``--flag false``, whatever its
    default; a flag that may be None takes ``none``.
    """

    configs: TapIgnore[tuple[type, ...]] = ()  # dataclasses whose settings are flags too; see `settings_of`

    def __init__(self, **kwargs: Any) -> None:
        self._settings: dict[str, Setting] = {}
        for config in self.configs:
            self._settings |= settings_of(config)
        super().__init__(allow_abbrev=False, **kwargs)
        self._negative_number_matcher = NEGATIVE_NUMBER

    def configure(self) -> None:
        """Add the flags of the dataclasses."""
        for name, setting in self._settings.items():
            self.add_argument(f"--{name}", default=None if setting.default is MISSING else setting.default)

    def _add_argument(self, *name_or_flags: str, **kwargs: Any) -> None:
        name = name_or_flags[-1].lstrip("-")
        if name != "help":
            annotation = self._annotation(name)
            inner = optional_inner(annotation) or annotation
            kwargs.setdefault("help", self._help_text(name, annotation, kwargs.get("default")))
            if get_origin(inner) not in (list, tuple):  # the parser's own rules will do
                kwargs |= {"type": reader(annotation), "metavar": _metavar(inner)}
            if inner is bool:
                kwargs |= {"nargs": "?", "const": True}
            if name in self._settings:
                kwargs["required"] = False
        super()._add_argument(*name_or_flags, **kwargs)

    def _annotation(self, name: str) -> Any:
        return self._settings[name].annotation if name in self._settings else self._annotations.get(name)

    def _help_text(self, name: str, annotation: Any, default: Any) -> str:
        own = self.class_variables.get(name, {}).get("comment", "")
        comment = self._settings[name].help if name in self._settings else own
        if not comment:
            raise TypeError(f"{type(self).__name__}.{name} needs a comment beside it: it is the flag's help text.")
        default = getattr(self, name, default)
        has_default = hasattr(self, name) or (name in self._settings and self._settings[name].default is not MISSING)
        shown = f", default {default}" if has_default else ""
        return f"{comment} ({type_name(annotation)}{shown})".replace("%", "%%")

    @property
    def flags(self) -> dict[str, Any]:
        """The type of each flag and positional argument, by name."""
        return {action.dest: self._annotation(action.dest) for action in self._actions if action.dest != "help"}

    def parse(self, argv: Sequence[str] | None = None) -> Self:
        """Read ``argv`` (default: ``sys.argv[1:]``) into the attributes.

        Raises:
            InputError: for an unknown flag, naming the nearest one, a value of the wrong type, or a missing flag.
        """
        argv = sys.argv[1:] if argv is None else list(argv)
        self._refuse_unknown(argv)
        return self.parse_args(argv)

    def _refuse_unknown(self, argv: Sequence[str]) -> None:
        # Before argparse looks, which would first miss the required flag that a mistyped one was meant to be.
        for token in argv:
            name = token.split("=", 1)[0]
            if re.match(r"--?[A-Za-z_]", name) and name not in self._option_string_actions:
                known = [flag for flag in self._option_string_actions if flag.startswith("--")]
                raise InputError(f"There is no flag {name}: {suggest(name, known)} All flags: {self.prog} --help")

    def error(self, message: str) -> Any:
        """Raise what argparse found wrong as an `InputError`."""
        raise InputError(f"{message.removeprefix('argument ')} (all flags: {self.prog} --help)")

    def arguments(self) -> dict[str, Any]:
        """Return the resolved value of every flag, by name."""
        return {name: getattr(self, name) for name in self.flags}

    def save_arguments(self, path: Path) -> None:
        """Write the resolved value of every flag to ``path`` as JSON."""
        path.write_text(json.dumps(self.arguments(), indent=2, default=str) + "\n", encoding="utf-8")


def dataset_folder(dataset: str) -> str:
    """Return a dataset's name as one folder name: a file's stem, without characters that are special in paths."""
    name = Path(dataset).stem if Path(dataset).suffix in (".hdf5", ".h5") else dataset
    return re.sub(r"[^\w.-]+", "-", name)


class OfflineParser(CommandParser):
    """The flags of every command that works on an offline dataset, with values from a configuration file."""

    section: TapIgnore[str]  # the configuration's section, set by each subclass
    parameterizations: TapIgnore[tuple[str, ...]] = ()  # those that may have a section of their own

    dataset: str  # dataset name, such as hopper-medium-v2 or hopper-medium-collected
    config: str = "config.offline"  # configuration: a module or the path of a .py file
    preset: str | None = None  # named settings of the configuration; by default it chooses by dataset
    logbase: str = "logs"  # folder under which everything is written, as <logbase>/<dataset>/<exp_name>
    exp_name: str = "experiment"  # experiment name; {flag} stands for another flag's value
    suffix: str = ""  # further folder below the experiment's
    device: str = "cpu"  # torch device
    verbose: bool = True  # print progress

    def parse(self, argv: Sequence[str] | None = None) -> Self:
        """Read ``argv`` over the configuration's values.

        A command that learns the parameterization from a checkpoint calls `use_parameterization` afterwards.

        Raises:
            InputError: for a bad flag or value, as in `CommandParser.parse`, or a bad configuration.
        """
        defaults = {name: self.get_default(name) for name in self.flags}
        self.set_defaults(**dict.fromkeys(defaults, UNSET))
        super().parse(argv)
        self._defaults = defaults
        self.given = {name: value for name, value in self.arguments().items() if value is not UNSET}
        configuration = Configuration(self.given.get("config", defaults["config"]))
        configuration.check(self.section, self.flags, self.parameterizations)
        preset = self.given.get("preset") or configuration.preset_for(self.dataset)
        self._source, self._configuration = (self.section, preset, self.dataset), configuration
        self.use_parameterization(None)
        self.use_parameterization(getattr(self, "parameterization", None))
        return self

    def use_parameterization(self, parameterization: str | None) -> None:
        """Set every flag to its value for a parameterization: its own sections of the configuration count."""
        chosen = self._configuration.values(*self._source, parameterization)
        values = self._defaults | chosen | self.given | {"preset": self._source[1]}
        for name, value in values.items():
            setattr(self, name, value)
        try:
            self.exp_name = self.exp_name.format_map(values)
        except (KeyError, ValueError, IndexError) as error:
            raise InputError(f"--exp_name {self.exp_name} refers to a flag that does not exist: {error}") from None

    def settings(self, kind: type[Config], **others: Any) -> Config:
        """Build a settings dataclass from the flags, with ``others`` in place of theirs.

        Raises:
            InputError: for a value out of range, or a flag on the command line that has no effect with the others.
        """
        return build(kind, {**self.arguments(), **others}, self.given)

    @property
    def savepath(self) -> Path:
        """``<logbase>/<dataset>/<exp_name>[/<suffix>]``."""
        return Path(self.logbase, dataset_folder(self.dataset), self.exp_name, self.suffix)
