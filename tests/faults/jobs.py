"""What a child of the server does: the command line, reads beside a writer, a single save."""

from __future__ import annotations

import sys
from pathlib import Path

# all that the children need is imported here, once
import torch
import torch._dynamo  # of which the optimizer imports parts when it is built
from faults.trials import save_again

import textgen
from textgen.__main__ import main
from textgen.cli import app, display
from textgen.store.checkpoint import read_header
from textgen.store.contents import read_resumed
from textgen.store.run import Run
from textgen.training import loop

LOADED = app, display, loop


def command(*arguments: str) -> None:
    """The command line, and what it does with Ctrl-C to the very end."""
    torch.set_num_threads(1)
    sys.argv = ["textgen", *arguments]
    sys.stdin = None  # the one at hand was read from already, by the server
    main()


def read(folder: str, times: str, until_new: str = "") -> None:
    """Read a run's files while another process writes them; a line for each read.

    until_new: not empty where the second half waits for a step that the first did not see.
    """
    run, before = Run(Path(folder)), 0
    for time in range(int(times)):
        while until_new and time == int(times) // 2 and before == read_header(run.last).record.step:
            pass
        header = read_header(run.last)
        assert read_resumed(header)["model"]
        assert header.record.step >= before, (header.record.step, before)
        before = header.record.step
        assert textgen.load(run.folder).weights
        print(before, flush=True)


JOBS = {"command": command, "read": read, "save": save_again}
