"""Flags that are more than a number or a word."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from textgen.errors import UsageError

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[hms])+|\d+(?:\.\d+)?", re.ASCII)

Checkpoints = Annotated[
    Path,
    typer.Option(envvar="TEXTGEN_CHECKPOINTS", help="The folder that holds the runs."),
]
CHECKPOINTS = Path("checkpoints")
RunName = Annotated[
    str | None,
    typer.Argument(
        help="A run's name, its folder or a checkpoint file; none: the latest run.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]


def duration(name: str, text: str | None) -> float | None:
    """Seconds of `90s`, `3m`, `1h30m`, or of a bare number. Raises UsageError naming the flag."""
    if text is None:
        return None
    if _DURATION.fullmatch(text):
        parts = re.findall(r"(\d+(?:\.\d+)?)([hms]?)", text)
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
        if 0 < seconds < float("inf"):
            return seconds
    raise UsageError(
        f"--{name} is {text!r}; expected a time above 0, such as 90s, 3m or 1h30m",
        f"try --{name} 3m",
    )


def widths(text: str | None) -> tuple[int, ...] | None:
    """`256` or `128,64`. Raises UsageError if it is no list of whole numbers."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"--hidden is {text!r}; expected one width, or one per layer with commas between",
            "try --hidden 256, or --hidden 128,64",
        ) from None
