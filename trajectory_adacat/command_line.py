"""Command-line flags from typed attributes and from settings dataclasses; errors and exit codes of commands."""

import argparse
import errno
import json
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Self, TypeVar, Union, get_args, get_origin

from tap import Tap, TapIgnore

from trajectory_adacat.checks import BOOLEANS, optional_inner, suggest, type_name
from trajectory_adacat.configuration import Configuration
from trajectory_adacat.errors import InputError, Interrupted
from trajectory_adacat.extras import name_missing_extra
from trajectory_adacat.files import write_atomically
from trajectory_adacat.settings import Setting, build, settings_of

NEGATIVE_NUMBER = re.compile(
    r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$", re.IGNORECASE
)  # argparse's own pattern takes -1e-3 for a flag

SIGPIPE = 13
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}  # errors of a full or read-only disk
# Errors of other file systems than those that the package knows, and of paths that no file can have.
NO_ACCESS = {errno.EXDEV, errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR}
NO_ACCESS |= {errno.ENAMETOOLONG, errno.ELOOP}
SHOWN = 200  # characters of a path

UNSET: Any = object()  # the value of a flag that the command line does not give

Config = TypeVar("Config")

_PROTOTYPES: dict[type, Any] = {}  # a parser of each kind that was made, before it parses


def run_command(main: Callable[[Sequence[str] | None], object], argv: Sequence[str] | None = None) -> None:
    """Call ``main(argv)``; on an `InputError` print its paragraph to stderr and exit with its status.

    An interruption exits with 128 plus the signal's number, as shells do: 130 for SIGINT, 143 for SIGTERM. Output into
    a pipe that its reader has closed (``| head``) exits silently with status 141, as other tools do.
    """
    try:
        try:
            with name_missing_extra():
                main(argv)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, since Python would report a closed pipe when it exits
    except InputError as error:
        print("error: " + " ".join(str(error).splitlines()), file=sys.stderr)
        sys.exit(error.status)
    except Interrupted as interruption:
        print(f"interrupted: {interruption}", file=sys.stderr)
        sys.exit(128 + interruption.signal)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        closed = [stream for stream in (sys.stdout, sys.stderr) if _is_closed_pipe(stream)]
        if not closed:
            raise
        for stream in closed:  # what is still buffered goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(128 + SIGPIPE)
    except OSError as error:
        if error.errno not in NO_SPACE | NO_ACCESS:
            raise
        where = "The disk" if error.filename is None else str(error.filename)[:SHOWN]
        what, hint = "written", "make room"
        if error.errno in NO_ACCESS:
            what, hint = "used", "choose another file or folder"
        print(f"error: {where} cannot be {what} ({error.strerror}): {hint}, then repeat the command.", file=sys.stderr)
        sys.exit(InputError.status)


def _is_closed_pipe(stream: Any) -> bool:
    if stream is None or not hasattr(select, "poll"):  # Windows has none
        return False
    poll = select.poll()
    try:
        poll.register(stream.fileno(), 0)
    except (OSError, ValueError):  # a stream without a file
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def read_boolean(text: str) -> bool:
    """Read a flag's boolean."""
    if text.lower() not in BOOLEANS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a boolean: write true or false.")
    return BOOLEANS[text.lower()]


def read_integer(text: str) -> int:
    """Read a flag's integer; one beyond 64 bits is no number of anything, and no float holds the largest of them."""
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise argparse.ArgumentTypeError(f"{text[:SHOWN]} has more than 64 bits.")
    return value


read_integer.__name__ = "int"  # argparse names it in "invalid ... value"


def reader(annotation: Any) -> Callable[[str], Any]:
    """Return the function that reads a flag's text as a value of the type."""
    if get_origin(annotation) in (Union, UnionType):
        return _read_any_of(annotation)
    if annotation in (bool, int):
        return read_boolean if annotation is bool else read_integer
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
        if type(None) in get_args(annotation) and text.lower() == "none":
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
    """Make flags of typed attributes and of dataclasses. The comment beside each is its help text and is required.

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
            if get_origin(inner) not in (list, tuple):  # Tap reads these itself
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
        # Called before argparse, which would report a missing flag in place of the mistyped one.
        for token in argv:
            name, _, value = token.partition("=")
            try:
                token.encode()
            except UnicodeEncodeError:
                raise InputError(f"{token!a} is not text in UTF-8.") from None
            if value == "--" and name in self._option_string_actions:  # which argparse would drop
                raise InputError(f"{name} cannot be '--'. All flags: {self.prog} --help")
            if re.match(r"--?[A-Za-z_]", name) and name not in self._option_string_actions:
                known = [flag for flag in self._option_string_actions if flag.startswith("--")]
                raise InputError(f"There is no flag {name}: {suggest(name, known)} All flags: {self.prog} --help")

    def error(self, message: str) -> Any:
        """Raise argparse's message as an `InputError`."""
        raise InputError(f"{message.removeprefix('argument ')} (all flags: {self.prog} --help)")

    def arguments(self) -> dict[str, Any]:
        """Return the resolved value of every flag, by name."""
        return {name: getattr(self, name) for name in self.flags}

    def save_arguments(self, path: Path) -> None:
        """Write the resolved value of every flag to ``path`` as JSON."""
        write_atomically(path, json.dumps(self.arguments(), indent=2, default=str) + "\n")


def dataset_folder(dataset: str) -> str:
    """Return the folder's name for a dataset: the name or the file's stem, without characters special in paths."""
    name = Path(dataset).stem if Path(dataset).suffix in (".hdf5", ".h5") else dataset
    return re.sub(r"[^\w.-]+", "-", name)


class OfflineParser(CommandParser):
    """The flags of every command that works on an offline dataset, with values from a configuration file."""

    section: TapIgnore[str]  # the configuration's section, set by each subclass
    more_sections: TapIgnore[tuple[str, ...]] = ()  # further ones, which `configured` reads
    parameterizations: TapIgnore[tuple[str, ...]] = ()  # names that a section such as "plan:adacat" may have
    parameterization_flag: TapIgnore[str] = "parameterization"  # the flag that chooses one of them

    dataset: str  # dataset name, such as hopper-medium-v2 or hopper-medium-collected
    config: str = "config.offline"  # configuration: a module or the path of a .py file
    preset: str | None = None  # preset of the configuration; by default the one for the dataset
    logbase: str = "logs"  # folder under which everything is written, as <logbase>/<dataset>/<exp_name>
    exp_name: str = "experiment"  # experiment name; {flag} stands for another flag's value
    suffix: str = ""  # further folder below the experiment's
    device: str = "cpu"  # torch device
    verbose: bool = True  # print progress

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._own_defaults = {name: self.get_default(name) for name in self.flags}
        self.set_defaults(**dict.fromkeys(self._own_defaults, UNSET))

    @classmethod
    def new(cls) -> Self:
        """Return what ``cls()`` does. Only the first call takes time: Tap reads comments from the source code."""
        if cls not in _PROTOTYPES:
            _PROTOTYPES[cls] = cls()
        parser = cls.__new__(cls)
        vars(parser).update(vars(_PROTOTYPES[cls]))
        return parser

    def parse(self, argv: Sequence[str] | None = None) -> Self:
        """Read ``argv`` over the configuration's values.

        A command that learns the parameterization from a checkpoint calls `use_parameterization` afterwards.

        Raises:
            InputError: for a bad flag or value, as in `CommandParser.parse`, or a bad configuration.
        """
        super().parse(argv)
        self.given = {name: value for name, value in self.arguments().items() if value is not UNSET}
        self.given |= self.implied()
        named = self._own_defaults | self.given
        configuration = Configuration(named["config"])
        settable = {name: kind for name, kind in self.flags.items() if name not in ("dataset", "config", "preset")}
        configuration.check((self.section, *self.more_sections), settable, self.parameterizations)
        preset = named["preset"] or configuration.preset_for(named["dataset"])
        self._source, self._configuration = (preset, named["dataset"]), configuration
        self.use_parameterization(None)
        self.use_parameterization(getattr(self, self.parameterization_flag, None))
        return self

    def implied(self) -> dict[str, Any]:
        """Return the values of flags that the given ones imply; they count as given."""
        return {}

    def use_parameterization(self, parameterization: str | None) -> None:
        """Set every flag to its value for a parameterization, with the sections of the configuration for it."""
        chosen = self.configured(parameterization)
        values = self._own_defaults | chosen | self.given | {"preset": self._source[0]}
        for name, value in values.items():
            setattr(self, name, value)
        del values["exp_name"]
        try:
            self.exp_name = self.exp_name.format_map(values)
        except KeyError as error:
            raise InputError(f"--exp_name {self.exp_name} names no flag: {suggest(error.args[0], values)}") from None
        except (ValueError, AttributeError, TypeError) as error:
            raise InputError(f"--exp_name {self.exp_name} is no name with {{flag}} in it: {error}") from None

    def configured(self, parameterization: str | None) -> dict[str, Any]:
        """Return the configuration's values for a parameterization, by flag."""
        return self.section_values(self.section, parameterization)

    def section_values(self, section: str, parameterization: str | None) -> dict[str, Any]:
        """Return the values of a section of the configuration, for the preset and dataset."""
        return self._configuration.values(section, *self._source, parameterization)

    def settings(self, kind: type[Config], **others: Any) -> Config:
        """Build a settings dataclass from the flags; ``others`` override them.

        Raises:
            InputError: for a value out of range, or a flag on the command line that has no effect with the others.
        """
        return build(kind, {**self.arguments(), **others}, self.given)

    @property
    def savepath(self) -> Path:
        """``<logbase>/<dataset>/<exp_name>[/<suffix>]``."""
        return Path(self.logbase, dataset_folder(self.dataset), self.exp_name, self.suffix)
