"""Weights as a page holds them: rounded and packed.

Matrices are rounded, biases stay in float32. In int8 each row has a scale, so that its largest
weight is 127 of it.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from textgen.errors import UsageError

PRECISIONS = ("int8", "fp16", "fp32")
_LARGEST = 65504  # of fp16


def pack_rounded(weights: Mapping[str, NDArray], precision: str) -> bytes:
    """The arrays one after the other, row by row, in little-endian order.

    A matrix (R, C) in int8 is preceded by its scales, R in float32.
    Raises UsageError if a weight is too large for fp16.
    """
    return b"".join(
        part.astype(part.dtype.newbyteorder("<")).tobytes()
        for array in weights.values()
        for part in _parts(array, precision)
    )


def _parts(array: NDArray, precision: str) -> list[NDArray]:
    if array.ndim == 1 or precision == "fp32":
        return [array.astype(np.float32)]
    if precision == "fp16":
        if abs(array).max() > _LARGEST:
            what = f"a weight is larger than fp16 holds, {_LARGEST:,}"
            raise UsageError(what, "try `precision=int8`")
        return [array.astype(np.float16)]
    scales = abs(array).max(axis=1).astype(np.float32) / np.float32(127)
    scales[scales == 0] = 1.0
    return [scales, np.rint(array / scales[:, None]).astype(np.int8)]
