"""Presets and per-dataset settings from a configuration file such as ``config/offline.py``.

Later sources override earlier ones:

1. the defaults,
2. the preset,
3. the preset's values for the dataset without its ending: ``hopper-medium`` means ``hopper-medium-v2`` and
   ``hopper-medium-collected``,
4. the preset's values for the dataset's full name,
5. the command line.

In 2 to 4, a section of one parameterization (``"plan:adacat"``) overrides the general section (``"plan"``). Where a
critic scores the plans, the whole of ``"plan_critic"`` overrides the whole of ``"plan"``.
"""

import importlib
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from types import ModuleType
from typing import Any

from trajectory_adacat.checks import fits, suggest, type_name
from trajectory_adacat.errors import InputError

PACKAGE_CONFIG = "trajectory_adacat."  # "config.offline" is this package's, wherever it is installed
DENSITY_EXPERIMENTS = ("tabular", "images", "audio")  # sections of the density command's configuration
# Sections that may hold for one parameterization alone.
BY_PARAMETERIZATION = ("train", "plan", "plan_critic", *DENSITY_EXPERIMENTS)
SECTIONS = (*BY_PARAMETERIZATION, "critic")
Layer = dict[str, dict[str, Any]]  # the values of each section, by name


class Configuration:
    """A configuration file: ``PRESETS`` and ``DEFAULT_PRESETS`` of a module, read by section.

    Args:
        name: ``config.<name>`` for one of the package's, a dotted module, or the path of a ``.py`` file.

    Raises:
        InputError: if it cannot be loaded or lacks one of the two.
    """

    def __init__(self, name: str) -> None:
        module = load_module(name)
        self.name = str(module.__file__)
        for key, annotation in (("PRESETS", dict[str, Any]), ("DEFAULT_PRESETS", dict[str, str])):
            if not fits(vars(module).get(key), annotation):
                wanted = type_name(annotation)
                raise InputError(f"The configuration {self.name} has no {key} of type {wanted}: see config/offline.py.")
        if hasattr(module, "BASE"):
            raise InputError(f"The configuration {self.name} has a BASE, which is not read: use a preset.")
        self.presets: dict[str, Any] = module.PRESETS
        self.default_presets: dict[str, str] = module.DEFAULT_PRESETS

    def check(self, sections: Sequence[str], flags: Mapping[str, Any], parameterizations: Sequence[str]) -> None:
        """Check the names and types of all values of the sections of a command, in every preset.

        Raises:
            InputError: naming the file, the place and the key, with the nearest known one.
        """
        known = [*SECTIONS, *(f"{name}:{kind}" for name in BY_PARAMETERIZATION for kind in parameterizations)]
        for place, layer in self._all_layers():
            for key, values in layer.items():
                if key not in known:
                    raise InputError(f"{place} in {self.name} has an unknown section {key!r}: {suggest(key, known)}")
                if key.partition(":")[0] in sections:
                    self._check_values(f"{place}[{key!r}]", values, flags)

    def preset_for(self, dataset: str) -> str:
        """Return the default preset of a dataset: that of the first pattern that fits.

        Raises:
            InputError: if none fits.
        """
        for pattern, preset in self.default_presets.items():
            if fnmatchcase(dataset, pattern):
                return preset
        raise InputError(f"DEFAULT_PRESETS in {self.name} has no preset for {dataset!r}: pass --preset.")

    def values(self, section: str, preset: str, dataset: str, parameterization: str | None) -> dict[str, Any]:
        """Return the values of a section; later layers override earlier ones.

        Raises:
            InputError: if there is no such preset.
        """
        if preset not in self.presets:
            raise InputError(f"There is no --preset {preset} in {self.name}: {suggest(preset, self.presets)}")
        chosen = self.presets[preset]
        by_dataset = chosen.get("datasets", {})
        stem = re.sub(r"-(v\d+|collected)$", "", dataset)
        merged: dict[str, Any] = {}
        for layer in (chosen, by_dataset.get(stem, {}), by_dataset.get(dataset, {})):
            merged |= layer.get(section, {}) | layer.get(f"{section}:{parameterization}", {})
        return merged

    def _all_layers(self) -> Iterator[tuple[str, Layer]]:
        for name, preset in self.presets.items():
            place = f"PRESETS[{name!r}]"
            sections = self._as_layer(place, preset)
            yield place, {key: values for key, values in sections.items() if key != "datasets"}
            for dataset, layer in sections.get("datasets", {}).items():
                inner = f"{place}['datasets'][{dataset!r}]"
                yield inner, self._as_layer(inner, layer)

    def _as_layer(self, place: str, value: Any) -> Layer:
        if not fits(value, Layer):
            raise InputError(f"{place} in {self.name} must be a dictionary of sections, each a dictionary by name.")
        return value

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
