"""A training run begun, or taken up where it was saved."""

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from textgen.config import Choices, CorpusConfig
from textgen.errors import CheckpointError, RunError, TextgenError, UsageError, quoted
from textgen.model.device import check_torch, pick_device
from textgen.model.network import CharModel
from textgen.store.checkpoint import Header, read_header
from textgen.store.contents import found, moved, read_resumed, read_weights, reread_corpus
from textgen.store.record import Record
from textgen.store.run import Run
from textgen.text.corpus import Progress, read_corpus
from textgen.training import tuning
from textgen.training.arrays import Arrays
from textgen.training.first import first_network
from textgen.training.late import has_learned
from textgen.training.loop import Loop
from textgen.training.pace import Reported
from textgen.training.planning import extended, plan
from textgen.training.ranks import join
from textgen.training.step import Learner

Files = tuple[tuple[str, ...], str | None]  # of a corpus: those for training, for validation
_WEIGHTS_ALONE = "it holds weights alone, so the optimizer and the streams' state begin anew"


def begin(
    run: Run,
    corpus_config: CorpusConfig,
    choices: Choices,
    began: float,
    *,
    base: Header | None = None,
    given: Collection[str] = (),
    progress: Progress | None = None,
) -> Loop:
    """A run from its first step.

    began: when a budget's clock began, on `time.monotonic`; base: the checkpoint whose weights it
    begins with, instead of random ones; given: names of the choices that were made.
    """
    check_torch(gradients=True)
    device, threads = join().device(pick_device(choices.device)), torch.get_num_threads()
    reported = None if progress is None else Reported(progress)
    if base is not None:
        corpus_config = tuning.check_base(base, choices, corpus_config, given)
    elif choices.keep_mixing:
        what = "`keep_mixing` is given, and no run to begin from; expected one whose text is read"
        raise UsageError(what, "name the run: `base=RUN`")
    corpus = read_corpus(corpus_config, cache=choices.cache, progress=reported)
    shape = None
    if base is not None:
        joined = tuning.joined(base, corpus.vocabulary)
        if joined != corpus.vocabulary:
            corpus = read_corpus(corpus_config, joined, cache=False, progress=reported)
        shape = tuning.shape_of(base, joined)
    ancestors = tuning.ancestors(base) if base else ()
    learned = any(corpus.fingerprint == ancestor.fingerprint for ancestor in ancestors)
    planned = plan(choices, corpus, device, _since(began, reported), shape, learned=learned)
    seed, counts = planned.training.seed, corpus.train_counts
    network = first_network(planned.model, corpus.train, seed, counts=counts)
    mixed = tuning.read_mixed(
        ancestors, planned.training, corpus.vocabulary, cache=choices.cache, progress=reported
    )
    if base is not None:
        texts = (corpus.train,) if mixed is None else (mixed, corpus.train)
        tuning.carry_over(base, network, corpus.vocabulary, texts)
    ranks = join()
    learner = Learner.of(corpus, network, planned.training, device, mixed, ranks=ranks)
    return Loop(
        run,
        corpus,
        corpus_config,
        planned,
        learner,
        began=_since(began, reported),
        threads=threads,
        ancestors=ancestors,
        mixed=mixed,
    )


def _since(began: float, reported: Reported | None) -> float:
    """When the clock began, without what the process was suspended for while it read."""
    return began + (0.0 if reported is None else reported.suspended)


def again(run: Run, choices: Choices, began: float, progress: Progress | None) -> Loop:
    """A run as it was saved last, with nothing asked for beyond what it was begun with."""
    on = Choices(device=choices.device, cache=choices.cache)
    return resume(run.newest, ((), None), on, began, progress)


def resume(
    source: Path, files: Files, choices: Choices, began: float, progress: Progress | None = None
) -> Loop:
    """A run from where it was saved; `files`: where its corpus is now, if it moved.

    source: a run's last, previous or best, from which the optimizer begins anew.
    choices: its budget, to go on for so much from here; its device, auto is the one trained on.
    Raises CheckpointError, CorpusError (the corpus changed), RunError (the run is finished).
    """
    check_torch(gradients=True)
    run = Run(source.parent)
    run.check_writable()
    run.watch()
    header, arrays = _read(run, source)
    run.check_identity(header)
    record = header.record
    if choices.budget is None and record.finished:
        typed = run.typed if source == run.newest else quoted(source)
        raise RunError(
            f"run {run.name!r} is finished: it did all of its {record.training.steps:,} steps",
            f"extend it: textgen resume {typed} --steps {record.training.steps}",
        )
    device = join().device(_same_device(choices.device, record.device))
    threads = torch.get_num_threads()
    torch.set_num_threads(_threads(record.threads, threads))
    now = moved(record.corpus, *files) if any(files) else found(record.corpus, source.parent)
    reported = None if progress is None else Reported(progress)
    corpus = reread_corpus(header, now, cache=choices.cache, progress=reported)
    learned = _has_learned(record, arrays)
    planned = extended(record, choices, corpus, device, _since(began, reported), learned=learned)
    anew = [f"{source}: {_WEIGHTS_ALONE}"] if record.kind == "best" else []
    planned = replace(planned, notices=(*planned.notices, *_given_up(run, header), *anew))
    of = record.ancestors, planned.training, corpus.vocabulary
    mixed = tuning.read_mixed(*of, cache=choices.cache, progress=reported)
    network = CharModel(planned.model)
    learner = Learner.of(corpus, network, planned.training, device, mixed, ranks=join())
    restored = _restored(learner, record, arrays, learned=learned)
    return Loop(
        run,
        corpus,
        now,
        planned,
        learner,
        began=_since(began, reported),
        threads=threads,
        history=[event for event in record.history if event.step <= record.step],
        identity=record.identity,
        seconds=record.seconds,
        ancestors=record.ancestors,
        mixed=mixed,
        best=run.read_best(record),
        restored=restored,
        changed=source != run.last or planned.training != record.training,
    )


def _threads(of_run: int, own: int) -> int:
    """Those that this process has of the run's; of many processes none has more than its own."""
    ranks = join().size
    most = max(own, os.cpu_count() or 1) if ranks == 1 else own
    return max(1, min(of_run // ranks, most))


def _has_learned(record: Record, arrays: Arrays) -> bool:
    """Whether a run has learned what was kept aside, or may have."""
    # a temperature that was settled tells of an earlier segment too; a best, which has none, may
    # have learned in one what was kept aside, and its own is in its weights
    settled = any(kept.any() for kept in arrays.get("temperature", {}).values())
    unknown = record.kind == "best" and bool(record.training.segment_start)
    return settled or unknown or has_learned(record.step, record.training)


def _restored(learner: Learner, record: Record, arrays: Arrays, *, learned: bool) -> Arrays | None:
    """Have the learner go on from what was saved; what it took up, None for weights alone."""
    if record.kind == "best":
        learner.restart(arrays["model"], record.step, learned=learned)
        return None
    if learner.config.precision != record.training.precision:
        arrays = {**arrays, "scaler": {}}  # of fp16, which is not to be had here
    late = learner.config.late, record.training.late
    if learned and late[0] != late[1]:  # those that read what was kept aside go on elsewhere
        elsewhere = np.arange(record.training.batch_size) < max(late)
        state = arrays["state"].items()
        arrays = {**arrays, "state": {n: np.where(elsewhere[:, None], 0, a) for n, a in state}}
    learner.restore(arrays, record.step)
    return arrays


def _read(run: Run, source: Path) -> tuple[Header, Arrays]:
    """The checkpoint to resume from; if `last` is damaged, the hint says what else there is."""
    header = None
    try:
        header = read_header(source)
        if header.record.kind == "export" or (header.record.kind == "best" and source != run.best):
            raise CheckpointError(
                f"{source} holds weights alone; expected a checkpoint to resume from",
                f"name a run: textgen resume {run.typed}",
            )
        if header.record.kind == "best":
            return header, {"model": read_weights(header)}
        return header, read_resumed(header)
    except CheckpointError as error:
        hint = _others(run, source, header) or error.hint
        raise CheckpointError(error.message, hint) from None


def _others(run: Run, source: Path, damaged: Header | None) -> str:
    """What can be resumed from instead of `source`, and what is lost then; empty if nothing.

    damaged: the header of `source`, if it can be read.
    """
    anew = {run.previous: "", run.best: ", with the optimizer and the streams' state begun anew"}
    for path in run.checkpoints[1:]:
        if path != source:
            with suppress(CheckpointError):
                header = read_header(path)
                header.archive.check()
                step, done = header.record.step, damaged.record.step if damaged else 0
                lost = f", which loses {done - step:,} of {done:,} steps" if done > step else ""
                return f"go on from step {step:,}{lost}{anew[path]}: textgen resume {quoted(path)}"
    return ""


def _given_up(run: Run, header: Header) -> Iterator[str]:
    """What a run that goes on from `header` loses of what it learned later, if anything."""
    if header.path == run.last:
        return
    with suppress(CheckpointError):
        later, step = read_header(run.last).record, header.record.step
        if later.identity == header.record.identity and later.step > step:
            what = f"what was learned in the {later.step - step:,} steps after it is given up"
            yield f"going back to step {step:,} of {later.step:,}: {what}"


def _same_device(name: str, trained_on: str) -> torch.device:
    with suppress(TextgenError):  # for auto, that device may not be on this machine
        return pick_device(trained_on if name == "auto" else name)
    return pick_device(name)
