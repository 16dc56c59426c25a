"""textgen sample."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from textgen.cli import saving
from textgen.cli.copying import Copying
from textgen.cli.interrupts import Interrupts
from textgen.cli.parse import CHECKPOINTS, OUTPUT, Checkpoints, RunName, given, option, sampling
from textgen.cli.stdio import piped_in
from textgen.cli.terminal import Output, note
from textgen.config import MOST, TEXTS, SamplingOptions
from textgen.errors import RunError, UsageError

if TYPE_CHECKING:
    from textgen.inference.novelty import Novelty
    from textgen.inference.text_model import TextModel
    from textgen.inference.writer import Position, Writer

CHOICE, TEXT = "How characters are chosen", "What to go on from"
DEFAULT = SamplingOptions()
TEMPERATURE = sampling("temperature", CHOICE, "--temp", "--temperature")
PROMPT = option("Text to go on from; else what is piped in.", TEXT, "--prompt", "-p")
PROMPT_FILE = option("File with text to go on from; -: stdin.", TEXT, "--prompt-file", "-f")
LOAD = option("Go on exactly where this was saved.", TEXT)
SAVE = option("Keep the state of the text written.", OUTPUT)
BEFORE = option("Write what comes before this, with a model that reads backward.", TEXT)
ECHO = option("Write the prompt too.", OUTPUT, "--echo/--no-echo")
BATCH = option("Write the texts side by side: for many of them far faster.", OUTPUT, "--batch")
UNIQUE = option("Leave out texts that repeat.", OUTPUT, "--unique")
NOVEL = option(
    "Leave out texts that stand in the corpus; for runs with --documents.", OUTPUT, "--novel"
)
NOVELTY = option("Report how much of it stands in the training text.", OUTPUT, "--novelty")
_KEEPS_NONE = (
    "texts written side by side, with --batch or on a GPU, have an end and keep no state;"
    " --length 0, --load-state or --save-state is given"
)
TRIES = 50  # texts drawn for each that is wanted, at most, where some are left out
JSON = option("One JSON object per text.", OUTPUT, "--json")


def sample(
    context: typer.Context,
    run: RunName = None,
    temp: Annotated[float, TEMPERATURE] = DEFAULT.temperature,
    top_k: Annotated[int, sampling("top_k", CHOICE)] = DEFAULT.top_k,
    top_p: Annotated[float, sampling("top_p", CHOICE)] = DEFAULT.top_p,
    min_p: Annotated[float, sampling("min_p", CHOICE)] = DEFAULT.min_p,
    seed: Annotated[int | None, sampling("seed", CHOICE)] = None,
    length: Annotated[int, sampling("length", OUTPUT)] = DEFAULT.length,
    num: Annotated[int, option("How many texts.", OUTPUT)] = 1,
    unique: Annotated[bool, UNIQUE] = False,
    novel: Annotated[bool, NOVEL] = False,
    stop: Annotated[list[str] | None, sampling("stop", OUTPUT)] = None,
    prompt: Annotated[str | None, PROMPT] = None,
    prompt_file: Annotated[Path | None, PROMPT_FILE] = None,
    before: Annotated[str | None, BEFORE] = None,
    echo: Annotated[bool, ECHO] = True,
    unknown: Annotated[str, sampling("unknown", TEXT)] = DEFAULT.unknown,
    load_state: Annotated[Path | None, LOAD] = None,
    save_state: Annotated[Path | None, SAVE] = None,
    batch: Annotated[bool, BATCH] = False,
    device: Annotated[str, sampling("device", OUTPUT)] = DEFAULT.device,
    copied: Annotated[bool, NOVELTY] = False,
    json: Annotated[bool, JSON] = False,
    checkpoints: Checkpoints = CHECKPOINTS,
) -> None:
    """Write text with a trained model."""
    from textgen.inference.text_model import TextModel
    from textgen.inference.writer import Position, Writer
    from textgen.store.runs import find_checkpoint

    asked = given(context, SamplingOptions)
    options = SamplingOptions(**asked | {"temperature": temp, "stop": tuple(stop or ())})
    TEXTS.check("num", num)
    saving.check_target(save_state, num)
    model = TextModel(find_checkpoint(run, checkpoints))
    position = Position.load(load_state) if load_state else None
    if position is not None and position.digest() != model.digest:
        note(f"note: {load_state} was saved with other weights than {model.header.path}")
    prompt = _given(model, (prompt, prompt_file, before))
    _check_end(model, options, whole=json or unique)
    keeps = position is not None or save_state is not None or length == 0
    streams = 64 if batch else 1
    free = not keeps and seed is None  # with a seed the device is not a matter of speed
    options = _on_device(model, options, streams, position, free)
    side_by_side = batch or options.device != "cpu"
    if side_by_side and keeps:
        raise UsageError(_KEEPS_NONE, "leave out --batch and --device")
    novelty = _novelty(model, prompt, position, unique=unique, novel=novel)
    numbers = _numbers(position, seed, min(MOST, TRIES * num) if novelty else num)
    found, between, headed = 0, *_layout(model, num, sys.stdout)
    heard = Copying(model if copied else None)
    with Interrupts() as interrupts, Output() as output, saving.told(save_state):
        texts: Iterator[Writer | Iterator[str]]
        if side_by_side:
            many = model.generate_many(prompt, options, num=len(numbers), streams=streams)
            texts = (iter((text,)) for text in interrupts.stoppable(many))
        else:
            alone = _one_by_one(model, prompt, options, position, numbers, score=json)
            texts = interrupts.stoppable(alone)
        read = interrupts.stoppable if model.backward else interrupts.until_stopped  # in one piece
        wanted = islice(_wanted(texts, novelty, interrupts, numbers, read), num)
        for found, (number, pieces, drawn) in enumerate(wanted, 1):
            text = heard.heard(drawn)
            if found == 1 and seed is None and position is None:
                on = f" on {options.device}" if options.device != "cpu" else ""
                note(f"seed {options.seed}{on}")
            if json:
                facts = {"text": "".join(text), "prompt": prompt, "number": number}
                facts |= _facts(model, options, pieces, heard)
                output.write(jsonlib.dumps(facts) + "\n")
            else:
                if headed:
                    output.write(f"--- {found} of {num} ---\n")
                echoed = [prompt] if echo else []
                for piece in chain(text, echoed) if model.backward else chain(echoed, text):
                    output.write(piece)
                if output.watched or num > 1:
                    output.write(between)
                heard.tell()
            if save_state is not None and isinstance(pieces, Writer):
                saving.save(pieces.position, save_state)
            if interrupts.signal is not None:
                raise typer.Exit(interrupts.exit_code)
    if found < num:
        _tell_new(found, num, len(numbers), save_state)


def _novelty(
    model: TextModel, prompt: str, position: Position | None, *, unique: bool, novel: bool
) -> Novelty | None:
    """What tells whether a text is wanted; None: all are."""
    from textgen.inference.novelty import Novelty

    if not (unique or novel):
        return None
    if novel and position is not None and position.pending != model.vocabulary.end:
        what = "--novel is given, and the saved state is of a document whose beginning it lacks"
        raise UsageError(what, "leave out --novel or --load-state")
    return Novelty(model, unique=unique, novel=novel, given=prompt)


def _tell_new(found: int, num: int, drawn: int, save_state: Path | None) -> None:
    """Say that fewer texts were new than were asked for. Raises RunError where none is kept."""
    note(f"note: of {drawn:,} texts {found:,} were new; {num:,} were asked for")
    if save_state is not None:
        raise RunError(f"no state is kept in {save_state}", "try another seed: --seed N")


def _numbers(position: Position | None, seed: int | None, draws: int) -> range:
    """Which texts of the seed are drawn: from the saved one on, where its draws go on."""
    goes_on = position is not None and seed in (None, position.seed)
    first = position.number if position is not None and goes_on else 0
    return range(first, first + draws)


def _one_by_one(
    model: TextModel,
    prompt: str,
    options: SamplingOptions,
    position: Position | None,
    numbers: range,
    *,
    score: bool,
) -> Iterator[Writer]:
    """The writer of each text; what all of them go on from is read once."""
    write = partial(model.generate, prompt, options, score=score)
    if prompt and len(numbers) > 1:
        position = write(number=numbers[0], position=position).position
        write = partial(model.generate, "", options, score=score)
    for number in numbers:
        yield write(number=number, position=position)


def _layout(model: TextModel, num: int, stream: IO[str]) -> tuple[str, bool]:
    """What stands after each of several texts, and whether each has a line with its number."""
    from textgen.text.cutting import separator_of

    documents = model.header.record.corpus.documents
    if stream.isatty():
        return "\n", num > 1 and documents != "line"
    return separator_of(documents or "line") or "\n", False


def _wanted(
    texts: Iterator[Writer | Iterator[str]],
    novelty: Novelty | None,
    interrupts: Interrupts,
    numbers: range,
    read: Callable[[Iterator[str]], Iterator[str]],
) -> Iterator[tuple[int, Writer | Iterator[str], Iterator[str]]]:
    """Number, writer and text of those that are new; novelty: None takes all, as they come."""
    for number, pieces in zip(numbers, texts, strict=False):
        text = read(pieces)
        if novelty is not None:
            whole = "".join(text)
            if interrupts.signal is None and not novelty.is_new(whole):
                continue
            text = iter((whole,))
        yield number, pieces, text


def _on_device(
    model: TextModel, options: SamplingOptions, streams: int, position: Position | None, free: bool
) -> SamplingOptions:
    """The options with a device and a seed; free: whether any device may be taken."""
    from textgen.inference.sampling import random_seed

    if options.device == "auto":
        options = replace(options, device=model.fastest_device(streams) if free else "cpu")
    if options.seed is None:
        options = replace(options, seed=position.seed if position else random_seed())
    return options


def _given(model: TextModel, texts: tuple[str | None, Path | None, str | None]) -> str:
    """The text to go on from, or before; texts: --prompt, --prompt-file and --before."""
    prompt, file, before = texts
    typed, flag = (before, "--before") if model.backward else (prompt, "--prompt")
    if typed is not None and file is not None:
        raise UsageError(f"{flag} and --prompt-file are both given; expected one", "keep one")
    if before is not None and not model.backward:
        what = f"--before is given, and {model.header.path} reads forward"
        raise UsageError(what, "train a model that reads backward: textgen train --backward")
    if prompt is not None and model.backward:
        what = f"{model.header.path} reads backward, and text to go on from is given"
        raise UsageError(what, "give what comes after the text: --before TEXT")
    return _prompt(model, file) if typed is None else typed


def _facts(
    model: TextModel, options: SamplingOptions, pieces: Writer | Iterator[str], heard: Copying
) -> dict[str, object]:
    """What repeats a text, its likelihood where known, and what was copied where asked for."""
    from textgen.inference.writer import Writer

    facts = {**vars(options), "checkpoint": str(model.header.path), "digest": model.digest}
    if isinstance(pieces, Writer):
        facts |= {"characters": pieces.written, "nats_per_char": pieces.nats_per_char}
    return facts | heard.facts()


def _check_end(model: TextModel, options: SamplingOptions, *, whole: bool) -> None:
    """Raise UsageError for a text that is only shown when it is whole, and has no end."""
    if whole and not (options.length or options.stop or model.vocabulary.has_end):
        what = "--json and --unique show a text when it is whole; with --length 0 it has no end"
        raise UsageError(what, "give --length 500, or what ends it: --stop TEXT")


def _prompt(model: TextModel, file: Path | None) -> str:
    """The text of `file`, else what is piped or redirected into stdin, if anything is."""
    from textgen.text.cutting import separator_of
    from textgen.text.stream import STDIN

    if file is None and not piped_in("--before ''" if model.backward else "-p ''"):
        return ""
    text = model.reader().text(file or Path(STDIN))
    # a document to go on from is without the newline of its end, where that would end it
    documents = model.header.record.corpus.documents
    ends = documents is not None and separator_of(documents) == "\n"
    return text.removesuffix("\n") if ends else text
