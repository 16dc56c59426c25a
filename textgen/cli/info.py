"""textgen info: answered from a checkpoint's header alone, without torch or NumPy."""

from __future__ import annotations

import dataclasses
import json as jsonlib
import math
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from textgen.cli.display import settings_lines
from textgen.cli.parse import CHECKPOINTS, Checkpoints, RunName
from textgen.cli.terminal import clock, harmless, note, short
from textgen.config import Choices
from textgen.store.checkpoint import Header, read_header
from textgen.store.record import Record
from textgen.store.runs import find_run


def info(
    run: RunName = None,
    checkpoints: Checkpoints = CHECKPOINTS,
    command: Annotated[
        bool, typer.Option("--command", help="The command line that trains it again.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Tell what a checkpoint is: its text, its settings, how far it has come."""
    if run is not None and Path(run).is_file():
        header = read_header(Path(run))
    else:
        header = read_header(find_run(run, checkpoints).newest)
    record = header.record
    if command:
        if record.training.segment_start:
            note("note: its steps were extended or fitted to a clock; this is one schedule of them")
        print(harmless(command_line(record, header.path.parent.name)))
        return
    if json:
        print(jsonlib.dumps(facts(header)))
        return
    best = record.best
    loss = "not validated yet"
    if best:
        bits = best.val_nats / math.log(2)
        loss = f"{best.val_nats:.4f} nats/char, {bits:.4f} bits/char at its best"
    done = f"{record.step:,} of {record.training.steps:,} in {clock(record.seconds)}"
    for name, value in (
        ("file", f"{header.path}  {short(header.bytes)}B, {record.kind}"),
        ("text", ", ".join(record.corpus.files)),
        ("sha256", record.fingerprint),
        *settings_lines(
            record.model, record.training, (record.train_characters, record.val_characters)
        ),
        ("data", _data(record)),
        ("on", f"{record.device} in {record.training.precision}, {record.threads} threads"),
        ("done", done),
        ("loss", loss),
    ):
        print(f"{name:<6} {harmless(value)}")


def facts(header: Header) -> dict[str, Any]:
    """All that the header says, for `--json`."""
    record = header.record
    best = record.best
    return {
        "run": header.path.parent.name,
        "file": str(header.path),
        "bytes": header.bytes,
        "parameters": record.model.parameters,
        "steps": record.training.steps,
        "val_nats": best.val_nats if best else None,
        "val_bits": best.val_bits if best else None,
        **dataclasses.asdict(record),
    }


def command_line(record: Record, run: str) -> str:
    """The `textgen train` that would train the run again, every setting spelled out."""
    settings = {**vars(record.corpus), **vars(record.model), **vars(record.training)}
    settings["device"] = record.device
    if record.corpus.val_file is not None:
        del settings["val_fraction"]
    words = ["textgen", "train", *record.corpus.files, f"--run={run}"]
    for name in (field.name for field in dataclasses.fields(Choices) if field.name in settings):
        value, flag = settings[name], name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else value
            words.append(f"--{flag}={text}")
    return shlex.join(words)


def _data(record: Record) -> str:
    training, corpus = record.training, record.corpus
    held_out = corpus.val_file or f"the last {corpus.val_fraction:g}"
    samples = f"{training.sample_every:,}" if training.sample_every else "no"
    return (
        f"level {corpus.level}, {corpus.encoding}, held out {held_out}, seed {training.seed};"
        f" validated every {training.eval_every:,} steps, saved every {training.save_every:g} s,"
        f" sampled every {samples} steps"
    )
