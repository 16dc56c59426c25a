"""A text coloured by the value of one unit, or by the mean of one gate of a layer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from textgen.cli.shading import MARGIN, headed, in_rows
from textgen.cli.terminal import coloured
from textgen.errors import UsageError

if TYPE_CHECKING:
    from textgen.architecture import ModelConfig
    from textgen.inference.activations import Trace
    from textgen.inference.text_model import TextModel

RANGE = {"unit": (-1, 1), "gate": (0, 1)}
# from which value on a background is taken, of the 256 colours of a terminal: blue below, red above
_SHADES = ((0.75, 209), (0.5, 222), (0.25, 229), (-0.25, None), (-0.5, 195), (-0.75, 117))
_LEAST = 75


def unit_of(model: ModelConfig, text: str) -> tuple[int, int]:
    """The layer and the unit of `L:K`. Raises UsageError if the model has none such."""
    layer, _, unit = text.partition(":")
    for n, width in enumerate(model.hidden):
        if layer == str(n) and unit in map(str, range(width)):
            return n, int(unit)
    sizes = ", ".join(f"{n}:0 to {n}:{width - 1}" for n, width in enumerate(model.hidden))
    raise UsageError(f"--unit is {text!r}; expected one of {sizes}", "try --unit 0:0")


def gate_of(model: ModelConfig, text: str) -> tuple[int, str]:
    """The layer and the gate of `L:NAME`. Raises UsageError if the model has none such."""
    from textgen.inference.activations import GATES

    names = GATES[model.cell]
    if not names:
        what = f"--gate is {text!r}, and the model is an RNN, which has no gates"
        raise UsageError(what, "colour by a unit: --unit 0:0")
    layer, _, name = text.partition(":")
    for n in range(model.layers):
        if layer == str(n) and name in names:
            return n, name
    expected = f"a layer from 0 to {model.layers - 1}, and {' or '.join(names)}"
    raise UsageError(f"--gate is {text!r}; expected {expected}", f"try --gate 0:{names[-1]}")


def view_facts(model: TextModel, trace: Trace, layer: int, which: int | str) -> dict[str, Any]:
    """The characters in reading order, and at each the value of a unit or the mean of a gate."""
    from textgen.inference.activations import completed

    texts, places = completed(model.vocabulary, trace.ids, model.backward)
    if isinstance(which, int):
        what, values = "unit", trace.values(layer)[:, which]
    else:
        what, values = "gate", trace.gates(layer)[which].mean(axis=1)
    facts = {what: f"{layer}:{which}", "range": RANGE[what]}
    return {**facts, "characters": texts, "values": values[places].tolist()}


def view_lines(facts: dict[str, Any]) -> Iterator[str]:
    """Rows of the text with their mean value, and without colours with a digit below each."""
    from rich.cells import cell_len

    least, most = facts["range"]
    name = f"unit {facts['unit']}" if "unit" in facts else f"mean of gate {facts['gate']}"
    colours = coloured(sys.stdout)
    yield f"{name}, {'blue to red' if colours else '0 to 9'}: from {least} to {most}"
    yield ""
    for row in in_rows(zip(facts["characters"], facts["values"], strict=True)):
        shares = [(value - least) / (most - least) for _, value in row]
        shades = (_shade(2 * share - 1) for share in shares)
        texts = [text for text, _ in row]
        mean = sum(value for _, value in row) / len(row)
        yield headed(mean, zip(texts, shades, strict=True))
        if not colours:
            digits = (str(min(9, int(10 * share))) for share in shares)
            sized = zip(digits, map(cell_len, texts), strict=True)
            yield MARGIN + "".join(digit.ljust(size)[:size] for digit, size in sized)


def _shade(value: float) -> int | None:
    return next((shade for least, shade in _SHADES if value >= least), _LEAST)
