"""textgen compare: variants trained on equal terms, side by side."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import textgen
from textgen.cli.interrupts import Interrupts
from textgen.cli.parse import OUTPUT, option
from textgen.cli.plot import drawn, target
from textgen.cli.several import chosen, with_settings
from textgen.cli.spinning import spin_for_long
from textgen.cli.terminal import note
from textgen.cli.train import BUDGET, MODEL
from textgen.config import COUNTED

if TYPE_CHECKING:
    from textgen.studies.comparison import Report

CORPUS = typer.Argument(
    help="Files, folders and archives; none: the bundled fables.", show_default=False
)
HIDDEN = option("The width of all layers; several are variants: 128,256.", MODEL)
RUN = option("What the runs' names begin with; else the first file's.", OUTPUT)
OVERWRITE = option("Start over a comparison that exists.", OUTPUT, "--overwrite")
SEEDS = option("Train each variant with so many seeds.", BUDGET)
PICTURE = option("Draw the losses at the end: loss.svg or loss.png.", OUTPUT, "--output", "-o")


@with_settings(
    corpus=Annotated[list[Path] | None, CORPUS],
    hidden=Annotated[str | None, HIDDEN],
    run=Annotated[str | None, RUN],
    overwrite=Annotated[bool, OVERWRITE],
    seeds=Annotated[int | None, SEEDS],
    output=Annotated[Path | None, PICTURE],
)
def compare(context: typer.Context, **_: Any) -> None:
    """Train variants on equal terms, and set them side by side.

    A setting of the network or of its steps may have several values, with commas between, such as
    --cell rnn,gru,lstm; of --skip and --no-skip both; two settings make a grid. A budget is for
    each run: with --seeds 3 a variant takes three. All networks have the same number of
    parameters (rows for matches and n-grams not counted), unless --hidden says how wide they are.
    Each variant is a run of its own. Ctrl-C saves and stops; the same command goes on.
    """
    given = context.params
    if given["steps"] is None and given["epochs"] is None:
        spin_for_long()
    options = {name: given[name] for name in ("run", "checkpoints", "overwrite")}
    picture = target(Path(given["output"])) if given["output"] else None
    runs = follow(
        partial(
            textgen.compare,
            *(given["corpus"] or []),
            seeds=1 if given["seeds"] is None else given["seeds"],
            **options,
            **chosen(given),
        ),
        given["json"],
        COUNTED.get(given["level"], ""),  # another is refused
    )
    if picture and not runs:
        note(f"note: no variant came to a loss, so {given['output']} was not drawn")
    elif picture:
        note(drawn(picture, runs, Path(given["checkpoints"])))


def follow(
    start: Callable[..., Generator[Report]], json: bool, per: str = COUNTED["char"]
) -> list[str]:
    """Show every report, and the table at the end; at Ctrl-C or kill save and stop.

    start: makes the iterator of reports, given where to tell how much of the text was read;
    per: what a loss is of. Returns the names of the runs that have a loss to be drawn.
    """
    from textgen.cli.compared import lines_of
    from textgen.cli.comparing import reporter
    from textgen.events import Stepped
    from textgen.studies.comparison import Trained
    from textgen.studies.figures import Result, Table

    def stoppable(report: Report) -> bool:
        """Whether its run is not at its end, where the rest is soon done, or was measured."""
        match report:
            case Trained(event=Stepped() as event):
                return event.step < event.steps
        return isinstance(report, Result)

    measured = []
    with Interrupts() as interrupts:
        with reporter(json) as show, closing(start(progress=None if json else show)) as reports:
            with interrupts.at_once():  # reading and planning: nothing to save
                report = next(reports)
            show(report)
            for report in reports:
                show(report)
                if isinstance(report, Result) and report.curve:
                    measured.append(report.run)
                if interrupts.signal is not None and stoppable(report):
                    reports.close()
                    break
        if not isinstance(report, Table):
            note("saved; the same command goes on, without --overwrite if it was given")
            raise typer.Exit(interrupts.exit_code)
    if not json:
        for line in lines_of(report, per):
            print(line)
    return measured
