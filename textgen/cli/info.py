"""textgen info: answered from a checkpoint's header alone, without torch or NumPy."""

import dataclasses
import json as jsonlib
from typing import Annotated, Any

import typer

from textgen.cli.parse import CHECKPOINTS, Checkpoints, RunName
from textgen.cli.terminal import clock, note, short, visible
from textgen.config import Choices
from textgen.errors import UsageError, quoted
from textgen.events import Planned
from textgen.store.checkpoint import Header, read_header
from textgen.store.record import Record
from textgen.store.run import usual_folder
from textgen.store.runs import find_file, find_run

SHAPE = ("cell", "hidden", "layers", "embedding", "skip", "history", "grams")
COMMAND = typer.Option("--command", help="The command line that trains it again.")


def info(
    run: RunName = None,
    checkpoints: Checkpoints = CHECKPOINTS,
    command: Annotated[bool, COMMAND] = False,
    json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Tell what a checkpoint is: its text, its settings, how far it has come."""
    if command and json:
        raise UsageError("--command and --json are both given; expected one", "leave out --json")
    header = read_header(find_file(run, checkpoints) or find_run(run, checkpoints).newest)
    record = header.record
    if command:
        if record.training.segment_start:
            note("note: its steps were extended or fitted to a clock; this is one schedule of them")
        if record.ancestors:
            base = record.ancestors[-1]
            began = f"began with the weights of {base.run} at step {base.step:,}"
            note(f"note: it {began}; --from takes those that are there now")
        if record.kind == "export":
            note("note: an export keeps no folders; say where its text is")
        print(command_line(header))
    elif json:
        print(jsonlib.dumps(facts(header)))
    else:
        for name, value in _rows(header):
            print(f"{name:<6} {visible(value)}")


def facts(header: Header) -> dict[str, Any]:
    """All that the header says, for `--json`."""
    record = header.record
    best = record.best
    return {
        "run": header.name,
        "file": str(header.path),
        "bytes": header.bytes,
        "parameters": record.model.parameters,
        "steps": record.training.steps,
        "val_nats": best.val_nats if best else None,
        "val_bits": best.val_bits if best else None,
        **dataclasses.asdict(record),
    }


def command_line(header: Header) -> str:
    """The `textgen train` that would train the run again, with every setting."""
    record, folder = header.record, header.folder
    settings = {**vars(record.corpus), **vars(record.model), **vars(record.training)}
    if len(record.model.hidden) == 1:  # else there are as many layers as widths
        settings["layers"] = 1
    settings["device"] = record.device
    if record.corpus.val_file is not None:
        del settings["val_fraction"]
    words = ["textgen", "train", *record.corpus.files, f"--run={header.name}"]
    if record.kind != "export" and folder != usual_folder():
        words.append(f"--checkpoints={folder}")
    if record.ancestors:  # the shape comes from there
        words.append(f"--from={record.ancestors[-1].run}")
        settings = {n: v for n, v in settings.items() if n not in SHAPE}
    elif record.training.keep_mixing:  # an export does not name the run that it came from
        del settings["keep_mixing"]
    for name in (field.name for field in dataclasses.fields(Choices) if field.name in settings):
        value, flag = settings[name], name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else value
            words.append(f"--{flag}={text}")
    return quoted(*words)


def _rows(header: Header) -> list[tuple[str, str]]:
    record = header.record
    training, corpus, best = record.training, record.corpus, record.best
    cut, share = corpus.documents is not None, f"{corpus.val_fraction:g}"
    held_out = corpus.val_file or (f"{share} of the documents" if cut else f"the last {share}")
    way = "backward" if corpus.backward else "forward"
    data = f"level {corpus.level}, {corpus.encoding}, newlines {corpus.newlines}"
    data += f", normalize {corpus.normalize}, min-count {corpus.min_count}"
    documents = f"documents {corpus.documents}, " if cut else ""
    documents += "duplicates left out, " if corpus.dedupe else ""
    samples = f"{training.sample_every:,}" if training.sample_every else "no"
    saves = f"saved every {training.save_every:g} s, sampled every {samples} steps"
    bits = ", deterministic" if training.deterministic else ""
    unit = corpus.level
    at_best = (
        best and f"{best.val_nats:.4f} nats/{unit}, {best.val_bits:.4f} bits/{unit} at its best"
    )
    return [
        ("file", f"{header.path}  {short(header.bytes)}B, {record.kind}"),
        ("text", ", ".join(corpus.files)),
        ("sha256", record.fingerprint),
        *_came_from(record),
        *settings_lines(record),
        ("data", data),
        ("", f"{documents}read {way}, held out {held_out}, seed {training.seed}"),
        ("", f"validated every {training.eval_every:,} steps, {saves}"),
        ("on", f"{record.device} in {training.precision}, {record.threads} threads{bits}"),
        ("done", f"{record.step:,} of {training.steps:,} in {clock(record.seconds)}"),
        ("loss", at_best or "not validated yet"),
    ]


def _came_from(record: Record) -> list[tuple[str, str]]:
    """The runs that its weights came from, the latest first, where it did not begin at random."""
    runs = [f"{run.run} at step {run.step:,}" for run in reversed(record.ancestors)]
    share = record.training.keep_mixing
    mixed = f"; {share:g} of the streams read its text" if share else ""
    return [("from", ", before that ".join(runs) + mixed)] if runs else []


def alphabet_line(alphabet: dict[str, int]) -> str:
    """`Latin 52, Punctuation 12, Digit 10`: distinct characters by script; or `bytes`."""
    return ", ".join(f"{script} {count}" for script, count in alphabet.items()) or "bytes"


def settings_lines(run: Planned | Record) -> list[tuple[str, str]]:
    """Names and values of the settings of a run, to print."""
    model, training, size = run.model, run.training, run.train_characters
    known = len(run.vocabulary) if isinstance(run, Record) else sum(run.alphabet.values())
    distinct = known or 256  # of bytes
    same = len({*model.hidden}) == 1
    shape = f"{model.layers} x {model.hidden[0]}" if same else f"{model.hidden}"
    skip = "" if any(model.skips) else ", no skips"
    history = f", history {model.history}" if model.history else ""
    history += f", grams {model.grams}" if model.grams else ""
    passes = training.passes(training.steps, size)
    chars = f"{size:,} for training, {run.val_characters:,} for validation"
    drop = f"dropout {model.dropout:g}, weight-drop {model.weight_drop:g}"
    steps = f"{training.steps:,} of {training.batch_size} x {training.bptt} characters"
    steps += f" in {training.accumulate} groups" if training.accumulate > 1 else ""
    steps += f" in blocks of {training.block}" if training.block else ""
    steps += f", {training.filled:.0%} filled" if training.filled is not None else ""
    rate = f"{training.optimizer} {training.lr:g}, {training.schedule}"
    rate += "" if training.schedule == "constant" else f" to {training.floor:g} of it"
    average = f", average {training.average:g}" if training.average else ""
    aside = f"{training.aside:,} characters, for a temperature"
    aside += "; learned last" if training.late else ""
    parameters = f"{short(model.parameters)} parameters"
    return [
        ("chars", f"{chars}, {distinct} distinct"),
        (
            "model",
            f"{model.cell} {shape}, embedding {model.embedding}{skip}{history}, {parameters}",
        ),
        ("drop", f"{drop}, decay {training.weight_decay:g}"),
        *([("aside", aside)] if training.aside else []),
        ("steps", f"{steps}, {passes:.3g} passes over the text"),
        ("rate", f"{rate}, warm-up {training.warmup}, clip {training.clip:g}{average}"),
    ]
