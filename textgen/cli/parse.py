"""Flags with the help of their settings; durations and lists of widths."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from textgen.bounds import help_of
from textgen.cli.completion import run_names
from textgen.config import Choices, SamplingOptions, ServingOptions
from textgen.errors import UsageError

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0}  # seconds
_AMOUNT = r"\d+(?:\.\d+)?"
_DURATION = re.compile(rf"(?=.)(?:{_AMOUNT}h)?(?:{_AMOUNT}m)?(?:{_AMOUNT}s)?|{_AMOUNT}", re.ASCII)


def option(text: str, panel: str, *flags: str, **more: Any) -> Any:
    """A flag with its help, in a panel of the help page; more: as `typer.Option` takes it."""
    return typer.Option(*flags, help=text, rich_help_panel=panel, **more)


def training(name: str, panel: str) -> Any:
    """The flag of a field of `Choices`."""
    return option(help_of(Choices, name), panel)


def sampling(name: str, panel: str, *flags: str) -> Any:
    """The flag of a field of `SamplingOptions`."""
    return option(help_of(SamplingOptions, name), panel, *flags)


def serving(name: str, panel: str, **more: Any) -> Any:
    """The flag of a field of `ServingOptions`."""
    return option(help_of(ServingOptions, name), panel, **more)


def given(context: typer.Context, owner: type, *more: str) -> dict[str, Any]:
    """The values of a command's flags that are fields of `owner`, and of those in `more`."""
    names = (*(field.name for field in fields(owner)), *more)
    return {name: context.params[name] for name in names if name in context.params}


OUTPUT = "Output"
CHECKPOINTS = Path("checkpoints")
_FOLDER = typer.Option(envvar="TEXTGEN_CHECKPOINTS", help="The folder that holds the runs.")
Checkpoints = Annotated[Path, _FOLDER]
_RUN = "A run's name, its folder or a checkpoint file; none: the latest run."
_RUN_NAME = typer.Argument(help=_RUN, show_default=False, autocompletion=run_names)
RunName = Annotated[str | None, _RUN_NAME]
_RUNS = "Runs, by name or folder, or checkpoint files; none: the latest run."
_RUN_NAMES = typer.Argument(help=_RUNS, show_default=False, autocompletion=run_names)
RunNames = Annotated[list[str] | None, _RUN_NAMES]


def duration(name: str, text: str | None) -> float | None:
    """Seconds of `90s`, `3m`, `1h30m`, or of a bare number. Raises UsageError for other text."""
    if text is None:
        return None
    if _DURATION.fullmatch(text):
        parts = re.findall(rf"({_AMOUNT})([hms]?)", text)
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
        if 0 < seconds < float("inf"):
            return seconds
    expected = "expected a time above 0, such as 90s, 3m or 1h30m"
    raise UsageError(f"`{name}` is {text!r}; {expected}", f"try `{name}=3m`")


def widths(text: str | None) -> tuple[int, ...] | None:
    """`256` or `128,64`. Raises UsageError if it is no list of whole numbers."""
    try:
        return None if text is None else tuple(map(int, text.split(",")))
    except ValueError:
        what = f"`hidden` is {text!r}; expected one width, or one per layer with commas between"
        raise UsageError(what, "try `hidden=256`, or `hidden=128,64`") from None
