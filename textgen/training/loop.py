"""The walk: steps, validations, samples and saves, told as events.

Leave the iterator at any event and the run is saved; take it up again with `resume_training`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from textgen.config import CorpusConfig
from textgen.errors import CheckpointError, Diverged, RunError, TextgenError
from textgen.events import (
    Evaluated,
    Event,
    Finished,
    Noticed,
    Planned,
    Sampled,
    Saved,
    Stepped,
)
from textgen.inference.evaluation import evaluate
from textgen.inference.sampling import SamplingConfig, Uniforms
from textgen.inference.stepper import Stepper
from textgen.inference.writer import Writer
from textgen.model.device import autocast, check_precision, pick_device
from textgen.store.checkpoint import Record, read_arrays, read_header, write_checkpoint, write_file
from textgen.store.contents import reread_corpus
from textgen.store.runs import Run, cannot_save
from textgen.text.corpus import Corpus
from textgen.training.pace import Pace
from textgen.training.planning import (
    EVALUATED,
    Choices,
    Plan,
    evaluation_interval,
    evaluation_worth,
    measure,
    regularised,
    steps_of,
)
from textgen.training.step import GROUPS, Trainer

SAMPLE = 240  # characters of a sample shown while training


@dataclass
class Training:
    """A run in progress; iterate over `events()`."""

    run: Run
    corpus: Corpus
    corpus_config: CorpusConfig
    trainer: Trainer
    history: list[Evaluated]
    seconds: float = 0.0  # spent in earlier sittings
    notices: tuple[str, ...] = ()
    chars_per_second: float | None = None  # as measured, if it was
    chosen: tuple[str, ...] = ()  # settings that a person gave
    deadline: float | None = None  # of the clock `time.monotonic`, for a run that has a time

    def __post_init__(self) -> None:
        self._best: dict[str, NDArray] | None = None  # weights not yet written to `best`
        self._since = time.monotonic()

    def events(self) -> Iterator[Event]:
        """Train to the end of the walk.

        Raises Diverged when the loss is no longer a number, and RunError when the run's folder
        cannot be written at the beginning or at the end; in between, a failed save is a notice.
        """
        with self.run.locked():
            yield from self._walk()

    def _walk(self) -> Iterator[Event]:
        trainer = self.trainer
        self._since = time.monotonic()
        yield self.planned()
        if trainer.step == 0:
            yield self._save()  # that the folder can be written is found out now, not later
        pace = Pace(evaluation_worth(trainer.config, len(self.corpus.validation)))
        saved = told = time.monotonic()
        told_step = trainer.step
        try:
            while True:
                step, config = trainer.step, trainer.config
                if self._due(step, config.eval_every) and not self._evaluated(step):
                    now = time.monotonic()
                    rate = (step - told_step) * config.chars_per_step / max(now - told, 1e-9)
                    yield self._evaluate(rate)
                    told, told_step = time.monotonic(), step
                    pace.paused("evaluation")
                if config.sample_every and self._due(step, config.sample_every):
                    yield Sampled(step, self._sample())
                if step >= config.steps:
                    break
                if time.monotonic() - saved + pace.lead >= config.save_every:
                    saved = time.monotonic()
                    yield self._try_to_save()
                    pace.paused("save")
                if self.deadline is not None:
                    config = trainer.config = pace.fitted(config, step, self.deadline)
                lr = trainer.lr
                loss = self._checked(trainer.advance())
                yield Stepped(trainer.step, config.steps, loss, lr)
                pace.stepped()
                while trainer.notices:
                    yield Noticed(trainer.notices.pop())
        except GeneratorExit:
            self._save()
            raise
        yield self._save()
        best = min(self.history, key=_val_nats)
        yield Finished(
            trainer.step, best.step, best.val_nats, str(self.run.folder), self._elapsed()
        )

    def _due(self, step: int, every: int) -> bool:
        return step > 0 and (step % every == 0 or step == self.trainer.config.steps)

    def _evaluated(self, step: int) -> bool:
        return bool(self.history) and self.history[-1].step >= step

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self._since

    def _checked(self, loss: torch.Tensor) -> float | None:
        """The loss as a number; on a GPU only now and then, for reading it makes the host wait."""
        if self.trainer.device.type != "cpu" and self.trainer.step % 20:
            return None
        value = float(loss)
        if not math.isfinite(value):
            raise self._diverged(f"the loss became {value}")
        return value

    def _diverged(self, what: str) -> Diverged:
        config = self.trainer.config
        return Diverged(
            f"{what} at step {self.trainer.step}, with --lr {config.lr:g} and --clip"
            f" {config.clip:g}; the last save is untouched",
            f"start over with a lower rate: --lr {config.lr / 3:.2g} --overwrite",
        )

    def planned(self) -> Planned:
        model = self.trainer.model.config
        return Planned(
            run=self.run.name,
            folder=str(self.run.folder),
            model=model,
            training=self.trainer.config,
            device=str(self.trainer.device),
            parameters=model.parameters,
            train_characters=len(self.corpus.train),
            val_characters=len(self.corpus.validation),
            step=self.trainer.step,
            notices=self.notices,
            chars_per_second=self.chars_per_second,
        )

    def _evaluate(self, rate: float) -> Evaluated:
        trainer = self.trainer
        validation = self.corpus.validation[:EVALUATED]
        streams = max(1, min(64, len(validation) // 512))
        result = evaluate(
            trainer.model,
            validation,
            streams,
            autocast=lambda: autocast(self.trainer.config.precision, trainer.device),
        )
        if not math.isfinite(result.nats_per_char):
            raise self._diverged(f"the validation loss became {result.nats_per_char}")
        grad_norm = float(trainer.grad_norm)
        characters = trainer.step * self.trainer.config.chars_per_step
        event = Evaluated(
            step=trainer.step,
            characters=characters,
            passes=characters / len(self.corpus.train),
            train_nats=trainer.take_losses(),
            val_nats=result.nats_per_char,
            lr=trainer.lr,
            grad_norm=grad_norm if math.isfinite(grad_norm) else None,
            seconds=round(self._elapsed(), 3),
            chars_per_second=round(rate, 1),
            best=result.nats_per_char < min(map(_val_nats, self.history), default=math.inf),
        )
        self.history.append(event)
        if event.best:
            self._best = trainer.weights()
        return event

    def _sample(self) -> str:
        vocabulary = self.corpus.vocabulary
        uniforms = Uniforms(self.trainer.config.seed, place=0)
        prompt = vocabulary.encode("")
        config = SamplingConfig(temperature=0.7)
        try:
            with np.errstate(over="raise", invalid="raise"):
                stepper = Stepper(self.trainer.model.config, self.trainer.weights())
                writer = Writer(stepper, vocabulary, config, uniforms, prompt, length=SAMPLE)
                return "".join(writer)
        except FloatingPointError as error:
            raise self._diverged(f"the weights became too large ({error})") from None

    def _try_to_save(self) -> Saved | Noticed:
        try:
            return self._save()
        except RunError as error:
            again = f"training goes on, the next try is in {self.trainer.config.save_every:g} s"
            return Noticed(f"{error.message}; {again}")

    def _save(self) -> Saved:
        """Write `best` if it is new, then the metrics, then `last`."""
        begin = time.monotonic()
        if not self.trainer.is_finite():
            raise self._diverged("the weights are no longer numbers")
        run = self.run
        record = Record(
            kind="last",
            model=self.trainer.model.config,
            training=self.trainer.config,
            corpus=self.corpus_config,
            vocabulary=self.corpus.vocabulary.characters,
            fingerprint=self.corpus.fingerprint,
            train_characters=len(self.corpus.train),
            val_characters=len(self.corpus.validation),
            step=self.trainer.step,
            seconds=round(self._elapsed(), 3),
            device=str(self.trainer.device),
            threads=torch.get_num_threads(),
            chosen=self.chosen,
            history=tuple(self.history),
        )
        try:
            run.folder.mkdir(parents=True, exist_ok=True)
            if self._best is not None and record.best is not None:
                best = replace(record, kind="best", step=record.best.step)
                write_checkpoint(run.best, best, {"model": self._best})
                self._best = None
            write_file(run.metrics, "".join(map(_line, self.history)).encode())
            write_checkpoint(run.last, record, self.trainer.arrays())
            if record.best is None:  # one that is there is of the run that was started over
                run.best.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_save(run.folder, error) from None
        return Saved(self.trainer.step, str(run.last), round(time.monotonic() - begin, 4))


def _val_nats(event: Evaluated) -> float:
    return event.val_nats


def _line(event: Evaluated) -> str:
    """A line of metrics.jsonl."""
    fields = event.to_json()
    del fields["event"]
    return json.dumps(fields) + "\n"


def begin_training(
    run: Run,
    corpus: Corpus,
    corpus_config: CorpusConfig,
    plan: Plan,
    device: torch.device,
    deadline: float | None = None,
) -> Training:
    """A run from its first step, to be done by `deadline` on the clock of `time.monotonic`."""
    trainer = Trainer(plan.model, plan.training, corpus.train, device)
    return Training(
        run,
        corpus,
        corpus_config,
        trainer,
        history=[],
        notices=corpus.notices + plan.notices,
        chars_per_second=plan.chars_per_second,
        chosen=plan.chosen,
        deadline=deadline,
    )


def resume_training(
    run: Run,
    device: str,
    budget: Choices,
    began: float,
    files: tuple[str, ...] = (),
) -> Training:
    """A run from where it was last saved.

    budget: only its time, epochs and steps count: go on for that much from here, at the learning
        rate of a run that was to be so long from its beginning, and with the dropout and
        weight decay that the planner would give it; with none of them, to the end planned before.
    began: when the clock of a budget of time began to run, on `time.monotonic`.
    files: where the corpus is now, if it moved.

    Raises CheckpointError, CorpusError (the corpus changed), RunError (the run is finished).
    """
    header = read_header(run.last)
    record = header.record
    if record.kind != "last":
        raise CheckpointError(
            f"{run.last} holds weights alone; expected a checkpoint to resume from",
            f"name a run: textgen resume {run.name}",
        )
    place = _place(device, record.device)
    check_precision(record.training.precision, place)
    torch.set_num_threads(record.threads)
    corpus = reread_corpus(header, files)
    model, config, step, rate = record.model, record.training, record.step, None
    if budget.budget is not None:
        if budget.time is not None:
            rate = measure(model, config, len(corpus.train), place)
        more = steps_of(budget, config, len(corpus.train), rate, began)
        config = replace(config, start=step, progress=step / (step + more), steps=step + more)
        if "eval_every" not in record.chosen:
            config = replace(config, eval_every=evaluation_interval(config, len(corpus.validation)))
        model, config = regularised(model, config, len(corpus.train), record.chosen)
    elif step >= config.steps and record.history and record.history[-1].step >= step:
        raise RunError(
            f"run {run.name!r} is finished: it did all of its {config.steps:,} steps",
            f"extend it: textgen resume {run.name} --steps {config.steps}",
        )
    trainer = Trainer(model, config, corpus.train, place)
    trainer.restore(read_arrays(header, *GROUPS), step)
    return Training(
        run,
        corpus,
        replace(record.corpus, files=files) if files else record.corpus,
        trainer,
        list(record.history),
        record.seconds,
        corpus.notices,
        rate,
        record.chosen,
        None if budget.time is None else began + budget.time,
    )


def _place(device: str, trained_on: str) -> torch.device:
    """For auto the device that the run was trained on, if this machine has it."""
    if device == "auto":
        try:
            return pick_device(trained_on)
        except TextgenError:
            return pick_device()
    return pick_device(device)
