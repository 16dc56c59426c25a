"""What a text with a seed says does not depend on what is written beside it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from networks import build, weights

from textgen.config import SamplingOptions
from textgen.inference.batch import STREAMS
from textgen.inference.folding import FoldedModel, fold
from textgen.inference.sampling import Sampler, Uniforms, draw_rows, log_probability
from textgen.inference.stepper import Stepper
from textgen.inference.writer import Writer
from textgen.serving.engine import Engine
from textgen.serving.scheduler import Full, Scheduler
from textgen.serving.text import OVERDUE, Piece, Text
from textgen.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary("char", "abcdefghijklmnopqrst")
PROMPT = [3, 1, 4, 1, 5]


def folded(cell: str, hidden: tuple[int, ...] = (24, 15)) -> FoldedModel:
    network = build(cell, hidden)
    return fold(network.config, {name: 2 * a for name, a in weights(network).items()})


@pytest.fixture(scope="module", params=["lstm", "gru", "rnn"])
def model(request: pytest.FixtureRequest) -> FoldedModel:
    return folded(request.param)


class Writing:
    """Texts that are being written, and what came of each."""

    def __init__(self, engine: Engine, scheduler: Scheduler) -> None:
        self._engine, self._scheduler = engine, scheduler

    def begin(self, draws: int, *, seeded: bool, **options: object) -> tuple[Text, list[Piece]]:
        pieces: list[Piece] = []
        seed = draws if seeded else None
        text = Text(
            PROMPT,
            VOCABULARY,
            SamplingOptions(**({"temperature": 1.0, "length": 120} | options), seed=seed),
            Uniforms(draws),
            deliver=pieces.append,
            seconds=60,
            streamed=True,
        )
        self._scheduler.submit(self._engine, [text])
        return text, pieces

    def wait_for(self, count: int) -> None:
        """Wait until there are so many texts."""
        while self._scheduler.open + self._scheduler.waiting != count:
            threading.Event().wait(0.005)

    @staticmethod
    def end(pieces: list[Piece]) -> str:
        wait = threading.Event()
        while not (pieces and pieces[-1].end):
            wait.wait(0.005)
        return "".join(piece.text for piece in pieces)


@contextmanager
def writing(engine: Engine, queue: int = 200) -> Iterator[Writing]:
    scheduler = Scheduler(queue)
    scheduler.start()
    try:
        yield Writing(engine, scheduler)
    finally:
        scheduler.stop()


def by_itself(model: FoldedModel, draws: int, **options: object) -> str:
    """As `textgen sample` writes it."""
    chosen = SamplingOptions(**({"temperature": 1.0, "length": 120} | options))
    return "".join(
        Writer(model, VOCABULARY, chosen, Uniforms(draws), prompt=np.array(PROMPT, np.uint8))
    )


@pytest.mark.parametrize("exact", [True, False])
def test_a_seeded_text_is_the_same_alone_and_among_many(model: FoldedModel, exact: bool) -> None:
    engine = Engine(model)
    if not exact:
        engine.exact = ()
    options = [{}, {"temperature": 0.0}, {"top_k": 3}, {"top_p": 0.8}, {"min_p": 0.1}]
    with writing(engine) as texts:
        alone = [texts.end(texts.begin(n, seeded=True, **o)[1]) for n, o in enumerate(options)]
        company = []
        for n in range(90):
            some = {"length": 10 + 3 * n, "temperature": 0.5 + n / 100}
            company.append(texts.begin(1000 + n, seeded=n % 2 == 0, **some))
            if n in (2, 30, 50, 70, 85):  # let in at other moments, beside others
                chosen = options[(2, 30, 50, 70, 85).index(n)]
                company.append(texts.begin((2, 30, 50, 70, 85).index(n), seeded=True, **chosen))
        among = [texts.end(pieces) for text, pieces in company]
    assert [among[n] for n in (3, 32, 53, 74, 90)] == alone
    if not exact:
        assert alone == [by_itself(model, n, **o) for n, o in enumerate(options)]


def test_a_text_without_a_seed_goes_over_from_one_way_to_the_other(model: FoldedModel) -> None:
    engine = Engine(model)
    engine._alone, engine._beside = 1.0, dict.fromkeys(engine._beside, 1.5)  # two share a step
    with writing(engine) as texts:
        first = texts.begin(1, seeded=False, length=3000)
        others = [texts.begin(n, seeded=False, length=40 * n) for n in range(2, 9)]
        found = [texts.end(pieces) for _, pieces in (first, *others)]
    # the ways differ by rounding, which hardly ever shows in what is drawn
    assert found[1:] == [by_itself(model, n, length=40 * n) for n in range(2, 9)]
    assert found[0][:1000] == by_itself(model, 1, length=1000)


def test_places_are_given_back(model: FoldedModel) -> None:
    engine = Engine(model)
    with writing(engine, queue=0) as texts:
        begun = [texts.begin(n, seeded=True, length=10**9)[0] for n in range(STREAMS)]
        with pytest.raises(Full):
            texts.begin(0, seeded=True)
        for text in begun[:-1]:
            text.gone = True
        texts.wait_for(1)
        assert len(texts.end(texts.begin(1, seeded=True)[1])) == 120
        texts.wait_for(1)
        assert engine.texts == begun[-1:]


def test_rows_are_drawn_as_texts_are() -> None:
    rng = np.random.default_rng(0)
    choices = [{}, {"temperature": 0.0}, {"temperature": 3.0, "top_k": 3}, {"top_p": 0.5}]
    choices += [{"min_p": 0.3}, {"temperature": 0.2, "top_k": 9, "top_p": 0.9, "min_p": 0.01}]
    for never in (None, 4):
        samplers = [Sampler(SamplingOptions(**c), never) for c in choices]
        for _ in range(50):
            logits = (3 * rng.standard_normal((len(samplers), 30))).astype(np.float32)
            logits[:, 4] += 3
            uniforms = rng.random(len(samplers)).tolist()
            expected = [
                s.draw(row, u) for s, row, u in zip(samplers, logits, uniforms, strict=True)
            ]
            assert draw_rows(samplers, logits, uniforms) == expected


def test_tokens_come_with_their_log_probabilities(model: FoldedModel) -> None:
    pieces: list[Piece] = []
    options = SamplingOptions(seed=1, length=30)
    with writing(Engine(model)) as texts:
        text = Text(
            PROMPT,
            VOCABULARY,
            options,
            Uniforms(1),
            deliver=pieces.append,
            seconds=60,
            scores=2,
            given=len(PROMPT),
        )
        texts._scheduler.submit(texts._engine, [text])
        written = texts.end(pieces)
    tokens = [token for piece in pieces for token in piece.tokens]
    assert "".join(token.text for token in tokens) == VOCABULARY.decode(PROMPT) + written
    stepper, ids = Stepper(model), VOCABULARY.encode("".join(t.text for t in tokens)).tolist()
    assert tokens[0].log_probability is None
    for before, i, token in zip(ids, ids[1:], tokens[1:], strict=False):
        logits = stepper.step(before)
        assert token.log_probability == pytest.approx(log_probability(logits, i), abs=1e-5)
        likeliest = [VOCABULARY.decode([n]) for n in np.argsort(-logits)[:2]]
        assert list(token.likeliest or ()) == likeliest


def test_texts_written_by_themselves_have_their_share_of_the_time(model: FoldedModel) -> None:
    engine = Engine(model)
    engine.exact = ()
    engine._alone, engine._beside = 1.0, dict.fromkeys(engine._beside, 1.5)  # two share a step
    options = SamplingOptions(temperature=1.0, length=10**9)
    for number in range(3):
        seeded = replace(options, seed=1) if number == 2 else options
        how = {"deliver": lambda _: None, "seconds": 60}
        engine.texts.append(Text(PROMPT, VOCABULARY, seeded, Uniforms(number), **how))
    engine.write(0.4)
    free, _, alone = (text.drawn for text in engine.texts)
    assert free > 20
    assert alone > 20


def test_a_text_that_never_began_is_none(model: FoldedModel) -> None:
    scheduler, pieces = Scheduler(0), []
    how = {"deliver": pieces.append, "seconds": 60}
    text = Text(PROMPT, VOCABULARY, SamplingOptions(length=9), Uniforms(1), **how)
    engine = Engine(model)
    scheduler.submit(engine, [text])
    scheduler._let_in()
    scheduler._ending = True
    scheduler._settle()
    assert [piece.end for piece in pieces] == [OVERDUE]
    assert engine.texts == []
