"""float32 or float64: which arrays of a dataset float32 can hold without losing what they say."""

from collections.abc import Sequence

import numpy as np

SMALLEST_STEPS = 1 << 12  # values that float32 must tell apart over a dimension's range


def lossy_dimensions(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the dimensions whose range ``[low, high]``, shapes ``[d]``, float32 divides into too few steps.

    A constant dimension has no range to divide.
    """
    low, high = np.atleast_1d(low).astype(np.float64), np.atleast_1d(high).astype(np.float64)
    step = np.finfo(np.float32).eps * np.maximum(np.abs(low), np.abs(high))  # at most twice float32's spacing there
    with np.errstate(invalid="ignore"):  # infinity, which the callers refuse
        return np.flatnonzero((high > low) & (high - low < SMALLEST_STEPS * step))


def is_wider_than_float32(dtype: np.dtype) -> bool:
    """Return whether a type tells numbers apart that float32 does not."""
    return dtype.kind in "fiu" and not np.can_cast(dtype, np.float32)


def narrow(arrays: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """Convert arrays of the same dimensions, ``[n, d]`` or ``[n]`` each, to float32, or all to float64 if need be.

    Returns:
        The arrays, and the dimensions that float32 cannot resolve. Where there are any and the arrays have them in
        float64, they stay float64; where they came as float32, what was lost is lost.
    """
    low = np.min([array.min(0) for array in arrays], 0)
    high = np.max([array.max(0) for array in arrays], 0)
    lossy = lossy_dimensions(low, high)
    keep = len(lossy) > 0 and any(is_wider_than_float32(array.dtype) for array in arrays)
    dtype = np.float64 if keep else np.float32
    with np.errstate(over="ignore"):  # values beyond float32 become infinite, which the callers refuse
        return [array.astype(dtype, copy=False) for array in arrays], lossy


def precision_note(name: str, lossy: np.ndarray, dtype: np.dtype) -> str:
    """Return the line that names the dimensions which float32 cannot resolve."""
    dimensions = f"dimension{'s' if len(lossy) > 1 else ''} {', '.join(map(str, lossy))} of {name}"
    if dtype == np.float64:
        return f"float32 cannot resolve {dimensions}: {name} are kept in float64"
    return (
        f"float32 cannot resolve {dimensions}, and the data are no more precise: store float64, or subtract an offset"
    )
