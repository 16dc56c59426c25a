"""What can go wrong that a person can mend: each error is one line and a hint that can be typed.

A setting stands in backticks, by its name in Python: `lr`, or with a value, `lr=0.004`. The command
line spells it as a flag.
"""

import re

_HALVES = re.compile("[\ud800-\udfff]")  # of characters; or bytes of a name that are no UTF-8


# C1 controls, which some terminals obey, bytes that are not UTF-8, and what turns the order of text
MISLEADING = dict.fromkeys(
    [*range(128, 160), *range(0xD800, 0xE000), *range(0x202A, 0x202F), *range(0x2066, 0x206A)],
    0xFFFD,
)


def readable(name: str) -> str:
    """A file's name as UTF-8 can write it: U+FFFD in the place of what it cannot."""
    return _HALVES.sub("\ufffd", name)


def quoted(*words: object) -> str:
    """Words as a shell takes them, on one line: a newline becomes `$'\\012'`."""
    return " ".join(_quoted(str(word)) for word in words)


def _quoted(word: str) -> str:
    import shlex  # not before a hint is given: it takes 10 ms

    if word.isprintable():
        return shlex.quote(word)
    plain = (c if c.isprintable() and c not in "\\'" else _octal(c) for c in word)
    return f"$'{''.join(plain)}'"


def _octal(character: str) -> str:
    kind = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", kind))


class TextgenError(Exception):
    """Base of every error raised on purpose.

    message: one line that says what was found, where, and what was expected.
    hint: one line that says what to type or change; may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(TextgenError):
    """A value that no run could accept: out of range, or contradicting another."""

    exit_code = 2


class CorpusError(TextgenError):
    """A text that cannot be read, or has nothing to learn from."""


class ChangedCorpus(CorpusError):
    """A text that is not the one that a run was trained on."""


class UnknownCharacters(CorpusError):
    """A text holds characters that the vocabulary lacks."""


class CheckpointError(TextgenError):
    """A file that is not a checkpoint, is damaged, or does not fit what is asked of it."""


class RunError(TextgenError):
    """A run that is missing, is already there, or cannot be written."""


class DeviceError(TextgenError):
    """A device that this machine does not have, or that cannot do what is asked."""


class OutOfMemory(DeviceError):
    """A step that the memory of a device does not hold."""


class RankLost(TextgenError):
    """A process that trains a run together with this one is gone.

    told: whether another process says so.
    """

    def __init__(self, message: str, hint: str = "", *, told: bool = False) -> None:
        super().__init__(message, hint)
        self.told = told


class MissingLibrary(TextgenError):
    """A library that comes with an extra is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        """what: that something needs it, by its name."""
        hint = f"install the extra: pip install 'textgen-lstm[{extra}]'"
        super().__init__(f"{what}, which is not installed", hint)


class Diverged(TextgenError):
    """Training reached a loss that is not a number."""
