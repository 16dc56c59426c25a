"""Losses of runs as a picture, drawn with matplotlib."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from textgen.errors import MissingLibrary
from textgen.sharing.output import Output, begins_with, ending
from textgen.studies.curves import AXES, Curve, unit_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# where a picture says what made it: the name of the field, by the ending of the file
MADE_WITH = {".svg": "Creator", ".png": "Software"}
_MAKER = "textgen plot"
_MARKS = (f"<dc:title>{_MAKER} ".encode(), f"Software\0{_MAKER} ".encode())  # in the file
_SEARCHED = 2000  # bytes at a picture's begin that hold its maker
_WIDTH, _HEIGHT = 4.6, 3.4  # inches of a panel
_DPI = 120  # of a PNG
_DASHED: Final = "dashed"
_SOLID: Final = "solid"
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "textgen",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "font.size": 10,
}


def output(path: Path) -> Output:
    """Where a picture goes. Raises UsageError for another ending than .svg and .png."""
    ending(path, MADE_WITH)
    return Output(path, "plot", is_plot)


def is_plot(path: Path) -> bool:
    """Whether a file was made by `draw`. Raises OSError."""
    return any(begins_with(path, mark, _SEARCHED) for mark in _MARKS)


def check_library() -> None:
    """Raise MissingLibrary without matplotlib."""
    if find_spec("matplotlib") is None:
        raise MissingLibrary("pictures are drawn with matplotlib", "plot")


def draw(curves: Sequence[Curve], axes: Sequence[str], form: str) -> bytes:
    """The picture of the losses against each of `axes`, side by side; form: .svg or .png.

    Training loss dashed, validation loss solid, a colour for each run. Raises as `check_library`.
    """
    check_library()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    made = {MADE_WITH[form]: f"{_MAKER} {version('textgen-lstm')}"}
    if form == ".svg":
        made["Date"] = None  # type: ignore[assignment]  # the same runs, the same bytes
    with rc_context(_STYLE), warnings.catch_warnings():
        figure = Figure(figsize=(_WIDTH * len(axes), _HEIGHT), layout="constrained")
        panels = figure.subplots(1, len(axes), sharey=True, squeeze=False)[0]
        for axis, panel in zip(axes, panels, strict=True):
            _panel(panel, curves, axis)
        panels[0].set_ylabel(f"nats per {unit_of(curves)}")
        _legend(figure, curves)
        held = io.BytesIO()
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name that its font lacks
        figure.savefig(held, format=form[1:], dpi=_DPI, metadata=made)
    return held.getvalue()


def _panel(panel: Axes, curves: Sequence[Curve], axis: str) -> None:
    from matplotlib.ticker import EngFormatter

    for number, curve in enumerate(curves):
        x = curve.along(axis)
        losses = ("train_nats", _DASHED), ("val_nats", _SOLID)
        for name, line in losses:
            y = [getattr(event, name) for event in curve.evaluations]
            marker = "o" if len(x) == 1 else ""
            panel.plot(x, y, color=f"C{number % 10}", linestyle=line, marker=marker)
    panel.set_xlabel(AXES[axis].label)
    if AXES[axis].unit == 1:
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))  # 1.5M


def _legend(figure: Figure, curves: Sequence[Curve]) -> None:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=f"C{number % 10}") for number in range(len(curves))]
    lines += [Line2D([], [], color="0.4", linestyle=line) for line in (_SOLID, _DASHED)]
    names = [*(curve.name for curve in curves), "validation", "training"]
    legend = figure.legend(lines, names, loc="outside lower center", ncols=4, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a $ in a name is a $
