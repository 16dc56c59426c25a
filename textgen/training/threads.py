"""Torch's CPU threads while a budget of time runs: fewer where other work takes the cores.

Threads wait for each other by spinning. On a machine of their own that is the fastest way; where
other work takes a core, many are several times slower than one.
"""

import math

import torch

SLOWED = 1.5  # times the seconds of the fastest step, from which on fewer threads are tried
GAIN = 1.1  # how many times as fast another number must be to be kept
FIRST, LONGEST = 4, 64  # looks between two trials: twice as many after each one in vain


class Threads:
    """Changes the number of threads by how long steps take, and tries each change for one look."""

    def __init__(self, most: int) -> None:
        """most: how many there may be."""
        self._most = most
        self._least = math.inf  # seconds of the fastest step with the present number
        self._before: tuple[int, float] | None = None  # threads and seconds, while others are tried
        self._left = self._wait = FIRST

    @property
    def settled(self) -> int:
        """The number without the one that is being tried."""
        return self._before[0] if self._before else torch.get_num_threads()

    def look(self, seconds: float) -> None:
        """After some steps of so many seconds each: set the number of threads for those to come."""
        now = torch.get_num_threads()
        if self._before is not None:
            (before, known), self._before = self._before, None
            if seconds * GAIN <= known:
                self._least, self._wait = seconds, FIRST
            else:
                torch.set_num_threads(before)
                self._wait = min(LONGEST, 2 * self._wait)
            self._left = self._wait
            return
        self._least = min(self._least, seconds)
        self._left -= 1
        slowed = seconds > SLOWED * self._least and now > 1
        other = now // 2 if slowed else min(2 * now, self._most)
        if self._left <= 0 and other != now:
            self._before = now, seconds
            torch.set_num_threads(other)
