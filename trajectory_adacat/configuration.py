"""Command-line flags from typed attributes, and their values from a configuration file.

Every command's flags are the attributes of a :class:`CommandParser`. Commands that train or plan on an offline dataset
use an :class:`OfflineParser`, whose values come from, each going before the ones ahead of it:

1. the default beside the attribute,
2. ``BASE`` of the configuration file (``--config``),
3. the preset (``--preset``) of that file,
4. the preset's values for the dataset: first under the name without its ending (``hopper-medium``, for
   ``hopper-medium-v2`` as for ``hopper-medium-collected``), then under the full name,
5. the command line.

In each of 2 to 4 the values of a section such as ``"plan"`` are followed by those of ``"plan:adacat"``, which hold for
that parameterization alone.
"""

import argparse
import dataclasses
import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Self, TypeVar, get_args, get_origin

from tap import Tap, TapIgnore

from trajectory_adacat.checks import fits, optional_inner, suggest, type_name
from trajectory_adacat.errors import InputError

PACKAGE_CONFIG = "trajectory_adacat."  # "config.offline" is this package's, wherever it is installed
SECTIONS = ("train", "plan")
PARAMETERIZATIONS = ("adacat", "uniform", "quantile")
NEGATIVE_NUMBER = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$", re.IGNORECASE)  # argparse's own takes -1e-3 for a flag
BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def run_command(main: Callable[[Sequence[str] | None], object], argv: Sequence[str] | None = None) -> None:
    """Call ``main(argv)``; on an :class:`InputError` print its paragraph to stderr and exit with status 2.

    An interruption by the user exits with status 130, as shells do.
    """
    try:
        main(argv)
    except InputError as error:
        print("error: " + " ".join(str(error).splitlines()), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def to_boolean(text: str) -> bool:
    """Read a flag's boolean."""
    if text.lower() not in BOOLEANS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a boolean: write true or false.")
    return BOOLEANS[text.lower()]


def reader(annotation: Any) -> Callable[[str], Any] | None:
    """The function that reads a flag's text, or None where the parser's own rules for the type will do."""
    inner = optional_inner(annotation)
    if inner is not None:
        read = reader(inner) or inner

        def read_optional(text: str) -> Any:
            return None if text.lower() == "none" else read(text)

        read_optional.__name__ = getattr(inner, "__name__", str(inner))  # argparse names it in "invalid ... value"
        return read_optional
    if annotation is bool:
        return to_boolean
    if get_origin(annotation) is Literal:
        choices = {str(choice): choice for choice in get_args(annotation)}

        def read_choice(text: str) -> Any:
            if text not in choices:
                raise argparse.ArgumentTypeError(f"there is no {text!r}: {suggest(text, choices)}")
            return choices[text]

        return read_choice
    return None


Config = TypeVar("Config")


class CommandParser(Tap):
    """Flags from typed attributes; the comment beside an attribute is its help text, and is required.

    Flags are never abbreviated. A boolean is set by ``--flag``, ``--flag true`` or ``--flag false``, whatever its
    default; a flag that may be None takes ``none``.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, **kwargs)
        self._negative_number_matcher = NEGATIVE_NUMBER

    def _add_argument(self, *name_or_flags: str, **kwargs: Any) -> None:
        name = name_or_flags[-1].lstrip("-")
        annotation = self._annotations.get(name)
        if name != "help":
            kwargs.setdefault("help", self._help_text(name, annotation))
            read = reader(annotation)
            if read is not None:
                kwargs.setdefault("type", read)
                kwargs.setdefault("metavar", self._metavar(annotation))
            if (optional_inner(annotation) or annotation) is bool:
                kwargs |= {"nargs": "?", "const": True}
        super()._add_argument(*name_or_flags, **kwargs)

    def _help_text(self, name: str, annotation: Any) -> str:
        comment = self.class_variables.get(name, {}).get("comment", "")
        if not comment:
            raise TypeError(f"{type(self).__name__}.{name} needs a comment beside it: it is the flag's help text.")
        default = f", default {getattr(self, name)}" if hasattr(self, name) else ""
        return f"{comment} ({type_name(annotation)}{default})".replace("%", "%%")

    @staticmethod
    def _metavar(annotation: Any) -> str:
        inner = optional_inner(annotation) or annotation
        if inner is bool:
            return "true|false"
        return "|".join(map(str, get_args(inner))) if get_origin(inner) is Literal else type_name(inner).upper()

    @property
    def flags(self) -> dict[str, Any]:
        """The type of each flag and positional argument, by name."""
        return {action.dest: self._annotations[action.dest] for action in self._actions if action.dest != "help"}

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
        """Raise what argparse found wrong as an :class:`InputError`."""
        raise InputError(f"{message.removeprefix('argument ')} (all flags: {self.prog} --help)")

    def arguments(self) -> dict[str, Any]:
        """The resolved value of every flag, by name."""
        return {name: getattr(self, name) for name in self.flags}

    def save_arguments(self, path: Path) -> None:
        """Write the resolved value of every flag to ``path`` as JSON."""
        path.write_text(json.dumps(self.arguments(), indent=2, default=str) + "\n", encoding="utf-8")


def pick(kind: type[Config], arguments: CommandParser, **others: Any) -> Config:
    """A dataclass filled with the flags of the same names, and with ``others``."""
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    names &= arguments.flags.keys()
    return kind(**{**{name: getattr(arguments, name) for name in names}, **others})


class Configuration:
    """A configuration file: ``BASE``, ``PRESETS`` and ``DEFAULT_PRESETS`` of a module, read by section.

    Args:
        name: ``config.<name>`` for one of the package's, a dotted module, or the path of a ``.py`` file.

    Raises:
        InputError: if it cannot be loaded or lacks one of the three.
    """

    def __init__(self, name: str) -> None:
        module = load_module(name)
        self.name = str(module.__file__)
        missing = [key for key in ("BASE", "PRESETS", "DEFAULT_PRESETS") if not isinstance(vars(module).get(key), dict)]
        if missing:
            raise InputError(f"The configuration {self.name} has no dictionary {missing[0]}: see config/offline.py.")
        self.base: dict[str, Any] = module.BASE
        self.presets: dict[str, Any] = module.PRESETS
        self.default_presets: dict[str, str] = module.DEFAULT_PRESETS

    def check(self, section: str, flags: Mapping[str, Any]) -> None:
        """Check the names and types of all values of a section, in every preset.

        Raises:
            InputError: naming the file, the place and the key, with the nearest known one.
        """
        for place, layer in self._all_layers():
            for key, values in layer.items():
                self._check_section_name(place, key)
                if key.partition(":")[0] == section:
                    self._check_values(f"{place}[{key!r}]", values, flags)

    def preset_for(self, dataset: str) -> str:
        """The preset of a dataset when none is named: the first pattern that fits in ``DEFAULT_PRESETS``.

        Raises:
            InputError: if no pattern fits.
        """
        for pattern, preset in self.default_presets.items():
            if fnmatchcase(dataset, pattern):
                return preset
        raise InputError(f"DEFAULT_PRESETS in {self.name} has no preset for {dataset!r}: name one with --preset.")

    def values(self, section: str, preset: str, dataset: str, parameterization: str | None) -> dict[str, Any]:
        """The values of a section, later layers over earlier ones.

        Raises:
            InputError: if there is no such preset.
        """
        if preset not in self.presets:
            raise InputError(f"There is no --preset {preset} in {self.name}: {suggest(preset, self.presets)}")
        chosen = self.presets[preset]
        by_dataset = chosen.get("datasets", {})
        stem = re.sub(r"-(v\d+|collected)$", "", dataset)
        merged: dict[str, Any] = {}
        for layer in (self.base, chosen, by_dataset.get(stem, {}), by_dataset.get(dataset, {})):
            merged |= layer.get(section, {}) | layer.get(f"{section}:{parameterization}", {})
        return merged

    def _all_layers(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        yield "BASE", self.base
        for name, preset in self.presets.items():
            yield f"PRESETS[{name!r}]", {key: value for key, value in preset.items() if key != "datasets"}
            for dataset, layer in preset.get("datasets", {}).items():
                yield f"PRESETS[{name!r}]['datasets'][{dataset!r}]", layer

    def _check_section_name(self, place: str, key: str) -> None:
        section, colon, parameterization = key.partition(":")
        if section not in SECTIONS or (colon and parameterization not in PARAMETERIZATIONS):
            known = [*SECTIONS, *(f"{name}:{kind}" for name in SECTIONS for kind in PARAMETERIZATIONS)]
            raise InputError(f"{place} in {self.name} has an unknown section {key!r}: {suggest(key, known)}")

    def _check_values(self, place: str, values: Mapping[str, Any], flags: Mapping[str, Any]) -> None:
        for key, value in values.items():
            if key not in flags:
                raise InputError(f"{place} in {self.name} has an unknown key {key!r}: {suggest(key, flags)}")
            if not fits(value, flags[key]):
                wanted = type_name(flags[key])
                raise InputError(f"{place} in {self.name} has {key!r}: {value!r}, which is not of type {wanted}.")


def load_module(name: str) -> ModuleType:
    """Import a configuration file by name or path.

    Raises:
        InputError: if there is no such module or file, or its code fails.
    """
    try:
        if name.endswith(".py"):
            spec = importlib.util.spec_from_file_location("trajectory_adacat_user_config", name)
            assert spec is not None and spec.loader is not None  # a .py path always has them
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
        return importlib.import_module(PACKAGE_CONFIG + name if name.startswith("config.") else name)
    except (ModuleNotFoundError, FileNotFoundError) as error:
        raise InputError(
            f"--config {name} was not found ({error}): name a module, or a file by its .py path."
        ) from None
    except Exception as error:
        raise InputError(f"--config {name} could not be read: {type(error).__name__}: {error}") from error


def dataset_folder(dataset: str) -> str:
    """A dataset's name as one folder name: a file's stem, and no character that a path could trip over."""
    name = Path(dataset).stem if Path(dataset).suffix in (".hdf5", ".h5") else dataset
    return re.sub(r"[^\w.-]+", "-", name)


class OfflineParser(CommandParser):
    """The flags of every command that works on an offline dataset, with values from a configuration file."""

    section: TapIgnore[str]  # the configuration's section, set by each subclass

    dataset: str  # dataset name, such as hopper-medium-v2 or hopper-medium-collected
    config: str = "config.offline"  # configuration: a module or the path of a .py file
    preset: str | None = None  # named settings of the configuration; by default it chooses by dataset
    logbase: str = "logs"  # folder under which everything is written, as <logbase>/<dataset>/<exp_name>
    exp_name: str = "experiment"  # experiment name; {flag} stands for another flag's value
    suffix: str = ""  # further folder below the experiment's
    seed: int = 0  # random seed
    device: str = "cpu"  # torch device
    verbose: bool = True  # print progress

    def parse(self, argv: Sequence[str] | None = None, parameterization: str | None = None) -> Self:
        """Read ``argv`` over the configuration's values.

        Args:
            argv: default ``sys.argv[1:]``.
            parameterization: the one whose own sections of the configuration hold; by default that of the
                ``--parameterization`` flag, where the command has one. A command that learns it from a checkpoint
                parses once to find the checkpoint, and once more with it, with a new parser.

        Raises:
            InputError: for a bad flag or value, as in :meth:`CommandParser.parse`, or a bad configuration.
        """
        argv = sys.argv[1:] if argv is None else list(argv)
        self._refuse_unknown(argv)
        named = self.parse_known_args(argv)[0]
        configuration = Configuration(named.config)
        configuration.check(self.section, self.flags)
        preset = named.preset or configuration.preset_for(named.dataset)
        source = (self.section, preset, named.dataset)
        self.set_defaults(**configuration.values(*source, None))
        if parameterization is None:
            parameterization = getattr(self.parse_known_args(argv)[0], "parameterization", None)
        self.set_defaults(**configuration.values(*source, parameterization))
        super().parse(argv)
        self.preset = preset
        self._fill_references()
        return self

    def _fill_references(self) -> None:
        for _ in self.flags:  # a value may refer to one that itself refers to another
            values = self.arguments()
            waiting = {name: value for name, value in values.items() if isinstance(value, str) and "{" in value}
            for name, value in waiting.items():
                try:
                    setattr(self, name, value.format_map(values))
                except (KeyError, ValueError, IndexError) as error:
                    raise InputError(f"--{name} {value} refers to a flag that does not exist: {error}") from None
            if not waiting:
                return
        raise InputError(f"The values of --{' and --'.join(waiting)} refer to each other.")

    @property
    def savepath(self) -> Path:
        """``<logbase>/<dataset>/<exp_name>[/<suffix>]``."""
        return Path(self.logbase, dataset_folder(self.dataset), self.exp_name, self.suffix)
