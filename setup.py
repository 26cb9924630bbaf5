"""Packaging: the clone's ``scripts``, ``plotting`` and ``config`` folders are installed inside the package."""

import runpy

from setuptools import find_packages, setup

# So nothing but ``trajectory_adacat`` stands in site-packages, and the clone keeps the folders its users know.
FOLDERS = {
    "trajectory_adacat": "trajectory_adacat",
    "trajectory_adacat.scripts": "scripts",
    "trajectory_adacat.plotting": "plotting",
    "trajectory_adacat.config": "config",
}

VIDEO = ["imageio-ffmpeg>=0.8"]
MINARI = ["minari[hdf5]>=0.5.4,<0.6"]
TENSORBOARD = ["tensorboard>=2.21"]
TEST = [
    "pytest>=9",
    "pytest-xdist>=3.8",
    "pytest-randomly>=5",
    "hypothesis>=6.100",
    "mpmath>=1.3",
    "adacat==0.4.2",
    "setuptools>=77",
    "ruff>=0.17,<0.18",
    "mypy>=2.4,<3",
    *MINARI,
    *TENSORBOARD,
    *VIDEO,
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
        "trajectory_adacat.plotting": ["*.json"],
    },
    install_requires=[
        "torch==2.13.0",
        "numpy>=2,<3",
        "gymnasium[mujoco]>=1.4,<1.5",
        "mujoco>=3.5,<4.1",
        "scipy>=1.14",
        "h5py>=3.16,<4",
        "typed-argument-parser>=1.12,<2",
        "safetensors>=0.8",
        "tqdm>=4.70",
        "matplotlib>=3.9",
        "rliable==1.2.0",
        "pandas>=2.2,<3",  # rliable fails with pandas 3
    ],
    extras_require={
        "minari": MINARI,
        "tensorboard": TENSORBOARD,
        "video": VIDEO,
        # The legacy stack of the published datasets and scores, for those who have its MuJoCo 2.1.0 (how it was set up
        # is said in tests/fixtures/record_gym_v2.py). Nothing here imports it.
        "d4rl": ["gym==0.23.1", "d4rl==1.1"],
        "test": TEST,
        "dev": TEST,
    },
    entry_points={
        "console_scripts": ["trajectory-adacat = trajectory_adacat.console:main"],
        "gymnasium.envs": ["__root__ = trajectory_adacat.environments:register_environments"],
    },
)
