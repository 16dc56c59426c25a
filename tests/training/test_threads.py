from __future__ import annotations

from collections.abc import Callable

import pytest

from textgen.training.threads import FIRST, LONGEST, Threads


class Machine:
    """Takes `seconds(threads)` a step; torch's threads are its own here."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
        self.threads, self.set = threads, [threads]
        monkeypatch.setattr("torch.get_num_threads", lambda: self.threads)
        monkeypatch.setattr("torch.set_num_threads", self._set)

    def _set(self, threads: int) -> None:
        self.threads = threads
        self.set.append(threads)

    def run(self, threads: Threads, looks: int, seconds: Callable[[int], float]) -> list[int]:
        """The threads at each look."""
        seen = []
        for _ in range(looks):
            seen.append(self.threads)
            threads.look(seconds(self.threads))
        return seen


def test_on_a_machine_of_its_own_a_run_keeps_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 4)
    machine.run(Threads(4), 500, lambda threads: 1 / threads)
    assert machine.set == [4]


def test_fewer_threads_where_other_work_takes_a_core_and_all_again_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine, threads = Machine(monkeypatch, 2), Threads(2)
    machine.run(threads, 20, lambda n: 1 / n)
    busy = machine.run(threads, 20, lambda n: 1.0 if n == 1 else 5.0)
    assert busy.count(2) <= 4
    assert machine.threads == 1
    machine.run(threads, 2 * LONGEST, lambda n: 1 / n)
    assert machine.threads == 2


def test_what_does_not_help_is_tried_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, threads = Machine(monkeypatch, 4), Threads(4)
    machine.run(threads, 20, lambda n: 1 / n)
    slower = machine.run(threads, 500, lambda n: 3 / n)
    assert 0 < slower.count(2) <= 12
    assert slower[-1] == 4


def test_more_threads_are_tried_up_to_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 1)
    machine.run(Threads(4), 10 * FIRST, lambda n: 1 / n)
    assert machine.set == [1, 2, 4]


def test_a_trial_in_vain_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 1)
    threads = Threads(2)
    machine.run(threads, FIRST, lambda n: 1.0)
    assert (machine.threads, threads.settled) == (2, 1)
    seen = machine.run(threads, 200, lambda n: 1.0)
    assert machine.threads == 1
    assert 0 < seen.count(2) <= 6
