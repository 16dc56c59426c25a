"""All that training goes on from, as arrays by group and name."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from textgen.errors import CheckpointError
from textgen.store.archive import OTHER_FILE

Arrays = dict[str, dict[str, NDArray]]


def array_of(value: Tensor | float) -> NDArray:
    """A copy of the value in the host's memory."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True).numpy()
    return np.array(value)


def check_arrays(arrays: Arrays, expected: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise CheckpointError, naming the first array that is missing, misshapen or too many.

    expected: tensors or numbers of the right shapes, by group and name.
    """
    wanted, found = _shapes(expected), _shapes(arrays)
    for name in wanted | found:
        if found.get(name) != wanted.get(name):
            raise CheckpointError(
                f"the checkpoint's arrays do not fit its settings: {name} is"
                f" {found.get(name, 'missing')}, expected {wanted.get(name, 'none')}",
                OTHER_FILE,
            )


def _shapes(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[int, ...]]:
    return {f"{g}/{n}": tuple(np.shape(a)) for g, named in groups.items() for n, a in named.items()}
