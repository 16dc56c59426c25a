"""textgen train, textgen resume."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

import textgen
from textgen.cli.interrupts import Interrupts
from textgen.cli.parse import CHECKPOINTS, Checkpoints, Device, duration, widths
from textgen.cli.terminal import note

if TYPE_CHECKING:
    from textgen.events import Event

DATA, BUDGET, MODEL, OPTIMISATION, OUTPUT = "Data", "Budget", "Model", "Optimisation", "Output"


def _flag(help_text: str, panel: str, *names: str) -> Any:
    return typer.Option(*names, help=help_text, rich_help_panel=panel, show_default=True)


Json = Annotated[bool, _flag("One JSON object per event on stdout.", OUTPUT)]
Time = Annotated[str | None, _flag("Train this long: 90s, 3m, 1h30m.", BUDGET)]
Epochs = Annotated[float | None, _flag("Train for this many passes over the text.", BUDGET)]
Steps = Annotated[int | None, _flag("Train for this many steps.", BUDGET)]


def train(
    corpus: Annotated[
        list[Path] | None,
        typer.Argument(help="Text files; none: the fables in the box.", show_default=False),
    ] = None,
    run: Annotated[str | None, _flag("The run's name; else the first file's.", OUTPUT)] = None,
    checkpoints: Checkpoints = CHECKPOINTS,
    overwrite: Annotated[bool, _flag("Start over a run that exists.", OUTPUT)] = False,
    time: Time = None,
    epochs: Epochs = None,
    steps: Steps = None,
    cell: Annotated[str, _flag("lstm, gru or rnn.", MODEL)] = "lstm",
    layers: Annotated[int | None, _flag("How many layers.", MODEL)] = None,
    hidden: Annotated[str | None, _flag("Width: 256, or one per layer: 128,64.", MODEL)] = None,
    embedding: Annotated[int | None, _flag("Width of a character's vector.", MODEL)] = None,
    dropout: Annotated[float | None, _flag("Share of activations dropped.", MODEL)] = None,
    weight_drop: Annotated[
        float | None, _flag("Share of recurrent weights dropped.", MODEL)
    ] = None,
    batch_size: Annotated[int | None, _flag("Streams read side by side.", OPTIMISATION)] = None,
    bptt: Annotated[
        int | None, _flag("Characters per step: the gradient's reach.", OPTIMISATION)
    ] = None,
    optimizer: Annotated[str, _flag("adamw, rmsprop or sgd.", OPTIMISATION)] = "adamw",
    lr: Annotated[float | None, _flag("Peak learning rate.", OPTIMISATION)] = None,
    schedule: Annotated[str, _flag("linear, cosine or constant.", OPTIMISATION)] = "linear",
    warmup: Annotated[int | None, _flag("Steps of rise to the peak.", OPTIMISATION)] = None,
    clip: Annotated[float, _flag("Largest gradient norm.", OPTIMISATION)] = 0.5,
    weight_decay: Annotated[float | None, _flag("Pull of weights to 0.", OPTIMISATION)] = None,
    val_fraction: Annotated[float, _flag("End of the text held out.", DATA)] = 0.1,
    val_file: Annotated[Path | None, _flag("Validate on this file instead.", DATA)] = None,
    encoding: Annotated[str, _flag("Encoding of the files.", DATA)] = "utf-8",
    level: Annotated[str, _flag("Model each char or each byte.", DATA)] = "char",
    eval_every: Annotated[int | None, _flag("Steps between validations.", OUTPUT)] = None,
    save_every: Annotated[str, _flag("Time between saves.", OUTPUT)] = "30s",
    sample_every: Annotated[
        int | None, _flag("Steps between samples shown; 0: none.", OUTPUT)
    ] = None,
    seed: Annotated[int, _flag("The same seed trains the same model.", OPTIMISATION)] = 0,
    device: Device = "auto",
    precision: Annotated[str, _flag("auto, fp32, bf16 or fp16.", OPTIMISATION)] = "auto",
    dry_run: Annotated[bool, _flag("Show the plan and stop.", BUDGET)] = False,
    json: Json = False,
) -> None:
    """Train a model on text files.

    What you leave out is planned from the text's size, the budget and this machine.
    Ctrl-C saves and stops; textgen resume goes on exactly where it stopped.
    """
    events = textgen.train(
        *(corpus or []),
        run=run,
        checkpoints=checkpoints,
        overwrite=overwrite,
        encoding=encoding,
        level=level,
        val_fraction=val_fraction,
        val_file=val_file,
        device=device,
        time=duration("time", time),
        epochs=epochs,
        steps=steps,
        cell=cell,
        layers=layers,
        hidden=widths(hidden),
        embedding=embedding,
        dropout=dropout,
        weight_drop=weight_drop,
        batch_size=batch_size,
        bptt=bptt,
        optimizer=optimizer,
        lr=lr,
        schedule=schedule,
        warmup=warmup,
        clip=clip,
        weight_decay=weight_decay,
        eval_every=eval_every,
        save_every=duration("save-every", save_every),
        sample_every=sample_every,
        seed=seed,
        precision=precision,
        dry_run=dry_run,
    )
    _follow(events, json)


def resume(
    run: Annotated[
        str | None,
        typer.Argument(help="A run's name or folder; none: the latest.", show_default=False),
    ] = None,
    time: Time = None,
    epochs: Epochs = None,
    steps: Steps = None,
    corpus: Annotated[
        list[Path] | None, _flag("Where the corpus is now, if it moved.", DATA)
    ] = None,
    checkpoints: Checkpoints = CHECKPOINTS,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Go on with a run exactly where it was last saved.

    With --time, --epochs or --steps it goes on for that much from there, also if it is finished.
    """
    events = textgen.resume(
        run,
        checkpoints=checkpoints,
        time=duration("time", time),
        epochs=epochs,
        steps=steps,
        files=tuple(corpus or ()),
        device=device,
    )
    _follow(events, json)


def _follow(events: Iterator[Event], json: bool) -> None:
    """Show every event; at Ctrl-C or kill stop after the step, once what was learned is saved."""
    from textgen.cli.display import reporter
    from textgen.events import Finished, Planned, Stepped

    with closing(cast(Any, events)), reporter(json) as show:
        plan = cast(Planned, next(events))  # reading and planning: nothing to save, just stop
        show(plan)
        stopped = finished = False
        with Interrupts() as interrupts:
            for event in events:
                show(event)
                finished = isinstance(event, Finished)
                # at the last step the rest is soon done
                stopped = isinstance(event, Stepped) and event.step < event.steps
                if interrupts.signal is not None and stopped:
                    events.close()  # type: ignore[attr-defined]
                    break
    if interrupts.signal is not None and stopped:
        note(f"saved; go on with: textgen resume {plan.run}")
        raise typer.Exit(interrupts.exit_code)
    if finished and not json:
        note(f"write with it: textgen sample {plan.run}")
