from __future__ import annotations

import itertools
import json
import os
import string
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from networks import build, model_config, weights

import textgen
from textgen.config import MOST_LAYERS, SamplingOptions
from textgen.errors import CheckpointError
from textgen.inference.folding import FoldedModel, fold
from textgen.inference.sampling import Uniforms
from textgen.inference.writer import GrowingText, Position, Writer, check_target
from textgen.model.network import CharModel
from textgen.store.archive import pack
from textgen.text.vocabulary import Vocabulary

LETTERS = Vocabulary("char", string.ascii_lowercase[:20])
BYTES = Vocabulary("byte")
RARE = "aé€🦊"  # of one, two, three and four bytes
SEED = 4


def raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def as_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def grow(text: str, vocabulary: Vocabulary, length: int = 0, stop: tuple[str, ...] = ()):
    """The growing text fed with the ids of `text`, and the pieces that it handed out."""
    growing = GrowingText(vocabulary, SamplingOptions(length=length, stop=stop))
    pieces = []
    for i in vocabulary.encode(text):
        if growing.done:
            break
        pieces.append(growing.add(int(i)))
    return growing, pieces


def before_stop(text: str, stop: tuple[str, ...]) -> str:
    """What is to be written of `text`: all before the stop text that begins first."""
    return text[: min((text.find(s) for s in stop if s in text), default=len(text))]


def undecided(text: str, stop: tuple[str, ...]) -> str:
    """The longest end of `text` that could be the beginning of a stop text."""
    ends = (text[n:] for n in range(len(text)))
    return next((end for end in ends if any(s.startswith(end) for s in stop)), "")


# What of the characters drawn is text


def test_a_text_is_done_at_its_length_and_without_one_never() -> None:
    growing, pieces = grow("abcdefgh", LETTERS, length=5)
    assert pieces == list("abcde")
    assert (growing.done, growing.drawn, growing.written) == (True, 5, 5)
    growing, pieces = grow("abcdefgh" * 50, LETTERS)
    assert (growing.done, growing.written, len(pieces)) == (False, 400, 400)


def test_at_level_byte_a_character_comes_whole_and_counts_as_its_bytes() -> None:
    growing, pieces = grow("aé€🦊", BYTES, length=10)
    assert pieces == ["a", "", "é", "", "", "€", "", "", "", "🦊"]
    assert (growing.done, growing.written) == (True, 10)
    for length in range(1, 11):
        growing, pieces = grow("aé€🦊", BYTES, length=length)
        assert raw("".join(pieces)) == raw("aé€🦊")[:length]
        assert (growing.done, growing.written) == (True, length)


@pytest.mark.parametrize(
    ("text", "stop", "written"),
    [
        ("abcdef", ("cd", "bcdefg"), "ab"),  # the other began first and did not come about
        ("abcdef", ("cd", "bcde"), "a"),  # it began first, though it ended later
        ("abcdef", ("bcde", "cd"), "a"),  # whichever is named first
        ("abcdef", ("ab", "abc"), ""),
        ("aaab", ("aab",), "a"),
        ("abab", ("abac",), "abab"),  # held back, and in the end no stop text
    ],
)
def test_of_stop_texts_that_overlap_the_one_that_begins_first_counts(
    text: str, stop: tuple[str, ...], written: str
) -> None:
    assert before_stop(text, stop) == written
    assert "".join(grow(text, LETTERS, len(text), stop)[1]) == written


def test_any_texts_and_stop_texts_agree_with_looking_at_the_whole_text() -> None:
    rng = np.random.default_rng(0)

    def word(most: int) -> str:
        return "".join(rng.choice(list("ab"), rng.integers(1, most + 1)))

    for _ in range(2000):
        text, stop = word(12), tuple(word(4) for _ in range(rng.integers(1, 4)))
        growing, pieces = grow(text, LETTERS, len(text), stop)
        assert "".join(pieces) == before_stop(text, stop), (text, stop)
        assert growing.written == len("".join(pieces))


def test_no_more_is_held_back_than_may_begin_a_stop_text() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        text = "".join(rng.choice(list("abc"), 12))
        stop = tuple("".join(rng.choice(list("abc"), 4)) for _ in range(2))
        growing, pieces = grow(text, LETTERS, 0, stop)
        if not growing.done:
            assert "".join(pieces) + undecided(text, stop) == text


@pytest.mark.parametrize("stop", [("€a",), ("é🦊", "🦊é"), ("\udc82",), ("a", "€")])
def test_stop_texts_of_several_bytes_are_found_too(stop: tuple[str, ...]) -> None:
    rng = np.random.default_rng(2)
    for _ in range(100):
        data = b"".join(rng.choice([raw(c) for c in RARE], 9)) + rng.bytes(3)
        text = as_text(data)
        growing, pieces = grow(text, BYTES, len(data), stop)
        assert "".join(pieces) == before_stop(text, stop)
        assert growing.written == len(raw("".join(pieces)))


# Where a writer stands


@pytest.fixture(scope="module")
def letters() -> FoldedModel:
    model = build("lstm", (16, 16))
    return fold(model.config, weights(model))


@pytest.fixture(scope="module")
def some_bytes() -> FoldedModel:
    """A model that writes the bytes of a few characters, often in an order that is no text."""
    shares = torch.full((256,), 1e-5)
    for character in RARE:
        for byte in raw(character):
            shares[byte] = 0.1
    model = CharModel(model_config(256, "gru", (16,), embedding=8))
    model.initialise(torch.Generator().manual_seed(0), shares)
    return fold(model.config, weights(model))


@pytest.fixture(params=["letters", "some_bytes"])
def writer(request: pytest.FixtureRequest) -> Callable[..., Writer]:
    """Begin to write with one of the two models."""
    model: FoldedModel = request.getfixturevalue(request.param)
    vocabulary = LETTERS if request.param == "letters" else BYTES

    def begin(position: Position | None = None, **options: object) -> Writer:
        place = position.place if position else 0
        settings = SamplingOptions(temperature=1.0, **options)
        prompt = np.zeros(0, np.int64)
        uniforms = Uniforms(SEED, 2, place)
        return Writer(model, vocabulary, settings, uniforms, prompt=prompt, position=position)

    return begin


LENGTH = 80


def stops(whole: str) -> list[tuple[str, ...]]:
    """Stop texts that are reached, of several lengths, and that hold text back and come to none."""
    never = [whole[n : n + 3] + "\0" for n in range(5, len(whole) - 3, 2)]
    return [
        (whole[40:43],),
        (whole[60:66], whole[30:31] + "\0"),
        tuple(never),
        (*never, whole[50:54]),
        (whole[0],),
    ]


def test_the_position_is_that_of_the_text_handed_out(writer: Callable[..., Writer]) -> None:
    """Whatever is held back or was a stop text is written again, to the letter."""
    whole = "".join(writer(length=LENGTH))
    assert len(raw(whole)) == LENGTH
    held = 0
    for stop in [(), *stops(whole)]:
        begun = writer(length=LENGTH, stop=stop)
        places = [("", begun.position)]
        for text in itertools.accumulate(begun):
            places.append((text, begun.position))
        places.append((places[-1][0], begun.position))  # at its end
        assert places[-1][0] == before_stop(whole, stop)
        for text, position in places:
            rest = LENGTH - len(raw(text))
            again = "".join(writer(position, length=rest)) if rest else ""
            assert raw(text) + raw(again) == raw(whole)
            assert position.place == len(raw(text))
            assert (position.seed, position.number) == (SEED, 2)
        held += len(raw(whole[: begun._text.drawn])) > begun.written
    assert held >= 3


def test_asking_where_it_stands_does_not_change_what_is_written(
    writer: Callable[..., Writer],
) -> None:
    whole = "".join(writer(length=LENGTH))
    stop = stops(whole)[2]
    asked = writer(length=LENGTH, stop=stop)
    text = "".join(piece for piece in asked if asked.position.place >= 0)
    assert text == "".join(writer(length=LENGTH, stop=stop)) == whole


def test_a_position_is_of_its_moment(writer: Callable[..., Writer]) -> None:
    begun = writer(length=LENGTH)
    first = "".join(itertools.islice(begun, 10))
    position = begun.position
    rest = "".join(begun)
    assert "".join(writer(position, length=LENGTH - len(raw(first)))) == rest


def test_a_checkpoint_is_hashed_only_to_save_a_position(
    letters: FoldedModel, tmp_path: Path
) -> None:
    asked = []

    def digest() -> str:
        asked.append(True)
        return "0123"

    options = SamplingOptions(length=9, seed=1, stop=("q",))
    prompt = np.array([3])
    writer = Writer(letters, LETTERS, options, Uniforms(1), prompt=prompt, digest=digest)
    for _ in writer:
        assert writer.position.pending < 20
    assert not asked
    writer.position.save(tmp_path / "state")
    assert len(asked) == 1
    assert Position.load(tmp_path / "state").digest() == "0123"


def test_a_position_comes_back_as_it_was_saved(letters: FoldedModel, tmp_path: Path) -> None:
    options = SamplingOptions(length=9)
    writer = Writer(letters, LETTERS, options, Uniforms(2**62, 5), prompt=np.array([3]))
    assert list(writer)
    writer.position.save(tmp_path / "state")
    saved, found = writer.position, Position.load(tmp_path / "state")
    np.testing.assert_equal(dict(found.arrays), dict(saved.arrays))
    assert {array.dtype for array in found.arrays.values()} == {np.dtype(np.float32)}
    same = {"arrays": {}, "digest": str}
    assert replace(found, **same) == replace(saved, **same)
    assert (found.seed, found.number, found.place) == (2**62, 5, 9)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pending", "x"),
        ("pending", None),
        ("pending", 1.5),
        ("pending", 10**6),
        ("pending", -1),
        ("seed", "x"),
        ("seed", -1),
        ("number", -1),
        ("place", None),
        ("place", -1),
        ("surplus", 0),
        ("digest", "missing"),
    ],
)
def test_a_state_with_a_value_that_makes_no_sense_is_refused(
    trained: Path, tmp_path: Path, name: str, value: object
) -> None:
    model = textgen.load(trained)
    position = model.generate(length=1, seed=0).position
    record = {n: v for n, v in vars(position).items() if n != "arrays"} | {"digest": ""}
    record[name] = value
    if value == "missing":
        del record[name]
    (tmp_path / "x").write_bytes(
        b"".join(pack(position.arrays, {"textgen-state": json.dumps(record)}))
    )
    with pytest.raises(CheckpointError):
        "".join(model.generate(position=Position.load(tmp_path / "x"), length=1))


# What it begins from, and how likely the text was


@pytest.mark.parametrize(
    ("vocabulary", "first"),
    [
        (Vocabulary("char", "\n" + LETTERS.characters[1:]), "\n"),
        (Vocabulary("char", "\t\n" + LETTERS.characters[2:]), "\n"),
        (LETTERS, "a"),
    ],
)
def test_without_a_prompt_a_line_end_stands_before_the_text_where_there_is_one(
    letters: FoldedModel, vocabulary: Vocabulary, first: str
) -> None:
    def begin(prompt: str) -> Writer:
        ids = vocabulary.encode(prompt)
        return Writer(letters, vocabulary, SamplingOptions(length=30), Uniforms(0), prompt=ids)

    assert list(begin("")) == list(begin(first))
    assert begin("").position.pending == vocabulary.characters.index(first)


def test_the_likelihood_is_of_all_that_was_drawn_unfiltered(letters: FoldedModel) -> None:
    def write(**options: object) -> tuple[str, float]:
        chosen = SamplingOptions(temperature=0.6, top_k=8, **options)
        prompt = LETTERS.encode("abc")
        writer = Writer(letters, LETTERS, chosen, Uniforms(3), prompt=prompt, score=True)
        return "".join(writer), writer.nats_per_char

    whole, _ = write(length=60)
    stop = whole[30:34]
    end = whole.find(stop)
    text, nats = write(length=60, stop=(stop,))
    assert text == whole[:end]
    ids = LETTERS.encode("abc" + text + stop)
    model = build("lstm", (16, 16))
    logits = oracle.run(model.config, weights(model), ids[:-1, None])[0][2:, 0]
    chosen = logits[np.arange(end + 4), ids[3:]]
    assert nats == pytest.approx((np.log(np.exp(logits).sum(axis=1)) - chosen).mean(), abs=1e-5)


# Saved states that are not what they should be


@pytest.fixture
def state(trained: Path, tmp_path: Path) -> Path:
    """A state that was saved."""
    path = tmp_path / "state"
    textgen.load(trained).generate(length=1, seed=0).position.save(path)
    return path


def test_a_changed_or_shortened_state_is_refused(state: Path) -> None:
    whole = state.read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        for damaged in (data, whole[:place]):
            state.write_bytes(damaged)
            with pytest.raises(CheckpointError) as caught:
                Position.load(state)
            assert str(state) in caught.value.message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_state_that_is_not_finite_is_refused(state: Path, value: float) -> None:
    position = Position.load(state)
    position.arrays["0.hidden"][0] = value
    position.save(state)
    with pytest.raises(CheckpointError, match="not a saved state"):
        Position.load(state)


def test_a_state_of_other_types_is_refused(state: Path) -> None:
    position = Position.load(state)
    for dtype in (np.float64, np.int32, np.float16):
        arrays = {name: array.astype(dtype) for name, array in position.arrays.items()}
        replace(position, arrays=arrays).save(state)
        with pytest.raises(CheckpointError, match="not a saved state"):
            Position.load(state)


def test_a_state_of_another_run_or_vocabulary_is_of_another_model(
    trained: Path, state: Path
) -> None:
    model = textgen.load(trained)
    position = Position.load(state)
    assert "".join(model.generate(position=position, length=5))
    for change in ({"identity": "f" * 32}, {"vocabulary": "f" * 64}):
        with pytest.raises(CheckpointError, match="of another model"):
            model.check_position(replace(position, **change))
    older = replace(position, identity="", vocabulary="")  # an earlier version kept neither
    assert "".join(model.generate(position=older, length=5))


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(CheckpointError, match=r"is not a saved state: .* expected a file"):
            Position.load(path)


def test_only_a_saved_state_is_replaced(trained: Path, state: Path, tmp_path: Path) -> None:
    position = Position.load(state)
    (tmp_path / "text").write_text("mine")
    (tmp_path / "empty").touch()
    (tmp_path / "best").write_bytes((trained / "best.safetensors").read_bytes())
    (tmp_path / "link").symlink_to(state)
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")
    names = ["text", "empty", "best", "link", "dangling", "pipe", ".", "no/folder", "x" * 300]
    for path in [*(tmp_path / name for name in names), Path("/dev/null")]:
        for refuse in (check_target, position.save):
            with pytest.raises(CheckpointError, match="cannot save the state in"):
                refuse(path)
    assert (tmp_path / "text").read_text() == "mine"
    assert not (tmp_path / "nothing").exists()
    position.save(state)
    position.save(tmp_path / "new")
    assert Position.load(tmp_path / "new").place == Position.load(state).place


@pytest.mark.parametrize("stop", [(), ("cab",)])
def test_a_text_ends_at_the_end_symbol_and_what_is_held_comes(stop: tuple[str, ...]) -> None:
    vocabulary = Vocabulary("char", "abc", has_end=True)
    growing = GrowingText(vocabulary, SamplingOptions(length=9, stop=stop))
    pieces = [growing.add(i) for i in (0, 1, 2, 0, 3)]
    assert "".join(pieces) == "abca"
    assert growing.done
    assert (growing.written, growing.drawn) == (4, 5)


def test_a_document_begins_with_the_end_symbol_before_its_prompt(letters: FoldedModel) -> None:
    vocabulary = Vocabulary("char", string.ascii_lowercase[:19], has_end=True)
    options = SamplingOptions(length=1, seed=1)
    prompt = np.array([4, 5])
    found = Writer(letters, vocabulary, options, Uniforms(1), prompt=prompt)
    expected = Writer(letters, LETTERS, options, Uniforms(1), prompt=np.array([19, 4, 5]))
    np.testing.assert_equal(found.position.arrays, expected.position.arrays)


def test_the_deepest_model_with_a_history_keeps_a_state(tmp_path: Path) -> None:
    model = build("lstm", (2,) * MOST_LAYERS, history=20)
    folded = fold(model.config, weights(model))
    vocabulary = Vocabulary("char", "".join(map(chr, range(97, 117))))
    of_model = (folded, vocabulary, SamplingOptions(length=30), Uniforms(0))
    writer = Writer(*of_model, prompt=np.array([1]))
    "".join(writer)
    writer.position.save(tmp_path / "state")
    found = Position.load(tmp_path / "state").arrays
    assert len(found) == 2 * MOST_LAYERS + 1
    np.testing.assert_array_equal(found["history"], writer.position.arrays["history"])
    assert (found["history"] > 0).all()
