"""Flags: made from the settings' own help and defaults; and those that are more than a number."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from textgen.config import Choices, SamplingOptions
from textgen.errors import UsageError

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[hms])+|\d+(?:\.\d+)?", re.ASCII)
_HELP = {
    owner: {f.name: f.metadata["help"] for f in fields(owner)}
    for owner in (Choices, SamplingOptions)
}


def training(name: str, panel: str) -> Any:
    """The flag of a field of `Choices`, with its help, in a panel of the help page."""
    return typer.Option(help=_HELP[Choices][name], rich_help_panel=panel)


def sampling(name: str, panel: str, *flags: str) -> Any:
    """The flag of a field of `SamplingOptions`."""
    return typer.Option(*flags, help=_HELP[SamplingOptions][name], rich_help_panel=panel)


OUTPUT = "Output"
CHECKPOINTS = Path("checkpoints")
Checkpoints = Annotated[
    Path,
    typer.Option(envvar="TEXTGEN_CHECKPOINTS", help="The folder that holds the runs."),
]
RunName = Annotated[
    str | None,
    typer.Argument(
        help="A run's name, its folder or a checkpoint file; none: the latest run.",
        show_default=False,
    ),
]


def duration(name: str, text: str | None) -> float | None:
    """Seconds of `90s`, `3m`, `1h30m`, or of a bare number; else UsageError names the setting."""
    if text is None:
        return None
    if _DURATION.fullmatch(text):
        parts = re.findall(r"(\d+(?:\.\d+)?)([hms]?)", text)
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
        if 0 < seconds < float("inf"):
            return seconds
    raise UsageError(
        f"`{name}` is {text!r}; expected a time above 0, such as 90s, 3m or 1h30m",
        f"try `{name}=3m`",
    )


def widths(text: str | None) -> tuple[int, ...] | None:
    """`256` or `128,64`. Raises UsageError if it is no list of whole numbers."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"`hidden` is {text!r}; expected one width, or one per layer with commas between",
            "try `hidden=256`, or `hidden=128,64`",
        ) from None
