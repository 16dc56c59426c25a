"""Time and steps: how many more steps fit into the time that is left."""

from __future__ import annotations

import time
from dataclasses import replace

from textgen.config import TrainingConfig
from textgen.training.schedule import progress, rise

LOOK = 1.0  # seconds of steps between two looks at the clock
SLACK = 0.02  # a smaller change of the steps left is not worth a knot in the schedule
END = 0.5  # seconds to leave for the last save and the way out


class Pace:
    """Watches how long steps, validations and saves take, and fits the walk to a deadline.

    A walk that is fitted gets a new number of steps, and a knot in its schedule, so that the
    learning rate reaches its end as the time does. Both are part of the settings that a checkpoint
    keeps: a resumed run takes the steps that were settled on, and never looks at the clock.

    evaluation_worth: in how many steps' time a validation is done, until one was timed.
    """

    def __init__(self, evaluation_worth: float = 0.0) -> None:
        self._evaluation_worth = evaluation_worth
        self._window = 0.0  # seconds of the steps since the last look
        self._steps = 0
        self._step = 0.0  # seconds of the last one
        self._per_step: float | None = None
        self._costs: dict[str, float] = {}  # seconds that the last evaluation, or save, took
        self._mark = time.monotonic()

    def stepped(self) -> None:
        """A step is done, and what was shown of it."""
        self._step = self._lap()
        self._window += self._step
        self._steps += 1

    def paused(self, what: str) -> None:
        """Something else than a step was done: an `evaluation` or a `save`."""
        self._costs[what] = self._lap()

    @property
    def lead(self) -> float:
        """How many seconds before it must be done a save has to begin: a step may come first."""
        return self._step + self._costs.get("save", 0.0)

    def _lap(self) -> float:
        now = time.monotonic()
        lap, self._mark = now - self._mark, now
        return lap

    def fitted(self, config: TrainingConfig, step: int, deadline: float) -> TrainingConfig:
        """The settings from `step` on; the same ones, while they still fit the deadline."""
        if self._window < LOOK or step - config.start < rise(config):
            return config
        recent = self._window / self._steps
        self._per_step = recent if self._per_step is None else (self._per_step + recent) / 2
        self._window, self._steps = 0.0, 0

        evaluation = self._costs.get("evaluation", self._evaluation_worth * self._per_step)
        save = self._costs.get("save", 0.0)
        left = deadline - time.monotonic() - END - evaluation - save
        saving = save / (save + config.save_every)  # of the time
        cost = self._per_step + evaluation / config.eval_every
        more = max(1, round(left * (1 - saving) / cost))
        planned = config.steps - step
        if abs(more - planned) <= max(1, SLACK * planned):
            return config
        return replace(config, steps=step + more, start=step, progress=progress(step, config))
