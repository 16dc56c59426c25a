"""A training run: steps, validations, samples and saves, reported as events."""

import math
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from textgen.config import CorpusConfig, SamplingOptions
from textgen.errors import Diverged, RunError
from textgen.events import Evaluated, Event, Finished, Noticed, Planned, Sampled, Saved, Stepped
from textgen.inference.backward import writer
from textgen.inference.folding import fold
from textgen.inference.sampling import Uniforms
from textgen.model.network import CharModel, State
from textgen.store.checkpoint import read_header
from textgen.store.contents import read_resumed
from textgen.store.record import LONGEST_HISTORY, Ancestor, Record, new_identity, to_json
from textgen.store.run import Run
from textgen.text.corpus import Corpus
from textgen.text.statistics import scripts
from textgen.training.arrays import Arrays
from textgen.training.divergence import SETBACKS, diverged, lower, worst
from textgen.training.pace import SUSPENDED, Decisions
from textgen.training.planning import Plan, evaluation_worth
from textgen.training.step import Learner
from textgen.training.threads import Threads
from textgen.training.validation import Validation

SAMPLE, SAMPLED = 240, 5  # characters and documents of a sample shown while training


@dataclass
class Loop:
    """A run in progress; iterate over `events()`."""

    run: Run
    corpus: Corpus
    corpus_config: CorpusConfig
    plan: Plan
    learner: Learner
    began: float  # when the plan's budget of time began to run, on `time.monotonic`
    history: list[Evaluated] = field(default_factory=list)
    identity: str = field(default_factory=new_identity)  # of the run
    threads: int = 1  # of torch, at most, where a budget of time decides
    seconds: float = 0.0  # spent before this process began
    ancestors: tuple[Ancestor, ...] = ()
    mixed: NDArray | None = None  # the text that a share of the streams reads beside its own
    best: Mapping[str, NDArray] | None = None  # the weights of the best evaluation, if known
    restored: Arrays | None = None  # what the learner goes on from
    changed: bool = False  # whether `last` is not what it goes on from, with the same settings
    _setbacks: int = 0
    _since: float = field(default_factory=time.monotonic)

    def events(self) -> Generator[Event]:
        """Train to the last step; leave the iterator at any event, and the run is saved.

        A run that diverges goes back to its last save, with a lower rate; Diverged when that did
        not help SETBACKS times. RunError when the run's folder cannot be written at the beginning
        or at the end; in between that is a notice.
        """
        with self.run.locked():
            self._begin_ranks()
            yield from self._train()

    def _train(self) -> Iterator[Event]:
        self._since = time.monotonic()
        yield from self._held(self.planned())
        if self.learner.step == 0 or self.changed:
            # that the folder can be written is found out now, not later
            yield from self._held(self._save())
        config, device = self.learner.config, self.learner.device
        of = self.plan.model, config.chars_per_step, self.corpus, config.aside
        worth = evaluation_worth(*of, device)
        alone = device.type == "cpu" and self.learner.ranks.size == 1
        looked = self._cpu_threads.look if alone else None
        decide = Decisions(self.began + (self.plan.time or math.inf), worth, looked)
        try:
            while True:
                try:
                    yield from self._steps(decide)
                    break
                except Diverged as error:
                    found = error.with_traceback(None)  # which would hold the learner
                yield self._back(found)
        except GeneratorExit:
            self._save()
            raise
        best, folder = min(self.history, key=lambda e: e.val_nats), str(self.run.folder)
        yield Finished(self.learner.step, best.step, best.val_nats, folder, self._elapsed())

    def _held(self, event: Event) -> Iterator[Event]:
        """The event; what the process was suspended meanwhile does not count as time."""
        begin = time.monotonic()
        yield event
        if (held := time.monotonic() - begin) > SUSPENDED:
            self.began, self._since = self.began + held, self._since + held

    def _steps(self, decide: Decisions) -> Iterator[Event]:
        """From where the learner is to the last step, and the last save."""
        learner = self.learner
        since = learner.step, time.monotonic()  # of the last evaluation
        while True:
            step, config = learner.step, learner.config
            if decide.evaluate(config, step) and not any(e.step >= step for e in self.history):
                yield self._evaluate(since)
                self._since += decide.did("evaluation")
                since = step, time.monotonic()
            if decide.sample(config, step):
                yield Sampled(step, self._sample())
                self._since += decide.did("sample")
            if decide.stop(config, step):
                break
            if decide.save(config):
                yield self._try_to_save()
                self._since += decide.did("save")
            learner.config = decide.refitted(config, step)
            yield self._step()
            suspended = decide.did("step")
            self._since, since = self._since + suspended, (since[0], since[1] + suspended)
            yield from self._notices()
        yield self._save()
        yield from self._notices()

    def _notices(self) -> Iterator[Noticed]:
        yield from map(Noticed, self.learner.notices)
        self.learner.notices.clear()

    def _back(self, error: Diverged) -> Noticed:
        """Go on from the last save at a lower rate, or raise `error` after SETBACKS such tries.

        Stopped before its next save, it diverges again when resumed, and comes to the same rate.
        """
        self._setbacks += 1
        if self._setbacks > SETBACKS:
            tried = f"{SETBACKS} lower rates did not help, the last save is untouched"
            raise Diverged(f"{error.message}; {tried}", error.hint)
        header = read_header(self.run.last)
        record, self.restored = header.record, read_resumed(header)
        config = replace(record.training, lr=lower(self.learner.config.lr))
        network, device, ranks = CharModel(self.plan.model), self.learner.device, self.learner.ranks
        del self.learner  # what it takes on the device is free for the next one
        self.learner = Learner.of(self.corpus, network, config, device, self.mixed, ranks=ranks)
        self.learner.restore(self.restored, record.step)
        self.learner.take_losses()  # those that the lower rate is not to be judged by
        self._begin_ranks()
        self.history, self.best = list(record.history), self.run.read_best(record)
        return Noticed(f"{error.message}; going back to step {record.step}, to `lr={config.lr:g}`")

    def _step(self) -> Stepped:
        """With CUDA the loss is read only now and then, for reading it makes the host wait."""
        learner, lr, loss = self.learner, self.learner.lr, None
        learner.ranks.tell("step", self._news())
        found = learner.advance()
        if learner.device.type != "cuda" or learner.step % 20 == 0:
            loss = float(found)
            if not loss <= 4 * worst(self.plan.model.vocabulary_size):  # nor if it is no number
                raise self._diverged(f"the loss became {loss:.4g}")
        return Stepped(learner.step, learner.config.steps, loss, lr)

    def _begin_ranks(self) -> None:
        """Tell the other ranks what to train, and from where."""
        ranks, self._told = self.learner.ranks, self.learner.config
        if ranks.size > 1:
            ranks.tell("begin", to_json(self._record()).encode())
            zeros = State.zeros(self.plan.model, self._told.batch_size)
            ranks.share(self.restored or self.learner.arrays(zeros))
        self.restored = None

    def _news(self) -> bytes:
        """The settings, if they are not those that the other ranks have."""
        before, self._told = self._told, self.learner.config
        return b"" if before is self._told else msgspec.json.encode(self._told)

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self._since

    def _check_weights(self) -> None:
        if not self.learner.is_finite():
            raise self._diverged("the weights became too large, or no numbers")

    def _diverged(self, what: str) -> Diverged:
        return diverged(what, self.learner.step, self.learner.config)

    def planned(self) -> Planned:
        return Planned(
            run=self.run.name,
            folder=str(self.run.folder),
            parameters=self.plan.model.parameters,
            notices=self.corpus.notices + self.plan.notices,
            chars_per_second=self.plan.chars_per_second,
            texts=len(self.corpus.lengths),
            documents=self.corpus.documents,
            alphabet=scripts(self.corpus.vocabulary),
            **self._facts(),
        )

    def _facts(self) -> dict[str, Any]:
        return {
            "model": self.plan.model,
            "training": self.learner.config,
            "device": str(self.learner.device),
            "train_characters": len(self.corpus.train),
            "val_characters": len(self.corpus.validation),
            "step": self.learner.step,
        }

    @cached_property
    def _validation(self) -> Validation:
        return Validation(self.corpus)

    @cached_property
    def _cpu_threads(self) -> Threads:
        return Threads(self.threads)

    def _evaluate(self, since: tuple[int, float]) -> Evaluated:
        """since: step and time of the last evaluation."""
        learner, config = self.learner, self.learner.config
        seconds = max(time.monotonic() - since[1], 1e-9)
        train_nats = learner.take_losses()
        # weights that know another text may begin with more
        most = worst(self.plan.model.vocabulary_size) * (4 if self.ancestors else 1)
        if not train_nats <= most:
            raise self._diverged(f"the training loss became {train_nats:.4g}")
        learner.ranks.tell("validate")
        val_nats = self._validation.nats(learner)
        if not math.isfinite(val_nats):
            raise self._diverged(f"the validation loss became {val_nats}")
        self._check_weights()  # they may be the best ones
        grad_norm = float(learner.grad_norm)
        event = Evaluated(
            step=learner.step,
            characters=learner.step * config.chars_per_step,
            passes=config.passes(learner.step, len(self.corpus.train)),
            train_nats=train_nats,
            val_nats=val_nats,
            lr=learner.lr,
            grad_norm=grad_norm if math.isfinite(grad_norm) else None,
            seconds=round(self._elapsed(), 3),
            chars_per_second=round((learner.step - since[0]) * config.chars_per_step / seconds, 1),
            best=val_nats < min((e.val_nats for e in self.history), default=math.inf),
        )
        if len(self.history) == LONGEST_HISTORY:  # the oldest goes, unless it is the best
            del self.history[self.history[0].val_nats <= min(e.val_nats for e in self.history)]
        self.history.append(event)
        if event.best:
            self.best = learner.weights()
        return event

    def _sample(self) -> str:
        vocabulary, seed = self.corpus.vocabulary, self.learner.config.seed
        options, nothing = SamplingOptions(temperature=0.7, length=SAMPLE), vocabulary.encode("")
        how: dict[str, Any] = {"prompt": nothing, "backward": self.corpus_config.backward}
        texts = SAMPLED if vocabulary.has_end else 1
        try:
            with np.errstate(over="raise", invalid="raise"):
                model = fold(self.plan.model, self.learner.weights())
                draws = map(partial(Uniforms, seed), range(texts))
                written = (writer(model, vocabulary, options, d, **how) for d in draws)
                return "\n".join(map("".join, written))
        except FloatingPointError as error:
            raise self._diverged(f"the weights became too large ({error})") from None

    def _try_to_save(self) -> Saved | Noticed:
        try:
            return self._save()
        except RunError as error:
            again = f"training goes on, the next try is in {self.learner.config.save_every:g} s"
            return Noticed(f"{error.message}; {again}")

    def _save(self) -> Saved:
        """A process that goes on alone has as many threads as all ranks have together."""
        begin = time.monotonic()
        self._check_weights()
        record = self._record(self.learner.ranks.size)
        self.learner.ranks.tell("gather")
        if notice := self.run.save(record, self.learner.arrays(), self.best):
            self.learner.notices.append(notice)
        self.learner.ranks.saved()
        return Saved(record.step, str(self.run.last), round(time.monotonic() - begin, 4))

    def _record(self, ranks: int = 1) -> Record:
        return Record(
            kind="last",
            corpus=self.corpus_config,
            vocabulary=self.corpus.vocabulary.characters,
            fingerprint=self.corpus.fingerprint,
            seconds=round(self._elapsed(), 3),
            threads=self._cpu_threads.settled * ranks,
            chosen=self.plan.chosen,
            history=tuple(self.history),
            identity=self.identity,
            ancestors=self.ancestors,
            **self._facts(),
        )
