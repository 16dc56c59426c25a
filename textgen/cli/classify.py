"""textgen classify: which model finds a text likeliest."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from textgen.cli.completion import run_names
from textgen.cli.parse import CHECKPOINTS, Checkpoints
from textgen.cli.piped import read_again
from textgen.cli.surprise import fitted
from textgen.cli.terminal import progress, shown_in, visible
from textgen.errors import CorpusError, UsageError, quoted

if TYPE_CHECKING:
    from textgen.inference.text_model import TextModel

FILE = typer.Argument(help="The text, or with --lines the lines; -: stdin.", show_default=False)
RUNS = typer.Option(
    "--checkpoint", "-c", help="A run or a checkpoint file; two or more.", autocompletion=run_names
)
LINES = typer.Option("--lines", help="Each line by itself.")
LABELS = typer.Option(
    help="File with the right run of each line, named as by -c; adds the accuracy."
)


def classify(
    file: Annotated[Path, FILE],
    checkpoint: Annotated[list[str], RUNS],
    lines: Annotated[bool, LINES] = False,
    labels: Annotated[Path | None, LABELS] = None,
    checkpoints: Checkpoints = CHECKPOINTS,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per text.")] = False,
) -> None:
    """Tell which model finds a text, or each line of it, likeliest.

    The margin is how many bits more the text costs the second best. A character that a model never
    saw costs it 20 bits.
    """
    import numpy as np
    from rich.markup import escape

    from textgen.inference.classification import bits, documents_of, lines_of, split_lines
    from textgen.inference.text_model import TextModel
    from textgen.store.runs import find_checkpoint

    if len({*checkpoint}) < max(2, len(checkpoint)):
        what = f"--checkpoint names {', '.join(checkpoint)}; expected two runs or more, each once"
        raise UsageError(what, "textgen classify -c RUN -c RUN FILE")
    if labels is not None and not lines:
        raise UsageError("--labels is given without --lines; expected both", "add --lines")
    models = [TextModel(find_checkpoint(run, checkpoints)) for run in checkpoint]
    texts = _read(file, models, checkpoint, lines)
    shown = split_lines(texts[0]) if lines else [str(file)]
    expected = None
    if labels is not None:
        expected = _labels(labels, checkpoint, len(shown))
    cut = lines_of if lines else documents_of
    found = []
    with progress(f"{models[0].vocabulary.level}s") as bar:
        for run, model, read in zip(checkpoint, models, texts, strict=True):
            tell = shown_in(bar, escape(visible(run)))
            found.append(bits(model, cut(model, read), tell))
    costs = np.array(found if lines else [[of_each.sum()] for of_each in found])
    best = costs.argmin(axis=0)
    first, second, *_ = np.sort(costs, axis=0)
    wide = max(map(len, checkpoint))
    for number, (row, place) in enumerate(zip(shown, best.tolist(), strict=True)):
        margin = float(second[number] - first[number])
        facts = {"run": checkpoint[place], "margin_bits": margin, "number": number + 1, "text": row}
        line = f"{visible(checkpoint[place]):<{wide}} {margin:8.2f}  {visible(row)}"
        each = {"bits": dict(zip(checkpoint, costs[:, number].tolist(), strict=True))}
        print(jsonlib.dumps(facts | each) if json else fitted(line))
    if expected is not None:
        right = sum(checkpoint[i] == name for i, name in zip(best.tolist(), expected, strict=True))
        share = right / len(expected)
        figures = {"accuracy": share, "lines": len(expected)}
        print(
            jsonlib.dumps(figures) if json else f"accuracy {share:.1%} of {len(expected):,} lines"
        )


def _read(file: Path, models: list[TextModel], runs: list[str], by_line: bool) -> list[list[str]]:
    """The texts of a path as each model reads them."""
    from textgen.inference.classification import documents_of, split_lines

    with read_again([file]) as (path,):
        of_each = [model.reader().whole_texts(path) for model in models]
        for model, texts, run in zip(models, of_each, runs, strict=True):
            if not any(texts) or not (by_line or documents_of(model, texts)):
                what = f"{path} is empty, as {run} reads it; expected a text"
                raise CorpusError(what, "name another file")
            found, expected = len(split_lines(texts)), len(split_lines(of_each[0]))
            if by_line and found != expected:
                as_read = f"{expected:,} lines as {runs[0]} reads it, {found:,} as {run} does"
                hint = "name runs that were trained with the same --newlines and --encoding"
                raise CorpusError(f"{path} has {as_read}", hint)
    return of_each


def _labels(path: Path, runs: list[str], count: int) -> list[str]:
    from textgen.inference.classification import split_lines
    from textgen.text.decoding import Reader

    reader = Reader(hint="convert it to UTF-8, for example with iconv")
    names = split_lines(reader.whole_texts(path))
    for number, name in enumerate(names, 1):
        if name not in runs:
            what = f"line {number} of {path} is {name!r}; expected {', '.join(runs)}"
            raise UsageError(what, f"name the run: -c {quoted(name or 'RUN')}")
    if len(names) != count:
        what = f"{path} has {len(names):,} lines; expected {count:,}, one for each line of the text"
        raise UsageError(what, "name another file: --labels FILE")
    return names
