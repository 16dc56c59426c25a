"""The figures of variants side by side, within 80 columns."""

from collections.abc import Iterator, Sequence
from math import log
from textwrap import wrap

from rich.console import Console
from rich.text import Text

from textgen.cli.shading import WIDTH
from textgen.cli.table import aligned
from textgen.cli.terminal import clock, short, visible
from textgen.config import COUNTED
from textgen.studies.figures import EQUAL, Rank, Result, Row, Spread, Table

APART = 0.02  # of the parameters; what is further apart is said
RANKED = (
    f"rank: one more than there are variants whose mean is lower by {EQUAL:g} standard errors of"
    " the difference or more; those that share a rank are equal within the spread"
)
ONE_SEED = "one seed, so no spread is known, and small differences may be chance: --seeds 3"


def lines_of(found: Table, per: str = COUNTED["char"]) -> Iterator[str]:
    """Tables of the networks and of the losses, what they mean, and a sample of each variant.

    per: what the losses are of, a character or a byte.
    """
    yield from aligned([NETWORK, *map(_network, found.rows)])
    counts = [row.results[0].parameters for row in found.rows]
    if max(counts) > (1 + APART) * min(counts):
        yield f"the networks are up to {max(counts) / min(counts) - 1:.0%} apart in parameters"
    spread = found.seeds > 1
    at_characters = [(row.variant, row.at_characters, row.rank_at_characters) for row in found.rows]
    at_time = [(row.variant, row.at_time, row.rank_at_time) for row in found.rows]
    yield f"\nnats and bits per {per} after {found.characters:,} {per}s"
    yield from _losses(at_characters, spread)
    if found.seconds is None:
        seconds = max(result.seconds for row in found.rows for result in row.results)
        yield f"\nnats and bits per {per} at the end of the same time, after {clock(seconds)}"
    else:
        yield f"\nnats and bits per {per} after {clock(found.seconds)}"
    yield from _losses(at_time, spread)
    yield ""
    if spread:
        yield from wrap(f"+-: standard deviation over {found.seeds} seeds; {RANKED}", WIDTH)
    else:
        yield ONE_SEED
    for row in found.rows:
        yield from _sample(row.results[0])


NETWORK = ("variant", "network", "parameters", "chars/s", "passes", "memory")


def _network(row: Row) -> tuple[str, ...]:
    first = row.results[0]
    same = len({*first.hidden}) == 1
    widths = f"{len(first.hidden)} x {first.hidden[0]}" if same else str(first.hidden)
    speed = "diverged" if row.chars_per_second is None else short(row.chars_per_second.mean)
    passes = "" if row.passes is None else f"{row.passes.mean:.3g}"
    memory = "" if row.memory is None else f"{row.memory.mean:,.0f}"
    return row.variant, widths, f"{first.parameters:,}", speed, passes, memory


def _losses(rows: Sequence[tuple[str, Spread | None, Rank | None]], spread: bool) -> Iterator[str]:
    """spread: whether there are several seeds."""
    cells = [("variant", "nats", *(["+-"] * spread), "bits", *(["rank"] * spread))]
    for variant, loss, rank in rows:
        if loss is None or rank is None:
            cells.append((variant, *["-"] * (len(cells[0]) - 1)))
            continue
        deviation = [f"{loss.deviation:.4f}"] if loss.deviation is not None else []
        place = [f"{rank.number}{'=' if rank.shared else ''}"] if deviation else []
        cells.append((variant, f"{loss.mean:.4f}", *deviation, f"{loss.mean / log(2):.4f}", *place))
    return aligned(cells)


def _sample(result: Result) -> Iterator[str]:
    how = f"learned at a rate of {result.lr:g} in {result.precision}"
    yield f"\n{result.variant} ({how}) writes:"
    for line in Text(visible(result.sample)).wrap(Console(), WIDTH - 2):
        yield f"  {line.plain}"
