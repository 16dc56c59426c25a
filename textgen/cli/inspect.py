"""textgen inspect: what a model's gates and units do as it reads a text."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from textgen.bounds import OneOf
from textgen.cli.eval import own_text
from textgen.cli.parse import CHECKPOINTS, OUTPUT, Checkpoints, RunName, option, sampling
from textgen.cli.terminal import visible
from textgen.config import COUNTED, UNKNOWN, SamplingOptions
from textgen.errors import CorpusError, UsageError

if TYPE_CHECKING:
    from textgen.inference.activations import Trace
    from textgen.inference.text_model import TextModel

VIEWS = "Instead of gates and units"
FILE = typer.Argument(
    help="The text to read, -: stdin; none: what the run held out.", show_default=False
)
TEXT = typer.Option("--prompt", "-p", help="The text itself, in place of a file.")
UNIT = option("The text, coloured by unit K of layer L, both from 0.", VIEWS, "--unit")
GATE = option("The text, coloured by the mean of a gate of layer L: 0:forget.", VIEWS, "--gate")
LAYERS = option("The layers, their weights and parameters; reads no text.", VIEWS, "--layers")


def inspect(
    run: RunName = None,
    file: Annotated[Path | None, FILE] = None,
    prompt: Annotated[str | None, TEXT] = None,
    unit: Annotated[str | None, UNIT] = None,
    gate: Annotated[str | None, GATE] = None,
    layers: Annotated[bool, LAYERS] = False,
    unknown: Annotated[str, sampling("unknown", OUTPUT)] = SamplingOptions().unknown,
    json: Annotated[bool, option("One JSON object.", OUTPUT, "--json")] = False,
    checkpoints: Checkpoints = CHECKPOINTS,
) -> None:
    """Show what a model's gates and units do as it reads a text.

    At most 32,768 characters are read. First come the gates of each layer: the
    mean, the shares of values below 0.1 and above 0.9, and how many characters
    the state lasts until the forget gate (of a GRU the update gate) leaves half
    of it. Then come the units that follow something a person can name, such as
    quotes or the place in the line, the strongest correlation first.
    """
    OneOf(UNKNOWN).check("unknown", unknown)
    _check(unit, gate, layers, file or prompt)
    if layers:
        from textgen.cli.layers import print_layers
        from textgen.store.checkpoint import read_header
        from textgen.store.runs import find_checkpoint

        print_layers(read_header(find_checkpoint(run, checkpoints)), json)
        return
    if file is not None and prompt is not None:
        raise UsageError("FILE and --prompt are both given; expected one text", "leave one out")

    from textgen.cli.unit_view import gate_of, unit_of, view_facts, view_lines
    from textgen.cli.units import unit_facts, unit_lines
    from textgen.inference.text_model import TextModel
    from textgen.store.runs import find_checkpoint

    model = TextModel(find_checkpoint(run, checkpoints))
    shape = model.header.record.model
    one: tuple[int, int | str] | None = None
    if unit is not None:
        one = unit_of(shape, unit)
    elif gate is not None:
        one = gate_of(shape, gate)
    name, read = _read(model, file, prompt, unknown)
    facts = {"checkpoint": str(model.header.path), "text": name, "read": len(read.ids)}
    facts |= view_facts(model, read, *one) if one else unit_facts(model, read)
    if json:
        print(jsonlib.dumps(facts))
        return
    print(visible(str(model.header.path)))
    print(f"{len(read.ids):,} {COUNTED[model.vocabulary.level]}s of {visible(name)}")
    for line in view_lines(facts) if one else unit_lines(facts):
        print(line)


def _check(unit: str | None, gate: str | None, layers: bool, text: object) -> None:
    """Raise UsageError for flags that exclude each other."""
    views = {"--unit": unit, "--gate": gate, "--layers": layers or None}
    given = [flag for flag, value in views.items() if value is not None]
    if len(given) > 1:
        what = f"{' and '.join(given)} are given; expected one of them"
        raise UsageError(what, f"leave out {given[-1]}")
    if layers and text is not None:
        raise UsageError("--layers is given with a text, and reads none", "leave the text out")


def _read(
    model: TextModel, file: Path | None, prompt: str | None, unknown: str
) -> tuple[str, Trace]:
    """The name of the text, and the states over its first characters."""
    from textgen.inference.activations import first, most, trace
    from textgen.text.given import file_ids

    if model.vocabulary.end is not None:
        what = f"{model.header.path} is of documents, each of which begins from zero state"
        raise UsageError(f"{what}; expected a model of one text", "name another run")
    if prompt is not None:
        name, blocks = "--prompt", model.blocks(prompt, unknown)
    elif file is not None:
        how = (file, model.reader, model.vocabulary, unknown)
        name = str(file)
        blocks = model.blocks(file, unknown) if model.backward else file_ids(*how, all_named=False)
    else:
        name, own = own_text(model, "val", "inspect")
        blocks = [own]
    ids = first(blocks, most(model.header.record.model))
    if len(ids) < 2:
        what = f"the text has {len(ids)} {COUNTED[model.vocabulary.level]}s; expected 2 or more"
        raise CorpusError(what, "name a longer text")
    return name, trace(model.folded, ids)
