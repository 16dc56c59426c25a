"""textgen sample."""

from __future__ import annotations

import json as jsonlib
import os
import stat
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textgen.cli.interrupts import Interrupts
from textgen.cli.parse import CHECKPOINTS, Checkpoints, Device, RunName
from textgen.cli.terminal import Output, note
from textgen.errors import RunError, UsageError

if TYPE_CHECKING:
    from textgen.inference.writer import Position, Writer

CHOICE, TEXT, OUTPUT = "How characters are chosen", "What to go on from", "Output"


def sample(
    run: RunName = None,
    temp: Annotated[
        float,
        typer.Option(
            "--temp",
            "--temperature",
            help="0: always the likeliest; 1: as learned; more: wilder.",
            rich_help_panel=CHOICE,
        ),
    ] = 0.8,
    top_k: Annotated[
        int, typer.Option(help="Only the k likeliest; 0: off.", rich_help_panel=CHOICE)
    ] = 0,
    top_p: Annotated[
        float,
        typer.Option(help="Only the likeliest that reach p; 1: off.", rich_help_panel=CHOICE),
    ] = 1.0,
    min_p: Annotated[
        float,
        typer.Option(
            help="Only those with this share of the likeliest; 0: off.", rich_help_panel=CHOICE
        ),
    ] = 0.0,
    seed: Annotated[
        int | None,
        typer.Option(help="Repeats a text exactly; random if not given.", rich_help_panel=CHOICE),
    ] = None,
    length: Annotated[
        int,
        typer.Option(help="Characters to write; 0: until stopped.", rich_help_panel=OUTPUT),
    ] = 500,
    num: Annotated[int, typer.Option(help="How many texts.", rich_help_panel=OUTPUT)] = 1,
    stop: Annotated[
        list[str] | None,
        typer.Option(help="End before this text; repeatable.", rich_help_panel=OUTPUT),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            "-p",
            help="Text to go on from; else what is piped in.",
            rich_help_panel=TEXT,
        ),
    ] = None,
    prompt_file: Annotated[
        Path | None,
        typer.Option(
            "--prompt-file", "-f", help="File with text to go on from.", rich_help_panel=TEXT
        ),
    ] = None,
    echo: Annotated[
        bool,
        typer.Option("--echo/--no-echo", help="Write the prompt too.", rich_help_panel=OUTPUT),
    ] = True,
    unknown: Annotated[
        str,
        typer.Option(
            help="Prompt characters the model never saw: error, skip or replace.",
            rich_help_panel=TEXT,
        ),
    ] = "error",
    load_state: Annotated[
        Path | None,
        typer.Option(help="Go on exactly where this was saved.", rich_help_panel=TEXT),
    ] = None,
    save_state: Annotated[
        Path | None,
        typer.Option(help="Keep the state after writing in this file.", rich_help_panel=OUTPUT),
    ] = None,
    batch: Annotated[
        bool,
        typer.Option(
            "--batch",
            help="Write the texts side by side: for many of them far faster.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    device: Device = "auto",
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object per text.", rich_help_panel=OUTPUT)
    ] = False,
    checkpoints: Checkpoints = CHECKPOINTS,
) -> None:
    """Write text with a trained model."""
    from textgen.config import check_number
    from textgen.inference.sampling import SamplingConfig, random_seed
    from textgen.inference.text_model import TextModel
    from textgen.inference.writer import Position, Writer
    from textgen.store.runs import find_checkpoint
    from textgen.text.corpus import read_text

    check_number("num", num, 1, whole=True, example="3")
    if prompt is not None and prompt_file is not None:
        raise UsageError("--prompt and --prompt-file are both given; expected one", "keep one")
    if save_state is not None and num > 1:
        raise UsageError(
            f"--save-state keeps the state of one text, and --num is {num}", "leave out --num"
        )
    model = TextModel(find_checkpoint(run, checkpoints))
    position = Position.load(load_state) if load_state else None
    if position is not None and position.digest != model.digest:
        note(f"note: {load_state} was saved with other weights than {model.header.path}")
    if prompt_file is not None:
        corpus = model.header.record.corpus
        prompt = read_text(prompt_file, corpus.encoding, corpus.level)
    elif prompt is None:
        prompt = _piped()
    keeps = position is not None or save_state is not None or length == 0
    told = seed is not None or position is not None
    streams = 64 if batch else 1
    if device == "auto":
        # a seed that was given must write the same again, so only without one a clock may choose
        free = not told and not keeps
        device = model.fastest_device(streams) if free else "cpu"
    if seed is None:
        seed = position.seed if position else random_seed()
    side_by_side = batch or device != "cpu"
    if side_by_side and keeps:
        raise UsageError(
            "texts written side by side, with --batch or on a GPU, have an end and keep no state;"
            " --length 0, --load-state or --save-state is given",
            "leave out --batch and --device",
        )
    settings = SamplingConfig(temp, top_k, top_p, min_p)

    common: dict[str, Any] = {
        "length": length,
        **vars(settings),
        "seed": seed,
        "stop": tuple(stop or ()),
        "unknown": unknown,
    }
    with Interrupts() as interrupts, Output() as output:
        texts: Iterator[Writer | Iterator[str]]
        if side_by_side:
            many = model.generate_many(prompt, num=num, device=device, streams=streams, **common)
            texts = (iter((text,)) for text in many)
        else:
            texts = (
                model.generate(prompt, number=n, position=position, score=json, **common)
                for n in range(num)
            )
        for number, pieces in enumerate(texts):
            if number == 0 and not told:
                note(f"seed {seed}" + (f" on {device}" if device != "cpu" else ""))
            if json:
                facts = {
                    "text": "".join(_until_stopped(pieces, interrupts)),
                    "prompt": prompt,
                    "number": number,
                    **common,
                    "checkpoint": str(model.header.path),
                    "digest": model.digest,
                }
                if isinstance(pieces, Writer):
                    facts["characters"] = pieces.written
                    facts["nats_per_char"] = -pieces.log_probability / max(1, pieces.written)
                output.write(jsonlib.dumps(facts) + "\n")
            else:
                if num > 1 and output.watched:
                    output.write(f"--- {number + 1} of {num} ---\n")
                for piece in chain([prompt] if echo else [], _until_stopped(pieces, interrupts)):
                    output.write(piece)
                if output.watched or num > 1:
                    output.write("\n")
            if save_state is not None and isinstance(pieces, Writer):
                _save(pieces.position, save_state)
            if interrupts.signal is not None:
                break
    if interrupts.signal is not None:
        raise typer.Exit(interrupts.exit_code)


def _until_stopped(pieces: Iterator[str], interrupts: Interrupts) -> Iterator[str]:
    for piece in pieces:
        yield piece
        if interrupts.signal is not None:
            return


def _save(position: Position, path: Path) -> None:
    try:
        position.save(path)
    except OSError as error:
        raise RunError(
            f"cannot save the state in {path}: {error.strerror or error}",
            "choose another file: --save-state FILE",
        ) from None


def _piped() -> str:
    """What is piped or redirected into stdin; empty where nothing is."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):  # there is no stdin
        return ""
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode)):
        return ""
    return sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
