"""The settings of a sweep, from a TOML file and flags, and the grids of values that they describe."""

import itertools
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_type_hints

from trajectory_adacat.checks import fits, suggest, type_name
from trajectory_adacat.errors import InputError

Experiment = Literal["planning", "tabular", "images", "audio"]
PRESETS = files("trajectory_adacat.config") / "sweeps"
SECTIONS = ("train", "critic", "plan")
BY_PARAMETERIZATION = ("train", "plan")  # "train:adacat" holds for one parameterization alone
OF_PLANNING = ("rollouts", "first_rollout")  # settings that density models have not
DENSITY_DEFAULTS = {"config": "config.density", "logbase": "logs/density"}
# Flags of the jobs that the sweep sets itself, and the setting that takes their place.
OWN_FLAGS = {
    "dataset": "datasets",
    "parameterization": "parameterizations",
    "form": "parameterizations",
    "seed": "seeds",
    "n_rollouts": "rollouts",
    **{name: name for name in ("config", "device", "logbase", "threads", "processes")},
    **dict.fromkeys(("exp_name", "suffix", "gpt_loadpath", "gpt_epoch"), "name"),
    **dict.fromkeys(("resume", "overwrite", "verbose", "profile", "out"), ""),
}
PLAN_FOLDER = "plan"  # of the plans without a variant
LONGEST_LABEL = 100  # characters of a folder's name
MOST_ROLLOUTS = 10**6  # of each training and plan


class Values(NamedTuple):
    """The values of a flag.

    Attributes:
        texts: of the values.
        in_names: whether the names of folders tell the value; so it is where the values were written as a list.
    """

    texts: Sequence[str]
    in_names: bool


Grid = Mapping[str, Values]  # by flag
Combination = Mapping[str, Values]  # likewise, with one value for each flag
Grids = Mapping[str, Grid]  # by section


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """What a sweep runs: every combination of the values, without a variant and with each one.

    Attributes:
        name: of the sweep; all that it writes lies in folders of this name.
        experiment: ``planning``, or the density experiment whose models are trained.
        datasets: names of datasets.
        parameterizations: forms of the outputs.
        seeds: training seeds.
        rollouts: rollouts of each training and plan.
        first_rollout: seed of the first; the others follow.
        config: configuration of the jobs, as their flag.
        device: torch device of the jobs.
        logbase: folder under which everything is written.
        grids: the values of flags by section, such as ``plan`` or ``train:adacat``.
        variants: by name, values that override those of ``grids``. A variant runs for the parameterizations for which
            it overrides something.

    Raises:
        InputError: for a value out of range, a name that no folder can have, or an unknown section.
    """

    name: str = "sweep"
    experiment: Experiment = "planning"
    datasets: list[str] = field(default_factory=list)
    parameterizations: list[str] = field(default_factory=lambda: ["adacat"])
    seeds: list[int] = field(default_factory=lambda: [0])
    rollouts: int = 3
    first_rollout: int = 0
    config: str = "config.offline"
    device: str = "cpu"
    logbase: str = "logs"
    grids: Grids = field(default_factory=dict)
    variants: Mapping[str, Grids] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("datasets", "parameterizations", "seeds"):
            values = getattr(self, name)
            if not values:
                raise InputError(f"The sweep has no {name}: pass --{name}, or name a --preset or a --file.")
            if len(set(values)) < len(values):
                raise InputError(f"The sweep's {name} name a value twice.")
        if not 1 <= self.rollouts <= MOST_ROLLOUTS or self.first_rollout < 0:
            raise InputError(f"rollouts must be at least 1 and at most {MOST_ROLLOUTS}, first_rollout at least 0.")
        for kind, name in (("name", self.name), *(("variant", name) for name in self.variants)):
            if not re.fullmatch(r"[\w.+-]+", name):
                raise InputError(f"The sweep's {kind} must be the name of a folder, got {name!r}.")
        if PLAN_FOLDER in self.variants:
            raise InputError(f"No variant may be named {PLAN_FOLDER!r}: the plans without a variant have that name.")
        for section in itertools.chain(self.grids, *self.variants.values()):
            self._check_section(section)

    def _check_section(self, section: str) -> None:
        command, known = section.partition(":")[0], list(SECTIONS)
        if self.is_density:
            known = ["train"]
            if command in SECTIONS and command not in known:
                raise InputError(
                    f"The sweep's section {section!r} has no effect with experiment = {self.experiment!r}, whose jobs "
                    "are trainings alone: their flags belong into 'train'."
                )
        known += [f"{name}:{kind}" for name in BY_PARAMETERIZATION if name in known for kind in self.parameterizations]
        if section not in known:
            raise InputError(f"The sweep has an unknown section {section!r}: {suggest(section, known)}")

    @property
    def is_density(self) -> bool:
        """Whether the jobs are trainings of density models."""
        return self.experiment != "planning"

    def variants_of(self, parameterization: str) -> list[str | None]:
        """Return the variants that run for a parameterization: none at first, then those that change something."""
        names = [name for name in self.variants if any(self.changes(name, part, parameterization) for part in SECTIONS)]
        return [None, *names]

    def changes(self, variant: str | None, section: str, parameterization: str | None = None) -> bool:
        """Return whether a variant overrides flags of a section."""
        return bool(self._own(variant, section, parameterization))

    def head(self, name: str, variant: str | None, section: str, parameterization: str | None = None) -> str:
        """Return the head of a folder's name, with the variant that makes the training another one."""
        return f"{name}_{variant}" if self.changes(variant, section, parameterization) else name

    def combinations(
        self, section: str, parameterization: str | None = None, variant: str | None = None
    ) -> list[Combination]:
        """Return the values of a section's flags for every combination, in the order of the grid."""
        grid = {**self.grids.get(section, {}), **self.grids.get(f"{section}:{parameterization}", {})}
        grid |= self._own(variant, section, parameterization)
        single = [[Values([text], values.in_names) for text in values.texts] for values in grid.values()]
        return [dict(zip(grid, chosen, strict=True)) for chosen in itertools.product(*single)]

    def _own(self, variant: str | None, section: str, parameterization: str | None) -> dict[str, Values]:
        grids = {} if variant is None else self.variants[variant]
        return {**grids.get(section, {}), **grids.get(f"{section}:{parameterization}", {})}

    def check_flags(self, flags: Mapping[str, Iterable[str]]) -> None:
        """Check the names of the flags in every section; ``flags`` has those of each command.

        Raises:
            InputError: for an unknown flag, or one that the sweep sets.
        """
        for section, grid in itertools.chain(self.grids.items(), *(grids.items() for grids in self.variants.values())):
            known = [name for name in flags[section.partition(":")[0]] if name not in OWN_FLAGS]
            for name in grid:
                if name in OWN_FLAGS:
                    instead = f": use the sweep's setting {OWN_FLAGS[name]!r}." if OWN_FLAGS[name] else "."
                    raise InputError(f"The sweep sets {name!r} of its jobs itself{instead}")
                if name not in known:
                    raise InputError(f"The sweep's section {section!r} has no flag {name!r}: {suggest(name, known)}")


def read_config(file: Path | None, preset: str | None, given: Mapping[str, Any]) -> SweepConfig:
    """Return the settings of a sweep.

    Args:
        file: a TOML file with a table ``[sweep]``, one for each section, and ``[variants.NAME.SECTION]``.
        preset: name of a file that comes with the package, in its place.
        given: settings that override the file's. ``grids`` override single flags.

    Raises:
        InputError: if there is no such file or preset, or a setting is unknown or of the wrong type.
    """
    tables, name = _read_tables(file, preset)
    settings, variants = tables.pop("sweep", {}), tables.pop("variants", {})
    kinds = {key: kind for key, kind in get_type_hints(SweepConfig).items() if key in setting_names()}
    for key, value in settings.items():
        if key not in kinds:
            raise InputError(f"The table [sweep] has an unknown key {key!r}: {suggest(key, kinds)}")
        if not fits(value, kinds[key]):
            raise InputError(f"The table [sweep] has {key} = {value!r}, which is not of type {type_name(kinds[key])}.")
    grids = _as_grids(tables)
    for section, grid in given.get("grids", {}).items():
        grids[section] = _override(grids.get(section, {}), grid)
    if not isinstance(variants, dict) or not all(isinstance(table, dict) for table in variants.values()):
        raise InputError("The sweep's variants must be tables, such as [variants.no_search.plan].")
    chosen = {"name": name, **settings, **given}
    left_out = {*settings.get("parameterizations", [])} - {*chosen.get("parameterizations", [])}
    overrides = {variant: _without(left_out, _as_grids(table)) for variant, table in variants.items()}
    chosen |= {"grids": _without(left_out, grids), "variants": overrides}
    return SweepConfig(**(_density_defaults(chosen) | chosen))


def _without(parameterizations: Collection[str], grids: Grids) -> Grids:
    """Return the grids without the sections of these parameterizations."""
    return {section: grid for section, grid in grids.items() if section.partition(":")[2] not in parameterizations}


def _density_defaults(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults that are others for trainings of density models.

    Raises:
        InputError: for a setting that has no effect on them.
    """
    if chosen.get("experiment", "planning") == "planning":
        return {}
    for name in OF_PLANNING:
        if name in chosen:
            raise InputError(f"The sweep's setting {name!r} has no effect on density models: leave it out.")
    return {**DENSITY_DEFAULTS}


def _read_tables(file: Path | None, preset: str | None) -> tuple[dict[str, Any], str]:
    """Return the tables of the file that is named, and the name of a sweep by it."""
    if file is not None and preset is not None:
        raise InputError("--file and --preset each describe a sweep: give one of them.")
    if preset is not None:
        known = sorted(path.name.removesuffix(".toml") for path in PRESETS.iterdir() if path.name.endswith(".toml"))
        if preset not in known:
            raise InputError(f"There is no sweep --preset {preset}: {suggest(preset, known)}")
        return tomllib.loads((PRESETS / f"{preset}.toml").read_text(encoding="utf-8")), preset
    if file is None:
        return {}, "sweep"
    try:
        return tomllib.loads(file.read_text(encoding="utf-8")), re.sub(r"[^\w.+-]+", "-", file.stem)
    except (OSError, ValueError) as error:
        raise InputError(f"--file {file} cannot be read: {error}") from error


def _override(grid: Grid, new: Grid) -> dict[str, Values]:
    """Return a grid with new values; a flag that was in the names of folders stays there."""
    changed = {
        name: values._replace(in_names=(name in grid and grid[name].in_names) or values.in_names)
        for name, values in new.items()
    }
    return {**grid, **changed}


def _as_grids(tables: Mapping[str, Any]) -> dict[str, Grid]:
    return {section: _as_grid(section, table) for section, table in tables.items()}


def _as_grid(section: str, table: Any) -> dict[str, Values]:
    if not isinstance(table, dict):
        raise InputError(f"The sweep's {section!r} must be a table of flags, got {table!r}.")
    return {
        name: Values([_as_text(name, item) for item in _as_list(name, value)], isinstance(value, list))
        for name, value in table.items()
    }


def _as_list(name: str, value: Any) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise InputError(f"The sweep gives {name!r} no value.")
    return values


def _as_text(name: str, value: Any) -> str:
    if not isinstance(value, str | int | float):
        raise InputError(f"The sweep has {name} = {value!r}: write text, a number, a boolean, or a list of them.")
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse_assignments(flag: str, assignments: Iterable[str]) -> dict[str, Values]:
    """Read ``name=value`` and ``name=value,value`` as a grid.

    Raises:
        InputError: for other text; ``flag`` says where.
    """
    grid = {}
    for text in assignments:
        name, equals, values = text.partition("=")
        if not (name and equals and all(values.split(","))):
            raise InputError(f"--{flag} takes flags as name=value or name=value,value, got {text!r}.")
        grid[name] = Values(values.split(","), "," in values)
    return grid


def texts(combination: Combination) -> dict[str, str]:
    """Return the value of each flag of a combination."""
    return {name: values.texts[0] for name, values in combination.items()}


def label(head: str, combination: Combination) -> str:
    """Return the name of a folder for a combination of values, such as ``adacat_n_layer-2``.

    The values that were written as a list appear in it.
    """
    shown = [f"{name}-{values.texts[0]}" for name, values in combination.items() if values.in_names]
    text = "_".join([head, *shown])
    clean = re.sub(r"[^\w.+-]+", "-", text)
    if len(clean) <= LONGEST_LABEL:
        return clean
    return f"{clean[:LONGEST_LABEL]}_{sha256(text.encode()).hexdigest()[:8]}"


def setting_names() -> list[str]:
    """Return the names of the settings in ``[sweep]``."""
    return [setting.name for setting in fields(SweepConfig) if setting.name not in ("grids", "variants")]
