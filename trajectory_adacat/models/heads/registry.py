"""The heads by the name that ``--parameterization`` takes. A new head is one file and one line here."""

from trajectory_adacat.models.heads.adacat import AdaCatConfig
from trajectory_adacat.models.heads.base import HeadConfig
from trajectory_adacat.models.heads.fixed_bins import QuantileConfig, UniformConfig
from trajectory_adacat.models.heads.logistic_mixture import LogisticMixtureConfig

CONFIGS: tuple[type[HeadConfig], ...] = (
    AdaCatConfig,
    UniformConfig,
    QuantileConfig,
    LogisticMixtureConfig,
)
HEADS = {config.name: config for config in CONFIGS}
