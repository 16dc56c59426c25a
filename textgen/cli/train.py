"""textgen train."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

import textgen
from textgen.cli.completion import run_names
from textgen.cli.interrupts import SIGNALS, Interrupts
from textgen.cli.parse import (
    CHECKPOINTS,
    OUTPUT,
    Checkpoints,
    duration,
    given,
    option,
    training,
    widths,
)
from textgen.cli.spinning import spin_for_long
from textgen.cli.terminal import note
from textgen.config import Choices
from textgen.training.launch import launch

if TYPE_CHECKING:
    from textgen.cli.display import Show
    from textgen.events import Event

DATA, BUDGET, MODEL, OPTIMISATION = "Data", "Budget", "Model", "Optimisation"
DEFAULT = Choices()
OTHERS = ("run", "checkpoints", "overwrite", "base", "dry_run")  # passed on, and no choices
OF_BASE = ("cell", "skip", "level", "backward")  # with --from as the base has them, if not typed
Time = Annotated[str | None, training("time", BUDGET)]
Epochs = Annotated[float | None, training("epochs", BUDGET)]
Steps = Annotated[int | None, training("steps", BUDGET)]
Device = Annotated[str, training("device", OPTIMISATION)]
Accumulate = Annotated[int | None, training("accumulate", OPTIMISATION)]
Json = Annotated[bool, option("One JSON object per event on stdout.", OUTPUT, "--json")]
Cache = Annotated[bool, training("cache", DATA)]
_BOARD = option("Write event files for TensorBoard to this folder.", OUTPUT)
Tensorboard = Annotated[Path | None, _BOARD]
CORPUS = typer.Argument(
    help="Text files, folders, archives, or - for stdin; none: the bundled fables.",
    show_default=False,
)
OVERWRITE = option("Start over a run that exists.", OUTPUT, "--overwrite")
BASE = option(
    "Begin with the weights of this run or checkpoint.", MODEL, "--from", autocompletion=run_names
)
DRY_RUN = option("Show the plan and stop.", BUDGET, "--dry-run")


def train(
    context: typer.Context,
    corpus: Annotated[list[Path] | None, CORPUS] = None,
    run: Annotated[str | None, option("The run's name; else the first file's.", OUTPUT)] = None,
    checkpoints: Checkpoints = CHECKPOINTS,
    overwrite: Annotated[bool, OVERWRITE] = False,
    base: Annotated[str | None, BASE] = None,
    keep_mixing: Annotated[float, training("keep_mixing", DATA)] = DEFAULT.keep_mixing,
    time: Time = None,
    epochs: Epochs = None,
    steps: Steps = None,
    cell: Annotated[str, training("cell", MODEL)] = DEFAULT.cell,
    layers: Annotated[int | None, training("layers", MODEL)] = None,
    hidden: Annotated[str | None, training("hidden", MODEL)] = None,
    embedding: Annotated[int | None, training("embedding", MODEL)] = None,
    skip: Annotated[bool, training("skip", MODEL)] = DEFAULT.skip,
    history: Annotated[int | None, training("history", MODEL)] = None,
    grams: Annotated[int | None, training("grams", MODEL)] = None,
    dropout: Annotated[float | None, training("dropout", MODEL)] = None,
    weight_drop: Annotated[float | None, training("weight_drop", MODEL)] = None,
    batch_size: Annotated[int | None, training("batch_size", OPTIMISATION)] = None,
    bptt: Annotated[int | None, training("bptt", OPTIMISATION)] = None,
    accumulate: Accumulate = None,
    optimizer: Annotated[str | None, training("optimizer", OPTIMISATION)] = None,
    lr: Annotated[float | None, training("lr", OPTIMISATION)] = None,
    schedule: Annotated[str, training("schedule", OPTIMISATION)] = DEFAULT.schedule,
    warmup: Annotated[int | None, training("warmup", OPTIMISATION)] = None,
    clip: Annotated[float | None, training("clip", OPTIMISATION)] = None,
    weight_decay: Annotated[float | None, training("weight_decay", OPTIMISATION)] = None,
    val_fraction: Annotated[float, training("val_fraction", DATA)] = DEFAULT.val_fraction,
    val_file: Annotated[Path | None, training("val_file", DATA)] = None,
    backward: Annotated[bool, training("backward", DATA)] = DEFAULT.backward,
    encoding: Annotated[str, training("encoding", DATA)] = DEFAULT.encoding,
    newlines: Annotated[str, training("newlines", DATA)] = DEFAULT.newlines,
    normalize: Annotated[str, training("normalize", DATA)] = DEFAULT.normalize,
    min_count: Annotated[int, training("min_count", DATA)] = DEFAULT.min_count,
    level: Annotated[str, training("level", DATA)] = DEFAULT.level,
    documents: Annotated[str | None, training("documents", DATA)] = None,
    dedupe: Annotated[bool, training("dedupe", DATA)] = DEFAULT.dedupe,
    cache: Cache = DEFAULT.cache,
    eval_every: Annotated[int | None, training("eval_every", OUTPUT)] = None,
    save_every: Annotated[str, training("save_every", OUTPUT)] = f"{DEFAULT.save_every:g}s",
    sample_every: Annotated[int | None, training("sample_every", OUTPUT)] = None,
    seed: Annotated[int, training("seed", OPTIMISATION)] = DEFAULT.seed,
    device: Device = DEFAULT.device,
    precision: Annotated[str, training("precision", OPTIMISATION)] = DEFAULT.precision,
    deterministic: Annotated[bool, training("deterministic", OPTIMISATION)] = DEFAULT.deterministic,
    dry_run: Annotated[bool, DRY_RUN] = False,
    tensorboard: Tensorboard = None,
    json: Json = False,
) -> None:
    """Train a model on text files.

    What you leave out is planned from the text's size, the budget and this machine.
    Ctrl-C saves and stops; textgen resume goes on exactly where it stopped.
    """
    if steps is None and epochs is None:
        spin_for_long()
    how = given(context, Choices, *OTHERS)
    for name in OF_BASE:
        source = context.get_parameter_source(name)
        if source and source.name == "DEFAULT":
            del how[name]
    how["time"], how["save_every"] = duration("time", time), duration("save_every", save_every)
    how["hidden"] = widths(hidden)
    follow(partial(textgen.train, *(corpus or []), **how), json, tensorboard)


@contextmanager
def board_in(folder: Path | None, show: Show) -> Iterator[Show]:
    """`show`, which has each event written for TensorBoard too, if there is a folder for it."""
    if folder is None:
        yield show
        return
    from textgen.studies.board import Board

    def show_and_write(event: Event) -> None:
        show(event)
        if notice := board.show(event):
            show(notice)

    with closing(Board(folder)) as board:
        yield show_and_write


def follow(
    start: Callable[..., Generator[Event]], json: bool, tensorboard: Path | None = None
) -> None:
    """Show every event; at Ctrl-C or kill save and stop after the step.

    start: makes the iterator of events, given where to tell how much of the text was read;
    tensorboard: the folder for event files.
    """
    if launch().rank:
        _follow_first_rank(start)
        return
    from textgen.cli.display import reporter
    from textgen.events import Finished, Planned, Stepped
    from textgen.store.run import Run

    with Interrupts() as interrupts:
        with (
            reporter(json) as shown,
            board_in(tensorboard, shown) as show,
            closing(start(progress=None if json else show)) as events,
        ):
            with interrupts.at_once():  # reading, planning and the first save
                plan = cast(Planned, next(events))
            show(plan)
            event: Event = plan
            for event in events:
                show(event)
                # at the last step the rest is soon done
                stoppable = isinstance(event, Stepped) and event.step < event.steps
                if interrupts.signal is not None and stoppable:
                    events.close()
                    break
        run = Run(Path(plan.folder))
        if isinstance(event, Stepped):  # the last event of a whole run is Finished
            note(f"saved; go on with: textgen resume {run.typed}")
            raise typer.Exit(interrupts.exit_code)
        if isinstance(event, Finished) and not json:
            note(f"write with it: textgen sample {run.typed}")


def _follow_first_rank(start: Callable[..., Generator[Event]]) -> None:
    """Train without a word; Ctrl-C and kill are the first rank's, which says when to stop."""
    from textgen.training.ranks import join

    join()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    deque(start(progress=None), maxlen=0)
