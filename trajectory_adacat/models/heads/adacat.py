"""The AdaCat head: width and mass logits of k bins (paper section 2.3), trained on smoothed targets (section 3)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from trajectory_adacat.distributions import AdaCat, SmoothingSchedule
from trajectory_adacat.errors import InputError
from trajectory_adacat.models.embeddings import ScalarEmbedding, TokenEmbedding
from trajectory_adacat.models.heads.base import Head, ScalarHeadConfig, check_count


@dataclass(frozen=True, kw_only=True)
class AdaCatConfig(ScalarHeadConfig):
    """The settings of AdaCat (paper sections 2.3 and 3).

    Raises:
        InputError: for a value out of range.
    """

    name: ClassVar[str] = "adacat"

    n_bins: int = 50  # number of bins k (2k outputs)
    smooth_coeff: float = 0.001  # lambda: full width of the uniform kernel or scale of the normal one; 0: no smoothing
    smooth_start: float | None = None  # lambda at the first step, from which it falls to smooth_coeff; none: constant
    smooth_fraction: float = 0.6  # share of the steps in which lambda falls, geometrically
    smooth_bins: float = 0.0  # least lambda, in widths of the bin that holds the target
    smooth_type: Literal["uniform", "normal"] = "uniform"  # smoothing kernel

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("n_bins", self.n_bins)
        try:
            self.smoothing  # noqa: B018  (its checks)
        except ValueError as error:
            raise InputError(f"smooth_{error}") from error

    def without_effect(self) -> dict[str, str]:
        """Return the settings that have no effect, each with the flag that is the reason."""
        idle = super().without_effect() | ({} if self.smooth_coeff else {"smooth_type": "--smooth_coeff 0"})
        return idle | ({"smooth_fraction": "--smooth_start none"} if self.smooth_start is None else {})

    @property
    def smoothing(self) -> SmoothingSchedule:
        """The schedule of the smoothing kernel."""
        return SmoothingSchedule(
            self.smooth_coeff, self.smooth_start, self.smooth_fraction, self.smooth_bins, self.smooth_type
        )

    def make(self, n_dimensions: int, width: int) -> tuple[ScalarEmbedding | TokenEmbedding, "AdaCatHead"]:
        """Make the embedding and the head."""
        embedding = self.make_embedding(n_dimensions, width, 2 * self.n_bins)
        return embedding, AdaCatHead(n_dimensions, width, self)


class AdaCatHead(Head):
    """Predict AdaCat distributions, 2k outputs: width logits first, then mass logits."""

    def __init__(self, n_dimensions: int, width: int, config: AdaCatConfig, outputs_per_bin: int = 2) -> None:
        super().__init__(n_dimensions, width, outputs_per_bin * config.n_bins)
        self._smoothing = config.smoothing
        self._progress = 1.0

    def set_progress(self, progress: float) -> None:
        """See `Head`: the smoothing kernel narrows."""
        self._progress = progress

    def to_distribution(self, outputs: Tensor, dimensions: Tensor | int) -> AdaCat:
        """See `Head`."""
        return AdaCat.from_params(outputs, validate_args=False)

    def loss(self, distribution: AdaCat, targets: Tensor) -> Tensor:
        """Return the smoothed negative log-likelihood of each target in nats, batch shape (paper equation 8)."""
        kernel = self._smoothing.kernel(distribution, targets, self._progress)
        return super().loss(distribution, targets) if kernel is None else -distribution.smoothed_log_prob(kernel)
