"""Packaging: the folders ``scripts``, ``plotting`` and ``config`` are installed inside the package."""

import runpy

from setuptools import find_packages, setup

# Only ``trajectory_adacat`` is added to site-packages; the clone keeps the layout of Trajectory Transformer.
FOLDERS = {
    "trajectory_adacat": "trajectory_adacat",
    "trajectory_adacat.scripts": "scripts",
    "trajectory_adacat.plotting": "plotting",
    "trajectory_adacat.plotting.report": "plotting/report",
    "trajectory_adacat.config": "config",
}

# Exact versions are pinned in requirements.txt alone. A change here usually belongs in trajectory_adacat/extras.py too.
CORE = ["torch>=2.6", "numpy>=2,<3"]  # what the distributions and the model need
COMMANDS = ["typed-argument-parser>=1.12,<2", "tqdm>=4.70"]
ENVIRONMENTS = ["gymnasium[mujoco]>=1.4,<1.5", "mujoco>=3.5,<4.1"]
# Datasets are collected in the environments and checked against them.
TRAINING = [*COMMANDS, *ENVIRONMENTS, "safetensors>=0.8", "h5py>=3.16,<4", "scipy>=1.14"]
PLOTS = [*COMMANDS, "matplotlib>=3.9", "rliable>=1.2,<2", "pandas>=2.2.2,<3", "scipy>=1.14"]  # rliable needs pandas < 3
MINARI = ["minari[hdf5]>=0.5.4,<0.6"]
BEHAVIOR = ["stable-baselines3>=2.9,<3"]  # for train-behavior alone: agents are read without it
REPORT = [*PLOTS, "jinja2>=3.1", "plotly>=6", "imageio-ffmpeg>=0.6"]
TENSORBOARD = ["tensorboard>=2.21"]
WANDB = ["wandb>=0.19,<1"]
NOTEBOOK = ["nbclient>=0.10", "ipykernel>=6.29"]
RAY = ["ray>=2.40,<3"]
ALL = sorted({*TRAINING, *PLOTS, *MINARI, *REPORT, *TENSORBOARD})
TEST = [
    "pytest>=9",
    "pytest-xdist>=3.8",
    "pytest-randomly>=5",
    "hypothesis>=6.100",
    "mpmath>=1.3",
    "adacat>=0.4.2,<0.5",
    "playwright>=1.50,<2",
    "setuptools>=77",
    "ruff>=0.17,<0.18",
    "mypy>=2.4,<3",
    *ALL,
]

setup(
    name="trajectory-adacat",
    version=runpy.run_path("trajectory_adacat/__init__.py")["__version__"],
    description="A Trajectory Transformer with AdaCat heads: offline dataset, training, beam-search planning, scores",
    author="trajectory-adacat authors",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=[*find_packages(include=["trajectory_adacat", "trajectory_adacat.*"]), *list(FOLDERS)[1:]],
    package_dir=FOLDERS,
    package_data={
        "trajectory_adacat.datasets": ["*.tsv", "behavior/*.npz", "behavior/*.md"],
        "trajectory_adacat.pretrained": ["*/CARD.md", "*/returns.json", "*/*/*.json", "*/*/*.safetensors"],
        "trajectory_adacat.plotting": ["*.json", "*.mplstyle"],
        "trajectory_adacat.plotting.report": ["*.j2", "*.css", "*.js"],
        "trajectory_adacat.config": ["sweeps/*.toml"],
    },
    install_requires=CORE,
    extras_require={
        "training": TRAINING,
        "environments": ENVIRONMENTS,
        "plots": PLOTS,
        "minari": MINARI,
        "report": REPORT,
        "tensorboard": TENSORBOARD,
        "wandb": WANDB,
        "notebook": NOTEBOOK,
        "behavior": [*TRAINING, *BEHAVIOR],
        "ray": RAY,
        "all": ALL,
        # The legacy stack of the published datasets and scores, for those who have MuJoCo 2.1.0
        # (tests/fixtures/record_gym_v2.py describes the installation). Nothing here imports it.
        "d4rl": ["gym>=0.23.1,<0.24", "d4rl>=1.1,<1.2"],
        "test": TEST,
        "dev": TEST,
    },
    entry_points={
        "console_scripts": ["trajectory-adacat = trajectory_adacat.console:main"],
        "gymnasium.envs": ["__root__ = trajectory_adacat.environments:register_environments"],
    },
)
