"""textgen eval."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from textgen.bounds import Number, OneOf
from textgen.cli.completion import run_names
from textgen.cli.parse import CHECKPOINTS, OUTPUT, Checkpoints, option, sampling
from textgen.cli.terminal import note, progress, spelling, visible
from textgen.config import COUNTED, UNKNOWN, SamplingOptions
from textgen.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from textgen.inference.surprise import Character, Judgement
    from textgen.inference.text_model import TextModel

FILES = typer.Argument(help="Texts to score; none: the run's own text.", show_default=False)
CHECKPOINT = typer.Option(
    "--checkpoint",
    "-c",
    help="A run or a checkpoint file; else the latest run.",
    autocompletion=run_names,
)

SURPRISE = "Surprise"
_SHOWN = 1 << 10  # characters between two changes of a bar
SHOW = option("The text, shaded by the bits each character cost.", SURPRISE, "--show")
LINES = option("The bits per character of each line; a FILE of - is stdin.", SURPRISE, "--lines")
TOP = option("Only so many lines, the most surprising first.", SURPRISE)
FAST = typer.Option(
    "--fast", help="Read many parts of a text side by side, each warmed up for as long as it takes."
)
SPLIT = typer.Option(help="Which part of the run's text: train or val.", show_default="val")


def evaluate(
    files: Annotated[list[Path] | None, FILES] = None,
    checkpoint: Annotated[str | None, CHECKPOINT] = None,
    split: Annotated[str | None, SPLIT] = None,
    unknown: Annotated[str, sampling("unknown", OUTPUT)] = SamplingOptions().unknown,
    checkpoints: Checkpoints = CHECKPOINTS,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object per text, or line.")
    ] = False,
    show: Annotated[bool, SHOW] = False,
    lines: Annotated[bool, LINES] = False,
    top: Annotated[int | None, TOP] = None,
    fast: Annotated[bool, FAST] = False,
) -> None:
    """Measure how well a model predicts a text, in nats and bits per character.

    One exact pass per text, its state carried from the first character to the last; of a model of
    documents, through each of these and its end. Accuracy is the share of characters that were the
    likeliest; calibration error how far confidence is from it.
    """
    from textgen.cli.surprise import line_rows, shown
    from textgen.inference.surprise import lines as by_line
    from textgen.inference.text_model import TextModel
    from textgen.store.runs import find_checkpoint

    if split is not None and files:
        what = f"`split={split}` is a part of the run's own text, and a file is given"
        raise UsageError(f"{what}; expected one of the two", "leave out `split`")
    OneOf(("val", "train")).check("split", split or "val")
    OneOf(UNKNOWN).check("unknown", unknown)
    _check_surprise(show, lines, top, json)
    model = TextModel(find_checkpoint(checkpoint, checkpoints))
    if fast and model.vocabulary.end is not None:
        what = (
            f"--fast is given, and {model.header.path} is of documents, which are fast without it"
        )
        raise UsageError(f"{what}; expected a model of one text", "leave out --fast")
    texts: list[tuple[str, Path | NDArray]] = [(str(path), path) for path in files or []]
    texts = texts or [own_text(model, split or "val")]
    counted = f"{model.vocabulary.level}s"
    for name, text in texts:
        total = _looked_through(model, text, unknown)
        if show or lines:
            if len(texts) > 1 and not json:
                print(visible(name))
            of = _characters(model, text, unknown, name, fast=fast)
            if top is not None:  # no row is there before the last character
                of = _watched(of, total, counted)
            for row in line_rows(by_line(of), name, top, json) if lines else shown(of):
                print(row)
            continue
        with progress(counted) as bar:
            task = bar.add_task("scoring", total=total)
            count = partial(bar.advance, task)
            result = model.judge(text, unknown=unknown, progress=count, fast=fast)
        header, figures = model.header, {"text": name, **vars(result)}
        figures |= {"bits_per_char": result.bits_per_char, "perplexity": result.perplexity}
        figures |= {"step": header.record.step, "checkpoint": str(header.path)}
        shown_as = f"{_measured(result, model)}  {visible(name)}\n{_more(result)}"
        print(jsonlib.dumps(figures) if json else shown_as, flush=True)
        if fast:
            note(_warmed_up(result))


def _characters(
    model: TextModel, text: Path | NDArray, unknown: str, name: str, *, fast: bool
) -> Iterator[Character]:
    """What each character of a text cost. Raises CorpusError for a text without any to score."""
    from textgen.inference.evaluation import too_short
    from textgen.inference.surprise import characters, predicted

    blocks, end = model.blocks(text, unknown), model.vocabulary.end
    parts = predicted(model.network(), blocks, end=end, fast=fast)
    of = characters(model.vocabulary, parts, model.backward)
    first = next(of, None)
    if first is None:
        raise too_short(name)
    yield first
    yield from of


def _watched(of: Iterator[Character], total: int | None, counted: str) -> Iterator[Character]:
    """The same, with a bar; counted: see `progress`."""
    with progress(counted) as bar:
        task = bar.add_task("scoring", total=total)
        for number, character in enumerate(of, 1):
            yield character
            if number % _SHOWN == 0:
                bar.advance(task, _SHOWN)


def _measured(result: Judgement, model: TextModel) -> str:
    unit = model.vocabulary.level
    units = f"{result.nats_per_char:.4f} nats/{unit}  {result.bits_per_char:.4f} bits/{unit}"
    return f"{units}  {result.characters:,} {COUNTED[unit]}s"


def _warmed_up(result: Judgement) -> str:
    from textgen.inference.predicted import AGREED, FOR

    many = f"{result.streams} part{'s' * (result.streams != 1)} side by side"
    until = f"until {FOR} characters in a row cost what they cost before, within {AGREED:g} nats"
    return f"fast: {many}; warmed up over {result.warm_up:,} characters at most, {until}"


def _more(result: Judgement) -> str:
    accuracy = f"accuracy {result.accuracy:.1%}, top 5 {result.top5_accuracy:.1%}"
    error = f"calibration error {result.calibration_error:.1%}"
    return f"perplexity {result.perplexity:.3f}  {accuracy}  {error}"


def _check_surprise(show: bool, lines: bool, top: int | None, json: bool) -> None:
    if show and (lines or json):
        what = f"--show and {'--lines' if lines else '--json'} are both given; expected one"
        raise UsageError(what, "leave out --show")
    if top is not None and not lines:
        raise UsageError("--top is given without --lines; expected both", "add --lines")
    Number(1, whole=True, example="20").check("top", 1 if top is None else top)


def _looked_through(model: TextModel, text: Path | NDArray, unknown: str) -> int | None:
    """The length of a text, if known; reports characters that the model never saw."""
    from textgen.text.given import unknown_in
    from textgen.text.sources import size_on_disk, special

    if not isinstance(text, Path):
        return len(text)
    if special(text):  # a pipe is read once
        return None
    reader = model.reader()
    with progress() as bar:
        task = bar.add_task("reading", total=size_on_disk(text))
        reader.progress = partial(bar.advance, task)
        lacking = unknown_in(text, reader, model.vocabulary)
    for notice in reader.notices:
        note(f"note: {notice}")
    if unknown == "error":
        lacking.refuse(str(text))
    elif str(lacking):
        note(f"note: {text} has {lacking}; `unknown={unknown}`")
    return lacking.read


def own_text(model: TextModel, split: str, command: str = "eval") -> tuple[str, NDArray]:
    """The name and the ids of a part of the text that the run was trained on.

    command: which is hinted at, with a place for the text, where it is gone.
    """
    from textgen.store.contents import reread_corpus

    typed = f"textgen {command} {'' if command == 'inspect' else '-c '}RUN"
    with spelling(files=typed, val_file=typed):
        corpus = reread_corpus(model.header)
    config = model.header.record.corpus
    own = [config.val_file] if split == "val" and config.val_file else config.files
    name = f"{split} part of {', '.join(own)}"
    return name, corpus.train if split == "train" else corpus.validation
