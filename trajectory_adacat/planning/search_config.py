"""The settings of a beam search."""

from dataclasses import dataclass
from typing import Any, Literal

from trajectory_adacat.errors import InputError
from trajectory_adacat.settings import check_choices

Sampling = Literal["uniform", "midpoint", "mean"]


@dataclass(frozen=True)
class BeamSearchConfig:
    """The settings of the search (supplementary C.3, Trajectory Transformer's defaults).

    Raises:
        InputError: for a value out of range.
    """

    discount: float  # discount of rewards and values; by default the one of the model's values
    horizon: int = 15  # transitions to imagine
    beam_width: int = 128  # beams kept after each transition
    n_expand: int = 2  # actions sampled for each beam
    k_obs: int | None = 1  # observations from this many most massive bins only
    k_act: int | None = None  # actions from this many most massive bins only
    k_rew: int | None = 1  # rewards and values from this many most massive bins only
    cdf_obs: float = 0.0  # x: observations from the fewest bins that hold 1 - x of the probability mass
    cdf_act: float = 0.0  # x: actions from the fewest bins that hold 1 - x of the probability mass
    drop_obs: float = 0.0  # x: observations without this fraction of the bins, the least massive ones
    drop_act: float = 0.0  # x: actions without this fraction of the bins, the least massive ones
    sampling: Sampling = "uniform"  # uniform within a bin, its midpoint, or the mean of what the cutoffs keep
    percentile: float | Literal["mean"] = "mean"  # rewards and values count with their mean, or a percentile (0 to 100)

    def __post_init__(self) -> None:
        check_choices(self)
        for name in ("horizon", "beam_width", "n_expand", "k_obs", "k_act", "k_rew"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}.")
        for name in ("cdf_obs", "cdf_act", "drop_obs", "drop_act"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"{name} must lie in [0, 1), got {getattr(self, name)}.")
        if not 0.0 < self.discount <= 1.0:
            raise InputError(f"discount must lie in (0, 1], got {self.discount}.")
        if self.percentile != "mean" and not 0.0 <= self.percentile <= 100.0:
            raise InputError(f"percentile must be 'mean' or lie in [0, 100], got {self.percentile}.")
        if self.percentile != "mean" and 0.0 < self.percentile < 1.0:
            raise InputError(
                f"percentile {self.percentile} is a fraction, as in Trajectory Transformer; here a percentile runs "
                f"from 0 to 100: write {100 * self.percentile:.6g}. Percentiles between 0 and 1 are not offered."
            )

    def without_effect(self) -> dict[str, str]:
        """Name the settings that others make idle: one step imagines no observation."""
        return dict.fromkeys(("k_obs", "cdf_obs", "drop_obs"), "--horizon 1") if self.horizon == 1 else {}

    @property
    def cutoffs_by_bin(self) -> dict[str, object]:
        """The settings that only make sense for bins, where they are set."""
        names = ("k_obs", "k_act", "k_rew", "cdf_obs", "cdf_act", "drop_obs", "drop_act")
        found = {name: getattr(self, name) for name in names if getattr(self, name) not in (None, 0.0)}
        return found | ({"sampling": self.sampling} if self.sampling == "midpoint" else {})


# The planner then takes one action sampled from all bins: a good clone returns what the data returns.
NO_SEARCH: dict[str, Any] = {
    "horizon": 1,
    "beam_width": 1,
    "n_expand": 1,
    "k_act": None,
    "cdf_act": 0.0,
    "drop_act": 0.0,
    "sampling": "uniform",
}
