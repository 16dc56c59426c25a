"""textgen sample."""

from __future__ import annotations

import json as jsonlib
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from textgen.cli.interrupts import Interrupts
from textgen.cli.parse import CHECKPOINTS, OUTPUT, Checkpoints, RunName, sampling
from textgen.cli.terminal import Output, note
from textgen.config import Number, SamplingOptions
from textgen.errors import RunError, UsageError

if TYPE_CHECKING:
    from textgen.inference.text_model import TextModel
    from textgen.inference.writer import Position, Writer

CHOICE, TEXT = "How characters are chosen", "What to go on from"
DEFAULT = SamplingOptions()


def sample(
    run: RunName = None,
    temp: Annotated[
        float, sampling("temperature", CHOICE, "--temp", "--temperature")
    ] = DEFAULT.temperature,
    top_k: Annotated[int, sampling("top_k", CHOICE)] = DEFAULT.top_k,
    top_p: Annotated[float, sampling("top_p", CHOICE)] = DEFAULT.top_p,
    min_p: Annotated[float, sampling("min_p", CHOICE)] = DEFAULT.min_p,
    seed: Annotated[int | None, sampling("seed", CHOICE)] = None,
    length: Annotated[int, sampling("length", OUTPUT)] = DEFAULT.length,
    num: Annotated[int, typer.Option(help="How many texts.", rich_help_panel=OUTPUT)] = 1,
    stop: Annotated[list[str] | None, sampling("stop", OUTPUT)] = None,
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
    unknown: Annotated[str, sampling("unknown", TEXT)] = DEFAULT.unknown,
    load_state: Annotated[
        Path | None,
        typer.Option(help="Go on exactly where this was saved.", rich_help_panel=TEXT),
    ] = None,
    save_state: Annotated[
        Path | None,
        typer.Option(help="Keep the state of the text written.", rich_help_panel=OUTPUT),
    ] = None,
    batch: Annotated[
        bool,
        typer.Option(
            "--batch",
            help="Write the texts side by side: for many of them far faster.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    device: Annotated[str, sampling("device", OUTPUT)] = DEFAULT.device,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object per text.", rich_help_panel=OUTPUT)
    ] = False,
    checkpoints: Checkpoints = CHECKPOINTS,
) -> None:
    """Write text with a trained model."""
    from textgen.inference.text_model import TextModel
    from textgen.inference.writer import Position, Writer
    from textgen.store.runs import find_checkpoint

    options = SamplingOptions(
        temperature=temp,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        length=length,
        stop=tuple(stop or ()),
        unknown=unknown,
        seed=seed,
        device=device,
    )
    Number(1, whole=True, example="3").check("num", num)
    if prompt is not None and prompt_file is not None:
        raise UsageError("--prompt and --prompt-file are both given; expected one", "keep one")
    if save_state is not None and num > 1:
        raise UsageError(
            f"--save-state keeps the state of one text, and --num is {num}", "leave out --num"
        )
    model = TextModel(find_checkpoint(run, checkpoints))
    position = Position.load(load_state) if load_state else None
    if position is not None and position.digest() != model.digest:
        note(f"note: {load_state} was saved with other weights than {model.header.path}")
    if prompt_file is not None:
        prompt = model.read(prompt_file)
    elif prompt is None:
        prompt = _piped()
    keeps = position is not None or save_state is not None or length == 0
    options = _settled(model, options, position, 64 if batch else 1, free=not keeps)
    side_by_side = batch or options.device != "cpu"
    if side_by_side and keeps:
        raise UsageError(
            "texts written side by side, with --batch or on a GPU, have an end and keep no state;"
            " --length 0, --load-state or --save-state is given",
            "leave out --batch and --device",
        )

    with Interrupts() as interrupts, Output() as output:
        texts: Iterator[Writer | Iterator[str]]
        if side_by_side:
            many = model.generate_many(prompt, options, num=num, streams=64 if batch else 1)
            texts = (iter((text,)) for text in many)
        else:
            texts = (
                model.generate(prompt, options, number=n, position=position, score=json)
                for n in range(num)
            )
        for number, pieces in enumerate(texts):
            if number == 0 and seed is None and position is None:
                on = f" on {options.device}" if options.device != "cpu" else ""
                note(f"seed {options.seed}{on}")
            text = _until_stopped(pieces, interrupts)
            if json:
                written = "".join(text)
                facts = _facts(model, options, pieces)
                output.write(
                    jsonlib.dumps({"text": written, "prompt": prompt, "number": number, **facts})
                    + "\n"
                )
            else:
                if num > 1 and output.watched:
                    output.write(f"--- {number + 1} of {num} ---\n")
                for piece in chain([prompt] if echo else [], text):
                    output.write(piece)
                if output.watched or num > 1:
                    output.write("\n")
            if save_state is not None and isinstance(pieces, Writer):
                _save(pieces.position, save_state)
            if interrupts.signal is not None:
                break
    if interrupts.signal is not None:
        raise typer.Exit(interrupts.exit_code)


def _settled(
    model: TextModel,
    options: SamplingOptions,
    position: Position | None,
    streams: int,
    *,
    free: bool,
) -> SamplingOptions:
    """Seed and device decided, where they are open.

    free: whether any device will do. A seed that was given must write the same again, so only
    without one a clock may choose the device.
    """
    device, seed = options.device, options.seed
    if device == "auto":
        free = free and seed is None and position is None
        device = model.fastest_device(streams) if free else "cpu"
    if seed is None:
        from textgen.inference.sampling import random_seed

        seed = position.seed if position else random_seed()
    return replace(options, seed=seed, device=device)


def _facts(
    model: TextModel, options: SamplingOptions, pieces: Writer | Iterator[str]
) -> dict[str, object]:
    """What is needed to write a text again, and how likely it was, where that is known."""
    from textgen.inference.writer import Writer

    facts = {**vars(options), "checkpoint": str(model.header.path), "digest": model.digest}
    if isinstance(pieces, Writer):
        facts |= {"characters": pieces.written, "nats_per_char": pieces.nats_per_char}
    return facts


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
