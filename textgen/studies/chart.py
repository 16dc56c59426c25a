"""Line charts as SVG inside an HTML page, coloured by the page's style sheet alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 360, 230  # of the drawing, in units that are pixels on a narrow page
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 20, 10, 42  # margins
_TICKS = 5  # intervals on a linear axis, at most but for the one that holds the largest number


@dataclass(frozen=True)
class Line:
    """points: x and y, in order; look: the names of its classes, `c0 dashed`."""

    points: Sequence[tuple[float, float]]
    look: str


@dataclass(frozen=True)
class Scale:
    """Where numbers stand on an axis, `low` to `high`; log: by their logarithms to that base."""

    label: str
    low: float
    high: float
    log: int = 0

    @classmethod
    def holding(cls, label: str, values: Sequence[float]) -> Scale:
        """A linear axis from the last tick not above any of `values` to the first not below."""
        low, high = min(values), max(values)
        step = _step(low, high)
        first = math.floor(low / step)
        return cls(label, first * step, max(first + 1, math.ceil(high / step)) * step)

    @property
    def ticks(self) -> list[float]:
        if not self.log:
            step = _step(self.low, self.high)
            first, last = self.low / step, self.high / step
            return [n * step for n in range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1)]
        first, last = (math.log(v, self.log) for v in (self.low, self.high))
        powers = range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1)
        return [float(self.log) ** n for n in powers]

    def share(self, value: float) -> float:
        """How far along the axis a number stands, 0 to 1."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = (math.log(v, self.log) for v in (value, low, high))
        return (value - low) / (high - low)


def _step(low: float, high: float) -> float:
    """1, 2 or 5 times a power of ten: the least that makes at most _TICKS intervals."""
    width = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(width / _TICKS))
    return next(m * power for m in (1, 2, 5, 10) if width / (m * power) <= _TICKS + 1e-9)


def chart(lines: Sequence[Line], x: Scale, y: Scale) -> str:
    """An `svg` element with axes, ticks and lines."""
    parts = [_axis(x, across=True), _axis(y, across=False)]
    for line in lines:
        places = [(_across(x, a), _up(y, b)) for a, b in line.points]
        if len(places) == 1:
            parts.append(
                f'<circle class="{line.look}" cx="{places[0][0]}" cy="{places[0][1]}" r="3"/>'
            )
        path = " ".join(f"{a},{b}" for a, b in places)
        parts.append(f'<polyline class="{line.look}" points="{path}"/>')
    told = escape(f"{y.label} against {x.label}")
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return f'<svg {size} role="img" aria-label="{told}">{"".join(parts)}</svg>'


def _axis(scale: Scale, *, across: bool) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for tick in scale.ticks:
        if across:
            a = _across(scale, tick)
            parts.append(f'<path class="grid" d="M{a} {_TOP}V{bottom}"/>')
            parts.append(f'<text class="x" x="{a}" y="{bottom + 16}">{_told(tick)}</text>')
        else:
            b = _up(scale, tick)
            parts.append(f'<path class="grid" d="M{_LEFT} {b}H{right}"/>')
            parts.append(f'<text class="y" x="{_LEFT - 6}" y="{b + 4}">{_told(tick)}</text>')
    label = escape(scale.label)
    if across:
        middle = (_LEFT + right) / 2
        return "".join(parts) + f'<text class="x" x="{middle}" y="{_HEIGHT - 6}">{label}</text>'
    middle = (_TOP + bottom) / 2
    place = f'transform="translate(11 {middle})rotate(-90)"'
    return "".join(parts) + f'<text class="x" {place}>{label}</text>'


def _across(scale: Scale, value: float) -> float:
    return round(_LEFT + scale.share(value) * (_WIDTH - _LEFT - _RIGHT), 1)


def _up(scale: Scale, value: float) -> float:
    return round(_HEIGHT - _BOTTOM - scale.share(value) * (_HEIGHT - _TOP - _BOTTOM), 1)


def _told(number: float) -> str:
    """1500000 as 1.5M, 0.00001 as 1e-5."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= 10 * unit or (abs(number) >= unit > 1e3):
            return f"{number / unit:.4g}{letter}"
    if 0 < abs(number) < 0.005:
        return f"{number:.0e}".replace("e-0", "e-")
    return f"{number:,.0f}" if abs(number) >= 1e3 else f"{number:.4g}"
