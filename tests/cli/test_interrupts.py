from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from textgen.cli import interrupts
from textgen.cli.interrupts import ECHO, SIGNALS, Interrupts


class Clock:
    def __init__(self) -> None:
        self.now = 5.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(interrupts, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Whatever a test does, the handlers that were there come back."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_without_a_signal_there_is_nothing_to_tell() -> None:
    with Interrupts() as interrupts:
        pass
    assert interrupts.signal is None
    assert interrupts.exit_code == 0


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_what_goes_on_goes_on(number: signal.Signals) -> None:
    with Interrupts() as interrupts:
        signal.raise_signal(number)
        went_on = True
    assert went_on
    assert interrupts.signal == number
    codes = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
    assert interrupts.exit_code == codes[number]


@pytest.mark.parametrize("other", [signal.SIGINT, signal.SIGTERM])
def test_the_same_wish_sent_on_by_a_wrapper_counts_once(
    clock: Clock, other: signal.Signals
) -> None:
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        for _ in range(3):
            clock.now += ECHO / 3 - 0.01
            signal.raise_signal(other)
    assert interrupts.signal == signal.SIGINT  # the first one tells the exit code


def send(clock: Clock, *signals: tuple[float, signal.Signals]) -> None:
    """Signals within an `Interrupts`, each so long after the one before."""
    with Interrupts():
        for seconds, number in signals:
            clock.now += seconds
            signal.raise_signal(number)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_a_second_wish_ends_the_process(clock: Clock, number: signal.Signals, code: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended:
        send(clock, (0, signal.SIGINT), (ECHO + 0.01, number))
    assert ended.value.code == code
    assert signal.getsignal(number) is before


def test_the_time_counts_from_the_first_signal_and_not_from_its_echo(clock: Clock) -> None:
    with pytest.raises(SystemExit):
        send(clock, *((seconds * ECHO, signal.SIGINT) for seconds in (0, 0.9, 0.2)))


@pytest.mark.parametrize("error", [None, ValueError])
def test_afterwards_signals_do_what_they_did_before(error: type[Exception] | None) -> None:
    heard = []
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: heard.append(number))
    try:
        with Interrupts():
            signal.raise_signal(signal.SIGINT)
            if error:
                raise error
    except ValueError:
        pass
    for number in SIGNALS:
        signal.raise_signal(number)
    assert heard == SIGNALS


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGHUP elsewhere")
@pytest.mark.parametrize("ignored", [True, False])
def test_under_nohup_a_closed_terminal_stays_ignored(ignored: bool) -> None:
    usual = "" if ignored else "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    program = (
        f"import signal\n{usual}from textgen.cli.interrupts import Interrupts\n"
        "with Interrupts() as interrupts: signal.raise_signal(signal.SIGHUP)\n"
        "print(interrupts.exit_code)"
    )
    begin = ["nohup", sys.executable] if ignored else [sys.executable]
    done = subprocess.run([*begin, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ("0\n" if ignored else "129\n")


@pytest.mark.parametrize("number", SIGNALS)
def test_within_at_once_the_first_signal_ends_the_process(number: signal.Signals) -> None:
    with Interrupts() as interrupts:
        with pytest.raises(SystemExit) as caught, interrupts.at_once():
            signal.raise_signal(number)
        assert caught.value.code == 128 + number
        signal.raise_signal(number)  # outside of it, it is only recorded
    assert interrupts.signal == number


def test_within_at_once_what_is_undone_is_not_cut_short_by_a_duplicate(clock: Clock) -> None:
    undone = []

    def interrupted() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            undone.append(True)

    with Interrupts() as interrupts, pytest.raises(SystemExit) as caught, interrupts.at_once():
        interrupted()
    assert undone
    assert caught.value.code == 143


def test_a_signal_before_at_once_ends_the_process_there() -> None:
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(SystemExit) as ended, interrupts.at_once():
            raise AssertionError
    assert ended.value.code == 143


def test_a_text_that_is_done_is_not_given_up_for_a_signal_meanwhile() -> None:
    with Interrupts() as interrupts:
        texts = interrupts.stoppable(iter(["whole"]))
        assert next(texts) == "whole"
        os.kill(os.getpid(), signal.SIGTERM)
        assert next(texts, "the end") == "the end"
