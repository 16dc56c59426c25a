"""What a setting may be: its bounds, its help, and the error for a value beyond them."""

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any

from textgen.errors import UsageError

_SHOWN = 40  # characters of a value that a message repeats


@dataclass(frozen=True)
class Number:
    """Finite numbers from `low` to `high`, without these two if `open_ends`; and 0 if `or_zero`."""

    low: float
    high: float = math.inf
    example: str = ""
    whole: bool = False
    open_ends: bool = False
    or_zero: bool = False

    def check(self, name: str, value: object) -> None:
        """Raise UsageError unless `value`, of the setting `name`, is one of them."""
        kinds = (int,) if self.whole else (int, float)
        value = _plain(value)
        with suppress(OverflowError):  # an int too large for a float
            if isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value):
                inside = self.low < value < self.high
                at_end = not self.open_ends and value in (self.low, self.high)
                if inside or at_end or (self.or_zero and value == 0):
                    return
        hint = f"try `{name}={self.example}`" if self.example else f"give `{name}` {self}"
        raise UsageError(f"`{name}` is {_shown(value)}; expected {self}", hint)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a finite number"
        kind = f"0 or {kind}" if self.or_zero else kind
        if self.high < math.inf:
            excluded = ", both excluded" if self.open_ends else ""
            high = f"{self.high:,}" if self.whole else f"{self.high:g}"
            return f"{kind} between {self.low:g} and {high}{excluded}"
        return f"{kind} above {self.low:g}" if self.open_ends else f"{kind}, {self.low:g} or more"


def _shown(value: object) -> str:
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:
        return "a number of more than 40 digits"
    try:
        shown = repr(value) if isinstance(value, str) else str(value)
    except RecursionError:
        return "nested too deeply"
    text = shown.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


@dataclass(frozen=True)
class OneOf:
    """One of a few words."""

    words: tuple[str, ...]

    def check(self, name: str, value: object) -> None:
        if not isinstance(value, str) or value not in self.words:
            raise UsageError(
                f"`{name}` is {_shown(value)}; expected one of {', '.join(self.words)}",
                f"try `{name}={self.words[0]}`",
            )


@dataclass(frozen=True)
class _Kind:
    """Texts, which may be paths, or if `truth` True and False."""

    truth: bool

    def check(self, name: str, value: object) -> None:
        if not isinstance(value, bool if self.truth else str | os.PathLike):
            expected = "True or False" if self.truth else "a text"
            given = "False" if self.truth else "TEXT"
            raise UsageError(
                f"`{name}` is {_shown(value)}; expected {expected}", f"try `{name}={given}`"
            )


_TEXT = _Kind(truth=False)
_KINDS: dict[Any, _Kind] = {bool: _Kind(truth=True), str: _TEXT, str | None: _TEXT}  # by type


def setting(help_text: str, bounds: Number | OneOf | None = None, default: Any = None) -> Any:
    """A dataclass field with its help and its bounds."""
    return field(default=default, metadata={"help": help_text, "bounds": bounds})


def help_of(owner: type, name: str) -> str:
    """The help of a field."""
    return str(_described(owner, name)["help"])


def bounds_of(owner: type, name: str) -> Any:
    """The bounds of a field."""
    return _described(owner, name)["bounds"]


def _described(owner: type, name: str) -> Mapping[str, Any]:
    return next(f for f in fields(owner) if f.name == name).metadata


def check(config: Any, declared: type) -> None:
    """Raise UsageError unless the values of `config` are within the bounds of `declared`'s fields.

    A text or truth value without bounds is of its type; None is allowed where it is the default; of
    a tuple each element is checked, and there is one at least. A number of another type becomes one
    of Python's.
    """
    optional = {f.name for f in fields(declared) if f.default is None}
    found = {f.name: f.metadata.get("bounds") or _KINDS.get(f.type) for f in fields(declared)}
    bounds = {name: bound for name, bound in found.items() if bound}
    for name in (f.name for f in fields(config) if f.name in bounds):
        value = getattr(config, name)
        if value is None and name in optional:
            continue
        for one in value if isinstance(value, tuple) and value else (value,):
            bounds[name].check(name, one)
        object.__setattr__(config, name, _plain(value))


def _plain(value: Any) -> Any:
    """A number of another type, such as NumPy's, as one of Python's; all else as it is."""
    match value:
        case tuple():
            return tuple(map(_plain, value))
        case int() | float():
            return value
        case Integral():
            return int(value)
        case Real():
            return float(value)
    return value


def check_texts(name: str, value: object, expected: str) -> None:
    """Raise UsageError unless `value`, of the setting `name`, is several texts, none of them empty.

    expected: what they are.
    """
    texts = value if isinstance(value, tuple | list) else None
    if texts is not None and all(isinstance(text, str) and text for text in texts):
        return
    found = "holds an empty text" if texts and "" in texts else f"is {_shown(value)}"
    hint = f"give several: `{name}=[{_shown(value)}]`" if texts is None else f"give `{name}=TEXT`"
    raise UsageError(f"`{name}` {found}; expected {expected}", hint)


def whole(low: float, high: float, example: str) -> Number:
    """Whole numbers from `low` to `high`."""
    return Number(low, high, whole=True, example=example)


def above(low: float, high: float = math.inf, example: str = "") -> Number:
    """Finite numbers between `low` and `high`, both excluded."""
    return Number(low, high, open_ends=True, example=example)
