"""Optional packages and the extras of ``setup.py`` that install them."""

from collections.abc import Iterator
from contextlib import contextmanager

from trajectory_adacat.errors import InputError

# module: (package, extra). Packages in several extras name the extra "all".
OPTIONAL = {
    "tap": ("typed-argument-parser", "all"),
    "tqdm": ("tqdm", "all"),
    "scipy": ("scipy", "all"),
    "safetensors": ("safetensors", "training"),
    "h5py": ("h5py", "training"),
    "gymnasium": ("gymnasium", "environments"),
    "mujoco": ("mujoco", "environments"),
    "matplotlib": ("matplotlib", "plots"),
    "rliable": ("rliable", "plots"),
    "pandas": ("pandas", "plots"),
    "minari": ("minari", "minari"),
    "stable_baselines3": ("stable-baselines3", "behavior"),
    "ray": ("ray", "ray"),
    "wandb": ("wandb", "wandb"),
    "jinja2": ("jinja2", "report"),
    "plotly": ("plotly", "report"),
    "imageio_ffmpeg": ("imageio-ffmpeg", "report"),
}


@contextmanager
def name_missing_extra() -> Iterator[None]:
    """Turn the failed import of an optional package into an error that names its extra.

    Raises:
        InputError: if an optional package is missing. A failed import of any other module is raised unchanged.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in OPTIONAL:
            raise
        package, extra = OPTIONAL[module]
        raise InputError(f"{package} is not installed: pip install 'trajectory-adacat[{extra}]'") from error
