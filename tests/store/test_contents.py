from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import prose, train
from test_record import version_1

import textgen
from textgen.config import CorpusConfig
from textgen.errors import ChangedCorpus, CheckpointError, CorpusError
from textgen.store.archive import pack
from textgen.store.checkpoint import Header, read_arrays, read_header, write_checkpoint
from textgen.store.contents import (
    RESUMED,
    moved,
    read_resumed,
    read_vocabulary,
    read_weights,
    reread_corpus,
)
from textgen.store.record import VERSION, to_json
from textgen.text import stream

Arrays = dict[str, dict[str, np.ndarray]]


def rewrite(header: Header, path: Path, edit: Callable[[Arrays], object]) -> Header:
    """The same checkpoint with other arrays, at `path`."""
    arrays = read_arrays(header, *RESUMED)
    edit(arrays)
    write_checkpoint(path, header.record, arrays)
    return read_header(path)


def rewrite_as_1(header: Header, path: Path, since: np.ndarray) -> Header:
    """The same checkpoint as format 1 had it: with a loss for each step."""
    arrays = read_arrays(header, *RESUMED)
    arrays["losses"] = {"since": since, "grad_norm": arrays["losses"]["grad_norm"]}
    flat = {f"{group}/{name}": a for group, named in arrays.items() for name, a in named.items()}
    path.write_bytes(b"".join(pack(flat, {"textgen": version_1(to_json(header.record))})))
    return read_header(path)


@pytest.fixture
def header(trained: Path) -> Header:
    return read_header(trained / "last.safetensors")


def test_states_of_other_sizes_than_the_settings_say_are_refused(
    header: Header, tmp_path: Path
) -> None:
    training = replace(header.record.training, batch_size=10**6)
    forged = replace(header.record, training=training)
    path = tmp_path / "last.safetensors"
    write_checkpoint(path, forged, read_arrays(header, *RESUMED))
    with pytest.raises(CheckpointError, match=r"state/0\.hidden has shape \(4, 12\) F32, expected"):
        read_resumed(read_header(path))


def test_weights_come_in_the_shapes_of_the_settings(header: Header) -> None:
    weights = read_weights(header)
    assert {name: a.shape for name, a in weights.items()} == header.record.model.shapes
    assert {a.dtype for a in weights.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("layers.1.weight_hh_l0", lambda a: a[:, :-1]),
        ("layers.0.weight_ih_l0", lambda a: a.T),
        ("embedding.weight", lambda a: a[None]),
        ("head.bias", lambda a: a.astype(np.float64)),
        ("layers.1.bias_hh_l0", None),
    ],
)
def test_the_weight_that_does_not_fit_is_named(
    header: Header, tmp_path: Path, name: str, edit: Callable[[np.ndarray], np.ndarray] | None
) -> None:
    def change(arrays: Arrays) -> None:
        array = arrays["model"].pop(name)
        if edit is not None:
            arrays["model"][name] = edit(array)

    changed = rewrite(header, tmp_path / "x.safetensors", change)
    with pytest.raises(CheckpointError, match="is damaged") as caught:
        read_weights(changed)
    assert f"{name} " in caught.value.message
    assert str(header.record.model.shapes[name]) in caught.value.message


def test_a_weight_too_many_does_not_get_as_far_as_the_network(
    header: Header, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    rewrite(header, path, lambda arrays: arrays["model"].update(more=np.zeros(3, np.float32)))
    with pytest.raises(CheckpointError, match="more"):
        textgen.load(path).score("The fox")


def test_losses_of_format_1_become_their_sum_and_number(header: Header, tmp_path: Path) -> None:
    losses = np.array([3.0, 2.5, 0.25], np.float32)
    for since, total in ((losses, 5.75), (losses[:0], 0.0)):
        old = rewrite_as_1(header, tmp_path / "x.safetensors", since)
        found = read_resumed(old)["losses"]
        assert found.keys() == {"sum", "count", "grad_norm"}
        assert (found["sum"], found["count"]) == (total, len(since))
        assert found["sum"].dtype == np.float64
        assert found["sum"].shape == found["count"].shape == ()


def test_losses_are_summed_more_exactly_than_they_were_kept(header: Header, tmp_path: Path) -> None:
    since = np.full(1000, 1.1, np.float32)
    old = rewrite_as_1(header, tmp_path / "x.safetensors", since)
    expected = 1000 * float(np.float32(1.1))
    assert float(read_resumed(old)["losses"]["sum"]) == pytest.approx(expected, rel=1e-12)


def test_other_arrays_of_format_1_and_all_of_later_ones_are_left_alone(
    header: Header, tmp_path: Path
) -> None:
    arrays = read_arrays(header, *RESUMED)
    old = read_resumed(rewrite_as_1(header, tmp_path / "x.safetensors", np.ones(2, np.float32)))
    np.testing.assert_equal(read_resumed(header), arrays)
    for group in RESUMED:
        if group != "losses":
            np.testing.assert_equal(old[group], arrays[group])
    assert header.version == VERSION


def test_a_corpus_moves_as_far_as_it_is_said_to() -> None:
    held = ("held.txt", "keep", "none", 1, None, False, False)
    before = CorpusConfig(("a.txt", "b.txt"), "byte", "latin-1", 0.2, *held)
    files = ("/new/c.txt",)
    assert moved(before, (), None) == before
    assert moved(before, files, None) == replace(before, files=files)
    assert moved(before, (), "/new/h.txt") == replace(before, val_file="/new/h.txt")
    after = CorpusConfig(files, "byte", "latin-1", 0.2, "h", "keep", "none", 1, None, False, False)
    assert moved(before, files, "h") == after


def test_an_empty_vocabulary_is_refused(header: Header, tmp_path: Path) -> None:
    model = replace(header.record.model, vocabulary_size=2)
    corpus = replace(header.record.corpus, min_count=2, documents="line")
    forged = replace(header.record, model=model, corpus=corpus, vocabulary="")
    path = tmp_path / "best.safetensors"
    write_checkpoint(path, forged, {})
    with pytest.raises(CheckpointError, match="its vocabulary is empty"):
        read_vocabulary(read_header(path))


def test_a_text_that_moved_from_one_part_to_the_other_is_found(tmp_path: Path) -> None:
    """The bytes of both files in a row are the same."""
    own, held_out = tmp_path / "own.txt", tmp_path / "held_out.txt"
    own.write_text(prose(2000))
    held_out.write_text("a fox slept.\n" + prose(500, seed=1))
    train(own, tmp_path, steps=2, val_file=held_out)
    header = read_header(tmp_path / "own" / "last.safetensors")
    reread_corpus(header)
    first, rest = held_out.read_text().split("\n", 1)
    own.write_text(own.read_text() + first + "\n")
    held_out.write_text(rest)
    with pytest.raises(ChangedCorpus, match=r"cut elsewhere: 2,013 characters.*expected 2,000"):
        reread_corpus(header)


def test_only_a_text_that_is_gone_may_have_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "a.txt"
    text.write_text(prose(1000))
    train(text, tmp_path, steps=1)
    header = read_header(tmp_path / "a" / "last.safetensors")

    def forbidden(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(text))

    with monkeypatch.context() as patch:
        patch.setattr(stream, "open", forbidden, raising=False)
        with pytest.raises(CorpusError, match="no permission to read") as caught:
            reread_corpus(header, cache=False)
        assert caught.value.hint == f"chmod u+r {text}"
    text.write_bytes(b"\xff" * 1000)
    with pytest.raises(CorpusError, match="is not valid utf-8") as caught:
        reread_corpus(header, cache=False)
    assert caught.value.hint.startswith("put the old text back, or say where it is")
    text.unlink()
    with pytest.raises(CorpusError, match="no such file") as caught:
        reread_corpus(header, cache=False)
    assert caught.value.hint == "if it moved, say where it is now: `files=FILE`"


def test_the_copy_of_a_renamed_run_is_its_own_though_another_has_its_place(tmp_path: Path) -> None:
    for name, text in (("a", prose(1000)), ("b", prose(1000, 1))):
        folder = tmp_path / "stdin"
        folder.mkdir()
        (folder / ".lock").touch()
        (folder / "input-1.txt").write_text(text)
        train(folder / "input-1.txt", tmp_path, run="stdin", steps=1)
        if name == "a":
            folder.rename(tmp_path / "poems")
    found = [
        reread_corpus(read_header(tmp_path / run / "last.safetensors"), cache=False)
        for run in ("poems", "stdin")
    ]
    assert [len(corpus.train) for corpus in found] == [900, 900]
    assert not np.array_equal(found[0].train, found[1].train)
