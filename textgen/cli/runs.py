"""textgen info, textgen ls: answered from headers alone, without torch or NumPy."""

from __future__ import annotations

import dataclasses
import json as jsonlib
import math
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from textgen.cli.parse import CHECKPOINTS, Checkpoints, RunName
from textgen.cli.terminal import clock, harmless, note, short
from textgen.errors import CheckpointError
from textgen.store.checkpoint import Header, read_header
from textgen.store.runs import Run, find_run, list_runs


def info(
    run: RunName = None,
    checkpoints: Checkpoints = CHECKPOINTS,
    json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Tell what a checkpoint is: its text, its model, how far it has come."""
    header = _header(run, checkpoints)
    facts = _facts(header)
    if json:
        print(jsonlib.dumps(facts))
        return
    record = header.record
    model, training = record.model, record.training
    for name, value in (
        ("file", f"{header.path}  {short(header.bytes)}B, {record.kind}"),
        ("text", ", ".join(record.corpus.files)),
        ("sha256", record.fingerprint),
        (
            "",
            f"{record.train_characters:,} characters learned,"
            f" {record.val_characters:,} held out, {model.vocabulary_size} distinct",
        ),
        (
            "model",
            f"{model.cell} of {', '.join(map(str, model.hidden))}, embedding"
            f" {model.embedding}, dropout {model.dropout:g}, {short(model.parameters)} parameters",
        ),
        (
            "steps",
            f"{facts['step']:,} of {training.steps:,}, each {training.batch_size} x"
            f" {training.bptt} characters, in {clock(facts['seconds'])}",
        ),
        ("loss", _loss(facts["val_nats"])),
        (
            "with",
            f"{training.optimizer} {training.lr:g}, {training.schedule}, {training.precision},"
            f" seed {training.seed}, on {record.device}",
        ),
    ):
        print(f"{name:<6} {harmless(value)}")


def ls(
    checkpoints: Checkpoints = CHECKPOINTS,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per run.")] = False,
) -> None:
    """List the runs, the latest first."""
    runs = list_runs(checkpoints)
    if not runs:
        note(f"no runs yet in {checkpoints}; begin one: textgen train corpus.txt")
    rows = []
    for run in runs:
        try:
            header = _newest(run)
        except CheckpointError as error:
            note(f"note: {error.message}")
            continue
        facts = _facts(header)
        if json:
            print(jsonlib.dumps(facts))
            continue
        record = header.record
        hidden = ",".join(map(str, record.model.hidden))
        best = "-" if facts["val_nats"] is None else f"{facts['val_nats']:.4f}"
        rows.append(
            (
                run.name,
                f"{record.model.cell} {hidden}",
                f"{facts['step']:,}/{record.training.steps:,}",
                best,
                time.strftime("%Y-%m-%d %H:%M", time.localtime(run.changed())),
            )
        )
    if rows:
        rows.insert(0, ("RUN", "MODEL", "STEPS", "VAL NATS", "SAVED"))
        sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = zip(row, sizes, strict=True)
            print("  ".join(f"{harmless(cell):<{size}}" for cell, size in cells).rstrip())


def _header(run: str | None, checkpoints: Path) -> Header:
    """Of a checkpoint file, or of a run: its last, which knows how far it has come."""
    if run is not None and Path(run).is_file():
        return read_header(Path(run))
    return _newest(find_run(run, checkpoints))


def _newest(run: Run) -> Header:
    return read_header(run.last if run.last.exists() else run.best)


def _facts(header: Header) -> dict[str, Any]:
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


def _loss(nats: float | None) -> str:
    if nats is None:
        return "not validated yet"
    return f"{nats:.4f} nats/char, {nats / math.log(2):.4f} bits/char at its best"
