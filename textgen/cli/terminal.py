"""Terminal output: errors in two lines, control characters made harmless, short numbers."""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import IO, TYPE_CHECKING, Any, Self

from textgen.config import Choices, SamplingOptions, ServingOptions
from textgen.errors import MISLEADING, TextgenError, quoted

if TYPE_CHECKING:
    from rich.progress import Progress

_FOLDS = re.compile(r"\s*[\t\n\r]\s*")
_LONG_WORD = re.compile(r"(\S{100})\S{100,}(\S{100})")
_SETTING = re.compile(r"`(\w+)(?:=([^`]*))?`")
_NAMES = {f.name for owner in (Choices, SamplingOptions, ServingOptions) for f in fields(owner)}
_FLAGS = {"base": "--from"}  # of those that are not called as they are in Python
_NAMES |= {"files", "base", "run", "checkpoints", "overwrite", "num"}
_NAMES |= {"against", "split", "novel", "top", "seeds", "backward_run"}


def spelled(text: str, flags: Mapping[str, str]) -> str:
    """`text` with its settings as typed: `lr=0.1` as --lr 0.1, or by `flags`."""

    def typed(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name not in _NAMES:
            return match[0]
        flag = flags.get(name) or _FLAGS.get(name, "--" + name.replace("_", "-"))
        if value == "False":
            return flag.replace("--", "--no-", 1)
        return flag if value is None else f"{flag} {value}"

    return _SETTING.sub(typed, text)


@contextmanager
def spelling(**flags: str) -> Iterator[None]:
    """Spell settings by `flags` in errors raised within."""
    try:
        yield
    except TextgenError as error:
        error.message, error.hint = spelled(error.message, flags), spelled(error.hint, flags)
        raise


def report_error(message: str, hint: str = "") -> None:
    """Two lines on stderr."""
    begin, end = ("\033[1;31m", "\033[0m") if coloured(sys.stderr) else ("", "")
    message = _LONG_WORD.sub(r"\1...\2", _one_line(spelled(message, {})))
    print(f"{begin}error:{end} {message}", file=sys.stderr)
    if hint:
        print(f"hint: {_one_line(spelled(hint, {}))}", file=sys.stderr)


def report_exception(error: BaseException) -> int:
    """Any exception in two lines; the exit code of a command that it ends."""
    match error:
        case TextgenError():
            report_error(error.message, error.hint)
            return error.exit_code
        case OSError(strerror=str(why)):
            if error.filename is None:
                report_error(why)
            else:
                file = os.fsdecode(error.filename)
                report_error(f"cannot use {file}: {why}", f"see what it is: ls -ld {quoted(file)}")
            return 1
        case UnicodeEncodeError():  # a name, in a locale of ASCII alone
            what = f"cannot write {error.object[:100]!r} in this locale, {error.encoding}"
            report_error(what, "choose another: LC_ALL=C.UTF-8 textgen ...")
            return 1
        case RuntimeError() if type(error).__name__ == "OutOfMemoryError":  # torch's, of a GPU
            report_error(str(error).splitlines()[0], "try `device=cpu`")
            return 1
    what = f"unexpected {type(error).__name__}: {error}"
    report_error(what, "TEXTGEN_DEBUG=1 shows where; please report it")
    return 1


def note(message: str, passage: str = "") -> None:
    """One line on stderr; passage: what stands at its end as it is."""
    print(visible(spelled(message, {}) + passage), file=sys.stderr)


def coloured(stream: object) -> bool:
    """Whether colour is wanted on `stream`: a terminal, and no NO_COLOR in the environment."""
    return looking(stream) and not os.environ.get("NO_COLOR")


def looking(stream: object) -> bool:
    """Whether `stream` is a terminal that can do more than print lines."""
    isatty = getattr(stream, "isatty", lambda: False)
    return bool(isatty()) and os.environ.get("TERM") != "dumb"


def in_foreground(stream: IO[str]) -> bool:
    """Whether the shell leaves the terminal `stream` to this process: not after `&` or `bg`."""
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):  # it is not the shell's, or there is no POSIX
        return True


def watched() -> bool:
    """Whether something that moves may be drawn on stderr."""
    return looking(sys.stderr) and in_foreground(sys.stderr)


def progress(counted: str = "") -> "Progress":
    """A bar on stderr, where somebody looks, for as long as it is entered; print outside of it.

    counted: what is counted, such as chars, if the bar has a rate.
    """
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, Task
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{short(task.speed or 0)} {counted}/s")

    columns = [*Progress.get_default_columns(), *([Rate()] if counted else [])]
    options: dict[str, Any] = {"transient": True, "redirect_stdout": False}
    return Progress(*columns, console=Console(stderr=True), disable=not watched(), **options)


def shown_in(bar: "Progress", name: str) -> Callable[[int, int], None]:
    """A function that takes how much is done and how much there is, and shows both in the bar."""
    task = bar.add_task(name, total=None)
    return lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def quiet_interrupt() -> Iterator[None]:
    """Keep the terminal from echoing ^C, which would push a live display down by a line."""
    echoed = _echo_control(False)
    try:
        yield
    finally:
        if echoed:
            _echo_control(True)


def _echo_control(on: bool) -> bool:
    """Set whether the terminal echoes ^C; returns whether it did."""
    try:
        import termios

        terminal = sys.stderr.fileno()
        if os.tcgetpgrp(terminal) != os.getpgrp():  # SIGTTOU would stop a background process
            return False
        attributes = termios.tcgetattr(terminal)
        echoed = bool(attributes[3] & termios.ECHOCTL)
        if echoed != on:
            attributes[3] ^= termios.ECHOCTL
            termios.tcsetattr(terminal, termios.TCSANOW, attributes)
    except Exception:  # no POSIX terminal; termios.error is no OSError
        return False
    return echoed


def _one_line(text: str) -> str:
    return visible(_FOLDS.sub(" ", text))


_PICTURES = {c: 0x2400 + c for c in range(32) if c not in (9, 10)} | {127: 0x2421}
_PICTURES |= MISLEADING


def harmless(text: str) -> str:
    """`text` with control characters as visible ones, ESC as U+241B; newlines and tabs stay."""
    return text.translate(_PICTURES)


def visible(text: str) -> str:
    """`text` on one line: harmless, with newlines and tabs as visible characters too."""
    return harmless(text).translate({9: 0x2409, 10: 0x240A})


class Output:
    """Text to stdout: harmless on a terminal, exact in a pipe, lone surrogates as bytes (PEP 383).

    Flushed 50 times a second: soon enough for a reader, without a system call per character.
    """

    def __init__(self) -> None:
        self.watched = sys.stdout.isatty()
        self._flushed = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def write(self, text: str) -> None:
        if self.watched:
            sys.stdout.write(harmless(text))
        else:
            sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
        now = time.monotonic()
        if now - self._flushed > 0.02:
            sys.stdout.flush()
            self._flushed = now


def clock(seconds: float) -> str:
    """7 -> 0:07, 3700 -> 1:01:40."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def short(number: float) -> str:
    """Three digits and a letter: 1234567 -> 1.23M, 45600 -> 45.6k, 321 -> 321."""
    for letter in ("", "k", "M", "G"):
        if number < 999.5 or letter == "G":
            break
        number /= 1000
    return f"{number:.3g}{letter}"
