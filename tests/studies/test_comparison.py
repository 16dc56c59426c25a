from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, prose

import textgen
from textgen.errors import ChangedCorpus, DeviceError, RunError, UsageError
from textgen.events import Evaluated, Finished, Stepped
from textgen.inference.text_model import TextModel
from textgen.store.checkpoint import Header, read_arrays, read_header, write_checkpoint
from textgen.store.contents import reread_corpus
from textgen.store.run import Run
from textgen.store.space import clean
from textgen.studies import comparison
from textgen.studies.comparison import Begun, Comparison, Report, Trained
from textgen.studies.figures import Result, Table
from textgen.text.corpus import Corpus

HOW = {n: v for n, v in SMALL.items() if n != "hidden"} | {
    "steps": 30,
    "eval_every": 10,
    "lr": 0.02,
}
CELLS = {"cell": ["rnn", "gru", "lstm"], "layers": 1, **HOW}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "tales.txt"
    path.write_text(prose(1500))
    return path


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Report]]:
    """The folder and the reports of a comparison of the cells; not to be changed."""
    folder = tmp_path_factory.mktemp("runs")
    return folder, list(textgen.compare(text, checkpoints=folder, **CELLS))


def results(reports: list[Report]) -> dict[str, Result]:
    return {report.run: report for report in reports if isinstance(report, Result)}


def weights(folder: Path) -> dict[str, np.ndarray]:
    return read_arrays(read_header(folder / "last.safetensors"), "live")["live"]


def assert_same_run(one: Path, other: Path) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_each_variant_is_a_run_on_equal_terms(whole: tuple[Path, list[Report]]) -> None:
    folder, reports = whole
    begun, table = reports[0], reports[-1]
    assert begun == Begun({f"tales-{cell}": cell for cell in CELLS["cell"]})
    assert isinstance(table, Table)
    assert {row.variant for row in table.rows} == {*CELLS["cell"]}
    records = [read_header(folder / run / "last.safetensors").record for run in begun.runs]
    assert [record.model.cell for record in records] == CELLS["cell"]
    assert len({record.fingerprint for record in records}) == 1
    same = ("seed", "batch_size", "bptt", "block", "steps")
    assert len({tuple(getattr(r.training, name) for name in same) for r in records}) == 1
    counts = [record.model.parameters for record in records]
    assert max(counts) / min(counts) <= 1.03  # so narrow, one unit is worth 3 %


def test_a_variant_is_trained_as_train_does(
    whole: tuple[Path, list[Report]], text: Path, tmp_path: Path
) -> None:
    folder, reports = whole
    found = results(reports)["tales-gru"]
    alone = textgen.train(
        text, checkpoints=tmp_path, cell="gru", hidden=found.hidden, layers=1, **HOW
    )
    events = list(alone)
    assert_same_run(folder / "tales-gru", tmp_path / "tales")
    validated = [event for event in events if isinstance(event, Evaluated)]
    assert [p.nats for p in found.curve] == [event.val_nats for event in validated]
    assert [p.characters for p in found.curve] == [640, 1280, 1920]
    assert found.characters == 1920
    model = TextModel(folder / "tales-gru" / "best.safetensors")
    assert found.sample == "".join(model.generate(temperature=0.7, length=150, seed=0))


def stopped(reports: Iterator[Report], run: str, step: int) -> None:
    """Leave a comparison after a step of a run."""
    for report in reports:
        match report:
            case Trained(run=of, event=Stepped(step=now)) if (of, now) == (run, step):
                reports.close()  # type: ignore[attr-defined]
                return
    raise AssertionError("it went past that step")


def test_a_comparison_that_was_stopped_goes_on_exactly(
    whole: tuple[Path, list[Report]], text: Path, tmp_path: Path
) -> None:
    folder, reports = whole
    stopped(textgen.compare(text, checkpoints=tmp_path, **CELLS), "tales-gru", 17)
    more = list(textgen.compare(text, checkpoints=tmp_path, **CELLS))
    trained = [report for report in more if isinstance(report, Trained)]
    assert {report.run for report in trained} == {"tales-gru", "tales-lstm"}
    steps = [r.event.step for r in trained if r.run == "tales-gru" and isinstance(r.event, Stepped)]
    assert steps == [*range(18, 31)]
    for run, result in results(reports).items():
        assert_same_run(folder / run, tmp_path / run)
        again = results(more)[run]
        assert [p.nats for p in again.curve] == [p.nats for p in result.curve]
        assert (again.sample, again.memory) == (result.sample, result.memory)
    once_more = list(textgen.compare(text, checkpoints=tmp_path, **CELLS))
    assert [type(report) for report in once_more] == [Begun, Result, Result, Result, Table]
    assert once_more[-1] == more[-1]


def test_more_seeds_are_added_to_what_is_there(
    whole: tuple[Path, list[Report]], text: Path, tmp_path: Path
) -> None:
    settings = {**HOW, "hidden": [6, 12], "layers": 1, "seed": 4}
    list(textgen.compare(text, checkpoints=tmp_path, **settings))
    reports = list(textgen.compare(text, checkpoints=tmp_path, seeds=2, **settings))
    begun = [r.run for r in reports if isinstance(r, Trained) and isinstance(r.event, Finished)]
    assert begun == ["tales-hidden-6-seed-5", "tales-hidden-12-seed-5"]
    table = reports[-1]
    assert isinstance(table, Table)
    assert table.seeds == 2
    losses = [[r.curve[-1].nats for r in row.results] for row in table.rows]
    for row, (a, b) in zip(table.rows, losses, strict=True):
        assert row.at_characters is not None
        assert row.at_characters.mean == pytest.approx((a + b) / 2)
        assert row.at_characters.deviation == pytest.approx(abs(a - b) / 2**0.5)
    assert {row.results[0].hidden for row in table.rows} == {(6,), (12,)}


def test_a_comparison_that_is_started_over_goes_on_too(text: Path, tmp_path: Path) -> None:
    how = {**CELLS, "cell": ["rnn", "gru"], "checkpoints": tmp_path}
    list(textgen.compare(text, **how))
    files = [tmp_path / f"tales-{cell}" / "last.safetensors" for cell in how["cell"]]
    before = [read_header(file).record.identity for file in files]
    again = {**how, "steps": 20}
    reports = textgen.compare(text, **again, overwrite=True)
    next(r for r in reports if isinstance(r, Trained) and isinstance(r.event, Stepped))
    reports.close()  # the second of the old runs is there still
    list(textgen.compare(text, **again))
    after = [read_header(file).record for file in files]
    assert [record.step for record in after] == [20, 20]
    assert not {record.identity for record in after} & {*before}


def test_a_run_that_came_meanwhile_is_not_started_over(text: Path, tmp_path: Path) -> None:
    how = {**CELLS, "cell": ["rnn", "gru"], "checkpoints": tmp_path}
    list(textgen.compare(text, **how))
    reports = textgen.compare(text, **how, overwrite=True)
    next(r for r in reports if isinstance(r, Trained) and isinstance(r.event, Stepped))
    reports.close()
    list(textgen.train(text, run="tales-gru", checkpoints=tmp_path, overwrite=True, **HOW))
    with pytest.raises(RunError, match="'tales-gru' exists already"):
        list(textgen.compare(text, **how))


def test_other_settings_are_refused(whole: tuple[Path, list[Report]], text: Path) -> None:
    folder, _ = whole
    with pytest.raises(RunError, match=r"`steps` is 31, and the comparison in .* with 30") as error:
        list(textgen.compare(text, checkpoints=folder, **{**CELLS, "steps": 31}))
    assert "`overwrite`" in error.value.hint
    with pytest.raises(RunError, match=r"`cell` is rnn,gru, .* with rnn,gru,lstm"):
        list(textgen.compare(text, checkpoints=folder, **{**CELLS, "cell": ["rnn", "gru"]}))
    with pytest.raises(RunError, match=r"`clip` is 1, .* with left out"):
        list(textgen.compare(text, checkpoints=folder, **CELLS, clip=1))


def test_a_text_that_changed_is_refused(text: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_bytes(text.read_bytes())
    reports = textgen.compare(mine, checkpoints=tmp_path, cell=["rnn", "gru"], **HOW)
    stopped(reports, "mine-rnn", 3)
    textgen_train = list(textgen.resume("mine-rnn", checkpoints=tmp_path))
    assert isinstance(textgen_train[-1], Finished)
    mine.write_text(prose(1500, seed=9))
    with pytest.raises(ChangedCorpus):
        list(textgen.compare(mine, checkpoints=tmp_path, cell=["rnn", "gru"], **HOW))


def test_a_run_of_others_is_left_alone(text: Path, tmp_path: Path) -> None:
    list(textgen.train(text, run="tales-gru", checkpoints=tmp_path, **{**SMALL, "steps": 2}))
    before = (tmp_path / "tales-gru" / "last.safetensors").read_bytes()
    with pytest.raises(RunError, match="run 'tales-gru' exists already"):
        list(textgen.compare(text, checkpoints=tmp_path, **CELLS))
    stopped(textgen.compare(text, run="b", checkpoints=tmp_path, **CELLS), "b-rnn", 2)
    (tmp_path / "b-rnn").rename(tmp_path / "old")
    (tmp_path / "tales-gru").rename(tmp_path / "b-rnn")
    with pytest.raises(RunError, match=r"'b-rnn' in .* is not the one"):
        list(textgen.compare(text, run="b", checkpoints=tmp_path, **CELLS))
    assert (tmp_path / "b-rnn" / "last.safetensors").read_bytes() == before


@pytest.mark.parametrize("name", ["a/b", "..", "../b"])
def test_a_name_that_is_no_folder_name_is_refused(text: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="expected a plain folder name"):
        next(textgen.compare(text, run=name, checkpoints=tmp_path / "runs", **CELLS))
    assert not [*tmp_path.iterdir()]


def test_a_run_that_another_process_made_while_others_trained_is_left_alone(
    text: Path, tmp_path: Path
) -> None:
    reports = textgen.compare(text, checkpoints=tmp_path, **CELLS)
    next(reports)
    list(textgen.train(text, run="tales-gru", checkpoints=tmp_path, **HOW))
    before = (tmp_path / "tales-gru" / "last.safetensors").read_bytes()
    with pytest.raises(RunError, match="another process saved run 'tales-gru'"):
        list(reports)
    assert (tmp_path / "tales-gru" / "last.safetensors").read_bytes() == before


def test_without_a_cache_nothing_is_kept_there(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def reread(header: Header, *rest: object, cache: bool = True, **others: object) -> Corpus:
        asked.append(cache)
        return reread_corpus(header, cache=False)

    monkeypatch.setattr(comparison, "reread_corpus", reread)
    list(textgen.compare(text, checkpoints=tmp_path, cache=False, **CELLS))
    assert asked == [False] * 3


def test_a_variant_that_diverges_does_not_stop_the_others(text: Path, tmp_path: Path) -> None:
    settings = {**HOW, "hidden": 8, "optimizer": "sgd", "lr": [1e30, 0.5], "clip": 1e9}
    *_, table = textgen.compare(text, checkpoints=tmp_path, **settings)
    assert isinstance(table, Table)
    assert [bool(row.results[0].diverged) for row in table.rows] == [False, True]
    *_, again = textgen.compare(text, checkpoints=tmp_path, **settings)
    assert again == table


def test_a_budget_of_time_is_for_each_variant(text: Path, tmp_path: Path) -> None:
    settings = {**HOW, "steps": None, "time": 1.5, "embedding": [4, 8]}
    *_, table = textgen.compare(text, checkpoints=tmp_path, **settings)
    assert isinstance(table, Table)
    assert table.seconds is None
    counts = [row.results[0].parameters for row in table.rows]
    assert max(counts) / min(counts) <= 1.03


def test_documents_have_no_memory_to_measure(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(prose(1500))
    settings = {**HOW, "hidden": 8, "documents": "line", "lr": [0.01, 0.02]}
    *_, table = textgen.compare(path, checkpoints=tmp_path, **settings)
    assert [row.memory for row in table.rows] == [None, None]


def test_a_file_that_is_no_comparison_is_named(text: Path, tmp_path: Path) -> None:
    (tmp_path / "tales.compare.json").write_text("{}")
    with pytest.raises(RunError, match=r"tales.compare.json cannot be read") as error:
        list(textgen.compare(text, checkpoints=tmp_path, **CELLS))
    assert "rm " in error.value.hint
    (tmp_path / "tales.compare.json").write_text(json.dumps({"settings": {}, "version": 99}))
    with pytest.raises(RunError, match="format 99"):
        list(textgen.compare(text, checkpoints=tmp_path, **CELLS))


def test_the_number_of_seeds_is_checked(text: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`seeds` is 0"):
        list(textgen.compare(text, checkpoints=tmp_path, seeds=0, **CELLS))
    assert Comparison("a", tmp_path, None, CELLS, seeds=1).path == tmp_path / "a.compare.json"  # type: ignore[arg-type]


def test_of_a_long_curve_a_part_is_kept(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "POINTS", 4)
    how = {**CELLS, "cell": ["rnn", "gru"], "eval_every": 1}
    for result in results(list(textgen.compare(text, checkpoints=tmp_path, **how))).values():
        history = read_header(tmp_path / result.run / "last.safetensors").record.history
        assert [point.nats for point in result.curve] == [e.val_nats for e in history[5::8]]


def test_a_comparison_that_is_begun_anew_leaves_the_runs_of_others(
    text: Path, tmp_path: Path
) -> None:
    how = {**CELLS, "cell": ["rnn", "gru"], "checkpoints": tmp_path}
    list(textgen.compare(text, **how))
    list(textgen.train(text, run="tales-lstm", checkpoints=tmp_path, **HOW, hidden=(12,)))
    mine = tmp_path / "tales-lstm" / "last.safetensors"
    before = mine.read_bytes()
    with pytest.raises(RunError, match="run 'tales-lstm' exists already") as error:
        list(textgen.compare(text, **{**how, "cell": ["rnn", "gru", "lstm"]}, overwrite=True))
    assert "textgen rm tales-lstm" in error.value.hint
    assert "overwrite" not in error.value.hint
    assert mine.read_bytes() == before
    (tmp_path / "tales.compare.json").write_text("{")  # nobody knows any more which were its own
    with pytest.raises(RunError, match="run 'tales-rnn' exists already"):
        list(textgen.compare(text, **how, overwrite=True))


def test_what_cannot_be_trained_is_found_before_anything_is(text: Path, tmp_path: Path) -> None:
    how = {**HOW, "hidden": (12,), "checkpoints": tmp_path}
    del how["precision"]
    with pytest.raises(DeviceError, match="fp16"):
        list(textgen.compare(text, precision=["fp32", "fp16"], **how))
    assert not [*tmp_path.iterdir()]


def test_another_text_is_named_as_one(text: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_bytes(text.read_bytes())
    how = {**CELLS, "run": "x", "checkpoints": tmp_path}
    list(textgen.compare(text, **how))
    with pytest.raises(RunError, match=r"^the text is .*other\.txt, and the comparison"):
        list(textgen.compare(other, **how))


def test_a_text_that_changed_in_the_middle_has_a_hint_that_can_be_followed(
    text: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_bytes(text.read_bytes())
    how = {"checkpoints": tmp_path, "cell": ["rnn", "gru"], **HOW}
    stopped(textgen.compare(mine, **how), "mine-rnn", 3)
    mine.write_text(prose(1500, seed=9))
    with pytest.raises(ChangedCorpus) as error:
        list(textgen.compare(mine, **how))
    assert error.value.hint == "put the old text back; or start over: add `overwrite`"


def test_a_name_too_long_for_the_file_of_a_comparison_is_refused(
    text: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="too long for the name of a comparison's file"):
        list(textgen.compare(text, run="a" * 250, checkpoints=tmp_path, **CELLS))


def test_it_goes_on_where_a_run_was_cleaned_before_it_was_measured(
    whole: tuple[Path, list[Report]], text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(comparison, "_measured", stopped)
        with pytest.raises(KeyboardInterrupt):
            list(textgen.compare(text, checkpoints=tmp_path, **CELLS))
    run = Run(tmp_path / "tales-rnn")
    clean(run, dry_run=False)
    assert not run.last.exists()
    header = read_header(run.best)
    weights = read_arrays(header, "model")
    write_checkpoint(run.best, replace(header.record, step=20), weights)  # not the last step's
    with pytest.raises(RunError, match="was cleaned before the comparison measured it"):
        list(textgen.compare(text, checkpoints=tmp_path, **CELLS))
    write_checkpoint(run.best, header.record, weights)
    reports = list(textgen.compare(text, checkpoints=tmp_path, **CELLS))
    curves = [results(found)["tales-rnn"].curve for found in (reports, whole[1])]
    losses = [[point.nats for point in curve] for curve in curves]
    assert losses[0] == losses[1]


def test_numbers_of_numpy_are_compared(text: Path, tmp_path: Path) -> None:
    how = {**CELLS, "cell": "rnn", "layers": list(np.arange(1, 3)), "steps": np.int64(2)}
    *_, table = textgen.compare(text, checkpoints=tmp_path, **how)
    assert isinstance(table, Table)
    assert [row.variant for row in table.rows] == ["layers 1", "layers 2"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_that_could_not_be_started_over_at_first_is_so_later(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    def full(*_: object) -> None:
        raise RunError("no space left")

    how = {**CELLS, "cell": ["rnn", "gru"], "checkpoints": tmp_path}
    list(textgen.compare(text, **how))
    before = read_header(tmp_path / "tales-rnn" / "last.safetensors").record.identity
    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", full)
        with pytest.raises(RunError, match="no space left"):
            list(textgen.compare(text, **how, overwrite=True))
    *_, table = textgen.compare(text, **how, overwrite=overwrite)
    assert isinstance(table, Table)
    after = read_header(tmp_path / "tales-rnn" / "last.safetensors").record
    assert after.finished
    assert after.identity != before
