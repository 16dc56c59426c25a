from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SMALL, prose, train
from networks import training_config
from oracle import gram

import textgen
from textgen.architecture import GRAM
from textgen.cli import info
from textgen.cli.app import app
from textgen.errors import CorpusError, UsageError
from textgen.events import Evaluated, Planned, Stepped
from textgen.store.checkpoint import read_header
from textgen.store.record import Ancestor
from textgen.text.corpus import Corpus
from textgen.training import tuning
from textgen.training.mixed import MixedStreams, streams_over
from textgen.training.streams import Streams

TRAINED = {"batch_size": 4, "bptt": 16, "precision": "fp32"}


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A text with characters that the first one lacks, and without some that it has."""
    path = tmp_path / "other.txt"
    path.write_text(prose(2000, seed=5).replace("fox", "füchs").replace("k", ""))
    return path


def tune(text: Path, base: Path, folder: Path, **choices: object) -> list[object]:
    return list(textgen.train(text, checkpoints=folder, base=base, **{**TRAINED, **choices}))


def test_rows_are_carried_over_by_character(trained: Path, other: Path, tmp_path: Path) -> None:
    events = textgen.train(other, checkpoints=tmp_path, base=trained, steps=3, **TRAINED)
    for event in events:
        if isinstance(event, Planned):
            assert event.model.hidden == SMALL["hidden"]
        else:
            break  # saved before the first step
    events.close()
    before, after = textgen.load(trained), textgen.load(tmp_path / "other" / "last.safetensors")
    old, new = before.vocabulary.characters, after.vocabulary.characters
    assert {*new} == {*old, "ü", "c", "h", "s"} | {*other.read_text()}
    for name, weights in before.weights.items():
        if name.startswith(("embedding", "matches", "head")):
            for character in old:
                row = after.weights[name][new.index(character)]
                np.testing.assert_array_equal(row, weights[old.index(character)])
        else:
            np.testing.assert_array_equal(after.weights[name], weights)


@pytest.mark.parametrize("mixed", [False, True])
def test_rows_of_n_grams_are_carried_over_by_their_characters(
    trained: Path, corpus: Path, tmp_path: Path, mixed: bool
) -> None:
    """Those of the new text, and of the old one where it is mixed in; others are 0."""
    moved = tmp_path / "other.txt"
    moved.write_text(prose(2000, seed=5).replace("fox", "f!x"))  # whose ids are others, then
    tune(moved, trained, tmp_path, steps=1, lr=1e-30, **({"keep_mixing": 0.5} if mixed else {}))
    before, after = textgen.load(trained), textgen.load(tmp_path / "other" / "last.safetensors")
    old, new = before.vocabulary.characters, after.vocabulary.characters
    weights, found = before.weights["grams.weight"], after.weights["grams.weight"]
    candidates = defaultdict(set)  # by the row now, those before
    for text in [path.read_text() for path in ([corpus] if mixed else []) + [moved]]:
        for end in range(1, len(text) + 1):
            last = text[max(0, end - GRAM) : end]
            if {*last} <= {*old}:
                then, now = (gram([*map(ids.index, last)], len(weights)) for ids in (old, new))
                candidates[now].add(then)
    for now, row in enumerate(found):
        known = [np.zeros_like(row), *(weights[then] for then in candidates.get(now, ()))]
        assert any(np.abs(row - one).max() < 1e-20 for one in known)
    assert np.count_nonzero(np.abs(found).max(1) > 1e-20) > 0.8 * len(candidates) > 100


def test_all_rows_of_n_grams_stay_where_ids_do(trained: Path, other: Path, tmp_path: Path) -> None:
    tune(other, trained, tmp_path, steps=1, lr=1e-30)  # what is new there has the last ids
    before, after = textgen.load(trained), textgen.load(tmp_path / "other" / "last.safetensors")
    assert after.vocabulary.characters.startswith(before.vocabulary.characters)
    found = after.weights["grams.weight"]
    np.testing.assert_allclose(found, before.weights["grams.weight"], atol=1e-20)


def test_a_run_goes_on_from_what_its_base_knows(
    trained: Path, corpus: Path, tmp_path: Path
) -> None:
    first = tune(corpus, trained, tmp_path, steps=2, lr=1e-6, eval_every=1)
    loss = next(event.val_nats for event in first if isinstance(event, Evaluated))
    known = read_header(trained / "best.safetensors").record.history[-1].val_nats
    assert loss == pytest.approx(known, abs=1e-3)


def test_new_characters_are_learned(trained: Path, other: Path, tmp_path: Path) -> None:
    tune(other, trained, tmp_path, steps=150, lr=0.02)
    model = textgen.load(tmp_path / "other")
    assert "füch" in "".join(model.generate("The ", length=2000, seed=1, temperature=0.5))


def test_the_rate_is_lower_than_from_nothing_and_nothing_is_weight_dropped(
    trained: Path, corpus: Path, tmp_path: Path
) -> None:
    plans = [
        next(textgen.train(corpus, checkpoints=tmp_path, dry_run=True, steps=10**6, **choices))
        for choices in ({**SMALL}, {**TRAINED, "base": trained})
    ]
    new, tuned = (plan for plan in plans if isinstance(plan, Planned))
    assert tuned.training.lr < new.training.lr
    assert (tuned.model.dropout, tuned.training.weight_decay) == (0.4, 0.3)
    assert (new.model.weight_drop, tuned.model.weight_drop) == (0.5, 0)
    tune(corpus, trained, tmp_path, steps=2)
    longer = next(textgen.resume("tales", checkpoints=tmp_path, steps=10**6))
    assert isinstance(longer, Planned)
    assert (longer.model.dropout, longer.model.weight_drop) == (0.4, 0)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"hidden": 12}, "`hidden` is given, and the shape comes from"),
        ({"cell": "gru"}, "`cell` is given"),
        ({"level": "byte"}, "was trained with level char"),
        ({"backward": True}, "was trained with backward False"),
    ],
)
def test_a_setting_that_the_base_does_not_allow_is_refused(
    trained: Path, corpus: Path, tmp_path: Path, choices: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        tune(corpus, trained, tmp_path, steps=2, **choices)
    assert not (tmp_path / "tales").exists()


@pytest.mark.parametrize("choices", [{"cell": "lstm"}, {"skip": True}, {"level": "char"}])
def test_a_default_that_is_asked_for_is_not_ignored(
    corpus: Path, tmp_path: Path, choices: dict[str, object]
) -> None:
    train(corpus, tmp_path, steps=1, cell="gru", skip=False, level="byte")
    with pytest.raises(UsageError, match=f"`{next(iter(choices))}.* is given"):
        tune(corpus, tmp_path / "tales", tmp_path, run="b", steps=1, **choices)
    arguments = [corpus, "--checkpoints", tmp_path, "--run", "b", "--from", "tales", "--steps", 1]
    for flag, given in (("--cell", "lstm"), ("--skip", None), ("--level", "char")):
        if flag.removeprefix("--") in choices:
            arguments += [flag, *([given] if given else [])]
    with pytest.raises(UsageError, match="is given"):
        app(["train", *map(str, arguments)], standalone_mode=False)
    app(["train", *map(str, arguments[:9])], standalone_mode=False)


@pytest.mark.parametrize("skip", [False, True])
def test_what_the_base_has_may_be_asked_for(corpus: Path, tmp_path: Path, skip: bool) -> None:
    same = {"cell": "gru", "skip": skip, "level": "char", "backward": False}
    train(corpus, tmp_path, steps=1, **same)
    tune(corpus, tmp_path / "tales", tmp_path, run="b", steps=1, **same)
    assert read_header(tmp_path / "b" / "last.safetensors").record.model.cell == "gru"


@pytest.mark.parametrize("choices", [{"min_count": 2}, {"normalize": "nfc"}])
def test_what_a_model_of_bytes_has_not_is_left_out(
    corpus: Path, tmp_path: Path, choices: dict[str, object]
) -> None:
    train(corpus, tmp_path, steps=1, level="byte")
    with pytest.raises(UsageError, match="was trained with level byte") as caught:
        tune(corpus, tmp_path / "tales", tmp_path, run="b", steps=1, **choices)
    assert caught.value.hint.startswith(f"leave out `{next(iter(choices))}`")


def test_one_stream_is_not_shared(trained: Path, other: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`keep_mixing` is given, and there is one stream"):
        tune(other, trained, tmp_path, steps=1, batch_size=1, keep_mixing=0.5)


@pytest.mark.parametrize("cache", [False, True])
def test_the_old_text_is_kept_in_the_cache_with_leave_alone(
    trained: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: bool
) -> None:
    asked, read = [], tuning.read_corpus

    def noted(*arguments: Any, **how: Any) -> Corpus:
        asked.append(how["cache"])
        return read(*arguments, **how)

    monkeypatch.setattr(tuning, "read_corpus", noted)
    tune(other, trained, tmp_path, steps=1, keep_mixing=0.5, cache=cache)
    list(textgen.resume("other", checkpoints=tmp_path, steps=1, cache=cache))
    assert asked == [cache, cache]


def test_mixing_needs_a_base(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run to begin from") as raised:
        train(corpus, tmp_path, steps=2, keep_mixing=0.5)
    assert raised.value.hint


def test_some_streams_read_the_old_text() -> None:
    config = training_config(steps=9, batch_size=10, bptt=4, block=8, keep_mixing=0.2)
    new, old = np.zeros(500, np.uint8), np.ones(700, np.uint8)
    mixed = streams_over(new, config, old)
    assert isinstance(mixed, MixedStreams)
    for step in range(5):
        chunk = mixed.chunk(step)
        assert chunk.window.shape == (5, 10)
        assert chunk.fresh.shape == (10,)
        assert (chunk.window == np.array([0] * 8 + [1] * 2)).all()
    assert isinstance(streams_over(new, config), Streams)


def test_passes_are_over_the_new_text_alone(trained: Path, other: Path, tmp_path: Path) -> None:
    steps = []
    for share in (0.0, 0.5):
        events = tune(other, trained, tmp_path / str(share), epochs=2, keep_mixing=share)
        last = [event for event in events if isinstance(event, Evaluated)][-1]
        assert last.passes == pytest.approx(2, rel=0.1)
        steps.append(last.step)
    assert steps[1] == pytest.approx(2 * steps[0], abs=1)


def test_a_single_stream_reads_the_new_text() -> None:
    config = training_config(steps=9, batch_size=1, bptt=4, block=8, keep_mixing=0.5)
    assert config.own_streams == 1
    assert config.passes(5, 10) == 2.0


def test_a_mixed_run_resumes_exactly_while_the_old_text_is_there(
    trained: Path, other: Path, tmp_path: Path
) -> None:
    how = {"steps": 30, "keep_mixing": 0.25, "dropout": 0.1}
    tune(other, trained, tmp_path / "whole", **how)
    events = textgen.train(other, checkpoints=tmp_path / "left", base=trained, **{**TRAINED, **how})
    for event in events:
        if isinstance(event, Stepped) and event.step == 11:
            break
    events.close()
    list(textgen.resume("other", checkpoints=tmp_path / "left"))
    whole, left = (textgen.load(tmp_path / f / "other").weights for f in ("whole", "left"))
    assert all(np.array_equal(whole[name], left[name]) for name in whole)

    record = read_header(tmp_path / "left" / "other" / "last.safetensors").record
    [ancestor] = record.ancestors
    assert isinstance(ancestor, Ancestor)
    assert (ancestor.run, ancestor.step) == ("tales", 60)


def test_an_old_text_that_is_gone_cannot_be_mixed_in(
    corpus: Path, other: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "first.txt"
    moved.write_bytes(corpus.read_bytes())
    train(moved, tmp_path, steps=3)
    moved.unlink()
    with pytest.raises(CorpusError, match="`keep_mixing`"):
        tune(other, tmp_path / "first", tmp_path, steps=3, keep_mixing=0.5)
    tune(other, tmp_path / "first", tmp_path, steps=3)


def test_info_shows_where_the_weights_came_from(trained: Path, other: Path, tmp_path: Path) -> None:
    tune(other, trained, tmp_path, steps=2)
    tune(other, tmp_path / "other", tmp_path, steps=2, run="third")
    header = read_header(tmp_path / "third" / "last.safetensors")
    assert ("from", "other at step 2, before that tales at step 60") in info._rows(header)
    assert "--from=other" in info.command_line(header)
    assert "--hidden" not in info.command_line(header)


def test_a_base_gives_its_end_symbol_to_a_text_of_documents(
    lines: Path, trained: Path, corpus: Path, tmp_path: Path
) -> None:
    words = lines.parent / "words.txt"
    for base, documents in ((lines, "line"), (lines, None), (trained, "line")):
        text = words if documents else corpus
        tune(text, base, tmp_path, run="new", overwrite=True, steps=1, lr=1e-9, documents=documents)
        old, new = textgen.load(base), textgen.load(tmp_path / "new")
        symbols = old.vocabulary.characters
        pairs = [(old.vocabulary.encode(c)[0], new.vocabulary.encode(c)[0]) for c in symbols]
        assert new.vocabulary.has_end == (documents is not None)
        if old.vocabulary.has_end and new.vocabulary.has_end:
            pairs.append((old.vocabulary.end, new.vocabulary.end))
        before, after = np.array(pairs).T
        rows = new.weights["head.weight"][after]
        np.testing.assert_allclose(rows, old.weights["head.weight"][before], atol=1e-6)


def test_old_documents_are_mixed_into_new_ones_alone(
    lines: Path, corpus: Path, tmp_path: Path
) -> None:
    words = lines.parent / "words.txt"
    tune(words, lines, tmp_path, run="a", steps=4, documents="line", keep_mixing=0.5)
    with pytest.raises(CorpusError, match="is cut into documents, the new one is not"):
        tune(corpus, lines, tmp_path, run="b", steps=4, keep_mixing=0.5)


def test_a_whole_text_is_mixed_into_documents() -> None:
    config = training_config(steps=9, batch_size=6, bptt=4, filled=1.0, keep_mixing=0.5)
    documents, whole = np.array([9, 1, 1, 9, 1, 9] * 20), np.zeros(700, np.uint8)
    mixed = streams_over(documents, config, whole, end=9)
    for step in range(5):
        window = mixed.chunk(step).window
        assert {1, 9} <= {*window[:, :3].ravel()} <= {1, 9, -1}
        assert not window[:, 3:].any()


def test_how_to_cut_a_text_into_documents_can_be_typed(other: Path, tmp_path: Path) -> None:
    text = tmp_path / "verses.txt"
    text.write_text("the fox\n\nthe crow\n\n" * 20)
    train(text, tmp_path, steps=1, documents=r"\n\n")
    with pytest.raises(CorpusError, match="cut into documents, the new one is not") as caught:
        tune(other, tmp_path / "verses", tmp_path, steps=1, keep_mixing=0.5)
    assert caught.value.hint == r"try `documents='\n\n'`"
