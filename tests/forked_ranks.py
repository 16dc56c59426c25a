"""Ranks as torchrun starts them, forked by a process that imports torch once for all.

python forked_ranks.py COUNT SCRIPT ARGUMENTS..., or with -m MODULE in place of the script
"""

from __future__ import annotations

import os
import runpy
import signal
import socket
import sys
from contextlib import suppress

import torch.distributed  # noqa: F401

import textgen.training.start  # noqa: F401


def free_port() -> int:
    """One that no connection is given meanwhile: they have those from 32768 on."""
    for port in range(20_000 + os.getpid() % 12_000, 32_768):
        with socket.socket() as found, suppress(OSError):
            found.bind(("localhost", port))
            return port
    raise OSError("no port is free")


def do(command: list[str]) -> None:
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")


def main() -> None:
    count, command = sys.argv[1], sys.argv[2:]
    os.environ |= {"WORLD_SIZE": count, "MASTER_ADDR": "localhost"}
    os.environ["MASTER_PORT"] = str(free_port())
    ranks = []
    for rank in range(int(count)):
        if not (process := os.fork()):
            os.environ["RANK"] = os.environ["LOCAL_RANK"] = str(rank)
            do(command)
            return
        ranks.append(process)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the ranks hear it too
    ended = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in ranks]
    sys.exit(any(ended))


if __name__ == "__main__":
    main()
