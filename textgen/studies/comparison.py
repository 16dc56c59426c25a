"""Variants trained on equal terms, each as a run of its own, and what they came to.

The same text, split, streams and seed; networks of the same size, unless their widths are
chosen; each setting that is not compared as the planner takes it for the variant.
"""

import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textgen.architecture import ModelConfig
from textgen.bounds import whole
from textgen.config import Choices, CorpusConfig, SamplingOptions
from textgen.errors import (
    ChangedCorpus,
    CheckpointError,
    CorpusError,
    Diverged,
    RunError,
    UsageError,
)
from textgen.events import Event, Saved
from textgen.inference.reach import USED, remember
from textgen.inference.text_model import TextModel
from textgen.model.device import pick_device, prepare_device, restored
from textgen.store.checkpoint import read_header
from textgen.store.contents import reread_corpus
from textgen.store.record import Record
from textgen.store.run import Run
from textgen.store.runs import LONGEST_NAME, check_name
from textgen.studies.figures import Point, Result, Table, table_of
from textgen.studies.study import Study, open_study
from textgen.studies.variants import Variant, of_equal_size, variants_of
from textgen.text.corpus import Corpus, Progress, read_corpus
from textgen.training.planning import plan
from textgen.training.start import again, begin

SEEDS = whole(1, 1000, "3")  # how many each variant is trained with
POINTS = 100  # of a curve that are kept, about
PLACES = 20  # of the text, at which its memory is measured
UNPLANNED = ("dropout", "weight_drop", "lr", "schedule", "warmup", "clip", "weight_decay")
SAMPLE = SamplingOptions(temperature=0.7, length=150)
_OLD_TEXT = "put the old text back; or start over: add `overwrite`"


@dataclass(frozen=True)
class Trial:
    """A variant with one seed, and the run that it is."""

    variant: Variant
    run: Run


@dataclass(frozen=True)
class Begun:
    """What will be trained: the names of the runs, and of which variant each is."""

    runs: Mapping[str, str]


@dataclass(frozen=True)
class Trained:
    """An event of the training of one run."""

    run: str
    event: Event


Report = Begun | Trained | Result | Table


@dataclass(frozen=True)
class Comparison:
    """A comparison of a name, in a folder of runs.

    settings: fields of `Choices`, a list where there are several values; seeds: how many, from
    `seed` on; overwrite: begin it anew.
    """

    name: str
    checkpoints: Path
    corpus: CorpusConfig
    settings: Mapping[str, Any]
    seeds: int = 1
    overwrite: bool = False

    @property
    def path(self) -> Path:
        """The file of what is done so far."""
        return self.checkpoints / f"{self.name}.compare.json"

    def trials(self) -> list[Trial]:
        """Every variant with the first seed, then every one with the next."""
        SEEDS.check("seeds", self.seeds)
        check_name(self.name)
        if len(os.fsencode(self.path.name)) > LONGEST_NAME:
            what = f"`run` is {self.name!r}, too long for the name of a comparison's file"
            raise UsageError(what, "try `run=plays`")
        variants, found = variants_of(self.settings), []
        for number in range(self.seeds):
            for variant in (variant.seeded(number) for variant in variants):
                name = f"{self.name}-{variant.suffix}"
                name += f"-seed-{variant.choices.seed}" if number else ""
                found.append(Trial(variant, Run(self.checkpoints / name)))
        return found

    def reports(self, progress: Progress | None = None) -> Iterator[Report]:
        """Train what is not trained yet; leave the iterator at any report, and its run is saved.

        A variant that diverges is reported, and the others go on.
        """
        trials = self.trials()
        text = {"files": self.corpus.files, "val_file": self.corpus.val_file}
        study = open_study(self.path, {**self.settings, **text}, self.overwrite)
        for run in (trial.run for trial in trials):
            if run.name not in study.identities:
                _check_new(run, study)
                run.watch()
        if not study.fingerprint:
            self._prepare(study, progress)
        study.save(self.path)
        yield Begun({trial.run.name: trial.variant.label for trial in trials})
        for trial in trials:
            name = trial.run.name
            if name not in study.results:
                try:
                    with restored():
                        yield from self._train(study, trial, progress)
                    study.results[name] = _measured(trial)
                except Diverged as error:
                    study.results[name] = _result(trial, why=error.message)
                study.save(self.path)
            yield study.results[name]
        done = [study.results[trial.run.name] for trial in trials]
        yield table_of(done, timed=trials[0].variant.choices.budget in (None, "time"))

    def _prepare(self, study: Study, progress: Progress | None) -> None:
        """Note the text, and the widths of networks of equal size, where none are chosen."""
        variants = variants_of(self.settings)
        chosen = [variant.choices for variant in variants]
        corpus = read_corpus(self.corpus, cache=chosen[0].cache, progress=progress)
        study.fingerprint = corpus.fingerprint
        planned = _planned(chosen, corpus)  # in any case, to find what cannot be trained
        if chosen[0].hidden is None:
            networks = of_equal_size(planned, chosen)
            for variant, network in zip(variants, networks, strict=True):
                study.hidden[variant.label] = network.hidden

    def _train(self, study: Study, trial: Trial, progress: Progress | None) -> Iterator[Trained]:
        run, choices, began = trial.run, trial.variant.choices, time.monotonic()
        identity = study.identities.get(run.name)
        if identity and run.exists() and not _is_replaced(run, study):
            record = _record(run, identity)
            if record.finished:
                return
            with _same_text():
                loop = again(run, choices, began, progress)
        else:
            if widths := study.hidden.get(trial.variant.label):
                choices = replace(choices, hidden=widths, layers=len(widths))
            loop = begin(run, self.corpus, choices, began, progress=progress)
            if loop.corpus.fingerprint != study.fingerprint:
                what = f"{', '.join(self.corpus.files)} changed since the comparison began"
                raise ChangedCorpus(what, _OLD_TEXT)
            study.identities[run.name] = loop.identity
            study.save(self.path)
        with closing(loop.events()) as events:
            for event in events:
                if isinstance(event, Saved) and run.name in study.replaced:
                    del study.replaced[run.name]
                    study.save(self.path)
                yield Trained(run.name, event)


def _planned(chosen: list[Choices], corpus: Corpus) -> list[ModelConfig]:
    """The networks that the planner takes, each as if it were the only one."""
    found: dict[Choices, ModelConfig] = {}
    for choices in map(_as_planned, chosen):
        if choices not in found:
            device = pick_device(choices.device)
            with restored():
                found[choices] = plan(choices, corpus, device, time.monotonic()).model
    return [found[_as_planned(choices)] for choices in chosen]


def _as_planned(choices: Choices) -> Choices:
    """Without what the planned network does not depend on."""
    default = {name: getattr(Choices(), name) for name in UNPLANNED}
    return replace(choices, **default)


def _check_new(run: Run, study: Study) -> None:
    """Raise RunError if the run exists, and is none that is started over."""
    check_name(run.name)
    if run.exists() and not _is_replaced(run, study):
        what = f"run {run.name!r} exists already in {run.folder.parent}, and is of no comparison"
        hint = f"remove it: textgen rm {run.typed}; or give another name: `run=NAME`"
        raise RunError(f"{what} of that name", hint)


def _is_replaced(run: Run, study: Study) -> bool:
    """Whether what lies in the run's folder is of before, and is started over."""
    return run.name in study.replaced and _identity(run) in (None, study.replaced[run.name])


@contextmanager
def _same_text() -> Iterator[None]:
    """An error about the text of a run says what can be done in a comparison."""
    try:
        yield
    except CorpusError as error:
        raise type(error)(error.message, _OLD_TEXT) from None


def _identity(run: Run) -> str | None:
    """Of what lies in the run's folder, if it can be read."""
    try:
        return read_header(run.newest).record.identity
    except CheckpointError:
        return None


def _record(run: Run, identity: str) -> Record:
    """Of a run that the comparison began, as it was last saved. Raises RunError of another."""
    record = read_header(run.newest).record
    what = ""
    if record.identity != identity:
        what = "is not the one that the comparison began"
    elif run.newest == run.best and not record.finished:  # its last steps are gone
        what = "was cleaned before the comparison measured it"
    if what:
        hint = f"remove it, and it is trained anew: textgen rm {run.typed}"
        raise RunError(f"run {run.name!r} in {run.folder.parent} {what}", hint)
    return record


def _measured(trial: Trial) -> Result:
    """What a trained run came to: its own figures, its memory and a sample."""
    model = TextModel(trial.run.to_sample())
    written = model.generate(options=SAMPLE, seed=trial.variant.choices.seed)
    memory = _memory(model, trial.variant.choices.cache)
    return _result(trial, memory=memory, sample="".join(written))


def _result(trial: Trial, memory: int | None = None, sample: str = "", why: str = "") -> Result:
    """why: it diverged, if it did."""
    record = read_header(trial.run.newest).record
    count = len(record.history)
    apart = max(1, math.ceil(count / POINTS))
    kept = record.history[(count - 1) % apart :: apart]  # the last is one
    points = [Point(e.characters, e.seconds, e.val_nats) for e in kept]
    return Result(
        run=trial.run.name,
        variant=trial.variant.label,
        seed=record.training.seed,
        cell=record.model.cell,
        hidden=record.model.hidden,
        parameters=record.model.bare.parameters,
        lr=record.training.lr,
        precision=record.training.precision,
        passes=record.training.passes(record.step, record.train_characters),
        seconds=record.seconds,
        curve=tuple(points),
        memory=memory,
        sample=sample,
        diverged=why,
    )


def _memory(model: TextModel, cache: bool) -> int | None:
    """How many characters the model uses; None for documents and for a text too short."""
    if model.vocabulary.end is not None:
        return None
    prepare_device(torch.device("cpu"))
    with _same_text():
        ids = np.asarray(reread_corpus(model.header, cache=cache).validation)
    try:
        return remember(model.network(), ids, places=PLACES).reach(USED)
    except CorpusError:
        return None
