"""The error for a missing optional package."""

import importlib

import pytest

from trajectory_adacat.errors import InputError
from trajectory_adacat.extras import name_missing_extra


@pytest.mark.parametrize("module", ["matplotlib", "matplotlib.figure"])
def test_a_missing_optional_package_names_its_extra(module: str) -> None:
    message = r"^matplotlib is not installed: pip install 'trajectory-adacat\[plots\]'$"
    with pytest.raises(InputError, match=message), name_missing_extra():
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def test_any_other_missing_module_is_raised_unchanged() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), name_missing_extra():
        importlib.import_module("no_such_module")
