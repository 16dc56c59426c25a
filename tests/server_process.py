"""A server in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

import httpx


class ServerProcess:
    """`textgen serve` on a free port. url: its address; log: the file that takes its stderr."""

    def __init__(self, *arguments: str) -> None:
        handle, name = tempfile.mkstemp(suffix=".log")
        self.log = Path(name)
        command = [sys.executable, "-m", "textgen", "serve", *arguments, "--port", "0"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, stderr=handle, env=environment)
        os.close(handle)
        while "serving on" not in self.lines():
            assert self.process.poll() is None, self.lines()
            time.sleep(0.05)
        self.url = self.lines().split("serving on ")[1].split()[0]

    def lines(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def line_with(self, text: str) -> str:
        """The first line of the log that holds it, waited for."""
        end = time.monotonic() + 30
        while not (found := [line for line in self.lines().splitlines(True) if text in line]):
            assert time.monotonic() < end, self.lines()
            time.sleep(0.02)
        return found[0].rstrip()

    def figure(self, name: str) -> float:
        """A figure of /metrics."""
        page = httpx.get(f"{self.url}/metrics").text
        return float(next(li for li in page.splitlines() if li.startswith(f"{name} ")).split()[1])

    def wait_for(self, name: str, value: float) -> None:
        """Wait until a figure has that value."""
        end = time.monotonic() + 30
        while self.figure(name) != value:
            assert time.monotonic() < end, f"{name} is {self.figure(name)}"
            time.sleep(0.02)

    def end(self) -> int:
        """Send SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(30)
        self.log.unlink()
