"""The heads of density models, by the name that ``--form`` takes."""

from trajectory_adacat.models.heads.adaptive_quantile import AdaptiveQuantileConfig
from trajectory_adacat.models.heads.base import HeadConfig
from trajectory_adacat.models.heads.fixed_bins import MuLawConfig
from trajectory_adacat.models.heads.gaussian import GaussianConfig
from trajectory_adacat.models.heads.registry import HEADS

FORMS: dict[str, type[HeadConfig]] = {
    **HEADS,
    AdaptiveQuantileConfig.name: AdaptiveQuantileConfig,
    GaussianConfig.name: GaussianConfig,
}
AUDIO_FORMS: dict[str, type[HeadConfig]] = {**FORMS, MuLawConfig.name: MuLawConfig}
