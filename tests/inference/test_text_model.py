from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from conftest import train

import textgen
from textgen.config import SamplingOptions
from textgen.errors import CheckpointError, CorpusError, UnknownCharacters, UsageError
from textgen.inference.text_model import TextModel
from textgen.inference.writer import Position


@pytest.fixture(scope="module")
def model(trained: Path) -> TextModel:
    return textgen.load(trained)


def write(model: TextModel, prompt: str = "", **options: object) -> str:
    return "".join(model.generate(prompt, **{"length": 300, "seed": 1, **options}))


def test_a_seed_repeats_its_text_and_another_does_not(model: TextModel) -> None:
    assert write(model) == write(model)
    assert write(model) != write(model, seed=2)
    assert len(write(model)) == 300


def test_a_text_of_a_seed_is_the_same_whatever_else_is_written(model: TextModel) -> None:
    texts = [write(model, number=n) for n in range(4)]
    assert len(set(texts)) == 4
    assert write(model, number=3) == texts[3]


def test_greedy_needs_no_seed(model: TextModel) -> None:
    assert write(model, temperature=0, seed=1) == write(model, temperature=0, seed=2)


def test_the_prompt_steers_and_is_not_repeated(model: TextModel) -> None:
    greedy = {"temperature": 0, "length": 40}
    continuation = write(model, "The fox ", **greedy)
    assert continuation != write(model, "sai", **greedy)
    assert write(model, "The fox " + continuation[:10], **greedy)[:20] == continuation[10:30]


def test_length_zero_writes_without_end_until_it_is_closed(model: TextModel) -> None:
    writer = model.generate(length=0, seed=1)
    assert len("".join(itertools.islice(writer, 2000))) >= 2000
    writer.close()
    assert list(writer) == []


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("hidden", [(12,), (12, 12), (16, 12, 12)])
def test_the_written_text_is_as_likely_as_the_equations_say(
    cell: str, hidden: tuple[int, ...], corpus: Path, tmp_path: Path
) -> None:
    train(corpus, tmp_path, steps=8, cell=cell, hidden=hidden)
    model = textgen.load(tmp_path / "tales")
    prompt = "The crow "
    writer = model.generate(prompt, length=200, seed=3, score=True)
    ids = model.vocabulary.encode(prompt + "".join(writer))
    logits, _ = oracle.run(model.header.record.model, model.weights, ids[:-1, None])
    logits = logits[len(prompt) - 1 :, 0]
    chosen = logits[np.arange(200), ids[len(prompt) :]]
    expected = chosen - np.log(np.exp(logits).sum(axis=1))
    assert writer.nats_per_char == pytest.approx(-expected.mean(), abs=1e-4)


def test_a_writer_put_away_and_taken_up_goes_on_exactly(model: TextModel, tmp_path: Path) -> None:
    whole = write(model, "The ", length=600)
    first = model.generate("The ", length=250, seed=1)
    begun = "".join(first)
    first.position.save(tmp_path / "state")
    position = Position.load(tmp_path / "state")
    assert begun + write(model, position=position, length=350) == whole
    assert begun + write(model, position=position, length=350, seed=None) == whole
    third = model.generate("The ", length=250, seed=1, number=3)
    begun = "".join(third)
    rest = write(model, position=third.position, length=350, seed=None)
    assert begun + rest == write(model, "The ", length=600, number=3)
    branches = {write(model, position=position, seed=seed) for seed in range(2, 6)}
    assert len(branches) == 4


def test_a_position_of_another_shape_is_refused(
    model: TextModel, corpus: Path, tmp_path: Path
) -> None:
    train(corpus, tmp_path, steps=1, hidden=(8,))
    other = textgen.load(tmp_path / "tales")
    with pytest.raises(CheckpointError, match="another model"):
        model.generate(position=other.generate(length=1).position)


def test_what_is_not_a_saved_state_is_refused(tmp_path: Path, trained: Path) -> None:
    (tmp_path / "junk").write_bytes(b"junk")
    for path in (tmp_path / "junk", tmp_path / "missing", trained / "best.safetensors"):
        with pytest.raises(CheckpointError):
            Position.load(path)


def test_writing_ends_before_a_stop_text_however_it_arrives(model: TextModel) -> None:
    text = write(model, length=2000)
    for stop in (["fox"], ["king said", "moon."], [".\nThe"], ["absent text"], ["x", "\n"]):
        ends = [text.find(s) for s in stop if s in text]
        expected = text[: min(ends)] if ends else text
        assert write(model, length=2000, stop=stop) == expected


def test_a_possible_beginning_of_a_stop_text_is_held_back(model: TextModel) -> None:
    """What ends as a stop text begins is written only where the next character is another."""
    stop = "said fox"
    text = write(model, length=500)
    assert stop[:2] in text
    for written in itertools.accumulate(model.generate(length=500, seed=1, stop=[stop])):
        assert text.startswith(written)
        for n in range(1, len(stop)):
            if written.endswith(stop[:n]) and written != text:
                assert text[len(written)] != stop[n]


def test_unknown_prompt_characters(model: TextModel) -> None:
    with pytest.raises(UnknownCharacters, match=r"'Ж' \(U\+0416 CYRILLIC CAPITAL LETTER ZHE\)"):
        write(model, "The Ж")
    assert write(model, "The Ж", unknown="skip") == write(model, "The ")
    assert write(model, "Thé Ж", unknown="replace") == write(model, "The  ")


@pytest.mark.parametrize(
    "options", [{"length": -1}, {"temperature": -0.1}, {"seed": -1}, {"unknown": "maybe"}], ids=str
)
def test_values_out_of_range_are_refused(model: TextModel, options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="`" + next(iter(options))):
        write(model, **options)


def test_score_is_the_mean_of_what_the_equations_say(model: TextModel, corpus: Path) -> None:
    text = corpus.read_text()[:700]
    ids = model.vocabulary.encode(text)
    logits, _ = oracle.run(model.header.record.model, model.weights, ids[:-1, None])
    logits = logits[:, 0]
    nats = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(699), ids[1:]]
    result = model.score(text)
    assert result.nats_per_char == pytest.approx(nats.mean(), abs=1e-5)
    assert result.bits_per_char == pytest.approx(nats.mean() / math.log(2), abs=1e-5)
    assert result.characters == 699


def test_any_bytes_can_be_modelled_and_come_out_as_they_were(tmp_path: Path) -> None:
    data = bytes(range(256)) * 8
    (tmp_path / "data.bin").write_bytes(data)
    train(tmp_path / "data.bin", tmp_path, steps=400, level="byte", hidden=(48,), lr=0.02)
    model = textgen.load(tmp_path / "data")
    prompt = bytes(range(100, 140)).decode("utf-8", "surrogateescape")
    text = "".join(model.generate(prompt, length=60, temperature=0))
    assert text.encode("utf-8", "surrogateescape") == bytes(range(140, 200))


def test_documents_begin_cold_and_end_by_themselves(lines: Path) -> None:
    model = textgen.load(lines)
    options = SamplingOptions(temperature=1.0, length=100, seed=3)
    words = ["".join(model.generate("", options, number=n)) for n in range(60)]
    assert sum(len(word) < 30 and word.islower() for word in words) > 50
    assert len({len(word) for word in words}) > 4
    together = list(model.generate_many("", options, num=60))
    assert sum(len(word) < 30 and word.islower() for word in together) > 50
    assert max(map(len, model.generate_many("", options, num=60, length=3))) == 3


def test_after_the_end_of_a_document_another_begins_cold(lines: Path) -> None:
    model = textgen.load(lines)
    options = SamplingOptions(temperature=1.0, length=100, seed=3, stop=("zzz",))
    writer = model.generate("fox", options)
    assert "".join(writer)
    position = writer.position
    assert position.pending == model.vocabulary.end
    assert not any(array.any() for array in position.arrays.values())
    again = "".join(model.generate("fox", options, position=position, seed=5))
    assert again == "".join(model.generate("fox", options, seed=5))


def test_a_text_is_cut_into_documents_to_be_scored(lines: Path, tmp_path: Path) -> None:
    model = textgen.load(lines)
    words = ["foxking", "thethe", "crow"]
    alone = [model.score(word) for word in words]
    assert [one.characters for one in alone] == [8, 7, 5]
    expected = sum(one.nats_per_char * one.characters for one in alone) / 20
    (tmp_path / "a").write_text("\n".join(words) + "\n\n")
    for text in ("\n".join(words), tmp_path / "a"):
        found = model.score(text)
        assert found.characters == 20
        assert found.nats_per_char == pytest.approx(expected, abs=1e-6)
    for text in ("FOX\n\u00e9", "fox\n "):
        with pytest.raises(UnknownCharacters):
            model.score(text)
    assert model.score("FOX\n\u00e9", unknown="replace") == model.score("fox\ne")
    assert model.score("\u00e9fox", unknown="skip") == model.score("fox")


def test_an_empty_file_is_refused_whichever_way_it_is_read(
    trained: Path, corpus: Path, tmp_path: Path
) -> None:
    train(corpus, tmp_path, run="back", steps=1, backward=True)
    (tmp_path / "empty.txt").touch()
    for folder in (trained, tmp_path / "back"):
        with pytest.raises(CorpusError, match=r"empty.txt has no character after its first one"):
            textgen.load(folder).score(tmp_path / "empty.txt")


def test_a_misspelt_way_with_unknown_characters_is_refused(trained: Path) -> None:
    with pytest.raises(UsageError, match="`unknown` is 'raise'; expected one of error, skip"):
        textgen.load(trained).score("the fox", unknown="raise")


@pytest.mark.parametrize("number", [-1, 2**63, 1.5])
def test_a_number_that_no_text_has_is_refused(trained: Path, number: Any) -> None:
    with pytest.raises(UsageError, match="`number` is"):
        textgen.load(trained).generate("the", number=number)


def test_a_number_may_be_one_of_numpy(trained: Path) -> None:
    model, how = textgen.load(trained), {"seed": 1, "length": 5}
    for number in np.arange(2):
        text = "".join(model.generate("the", number=number, **how))
        assert text == "".join(model.generate("the", number=int(number), **how))


def test_texts_are_written_by_one_stream_at_least(trained: Path) -> None:
    with pytest.raises(UsageError, match="`streams` is 0"):
        next(textgen.load(trained).generate_many("the", num=1, streams=0))


def test_a_text_without_an_end_is_not_written_backward(corpus: Path, tmp_path: Path) -> None:
    train(corpus, tmp_path, steps=1, backward=True)
    with pytest.raises(UsageError, match="`length` is 0"):
        textgen.load(tmp_path / "tales").generate("the", length=0)


def test_a_prompt_is_read_in_the_normal_form_of_the_text(tmp_path: Path) -> None:
    corpus = tmp_path / "cafe.txt"
    corpus.write_text("café au lait\n" * 20, encoding="utf-8")
    train(corpus, tmp_path, steps=2, normalize="nfc")
    model = textgen.load(tmp_path / "cafe")
    composed, apart = "café", "cafe\u0301"
    options: dict[str, Any] = {"seed": 1, "length": 5}
    assert "".join(model.generate(apart, **options)) == "".join(model.generate(composed, **options))
    many = [[*model.generate_many(text, num=2, **options)] for text in (apart, composed)]
    assert many[0] == many[1]
    assert model.score(apart) == model.score(composed)


def test_stop_texts_are_in_the_normal_form_of_the_text(tmp_path: Path) -> None:
    corpus = tmp_path / "end.txt"
    corpus.write_text("the end!\n" * 20, encoding="utf-8")
    train(corpus, tmp_path, steps=2, normalize="nfkc")
    model = textgen.load(tmp_path / "end")
    options: dict[str, Any] = {"seed": 1, "length": 300}
    for wide, plain in (("！", "!"), ("ｅ", "e")):
        expected = "".join(model.generate(stop=(plain,), **options))
        assert len(expected) < 300
        assert "".join(model.generate(stop=(wide,), **options)) == expected
        many = [[*model.generate_many(num=2, stop=(stop,), **options)] for stop in (wide, plain)]
        assert many[0] == many[1]


def test_numbers_of_numpy_are_numbers(model: TextModel) -> None:
    plain = write(model, seed=3, temperature=0.5, top_k=4)
    found = write(model, seed=np.int64(3), temperature=np.float64(0.5), top_k=np.int32(4))
    assert found == plain
    assert [*model.generate_many(num=np.int64(2), length=5, seed=1)] == [
        *model.generate_many(num=2, length=5, seed=1)
    ]
    options = SamplingOptions(seed=np.uint8(3), temperature=np.float32(0.5))
    assert (type(options.seed), type(options.temperature)) == (int, float)
    with pytest.raises(UsageError, match=r"`seed` is 1.5; expected a whole number"):
        SamplingOptions(seed=np.float64(1.5))
    with pytest.raises(UsageError, match="`seed` is True"):
        SamplingOptions(seed=np.bool_(True))


def test_ids_of_documents_are_judged_as_they_are_scored(lines: Path) -> None:
    model = textgen.load(lines)
    end, ids = model.vocabulary.end, model.vocabulary.encode("thefox")
    whole = np.array([end, *ids, end])
    assert model.judge(whole).nats_per_char == pytest.approx(model.score(whole).nats_per_char)
    with pytest.raises(CorpusError, match="no character after its first one"):
        model.judge(ids)


def test_an_unknown_character_of_documents_is_named_by_its_place_in_the_text(
    lines: Path, tmp_path: Path
) -> None:
    model, text = textgen.load(lines), "oldfox\n\n\nold\u2603crow\n"
    (tmp_path / "x").write_text(text, "utf-8")
    for given in (text, tmp_path / "x"):
        with pytest.raises(UnknownCharacters, match=f"at character {text.index(chr(0x2603)) + 1}$"):
            model.judge(given)


def test_another_default_dtype_is_refused(trained: Path, corpus: Path, tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(UsageError, match=r"default dtype is torch\.float64") as caught:
            textgen.load(trained).score("the fox")
        with pytest.raises(UsageError, match=r"default dtype is torch\.float64"):
            train(corpus, tmp_path, steps=1)
    finally:
        torch.set_default_dtype(torch.float32)
    assert caught.value.hint == "torch.set_default_dtype(torch.float32)"
    assert not (tmp_path / "tales").exists()


def test_another_default_device_is_refused(trained: Path) -> None:
    with torch.device("meta"), pytest.raises(UsageError, match="default device is meta") as caught:
        textgen.load(trained).score("the fox")
    assert caught.value.hint == 'torch.set_default_device("cpu")'


def test_scoring_leaves_torchs_random_numbers_as_they_were(trained: Path) -> None:
    before = torch.get_rng_state()
    textgen.load(trained).score("the fox")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (b"the fox", "bytes"),
        ([1, 2, 3], "list"),
        (np.array([0.0, 1.0]), "an array of 1 dimensions of float64"),
        (np.array([[0, 1]]), "an array of 2 dimensions of int64"),
        (np.array([3, 5, -1]), "an array of ids from -1 to 5"),
        (np.array([3, 999]), "an array of ids from 3 to 999"),
    ],
    ids=str,
)
def test_what_is_no_text_and_no_ids_is_not_scored(trained: Path, given: Any, found: str) -> None:
    model = textgen.load(trained)
    for measure in (model.score, model.judge):
        with pytest.raises(UsageError, match=f"the text is {found}; expected a str") as caught:
            measure(given)
    assert f"from 0 to {len(model.vocabulary) - 1}" in caught.value.message


def test_threads_may_export_one_model_at_the_same_time(trained: Path, tmp_path: Path) -> None:
    model = textgen.load(trained)
    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(model.export, tmp_path / f"{n}.safetensors") for n in range(16)]
    assert [job.exception() for job in done] == [None] * 16


def test_a_position_is_saved_and_loaded_by_a_text_too(trained: Path, tmp_path: Path) -> None:
    writer = textgen.load(trained).generate(length=5, seed=1)
    "".join(writer)
    writer.position.save(str(tmp_path / "x.state"))
    assert Position.load(str(tmp_path / "x.state")).seed == 1


@pytest.mark.parametrize("half", [chr(0xD800), chr(0xDFFF)], ids=["any", "the end"])
def test_half_a_character_is_no_text_of_documents_either(
    lines: Path, tmp_path: Path, half: str
) -> None:
    (tmp_path / "a.txt").write_text("the fox\nold crow\n" * 40)
    train(tmp_path / "a.txt", tmp_path, steps=1, documents="line", level="byte")
    for run in (lines, tmp_path / "a"):
        model = textgen.load(run)
        for give in (model.score, lambda text, m=model: m.generate(text, length=1)):
            with pytest.raises(UnknownCharacters):
                give(f"the{half}fox")
