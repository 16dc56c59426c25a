"""What variants came to, set side by side: means over seeds, and which of them are equal."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

EQUAL = 2.0  # standard errors of the difference of two means below which they are equal


@dataclass(frozen=True)
class Point:
    """A validation: after how many characters and seconds, and its nats per character."""

    characters: int
    seconds: float
    nats: float


@dataclass(frozen=True)
class Result:
    """What a run of a variant came to.

    parameters: but for rows of matches and n-grams; seconds: spent training; memory: how many
    characters it uses, None where that cannot be measured; sample: what it writes; diverged: why it
    has no figures, if it has none.
    """

    run: str
    variant: str
    seed: int
    cell: str
    hidden: tuple[int, ...]
    parameters: int
    lr: float
    precision: str
    passes: float
    seconds: float
    curve: tuple[Point, ...]
    memory: int | None
    sample: str
    diverged: str = ""

    @property
    def characters(self) -> int:
        """How many it read."""
        return self.curve[-1].characters

    @property
    def chars_per_second(self) -> float:
        """Of all the time spent training, validations and saves included."""
        return self.characters / max(self.seconds, 1e-9)

    def nats_after(self, amount: float, of: str) -> float | None:
        """Validation loss after so many `characters` or `seconds`, a straight line between two.

        None before the first validation.
        """
        amounts = [getattr(point, of) for point in self.curve]
        if amount < amounts[0]:
            return None
        return float(np.interp(amount, amounts, [point.nats for point in self.curve]))


@dataclass(frozen=True)
class Spread:
    """A mean over seeds; deviation: the standard deviation of one seed, None where there is one."""

    mean: float
    deviation: float | None
    number: int

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Spread | None":
        """None if one of the values is, or if there are none."""
        known = [value for value in values if value is not None]
        if not known or len(known) < len(values):
            return None
        deviation = statistics.stdev(known) if len(known) > 1 else None
        return cls(statistics.fmean(known), deviation, len(known))

    def is_below(self, other: "Spread") -> bool:
        """Whether it is lower by EQUAL standard errors of the difference or more."""
        if self.deviation is None or other.deviation is None:
            return self.mean < other.mean
        error = math.sqrt(self.deviation**2 / self.number + other.deviation**2 / other.number)
        return other.mean - self.mean >= EQUAL * error and self.mean < other.mean


class Rank(NamedTuple):
    """number: one more than there are variants with a lower loss; shared: by another variant."""

    number: int
    shared: bool


@dataclass(frozen=True)
class Row:
    """A variant's figures over its seeds; None where one of its runs has none."""

    variant: str
    results: tuple[Result, ...]
    chars_per_second: Spread | None
    passes: Spread | None
    memory: Spread | None
    at_characters: Spread | None
    at_time: Spread | None
    rank_at_characters: Rank | None = None
    rank_at_time: Rank | None = None


@dataclass(frozen=True)
class Table:
    """The variants, the best first: at equal time where that was the budget, else at equal
    characters.

    characters, seconds: at which the losses are compared; seconds is None where each variant had
    the same budget of time, and its loss is that at its end.
    """

    rows: tuple[Row, ...]
    characters: int
    seconds: float | None
    seeds: int


def table_of(results: Sequence[Result], timed: bool) -> Table:
    """timed: whether the budget of each was one of time."""
    trained = [result for result in results if not result.diverged]
    characters = min((result.characters for result in trained), default=0)
    seconds = None if timed else min((result.curve[-1].seconds for result in trained), default=0.0)
    variants = list(dict.fromkeys(result.variant for result in results))
    rows = [
        _row([r for r in results if r.variant == variant], variant, characters, seconds)
        for variant in variants
    ]
    by_characters = _ranks([row.at_characters for row in rows])
    by_time = _ranks([row.at_time for row in rows])
    rows = [
        replace(row, rank_at_characters=first, rank_at_time=second)
        for row, first, second in zip(rows, by_characters, by_time, strict=True)
    ]
    first = [row.at_time if timed else row.at_characters for row in rows]
    order = sorted(range(len(rows)), key=lambda i: getattr(first[i], "mean", math.inf))
    seeds = len({result.seed for result in results})
    return Table(tuple(rows[i] for i in order), characters, seconds, seeds)


def _row(results: list[Result], variant: str, characters: int, seconds: float | None) -> Row:
    def over_seeds(value: Callable[[Result], float | None]) -> Spread | None:
        return Spread.of([None if r.diverged else value(r) for r in results])

    def at_time(result: Result) -> float | None:
        if seconds is None:
            return result.curve[-1].nats
        return result.nats_after(seconds, "seconds")

    return Row(
        variant,
        tuple(results),
        chars_per_second=over_seeds(lambda r: r.chars_per_second),
        passes=over_seeds(lambda r: r.passes),
        memory=over_seeds(lambda r: r.memory),
        at_characters=over_seeds(lambda r: r.nats_after(characters, "characters")),
        at_time=over_seeds(at_time),
    )


def _ranks(losses: Sequence[Spread | None]) -> list[Rank | None]:
    known = [loss for loss in losses if loss is not None]
    numbers = [
        None if loss is None else 1 + sum(other.is_below(loss) for other in known)
        for loss in losses
    ]
    return [None if n is None else Rank(n, numbers.count(n) > 1) for n in numbers]
