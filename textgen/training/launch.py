"""Which of the processes that torchrun started this one is, as its environment says."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Launch:
    """rank: of `size`, counted from 0; local_rank: of the `here` ranks on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    here: int = 1
    many: bool = False  # whether it was started by such a launcher, be it alone


def launch() -> Launch:
    """This process's own; a process that was started alone is the first of one."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        return Launch()
    rank, size = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    return Launch(rank, size, local_rank, here, many=True)
