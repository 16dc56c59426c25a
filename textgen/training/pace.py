"""What is due in a training run: the one place that looks at the clock, apart from what is done."""

import math
import time
from collections.abc import Callable
from dataclasses import replace

from textgen.config import TrainingConfig
from textgen.events import Reading
from textgen.text.corpus import Progress
from textgen.training.schedule import progress, rise

LOOK = 1.0  # seconds between two looks at the clock
FIRST = 20  # steps of a rise, of which the fastest alone tells how long the others will take
SLACK = 0.02  # a smaller change of the steps left is not worth a new schedule segment
END = 0.3  # seconds to leave for the last save and the way out
SUSPENDED = 5.0  # seconds that something took, and
UNUSUAL = 50  # times what it usually takes, from which on the process was suspended;
STEADY = 10  # of a validation, whose time changes less
STALLED = 0.6  # seconds that a save usually takes at least, so that a disk may stall for long


class Reported:
    """Forwards what is read to `progress`, and sums the seconds that it took where they were many.

    So a live display, which suspends the process there, takes no time from a budget.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress, self.suspended = progress, 0.0

    def __call__(self, reading: Reading) -> None:
        begin = time.monotonic()
        self._progress(reading)
        if (held := time.monotonic() - begin) > SUSPENDED:
            self.suspended += held


class Decisions:
    """Whether to stop, save, evaluate or sample, and how many steps still fit into the time.

    Steps that are fitted to the deadline begin a new segment of the schedule, which a checkpoint
    keeps; a resumed run takes the steps that were settled on. deadline: on `time.monotonic`;
    evaluation_worth: in how many steps' time a validation is done, until one was timed; looked:
    told at each look how many seconds a step takes.
    """

    def __init__(
        self,
        deadline: float,
        evaluation_worth: float = 0.0,
        looked: Callable[[float], None] | None = None,
    ) -> None:
        self._deadline = deadline
        self._evaluation_worth = evaluation_worth
        self._looked = looked
        self._spent = 0.0  # seconds since the last look,
        self._window = 0.0  # and of them those of steps
        self._steps = 0
        self._usual: float | None = None  # seconds of a step, by a moving average
        self._fastest = math.inf  # seconds of a step
        self._per_step: float | None = None  # seconds
        self._costs = {"step": 0.0, "save": 0.0}  # seconds that the last one took
        self._long: set[str] = set()  # what took so long last that it counted as suspended
        self._mark = self._saved = time.monotonic()

    def stop(self, config: TrainingConfig, step: int) -> bool:
        return step >= config.steps

    def evaluate(self, config: TrainingConfig, step: int) -> bool:
        """At the end, and at every interval but for one that is nearly there."""
        near = 4 * (config.steps - step) < config.eval_every
        return step == config.steps or (step > 0 and step % config.eval_every == 0 and not near)

    def sample(self, config: TrainingConfig, step: int) -> bool:
        every = config.sample_every
        return every > 0 and step > 0 and (step % every == 0 or step == config.steps)

    def save(self, config: TrainingConfig) -> bool:
        """Early by a step and a save, which may come before the time is up."""
        lead = self._costs["step"] + self._costs["save"]
        due = time.monotonic() - self._saved + lead >= config.save_every
        if due:
            self._saved = time.monotonic()
        return due

    def did(self, what: str) -> float:
        """A `step`, with what was shown of it, an `evaluation`, a `sample` or a `save` is done.

        Returns the seconds that the process was suspended meanwhile, which the deadline waits for.
        What takes as long once more was not suspended: the machine became slow.
        """
        now = time.monotonic()
        took, self._mark = now - self._mark, now
        usual, suspended = self._expected(what, took), 0.0
        known = what == "evaluation" and what in self._costs
        long = took > max(SUSPENDED, (STEADY if known else UNUSUAL) * usual)
        if long and what not in self._long:
            took, suspended = usual, took - usual
            self._deadline += suspended
            self._long.add(what)
        else:
            self._long.discard(what)
        if what == "step":
            self._usual = 0.9 * usual + 0.1 * took
            self._fastest = min(self._fastest, took)
            self._window += took
            self._steps += 1
        self._spent += took
        self._costs[what] = took
        return suspended

    def _expected(self, what: str, took: float) -> float:
        """Seconds that it usually takes; `took` where that is not known."""
        step = took if self._usual is None else self._usual
        if what == "step":
            return step
        if what == "save":
            return max(STALLED, self._costs["save"])
        if what == "sample":
            return self._costs.get(what, min(took, SUSPENDED))
        return self._costs.get("evaluation", self._evaluation_worth * step)

    def refitted(self, config: TrainingConfig, step: int) -> TrainingConfig:
        """The settings from `step` on; the same ones, while they still fit the deadline."""
        if self._deadline == math.inf or not self._steps:
            return config
        whole = self._spent >= LOOK
        soon = (config.steps - step) * self._costs["step"] < LOOK  # the end, if nothing changes
        if not (whole or soon):
            return config
        rises = step - config.segment_start < rise(config)
        early = rises and step - config.segment_start < FIRST
        if early and self._steps < 2:
            return config
        recent = self._fastest if early else self._window / self._steps
        per_step = recent if self._per_step is None else (self._per_step + recent) / 2
        if not early:
            self._spent, self._window, self._steps, self._per_step = 0.0, 0.0, 0, per_step
            if self._looked is not None and whole:
                self._looked(recent)

        evaluation = self._costs.get("evaluation", self._evaluation_worth * per_step)
        save = self._costs["save"]
        left = self._deadline - time.monotonic() - END - evaluation - save
        saving = save / (save + config.save_every)  # of the time
        samples = self._costs.get("sample", 0.0) / (config.sample_every or math.inf)
        cost = max(1e-6, per_step + evaluation / config.eval_every + samples)  # a coarse clock's 0
        more = max(1, int(left * (1 - saving) / cost))
        planned = config.steps - step
        few = 1 if cost < LOOK else 0  # a step that takes long is worth a new segment
        if abs(more - planned) <= max(few, SLACK * planned):
            return config
        if rises:  # it goes on, towards an earlier end if need be
            needed = more < (planned / 2 if early else planned)
            return replace(config, steps=step + more) if needed else config
        done = progress(step, config)
        return replace(config, steps=step + more, segment_start=step, segment_progress=done)
