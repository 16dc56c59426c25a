"""The standard streams, whatever they are connected to: a pipe nobody reads, a full disk, nothing.

A reader that closes stdout ends the command without a word and with exit code 0; any other failure
to write there is one error. What cannot be written to stderr is dropped: training goes on without.
"""

import codecs
import errno
import io
import os
import select
import stat
import sys
from typing import Any

from textgen.cli.terminal import note, report_error
from textgen.config import CorpusConfig

_ESCAPES = "textgen.escapes"  # error handler: what the encoding lacks, as `\xe9`


def open_streams() -> None:
    """Replace `sys.stdout` and `sys.stderr` by streams that behave as said above."""
    for number in range(3):  # a file opened later must not become a standard stream
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)
    codecs.register_error(_ESCAPES, _escaped())
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8")
    sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout, _ESCAPES)
    sys.stderr = _text(_Messages(2, "w", closefd=False), sys.stderr, "backslashreplace")


def piped_in(none: str) -> bool:
    """Whether a text is piped or redirected into stdin, and is there at the moment.

    none: what is typed to say that there is none. A file that was read from already, as by `while
    read x`, is somebody else's.
    """
    try:
        number = sys.stdin.fileno()
        mode = os.fstat(number).st_mode
    except (OSError, ValueError, AttributeError):  # there is no stdin
        return False
    if stat.S_ISREG(mode):
        return os.lseek(number, 0, os.SEEK_CUR) == 0
    if not stat.S_ISFIFO(mode):
        return False
    if not _something_in(number):
        how = f"-f - waits for it, {none} says that there is none"
        note(f"note: nothing is in the pipe yet; {how}")
        return False
    return True


def as_read(text: str, corpus: CorpusConfig) -> str:
    """What was typed as it would be read from a file of a model's text; bytes as they are."""
    if corpus.level == "byte":
        return text
    text = text.removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n") if corpus.newlines == "lf" else text


def _something_in(number: int) -> bool:
    """Whether reading a pipe would not wait: there is text, or its writer is gone."""
    if not hasattr(select, "poll"):  # Windows waits
        return True
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return bool(poll.poll(0))


class _Output(io.FileIO):
    """What stdout writes to: the first failure ends the command, what follows is dropped."""

    _failed = False

    def write(self, data: Any) -> int:
        if self._failed:
            return len(data)
        try:
            return super().write(data)
        except BrokenPipeError:
            code = 0
        except OSError as error:
            why = "it is closed" if error.errno == errno.EBADF else error.strerror
            report_error(f"cannot write to stdout: {why}", "send the output elsewhere: ... > FILE")
            code = 1
        self._failed = True
        sys.exit(code)


class _Messages(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def _text(raw: io.FileIO, stream: Any, errors: str) -> io.TextIOWrapper:
    encoding = getattr(stream, "encoding", "utf-8")
    lines = raw.isatty() or errors != _ESCAPES
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=lines)


def _escaped() -> Any:
    """An error handler that escapes, and notes it the first time."""
    noted = False

    def escape(error: UnicodeError) -> tuple[str | bytes, int]:
        nonlocal noted
        if not noted and isinstance(error, UnicodeEncodeError):
            noted = True
            note(f"note: {error.encoding} lacks some characters; they are escaped, as \\xe9 is")
        return codecs.backslashreplace_errors(error)

    return escape
