"""The check that a training has not diverged."""

import math
from collections.abc import Mapping

from torch import Tensor

from trajectory_adacat.errors import InputError


def check_finite(values: Mapping[str, float | Tensor], step: int, more: str = "") -> None:
    """Check the numbers of a training step, by name.

    Args:
        values: the numbers.
        step: number of the step.
        more: sentences that follow the first one of the message.

    Raises:
        InputError: naming the first that is not finite, and what to do.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise InputError(
                f"The {name} is {float(value)} at step {step}. {more}Train again with a lower --learning_rate under "
                "another --exp_name; earlier checkpoints are kept."
            )
