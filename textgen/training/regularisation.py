"""Dropout and decay, by how often a text is read.

The numbers come from the measurements in docs/trials.md.
"""

import math

READ_PER_PARAMETER = 2.5  # characters, each counted as often as it is read
REGULARISATION = (  # up to so many passes: dropout, weight-drop, weight decay
    (4, 0.0, 0.0, 0.2),
    (8, 0.05, 0.0, 0.2),
    (14, 0.1, 0.1, 0.3),
    (28, 0.1, 0.3, 0.3),
    (60, 0.2, 0.3, 0.3),
    (120, 0.3, 0.5, 0.3),
    (math.inf, 0.4, 0.5, 0.3),
)


def regularisation(
    parameters: int, passes: float, size: int, *, tuning: bool = False
) -> tuple[float, float, float]:
    """Dropout, weight-drop and weight decay: the more often a text is read, the more.

    passes: over a text of `size` characters; tuning: whether the weights are there already: no
    weight-drop then. A model that is small for its text learns less of it by heart, so what counts
    is the geometric mean of the passes and of what they would be if its size followed from the
    time. The decay is AdamW's (Loshchilov & Hutter 2019).
    """
    count = math.sqrt(passes * READ_PER_PARAMETER * parameters / size)
    dropout, weight_drop, decay = next(rest for most, *rest in REGULARISATION if count <= most)
    return dropout, 0.0 if tuning else weight_drop, decay
