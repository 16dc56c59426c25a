"""How long OpenMP's idle threads spin before they sleep; read once, where torch is imported.

On a machine of its own a step is up to 1.5 times as fast where they spin for long. Where other work
takes a core it is many times slower, most of all beside another process whose threads spin. So they
do while a budget of time is trained for in one process, when their number follows what the machine
has to give.
"""

import os

from textgen.training.launch import launch

_NAME = "GOMP_SPINCOUNT"
_GIVEN = os.environ.get(_NAME)


def spin_shortly() -> None:
    """Where the user has not chosen, a thousandth of OpenMP's default."""
    os.environ[_NAME] = _GIVEN or "1000"


def spin_for_long() -> None:
    """Where the user has not chosen, and this is not one of many processes, OpenMP's default."""
    if _GIVEN is None and launch().size == 1:
        os.environ.pop(_NAME, None)
