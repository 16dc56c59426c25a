"""Which of the processes that torchrun started this one is, as its environment says."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Launch:
    """rank: of `size`, counted from 0; local_rank: on this machine; restarts: of all, so far."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    restarts: int = 0
    many: bool = False  # whether it was started by such a launcher, be it alone


def launch() -> Launch:
    """This process's own; a process that was started alone is the first of one."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        return Launch()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT")
    rank, size, local_rank, restarts = (int(os.environ.get(name, 0)) for name in names)
    return Launch(rank, size, local_rank, restarts, many=True)
