"""Processes of textgen to do harm to: a client of the server in `server.py`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import textgen

TESTS = Path(__file__).parents[1]
PATIENCE = 60.0  # seconds after which a process is taken to hang
TICK = 0.002  # seconds between two looks at a process


class Server:
    """Starts processes, in a context; what they print goes to files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Process] = []

    def __enter__(self) -> Self:
        package = Path(textgen.__file__).parents[1]
        path = os.pathsep.join(map(str, (TESTS, package)))
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        environment.pop("TEXTGEN_CHECKPOINTS", None)
        self._server = subprocess.Popen(
            [sys.executable, "-m", "faults.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()  # the end of its input ends it

    def ask(self, **request: Any) -> Any:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def start(self, job: str, *arguments: object, **request: Any) -> Process:
        """A process that does a job of `jobs.py`; request: what `server.py` shall do to it."""
        number = len(self._started)
        files = {n: str(self._folder / f"{number}.{n}") for n in ("out", "err")} | request
        Path(files["out"]).touch()
        pid = self.ask(job=job, args=[str(a) for a in arguments], **files)
        self._started.append(Process(self, pid, Path(files["out"]), Path(files["err"])))
        return self._started[-1]

    def stop(self) -> None:
        """End all processes that still run."""
        for process in self._started:
            process.stop()


class Process:
    """A process, and what it printed."""

    def __init__(self, server: Server, pid: int, out: Path, err: Path) -> None:
        self._server, self._pid, self._out, self._err = server, pid, out, err
        self._code: int | None = None

    @property
    def code(self) -> int | None:
        """The exit code, the negative number of the signal it died of, or None while it runs."""
        if self._code is None:
            status = self._server.ask(poll=self._pid)
            self._code = None if status is None else os.waitstatus_to_exitcode(status)
        return self._code

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs: the server alone takes the pid back, when asked."""
        if self.code is None:
            os.kill(self._pid, number)

    def stop(self) -> None:
        """End it at once."""
        self.send(signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """The exit code."""
        self.wait_until(lambda: self.code is not None)
        return self._code or 0

    def wait_until(self, condition: Any) -> None:
        """Wait until something holds, or the process is at its end."""
        latest = time.monotonic() + PATIENCE
        while not condition() and self.code is None:
            assert time.monotonic() < latest, f"it hangs: {self.printed}"
            time.sleep(TICK)

    def events(self, kind: str) -> list[int]:
        """The steps of the events of a kind that it reported whole, in order."""
        return [e["step"] for e in map(json.loads, self.lines) if e["event"] == kind]

    @property
    def lines(self) -> list[str]:
        """The whole lines of its stdout."""
        return self._out.read_text(encoding="utf-8").split("\n")[:-1]

    @property
    def printed(self) -> str:
        """The end of stdout, and all of stderr."""
        texts = [
            path.read_text(errors="replace") for path in (self._out, self._err) if path.is_file()
        ]
        return "\n".join(text[-2000:] for text in texts)
