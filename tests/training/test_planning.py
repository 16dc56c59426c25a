from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from networks import model_config

from textgen.architecture import ModelConfig
from textgen.config import DEFAULT_TIME, Choices
from textgen.errors import OutOfMemory, UsageError
from textgen.text.corpus import Corpus
from textgen.text.vocabulary import Vocabulary
from textgen.training import batching, fitting, memory, planning, speed
from textgen.training.batching import first_trial
from textgen.training.planning import plan
from textgen.training.speed import Trial, measure

CPU = torch.device("cpu")


def corpus(size: int) -> Corpus:
    ids = np.zeros(size, np.uint8)
    return Corpus(ids, ids[: size // 9], Vocabulary("char", "abcdefgh"), "")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that spends 30 ps per weight and character, half of that in bf16, if it has it."""

    def measure(model: ModelConfig, trial: Trial, *_: float) -> float:
        picoseconds = 30 if trial.precision == "fp32" else 15
        return 1e12 / (picoseconds * sum(8 * h * h for h in model.hidden))

    monkeypatch.setattr(speed, "measure", measure)
    monkeypatch.setattr(fitting, "precisions", lambda *_: ("fp32",))


@pytest.mark.usefixtures("machine")
def test_what_was_chosen_is_kept() -> None:
    choices = Choices(
        time=60,
        cell="gru",
        hidden=(40, 20),
        embedding=9,
        dropout=0.15,
        weight_drop=0.25,
        batch_size=5,
        bptt=17,
        optimizer="sgd",
        lr=0.3,
        schedule="linear",
        warmup=3,
        clip=2.0,
        weight_decay=0.5,
        eval_every=11,
        save_every=7.0,
        sample_every=13,
        seed=99,
        precision="fp32",
    )
    decided = plan(choices, corpus(10_000), CPU, time.monotonic())
    settings = {**vars(decided.model), **vars(decided.training)}
    for name, value in vars(choices).items():
        if name in settings and value is not None and name != "steps":
            assert settings[name] == value, name


@pytest.mark.parametrize(
    ("device", "chosen", "expected"),
    [
        *(("cpu", None, "soap"), ("cuda", None, "adamw")),
        *(("cpu", "sgd", "sgd"), ("cuda", "soap", "soap")),
    ],
)
def test_the_optimizer_is_soap_on_a_cpu_unless_it_is_chosen(
    device: str, chosen: str | None, expected: str
) -> None:
    choices = Choices(steps=10, optimizer=chosen)
    trial, *_ = first_trial(choices, corpus(10_000), torch.device(device))
    assert trial.optimizer == expected
    if device == "cpu":
        training = plan(choices, corpus(10_000), CPU, time.monotonic()).training
        assert training.optimizer == expected
        assert training.weight_decay == (0.2 if expected == "soap" else 0.0)


@pytest.mark.parametrize(
    ("size", "aside", "late"), [(10_000, 0, 0), (100_000, 2000, 5), (10**6, 8192, 3)]
)
def test_a_temperature_is_fitted_on_text_that_is_learned_in_the_end(
    size: int, aside: int, late: int
) -> None:
    training = plan(Choices(steps=300), corpus(size), CPU, time.monotonic()).training
    assert (training.aside, training.late) == (aside, late)


def test_nothing_is_kept_aside_of_a_text_that_was_learned_before() -> None:
    choices = Choices(steps=300)
    of = choices, corpus(10**6), CPU, time.monotonic(), model_config(8, "lstm", (8,))
    assert [plan(*of, learned=known).training.aside for known in (False, True)] == [8192, 0]


def test_layers_of_a_width_that_was_chosen_count_for_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "memory", lambda device: 24 * 10**9)
    choices = Choices(hidden=(8000,), steps=10)
    with pytest.raises(UsageError, match="`hidden` is 8000,8000,8000"):
        plan(choices, corpus(10_000), CPU, time.monotonic())
    with pytest.raises(UsageError, match=r"steps of 64,\d+,\d+ characters"):  # of the planned width
        plan(Choices(bptt=10**6, steps=10), corpus(10**8), CPU, time.monotonic())


def test_a_whole_softmax_in_validations_is_counted() -> None:
    of = 4096, corpus(1_000_000), 0
    few, many = (model_config(size, "lstm", (160, 160)) for size in (500, 50_000))
    worth = [planning.evaluation_worth(m, *of, CPU) for m in (few, many)]
    assert worth[0] == pytest.approx(2.0)
    assert 20 < worth[1] < 60
    gpu = torch.device("cuda")
    assert planning.evaluation_worth(many, *of, gpu) == worth[0]  # as a step's is there


@pytest.mark.parametrize(("streams", "aside"), [(7, 0), (8, 8192)])
def test_nothing_is_kept_aside_that_no_stream_would_learn(streams: int, aside: int) -> None:
    choices = Choices(steps=3000, batch_size=streams)
    training = plan(choices, corpus(10**6), CPU, time.monotonic()).training
    assert (training.aside, training.late > 0) == (aside, aside > 0)


def test_chunks_are_longer_only_where_the_time_that_is_left_pays_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(speed, "measure", lambda *_: 2e5)
    choices = Choices(time=8, hidden=(8,), layers=1)
    for spent, bptt in ((0, 64), (4, 32)):
        began = time.monotonic() - spent
        assert plan(choices, corpus(10**6), CPU, began).training.bptt == bptt


@pytest.mark.usefixtures("machine")
def test_epochs_are_passes_over_the_training_text() -> None:
    training = plan(
        Choices(epochs=2.5, batch_size=4, bptt=10), corpus(10_001), CPU, time.monotonic()
    ).training
    assert training.steps == 626


@pytest.mark.usefixtures("machine")
def test_the_faster_precision_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for candidates, taken in ((("fp32", "bf16"), "bf16"), (("fp32",), "fp32")):
        monkeypatch.setattr(fitting, "precisions", lambda _, c=candidates: c)
        decided = plan(Choices(time=60), corpus(9999), CPU, time.monotonic())
        assert decided.training.precision == taken


def test_with_steps_or_epochs_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "measure", None)
    monkeypatch.setattr(speed, "has_bf16_units", lambda: True)
    before = torch.get_num_threads()
    try:
        for size, widths in ((90, (16,)), (60_000, (128, 128)), (10**6, (256,) * 3)):
            for budget in ({"steps": 9}, {"epochs": 2}):
                torch.set_num_threads(8)
                decided = plan(Choices(**budget), corpus(size), CPU, time.monotonic())
                assert decided.model.hidden == widths
                assert decided.training.precision == ("bf16" if widths[0] >= 64 else "fp32")
                assert torch.get_num_threads() == {16: 1, 128: 2, 256: 8}[widths[0]]
        monkeypatch.setattr(speed, "has_bf16_units", lambda: False)
        decided = plan(Choices(steps=9), corpus(10**6), CPU, time.monotonic())
        assert decided.training.precision == "fp32"
    finally:
        torch.set_num_threads(before)


def test_without_a_budget_the_default_time_is_planned_for() -> None:
    choices = Choices(hidden=(8,), precision="fp32")
    decided = plan(choices, corpus(9999), CPU, time.monotonic())
    spent = decided.training.steps * decided.training.chars_per_step / decided.chars_per_second
    assert spent == pytest.approx(0.93 * DEFAULT_TIME, rel=0.05)


@pytest.mark.parametrize(("best", "expected"), [(8, 8), (4, 4), (1, 1), (16, 8)])
def test_threads_are_halved_while_that_is_faster(
    monkeypatch: pytest.MonkeyPatch, best: int, expected: int
) -> None:
    def measure(*_: object) -> float:
        threads = torch.get_num_threads()
        return 1000 * min(threads / best, best / threads)

    monkeypatch.setattr(speed, "measure", measure)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(8)
        plan(Choices(time=60, hidden=(8,)), corpus(9999), CPU, time.monotonic())
        assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("machine")
def test_more_time_makes_a_wider_model_and_fills_the_time() -> None:
    parameters = []
    for seconds in (20, 60, 300, 1800):
        decided = plan(Choices(time=seconds), corpus(10**6), CPU, time.monotonic())
        parameters.append(decided.model.parameters)
        training = decided.training
        spent = training.steps * training.chars_per_step / decided.chars_per_second
        assert 0.7 * seconds < spent < seconds
    assert parameters == sorted(set(parameters))
    decided = plan(Choices(time=1800), corpus(50_000), CPU, time.monotonic())
    assert decided.model.parameters < parameters[-1]  # a short text cannot teach so many


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(("seconds", "shape"), [(110, (256, 256)), (160, (256, 256, 256))])
def test_a_third_layer_has_to_be_worth_its_time(seconds: int, shape: tuple[int, ...]) -> None:
    decided = plan(Choices(time=seconds), corpus(10**6), CPU, time.monotonic())
    assert decided.model.hidden == shape
    assert plan(Choices(steps=9), corpus(10**6), CPU, time.monotonic()).model.hidden == (256,) * 3


@pytest.mark.usefixtures("machine")
def test_the_more_often_a_text_is_read_the_more_is_dropped_and_decays() -> None:
    def settings(epochs: float, width: int = 16, **choices: float) -> tuple[float, float, float]:
        choice = Choices(epochs=epochs, hidden=(width,), embedding=16, **choices)  # type: ignore[arg-type]
        decided = plan(choice, corpus(10_000), CPU, time.monotonic())
        return decided.model.dropout, decided.model.weight_drop, decided.training.weight_decay

    dropouts, weight_drops, decays = zip(*map(settings, (1, 15, 60, 600, 3000)), strict=True)
    assert dropouts[0] == 0
    assert list(dropouts) == sorted(set(dropouts))
    for values in (dropouts, weight_drops, decays):
        assert list(values) == sorted(values)
        assert values[0] < values[-1]
    assert settings(60, width=64) > settings(60)  # a larger model learns more by heart
    most = (dropouts[-1], weight_drops[-1], decays[-1])
    assert settings(3000, dropout=0.01) == (0.01, *most[1:])
    assert settings(3000, weight_drop=0.01) == (most[0], 0.01, most[2])
    assert settings(3000, weight_decay=0.0) == (*most[:2], 0.0)


@pytest.mark.usefixtures("machine")
def test_a_short_text_shrinks_batch_and_chunk_and_says_so() -> None:
    decided = plan(Choices(steps=10), corpus(300), CPU, time.monotonic())
    assert decided.training.chars_per_step <= 300
    assert "300 characters are few" in decided.notices[0]


def test_a_measurement_gives_characters_per_second() -> None:
    model = model_config(8, hidden=(16,), embedding=8)
    rate = measure(model, Trial(4, 16, "adamw", "fp32", 1000, CPU))
    assert 100 < rate < 1e8


def test_a_batch_of_another_size_has_another_rate() -> None:
    """Relative to what is usual for the text: 64 streams, of a short one as many as fill it."""
    rates = {
        streams: plan(
            Choices(steps=9, hidden=(8,), batch_size=streams), corpus(10**5), CPU, time.monotonic()
        ).training.lr
        for streams in (None, 16, 64, 256)
    }
    assert rates[16] < rates[64] == rates[None] < rates[256]
    short = plan(Choices(steps=9, hidden=(8,)), corpus(300), CPU, time.monotonic()).training
    assert (short.batch_size, short.lr) == (16, rates[None])
    chosen = Choices(steps=9, hidden=(8,), batch_size=256, lr=0.007)
    assert plan(chosen, corpus(10**5), CPU, time.monotonic()).training.lr == 0.007


def without_and_with_a_period() -> tuple[Corpus, Corpus]:
    ids = np.random.default_rng(0).integers(1, 8, 10**5, dtype=np.uint8)
    plain = Corpus(ids, ids[:9999], Vocabulary("char", "abcdefgh"), "")
    lines = np.where(np.arange(10**5) % 45 > 1, ids, 0).astype(np.uint8)
    return plain, replace(plain, train=lines)


def step_of(corpus: Corpus, **chosen: Any) -> tuple[int, int, float]:
    """Streams, characters of a chunk and learning rate, as planned."""
    choices = Choices(hidden=(8,), **chosen)
    training = plan(choices, corpus, CPU, time.monotonic()).training
    return training.batch_size, training.bptt, training.lr


def test_a_text_with_a_period_is_read_in_longer_chunks_by_fewer_streams() -> None:
    """And so at a lower rate, unless something else was chosen."""
    plain, lines = without_and_with_a_period()
    planned = partial(step_of, steps=9)

    assert planned(plain) == (64, 32, 0.018)
    assert planned(lines) == planned(lines, batch_size=32, bptt=64) == (32, 64, 0.014)
    assert planned(lines, bptt=32) == (64, 32, 0.018)
    assert planned(lines, batch_size=64) == (64, 64, 0.018)
    # in longer chunks a text without a period bears a higher rate
    assert planned(plain, bptt=64) == planned(plain, batch_size=64, bptt=64) == (64, 64, 0.029)
    assert planned(plain, bptt=128) == (64, 128, 0.029)
    assert planned(plain, bptt=16) == (64, 16, 0.018)


def test_of_a_text_with_a_period_larger_gradients_are_cut() -> None:
    """With SOAP, by which that was measured."""

    def clip(text: Corpus, **chosen: Any) -> float:
        return plan(Choices(steps=9, **chosen), text, CPU, time.monotonic()).training.clip

    plain, lines = without_and_with_a_period()
    assert (clip(plain), clip(lines)) == (0.5, 0.2)
    assert clip(lines, batch_size=64, bptt=32) == 0.2
    assert clip(lines, optimizer="adamw") == clip(lines, optimizer="sgd") == 0.5
    assert clip(lines, clip=2.0) == 2.0


def test_n_grams_have_rows_as_the_text_is_long_and_none_with_a_period() -> None:
    def rows(text: Corpus, **chosen: Any) -> int:
        return plan(Choices(steps=9, **chosen), text, CPU, time.monotonic()).model.grams

    plain, lines = without_and_with_a_period()
    assert (rows(plain), rows(lines)) == (4093, 0)
    assert [rows(corpus(size)) for size in (2000, 16 * 2039 - 1, 16 * 2039)] == [1021, 1021, 2039]
    assert rows(plain, history=0) == 0
    assert (rows(plain, grams=7), rows(lines, grams=7)) == (7, 7)


@pytest.mark.usefixtures("machine")
def test_in_a_long_run_chunks_are_twice_as_long() -> None:
    """By the characters that will be read, not by a clock, where passes are given."""
    plain, lines = without_and_with_a_period()

    assert step_of(plain, epochs=3.9) == step_of(plain, time=0.001) == (64, 32, 0.018)
    assert step_of(plain, epochs=4) == step_of(plain, time=9) == (64, 64, 0.029)
    assert step_of(lines, epochs=9.9) == step_of(lines, time=0.001) == (32, 64, 0.014)
    assert step_of(lines, epochs=10) == step_of(lines, time=9) == (32, 128, 0.014)
    for chosen in ({"batch_size": 64}, {"bptt": 32}, {"optimizer": "adamw"}, {"cell": "gru"}):
        assert step_of(plain, epochs=4, **chosen) == (64, 32, 0.018)
    assert step_of(plain, steps=999) == (64, 32, 0.018)
    gru = model_config(8, cell="gru", hidden=(8,), embedding=8)
    tuned = plan(Choices(epochs=4), plain, CPU, time.monotonic(), base=gru).training
    assert (tuned.batch_size, tuned.bptt) == (64, 32)
    assert step_of(corpus(4000), epochs=999) == (64, 32, 0.018)  # a step is no more than a pass


def test_how_much_faster_longer_chunks_are_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """So each measurement is of the usual ones."""
    tried = []

    def measure(model: ModelConfig, trial: Trial, *_: float) -> float:
        tried.append(trial.bptt)
        return 1e6

    monkeypatch.setattr(speed, "measure", measure)
    rates = []
    for optimizer, bptt in (("adamw", 32), ("soap", 64)):
        choices = Choices(time=60, hidden=(8,), optimizer=optimizer, history=0)
        decided = plan(choices, corpus(10**6), CPU, time.monotonic())
        assert decided.training.bptt == bptt
        rates.append(decided.chars_per_second)
    assert rates[1] == pytest.approx(1.15 * rates[0])
    assert set(tried) == {32}


def test_on_a_gpu_the_number_of_streams_is_measured_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A make-believe one, which takes as long for 1,024 streams as for one, and holds 600."""

    def measure(model: ModelConfig, trial: Trial, *_: float) -> float:
        if trial.batch_size > 600 * trial.accumulate:
            raise OutOfMemory("too little memory")
        weights = sum(8 * h * h for h in model.hidden)
        return trial.batch_size * trial.bptt * 1e9 / (max(1024, trial.batch_size) * weights)

    for module in (speed, batching):
        monkeypatch.setattr(module, "measure", measure)
    monkeypatch.setattr(fitting, "check_memory", lambda *_: None)
    monkeypatch.setattr(planning, "prepare_device", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    gpu = torch.device("cuda")
    decided = plan(Choices(time=60), corpus(10**8), gpu, time.monotonic())
    assert 64 < decided.training.batch_size <= 512
    assert decided.training.accumulate == 1
    more = Choices(time=60, batch_size=2048)
    decided = plan(more, corpus(10**8), gpu, time.monotonic())
    assert (decided.training.batch_size, decided.training.accumulate) == (2048, 4)
    assert "taking 4 groups" in decided.notices[-1]


def test_groups_and_repeatable_bits_are_kept_unless_asked_for_anew() -> None:
    chosen = Choices(steps=9, hidden=(8,), accumulate=3)
    assert plan(chosen, corpus(9999), CPU, time.monotonic()).training.accumulate == 3


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"time": 0.0}, "time"),
        ({"epochs": -1.0}, "epochs"),
        ({"epochs": float("nan")}, "epochs"),
        ({"time": 5.0, "steps": 5}, "`time` and `steps`"),
        ({"layers": 0}, "layers"),
        ({"layers": 3, "hidden": (8, 8)}, "layers"),
    ],
)
def test_choices_that_make_no_sense_are_refused(values: dict[str, float], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        Choices(**values)


@pytest.mark.parametrize(
    ("steps", "validations"), [(50, 1), (250, 2), (320, 2), (2_000, 4), (40_000, 20)]
)
def test_a_short_run_has_something_to_see_on_the_way(steps: int, validations: int) -> None:
    of = 64 * 32, corpus(1_000_000), 8192, torch.device("cpu")
    worth = planning.evaluation_worth(model_config(65, "lstm", (192, 192)), *of)
    every = planning.evaluation_interval(steps, worth)
    assert math.ceil(steps / every) == validations


@pytest.mark.parametrize(("last", "aside"), [(20, 0), (500, 0), (600, 8192)])
def test_a_temperature_is_not_fitted_on_a_last_short_document(last: int, aside: int) -> None:
    vocabulary = Vocabulary("char", "ab", has_end=True)
    ids = np.array([2, *([*([0] * 10_000), 2] * 50), *([1] * last), 2], np.uint8)
    documents = Corpus(ids, ids[:5000], vocabulary, "", documents=51)
    training = plan(Choices(steps=300), documents, CPU, time.monotonic()).training
    assert (training.aside, training.late > 0) == (aside, aside > 0)
