"""The layers of a network as a table, from a checkpoint's header alone."""

import json as jsonlib
import math

from textgen.architecture import ModelConfig
from textgen.cli.table import table
from textgen.cli.terminal import visible
from textgen.store.checkpoint import Header


def print_layers(header: Header, json: bool) -> None:
    """A row per weight, or one JSON object."""
    model = header.record.model
    if json:
        weights = {name: list(shape) for name, shape in model.shapes.items()}
        facts = {"checkpoint": str(header.path), "cell": model.cell, "skips": model.skips}
        print(jsonlib.dumps({**facts, "weights": weights, "parameters": model.parameters}))
        return
    print(visible(str(header.path)))
    for line in table(_rows(model)):
        print(line)


def _rows(model: ModelConfig) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("layer", "weights", "shape", "parameters")]
    last = ""
    for name, shape in model.shapes.items():
        layer, _, weight = name.rpartition(".")
        size = " x ".join(map(str, shape))
        shown = "" if layer == last else f"{layer}{_note(model, layer)}"
        rows.append((shown, weight, size, f"{math.prod(shape):,}"))
        last = layer
    rows.append(("all", "", "", f"{model.parameters:,}"))
    wide = max(len(row[-1]) for row in rows)
    return [(*row[:-1], row[-1].rjust(wide)) for row in rows]


def _note(model: ModelConfig, layer: str) -> str:
    """What a recurrent layer is, and whether its input is added to its output."""
    if not layer.startswith("layers."):
        return ""
    skip = ", skip" if model.skips[int(layer.removeprefix("layers."))] else ""
    return f": {model.cell}{skip}"
