from __future__ import annotations

import gc
import json
import math
import random
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, prose, train
from outcomes import assert_same

import textgen
from textgen.errors import CheckpointError, CorpusError, DeviceError, Diverged, RunError
from textgen.events import Evaluated, Event, Finished, Noticed, Planned, Sampled, Saved, Stepped
from textgen.store import run as run_module
from textgen.store.checkpoint import read_arrays, read_header, write_checkpoint
from textgen.store.contents import LARGEST_WEIGHT, RESUMED, reread_corpus
from textgen.store.run import Run
from textgen.training import loop as loop_module
from textgen.training.step import Learner

STEPS = 151
RUN = {**SMALL, "steps": STEPS, "dropout": 0.3, "weight_drop": 0.2, "eval_every": 40}


def flags(choices: dict[str, object]) -> list[str]:
    values = {k: ",".join(map(str, v)) if isinstance(v, tuple) else v for k, v in choices.items()}
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "textgen", *map(str, arguments)]


def resume(checkpoints: Path, *arguments: object) -> None:
    """`textgen resume` in a process of its own."""
    done = subprocess.run(
        command("resume", "--checkpoints", checkpoints, *arguments), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def leave(events: Iterator[Event], step: int) -> None:
    """Let a run go until `step` is done, and no further."""
    with closing(events):  # type: ignore[type-var]
        for event in events:
            if isinstance(event, Stepped) and event.step == step:
                return


@pytest.fixture(scope="module")
def uninterrupted(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each cell the folder of a run that was never stopped."""
    folders = {}
    for cell in ("lstm", "gru"):
        checkpoints = tmp_path_factory.mktemp(cell)
        train(corpus, checkpoints, **RUN, cell=cell)
        folders[cell] = checkpoints / "tales"
    return folders


@pytest.mark.parametrize("optimizer", ["soap", "adamw", "rmsprop", "sgd"])
def test_the_loss_goes_down(corpus: Path, tmp_path: Path, optimizer: str) -> None:
    lr = {"soap": 0.02, "adamw": 0.02, "rmsprop": 0.02, "sgd": 1.0}[optimizer]
    events = train(corpus, tmp_path, steps=150, eval_every=30, optimizer=optimizer, lr=lr)
    losses = [event.val_nats for event in events if isinstance(event, Evaluated)]
    assert losses[-1] < 1.0 < 1.4 < losses[0]


def test_the_events_tell_the_whole_story(corpus: Path, tmp_path: Path) -> None:
    events = train(corpus, tmp_path, steps=50, eval_every=20, sample_every=40, dropout=0.1)
    kinds = [type(event) for event in events]
    assert kinds[0] is Planned
    assert kinds[-2:] == [Saved, Finished]
    assert [e.step for e in events if isinstance(e, Stepped)] == list(range(1, 51))
    evaluated = [e for e in events if isinstance(e, Evaluated)]
    assert [e.step for e in evaluated] == [20, 40, 50]
    assert [e.step for e in events if isinstance(e, Sampled)] == [40, 50]
    steps = [e.loss for e in events if isinstance(e, Stepped)]
    assert evaluated[1].train_nats == pytest.approx(np.mean(steps[20:40]), abs=1e-6)
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.best_val_nats == min(e.val_nats for e in evaluated)
    for event in events:
        assert json.loads(json.dumps(event.to_json()))["event"] == type(event).__name__.lower()


def test_best_holds_the_weights_of_the_lowest_validation_loss(corpus: Path, tmp_path: Path) -> None:
    # a rate so high that the end is worse than the middle
    high = {"optimizer": "adamw", "lr": 0.2, "schedule": "constant"}
    events = train(corpus, tmp_path, steps=120, eval_every=10, seed=3, **high)
    evaluated = [event for event in events if isinstance(event, Evaluated)]
    best = min(evaluated, key=lambda event: event.val_nats)
    model = textgen.load(tmp_path / "tales")
    assert model.header.record.step == best.step != 120
    validation = corpus.read_text()[-400:]
    assert model.score(validation).nats_per_char == pytest.approx(best.val_nats, abs=1e-3)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_leaving_and_resuming_in_a_new_process_changes_nothing(
    corpus: Path, tmp_path: Path, uninterrupted: dict[str, Path], cell: str
) -> None:
    events = textgen.train(corpus, checkpoints=tmp_path, **RUN, cell=cell)
    leave(events, 67)
    assert read_header(tmp_path / "tales" / "last.safetensors").record.step == 67
    resume(tmp_path)
    assert_same(tmp_path / "tales", uninterrupted[cell])


def test_leaving_right_before_an_evaluation_does_not_lose_it(
    corpus: Path, tmp_path: Path, uninterrupted: dict[str, Path]
) -> None:
    for stop in (40, 80):
        events = (
            textgen.train(corpus, checkpoints=tmp_path, **RUN)
            if stop == 40
            else textgen.resume("tales", checkpoints=tmp_path)
        )
        leave(events, stop)
    list(textgen.resume("tales", checkpoints=tmp_path))
    assert_same(tmp_path / "tales", uninterrupted["lstm"])


def test_leaving_after_the_last_step_leaves_its_evaluation_to_resume(
    corpus: Path, tmp_path: Path, uninterrupted: dict[str, Path]
) -> None:
    events = textgen.train(corpus, checkpoints=tmp_path, **RUN)
    leave(events, STEPS)
    list(textgen.resume("tales", checkpoints=tmp_path))
    assert_same(tmp_path / "tales", uninterrupted["lstm"])


def test_leaving_between_evaluation_and_sample_changes_no_temperature(tmp_path: Path) -> None:
    text = tmp_path / "tales.txt"
    text.write_text(prose(40_000), encoding="utf-8")
    how = {**SMALL, "batch_size": 8, "steps": 60, "eval_every": 30, "sample_every": 30}
    whole = train(text, tmp_path / "whole", **how)
    assert isinstance(whole[0], Planned)
    assert whole[0].training.aside == 720
    events = textgen.train(text, checkpoints=tmp_path, **how)
    with closing(events):  # type: ignore[type-var]
        next(event for event in events if isinstance(event, Evaluated))
    rest = list(textgen.resume("tales", checkpoints=tmp_path))
    assert [e for e in rest if isinstance(e, Sampled)] == [
        e for e in whole if isinstance(e, Sampled)
    ]
    assert_same(tmp_path / "tales", tmp_path / "whole" / "tales")


def test_a_run_is_trained_by_one_process_at_a_time(corpus: Path, tmp_path: Path) -> None:
    events = textgen.train(corpus, checkpoints=tmp_path, **RUN)
    for event in events:
        if isinstance(event, Stepped):
            break
    other = command("train", corpus, "--checkpoints", tmp_path, "--overwrite", *flags(RUN))
    for arguments in (other, command("resume", "--checkpoints", tmp_path)):
        done = subprocess.run(arguments, capture_output=True, text=True)
        assert done.returncode == 1
        assert "is being trained by another process" in done.stderr
    events.close()


def test_ctrl_c_at_a_random_moment_changes_nothing(
    corpus: Path, tmp_path: Path, uninterrupted: dict[str, Path]
) -> None:
    """The command as it is typed; tests/faults sends processes that are forked all signals."""
    moment = random.randint(45, 105)
    process = subprocess.Popen(
        command(
            "train", corpus, "--checkpoints", tmp_path, "--json", "--save-every=0.02s", *flags(RUN)
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        pipesize=4096,  # so that it waits to be read, and is not at its end before the signal
    )
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "stepped" and event["step"] == moment:
            process.send_signal(signal.SIGINT)
            break
    process.stdout.read()
    stderr = process.communicate()[1].decode()
    assert process.returncode == 130, (moment, stderr)
    typed = Run(tmp_path / "tales").typed
    assert stderr == f"saved; go on with: textgen resume {typed}\n"
    stopped = read_header(tmp_path / "tales" / "last.safetensors").record.step
    assert 0 < stopped < STEPS
    resume(tmp_path)
    assert_same(tmp_path / "tales", uninterrupted["lstm"])


def test_a_finished_run_is_extended(corpus: Path, tmp_path: Path) -> None:
    train(corpus, tmp_path, steps=60, lr=0.02)
    with pytest.raises(RunError, match="finished") as caught:
        list(textgen.resume("tales", checkpoints=tmp_path))
    assert (
        caught.value.hint == f"extend it: textgen resume {Run(tmp_path / 'tales').typed} --steps 60"
    )
    resume(tmp_path, "--steps", 90)
    events = list(textgen.resume("tales", checkpoints=tmp_path, epochs=1.5))
    finished = events[-1]
    assert isinstance(finished, Finished)
    chunk = SMALL["batch_size"] * SMALL["bptt"]
    assert finished.step == 150 + -(-3600 * 1.5 // chunk)
    history = read_header(tmp_path / "tales" / "last.safetensors").record.history
    assert history[-1].val_nats < history[0].val_nats


def test_an_extension_goes_on_like_a_run_of_the_whole_length(corpus: Path, tmp_path: Path) -> None:
    passes = 3600 // (SMALL["batch_size"] * SMALL["bptt"])
    given = {"dropout": 0.01, "weight_drop": 0.02, "weight_decay": 0.0, "eval_every": 17}
    for run, choices in (("planned", {}), ("chosen", given)):
        train(corpus, tmp_path, run=run, steps=3 * passes, lr=0.02, **choices)
    events = textgen.resume("planned", checkpoints=tmp_path, steps=9 * passes)
    planned = next(events)
    first = next(event for event in events if isinstance(event, Stepped))
    events.close()
    assert isinstance(planned, Planned)
    floor = planned.training.floor
    assert first.lr == pytest.approx(0.02 * (floor + (1 - floor) * 0.75))
    assert planned.model.dropout > 0
    assert planned.training.weight_decay > 0.1
    # the new settings are those of the checkpoint now
    assert isinstance(list(textgen.resume("planned", checkpoints=tmp_path))[-1], Finished)
    kept = next(textgen.resume("chosen", checkpoints=tmp_path, steps=9 * passes))
    assert isinstance(kept, Planned)
    settings = {**vars(kept.model), **vars(kept.training)}
    assert {name: settings[name] for name in given} == given


def test_a_changed_corpus_is_refused_and_a_moved_one_accepted(corpus: Path, tmp_path: Path) -> None:
    text = tmp_path / "tales.txt"
    text.write_bytes(corpus.read_bytes())
    events = textgen.train(text, checkpoints=tmp_path, **RUN)
    leave(events, 5)
    moved = tmp_path / "elsewhere.txt"
    text.rename(moved)
    with pytest.raises(CorpusError, match="no such file"):
        next(textgen.resume("tales", checkpoints=tmp_path))
    text.write_bytes(corpus.read_bytes().replace(b"fox", b"cat"))
    fingerprint = read_header(tmp_path / "tales" / "last.safetensors").record.fingerprint
    with pytest.raises(CorpusError, match=fingerprint[:16]):
        next(textgen.resume("tales", checkpoints=tmp_path))
    finished = list(textgen.resume("tales", checkpoints=tmp_path, files=(str(moved),)))[-1]
    assert isinstance(finished, Finished)
    assert finished.step == STEPS


def test_weights_alone_cannot_be_resumed(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tales"
    folder.mkdir()
    (folder / "last.safetensors").write_bytes((trained / "best.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="weights alone"):
        next(textgen.resume("tales", checkpoints=tmp_path))


def test_a_run_that_diverges_at_every_rate_stops_and_keeps_the_last_save(
    corpus: Path, tmp_path: Path
) -> None:
    seen: list[Event] = []
    options = {"steps": 400, "lr": 1e30, "clip": 1e30, "warmup": 0, "optimizer": "sgd"}
    with pytest.raises(Diverged, match=r"`lr=3\.7e\+28`.*3 lower rates did not help"):
        seen.extend(textgen.train(corpus, checkpoints=tmp_path, **{**RUN, **options}))
    weights = textgen.load(tmp_path / "tales").weights
    assert all(np.isfinite(a).all() for a in weights.values())


@pytest.mark.parametrize("found", [math.nan, math.inf, 1000.0])
def test_a_run_that_diverges_once_goes_on_from_its_last_save_at_a_lower_rate(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: float
) -> None:
    advance, failed = Learner.advance, []

    def fails_once(learner: Learner) -> torch.Tensor:
        loss = advance(learner)
        if learner.step == 17 and not failed:
            failed.append(learner.config.lr)
            return torch.tensor(found)
        return loss

    monkeypatch.setattr(Learner, "advance", fails_once)
    options = {**RUN, "save_every": 1e-6, "lr": 0.03}
    events = list(textgen.train(corpus, checkpoints=tmp_path, **options))
    [notice] = [event.message for event in events if isinstance(event, Noticed)]
    assert "at step 17" in notice
    assert "going back to step 16, to `lr=0.01`" in notice
    assert failed == [0.03]
    steps = [event.step for event in events if isinstance(event, Stepped)]
    assert steps == [*range(1, 17), *range(17, RUN["steps"] + 1)]
    assert read_header(tmp_path / "tales" / "last.safetensors").record.training.lr == 0.01

    failed.clear()
    leave(textgen.train(corpus, checkpoints=tmp_path / "left", **options), 20)
    list(textgen.resume("tales", checkpoints=tmp_path / "left"))
    assert_same(tmp_path / "left" / "tales", tmp_path / "tales")


def test_a_lower_rate_is_not_judged_by_the_losses_before_it(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in the save that it goes back to."""
    advance, failed = Learner.advance, []

    def fails_once(learner: Learner) -> torch.Tensor:
        loss = advance(learner)
        if learner.step == 30 and not failed:
            failed.append(learner.step)
            learner.loss_sum += 1e4
        return loss

    monkeypatch.setattr(Learner, "advance", fails_once)
    options = {**RUN, "save_every": 1e-6, "lr": 0.03}
    events = list(textgen.train(corpus, checkpoints=tmp_path, **options))
    [notice] = [event.message for event in events if isinstance(event, Noticed)]
    assert "going back to step 39, to `lr=0.01`" in notice
    assert isinstance(events[-1], Finished)


def test_a_run_that_is_extended_and_diverges_goes_on_with_what_was_asked_for(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its first save too."""
    list(textgen.train(corpus, checkpoints=tmp_path, **RUN))
    advance, failed = Learner.advance, []

    def fails_once(learner: Learner) -> torch.Tensor:
        loss = advance(learner)
        if learner.step == RUN["steps"] + 2 and not failed:
            failed.append(learner.step)
            return torch.tensor(math.nan)
        return loss

    monkeypatch.setattr(Learner, "advance", fails_once)
    finished = list(textgen.resume("tales", checkpoints=tmp_path, steps=5, accumulate=2))[-1]
    assert failed
    assert finished.step == RUN["steps"] + 5
    record = read_header(tmp_path / "tales" / "last.safetensors").record
    assert (record.step, record.training.accumulate) == (RUN["steps"] + 5, 2)


def test_threads_are_those_of_before_when_a_run_has_ended(corpus: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        list(textgen.train(corpus, checkpoints=tmp_path, **{**RUN, "steps": 2}))
        assert torch.get_num_threads() == 2
        leave(textgen.train(corpus, checkpoints=tmp_path / "left", **RUN), 5)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_a_run_that_is_left_is_saved_with_the_threads_it_had(corpus: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        leave(textgen.train(corpus, checkpoints=tmp_path, **RUN), 5)  # so narrow, one is faster
        assert read_header(tmp_path / "tales" / "last.safetensors").record.threads == 1
    finally:
        torch.set_num_threads(threads)


def test_weights_that_could_not_be_read_back_are_never_saved(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = Learner.advance

    def grows(learner: Learner) -> torch.Tensor:
        loss = advance(learner)
        if learner.step == 17:
            learner._judged.weights["embedding.weight"][0] = 2 * LARGEST_WEIGHT
        return loss

    monkeypatch.setattr(Learner, "advance", grows)
    with pytest.raises(Diverged, match="the weights became too large, or no numbers"):
        list(textgen.train(corpus, checkpoints=tmp_path, **{**RUN, "save_every": 1e-6}))
    for name in ("last", "previous"):
        textgen.load(tmp_path / "tales" / f"{name}.safetensors")


def test_decay_that_takes_more_than_a_weight_is_named(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"`weight_decay=1e\+06`") as raised:
        train(corpus, tmp_path, weight_decay=1e6)
    assert "weight_decay=0.1" in raised.value.hint


def test_a_failed_save_is_told_and_tried_again(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = textgen.train(corpus, checkpoints=tmp_path, **{**RUN, "save_every": 1e-6})
    seen = []
    write = run_module.write_checkpoint

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for event in events:
        seen.append(event)
        if isinstance(event, Stepped) and event.step == 3:
            monkeypatch.setattr(run_module, "write_checkpoint", full)
        if isinstance(event, Noticed):
            assert "No space left on device" in event.message
            monkeypatch.setattr(run_module, "write_checkpoint", write)
    assert sum(isinstance(event, Noticed) for event in seen) == 1
    assert isinstance(seen[-1], Finished)


def test_a_dry_run_plans_and_writes_nothing(corpus: Path, tmp_path: Path) -> None:
    events = train(corpus, tmp_path, steps=5, dry_run=True)
    assert [type(event) for event in events] == [Planned]
    assert list(tmp_path.iterdir()) == []


def test_a_run_started_over_leaves_nothing_of_the_old_one(corpus: Path, tmp_path: Path) -> None:
    train(corpus, tmp_path, steps=40, eval_every=20)
    events = textgen.train(corpus, checkpoints=tmp_path, overwrite=True, **RUN)
    for event in events:
        if isinstance(event, Stepped):
            break
    events.close()
    assert (tmp_path / "tales" / "metrics.jsonl").read_text() == ""
    assert textgen.load(tmp_path / "tales").header.record.step == 1


FORMAT_1 = Path(__file__).parents[1] / "data" / "format-1"  # a run of 0.1.0, stopped at step 25


def test_a_run_of_the_first_version_goes_on_to_the_same_end(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tales"
    folder.mkdir()
    for name in ("last.safetensors", "best.safetensors"):
        (folder / name).write_bytes((FORMAT_1 / name).read_bytes())
    assert len("".join(textgen.load(folder).generate(length=9, seed=0))) == 9
    end = list(textgen.resume("tales", checkpoints=tmp_path, files=(corpus,)))[-1]
    assert isinstance(end, Finished)
    assert end.step == 40
    header = read_header(folder / "last.safetensors")
    assert header.version == 9
    assert header.record.training.block == 0
    assert header.record.model.skip
    expected = read_header(FORMAT_1 / "finished.safetensors")
    for name, weights in read_arrays(expected, "model")["model"].items():
        found = read_arrays(header, "model")["model"][name]
        np.testing.assert_allclose(found, weights, atol=1e-3)  # bit for bit on its own machine
    losses = zip(header.record.history, expected.record.history, strict=True)
    for one, other in losses:
        assert one.train_nats == pytest.approx(other.train_nats, abs=1e-3)


def test_the_same_command_with_steps_gives_the_same_bits(corpus: Path, tmp_path: Path) -> None:
    weights = []
    arguments = ("--steps", 3, "--seed", 5, "--run", "one", "--checkpoints", tmp_path)
    subprocess.run(command("train", corpus, *arguments), check=True, capture_output=True)
    list(textgen.train(corpus, run="two", checkpoints=tmp_path, steps=3, seed=5))
    for run in ("one", "two"):
        header = read_header(tmp_path / run / "last.safetensors")
        assert len(header.record.model.hidden) * header.record.model.hidden[0] < 100  # few to learn
        weights.append((header.record.model, read_arrays(header, "model")["model"]))
    assert weights[0][0] == weights[1][0]
    for name, array in weights[0][1].items():
        np.testing.assert_array_equal(array, weights[1][1][name])


def test_notices_come_in_their_order(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = textgen.train(corpus, checkpoints=tmp_path, **RUN)
    advance = Learner.advance

    def speaking(learner: Learner) -> object:
        if learner.step == 2:
            learner.notices += ["first", "second", "third"]
        return advance(learner)

    monkeypatch.setattr(Learner, "advance", speaking)
    told = [event.message for event in events if isinstance(event, Noticed)]
    assert told == ["first", "second", "third"]


def test_a_moved_validation_file_is_named_on_resume(corpus: Path, tmp_path: Path) -> None:
    held_out = tmp_path / "held-out.txt"
    held_out.write_text(corpus.read_text()[:500])
    events = textgen.train(corpus, checkpoints=tmp_path, val_file=held_out, **RUN)
    leave(events, 5)
    moved = held_out.rename(tmp_path / "elsewhere.txt")
    with pytest.raises(CorpusError, match=r"no such file: .*held-out") as caught:
        next(textgen.resume("tales", checkpoints=tmp_path))
    assert "`val_file=FILE`" in caught.value.hint
    leave(textgen.resume("tales", checkpoints=tmp_path, val_file=moved), 7)
    record = read_header(tmp_path / "tales" / "last.safetensors").record
    assert record.corpus.val_file == str(moved)
    assert record.step == 7


def test_a_precision_that_this_cpu_lacks_is_refused_and_a_run_in_it_goes_on_in_another(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(textgen.train(corpus, checkpoints=tmp_path, **RUN), 5)
    last = tmp_path / "tales" / "last.safetensors"
    header = read_header(last)
    training = replace(header.record.training, precision="bf16")
    write_checkpoint(last, replace(header.record, training=training), read_arrays(header, *RESUMED))
    monkeypatch.setattr("textgen.model.device._trains_in_bf16", lambda: False)
    with pytest.raises(DeviceError, match="no bf16"):
        train(corpus, tmp_path, run="other", **{**RUN, "precision": "bf16"})
    planned = next(textgen.resume("tales", checkpoints=tmp_path))
    assert isinstance(planned, Planned)
    assert planned.training.precision == "fp32"
    training, arrays = replace(training, precision="fp16"), read_arrays(header, *RESUMED)
    scaler = torch.amp.GradScaler("cpu").state_dict()
    arrays["scaler"] = {name: np.array(value) for name, value in scaler.items()}
    write_checkpoint(last, replace(header.record, training=training), arrays)
    assert next(textgen.resume("tales", checkpoints=tmp_path)).training.precision == "fp32"
    assert "going on in fp32" in planned.notices[0]


def test_documents_are_resumed_exactly(lines: Path, tmp_path: Path) -> None:
    choices = {**RUN, "documents": "line", "dropout": 0.1}
    text = lines.parent / "words.txt"
    train(text, tmp_path / "whole", **choices)
    for event in textgen.train(text, checkpoints=tmp_path / "cut", **{**SMALL, **choices}):
        if isinstance(event, Stepped) and event.step == 23:
            break
    list(textgen.resume(checkpoints=tmp_path / "cut"))
    one, other = (textgen.load(tmp_path / name / "words") for name in ("whole", "cut"))
    np.testing.assert_equal(one.weights, other.weights)
    assert one.header.record.history[-1].val_nats == other.header.record.history[-1].val_nats


def test_a_validation_of_documents_is_what_eval_finds(lines: Path) -> None:
    model = textgen.load(lines)
    corpus = reread_corpus(model.header)
    best = model.header.record.best
    assert best is not None
    found = model.score(corpus.validation)
    assert found.characters == len(corpus.validation) - 1
    assert found.nats_per_char == pytest.approx(best.val_nats, abs=1e-3)


def test_passes_over_documents_do_not_count_padding(lines: Path, tmp_path: Path) -> None:
    events = train(lines.parent / "words.txt", tmp_path, epochs=3, documents="line")
    last = [event for event in events if isinstance(event, Evaluated)][-1]
    assert last.passes == pytest.approx(3, rel=0.05)
    assert isinstance(events[0], Planned)
    assert events[0].training.filled < 0.7


def test_a_stop_while_the_plan_is_shown_is_not_time_trained(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "SUSPENDED", 0.5)
    began = time.monotonic()
    events = textgen.train(corpus, checkpoints=tmp_path, **SMALL, time=4, save_every=99)
    assert isinstance(next(events), Planned)
    time.sleep(3)
    assert isinstance(next(events), Saved)
    time.sleep(3)
    begin = time.monotonic()
    *_, finished = events
    assert isinstance(finished, Finished)
    assert 1.5 < time.monotonic() - begin < 4 * 1.05 + 5
    assert finished.seconds < time.monotonic() - began - 6 + 0.2


def test_weights_of_another_text_may_begin_with_a_high_loss(
    corpus: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**SMALL, "steps": 4, "eval_every": 2}
    monkeypatch.setattr(Learner, "take_losses", lambda _: 9.0)
    with pytest.raises(Diverged, match="the training loss became 9"):
        list(textgen.train(corpus, checkpoints=tmp_path, run="new", **options))
    del options["hidden"], options["embedding"]
    list(textgen.train(corpus, checkpoints=tmp_path, run="tuned", base=trained, **options))
    monkeypatch.setattr(Learner, "take_losses", lambda _: 20.0)
    with pytest.raises(Diverged, match="the training loss became 20"):
        list(textgen.train(corpus, checkpoints=tmp_path, run="worse", base=trained, **options))


def test_after_a_divergence_only_one_learner_is_kept(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learners: list[weakref.ref[Learner]] = []
    kept: list[int] = []
    init, advance = Learner.__init__, Learner.advance

    def made(self: Learner, *given: Any, **more: Any) -> None:
        gc.collect()
        kept.append(sum(ref() is not None for ref in learners))
        init(self, *given, **more)
        learners.append(weakref.ref(self))

    def fails_once(learner: Learner) -> torch.Tensor:
        loss = advance(learner)
        return torch.tensor(math.nan) if learner.step == 5 and len(learners) == 1 else loss

    monkeypatch.setattr(Learner, "__init__", made)
    monkeypatch.setattr(Learner, "advance", fails_once)
    list(textgen.train(corpus, checkpoints=tmp_path, **{**RUN, "steps": 9}))
    assert kept == [0, 0]
