"""A server that has imported torch once and forks a child for each job, so that starts cost little.

Requests are lines of JSON on stdin, answers on stdout: `{"job": NAME, "args": [...], ...}` is
answered with the child's pid, `{"poll": PID}` with its wait status, or null while it runs. A child
is a process of its own, in a session of its own. At the end of stdin all children are killed.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import random
import signal
import sys
import termios
import time
import traceback
from collections.abc import Callable
from typing import Any

CUT_SHORT = 99  # exit code of a process that a fault ended
SHORT, LONG = 0.5, 4000.0  # seconds, of the two kinds of step that a clock makes


def serve() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # what started the tests may ignore these two,
    signal.signal(signal.SIGINT, signal.default_int_handler)  # and then textgen would, too
    from faults.jobs import JOBS

    children: set[int] = set()
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            children.discard(pid)
            answer = status if pid else None
        else:
            answer = os.fork()
            if answer == 0:
                _child(request, JOBS)
            children.add(answer)
        print(json.dumps(answer), flush=True)
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _child(request: dict[str, Any], jobs: dict[str, Callable[..., None]]) -> None:
    """Does the job, and never returns."""
    code = 1
    try:
        os.setsid()
        _attach(0, os.devnull, os.O_RDONLY)
        for descriptor, path in ((1, request["out"]), (2, request["err"])):
            _attach(descriptor, path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        if request.get("terminal"):  # the one of this session, so that closing it is SIGHUP
            fcntl.ioctl(2, termios.TIOCSCTTY, 0)
        if "fault" in request:
            _Fault(**request["fault"]).arm()
        if "gate" in request:
            _wait_before_the_end(*request["gate"])
        if "clock" in request:
            _disturb_clocks(random.Random(request["clock"]))
        jobs[request["job"]](*request["args"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.setprofile(None)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:  # the terminal is closed
                code = code or 120
        os._exit(code)


def _attach(descriptor: int, path: str, flags: int) -> None:
    opened = os.open(path, flags, 0o666)
    os.dup2(opened, descriptor)
    os.close(opened)


class _Fault:
    """At the n-th call by which `textgen.store` changes the disk: an OSError, or a sudden end.

    What is called is seen by Python's profiler, whatever name the store gives it.
    """

    CALLS = frozenset(
        "open write fsync flush replace rename link unlink remove mkdir rmdir ftruncate truncate"
        " sendfile copy_file_range".split()
    )
    FOLDER = f"{os.sep}textgen{os.sep}store{os.sep}"

    def __init__(self, at: int, error: int) -> None:
        """error: the number of the OSError, 0 for a sudden end."""
        self.at, self.error, self.calls = at, error, 0

    def arm(self) -> None:
        sys.setprofile(self._seen)

    def _seen(self, frame: Any, event: str, called: Any) -> None:
        if event != "c_call" or called.__name__ not in self.CALLS or not self._stored(frame):
            return
        self.calls += 1
        if self.calls == self.at:
            sys.setprofile(None)
            if self.error == 0:
                os._exit(CUT_SHORT)
            raise OSError(self.error, os.strerror(self.error))

    def _stored(self, frame: Any) -> bool:
        while frame is not None:
            if self.FOLDER in frame.f_code.co_filename:
                return True
            frame = frame.f_back
        return False


def _disturb_clocks(rng: random.Random) -> None:
    """Let `time.time` jump back and forth, and `time.monotonic`, which cannot go back, forth."""
    shifts = {"time": 0.0, "monotonic": 0.0}

    def disturbed(name: str, low: float) -> Any:
        real = getattr(time, name)

        def now() -> float:
            if rng.random() < 0.05:
                shifts[name] += rng.uniform(low, 1) * rng.choice((SHORT, LONG))
            return real() + shifts[name]

        return now

    time.time, time.monotonic = disturbed("time", -1), disturbed("monotonic", 0)


def _wait_before_the_end(gate: str, last: int) -> None:
    """Begin none of the steps after `last` before the file `gate` is there."""
    from textgen.training.step import Learner

    advance = Learner.advance

    def held(self: Any) -> Any:
        while self.step >= last and not os.path.exists(gate):  # noqa: PTH110
            time.sleep(0.002)
        return advance(self)

    Learner.advance = held  # type: ignore[method-assign]


if __name__ == "__main__":
    serve()
