from __future__ import annotations

import math

import numpy as np
import pytest

from textgen.text.mapped import counts_of
from textgen.training.first import frequencies
from textgen.training.streams import Streams, fibonacci, fit


def test_each_stream_reads_the_circle_character_by_character() -> None:
    ids = np.arange(103)
    streams = Streams(ids, batch_size=4, bptt=7, seed=0, block=0)
    expected = [b * 103 // 4 for b in range(4)]
    for step in range(60):
        chunk = streams.chunk(step)
        for t in range(7):
            assert chunk.inputs[t].tolist() == expected
            expected = [(e + 1) % 103 for e in expected]
            assert chunk.targets[t].tolist() == expected


def test_one_pass_reads_every_character_equally_often() -> None:
    streams = Streams(np.arange(96), batch_size=4, bptt=8, seed=0, block=0)
    read = np.concatenate([streams.chunk(step).inputs.ravel() for step in range(3)])
    assert np.array_equal(np.sort(read), np.arange(96))


def test_a_stream_is_fresh_at_first_and_in_the_chunk_after_the_end() -> None:
    streams = Streams(np.arange(1000), batch_size=2, bptt=30, seed=0, block=0)
    streams_without_coin = [s for s in range(400) if not _coin(streams, s).any()]
    assert streams.chunk(0).fresh.all()
    for step in streams_without_coin[1:]:
        before = streams.positions(step - 1)
        passed = before + 30 >= 1000
        assert streams.chunk(step).fresh.tolist() == passed.tolist()


def _coin(streams: Streams, step: int) -> np.ndarray:
    """Which streams are fresh in a text so long that none passes its end."""
    endless = Streams(np.zeros(10**7, np.uint8), 2, 30, streams.seed, block=0)
    return endless.chunk(step).fresh if step else np.zeros(2, bool)


@pytest.mark.parametrize("batch_size", [1, 3, 32])
@pytest.mark.parametrize("size", [90, 1000, 4099])
def test_blocks_are_read_through_and_each_pass_reads_the_whole_text(
    batch_size: int, size: int
) -> None:
    streams = Streams(np.arange(size), batch_size, bptt=8, seed=4, block=128)
    blocks, chunks = streams._blocks, streams._chunks
    assert size / blocks <= chunks * 8 < size / blocks + 8
    began: list[list[int]] = [[] for _ in range(batch_size)]
    ends = np.zeros(batch_size, np.int64)
    for step in range(6 * chunks * blocks):
        chunk = streams.chunk(step)
        begins = streams._turns(step)[1] == 0
        for b in range(batch_size):
            before, here = int(ends[b]), int(chunk.inputs[0, b])
            if begins[b]:
                assert chunk.fresh[b]
                began[b].append(here)
            elif step:
                assert here == (before + 1) % size
        ends = chunk.inputs[-1]
    if batch_size == 1:  # pass by pass
        passes = np.array(began[0]).reshape(-1, blocks)
        assert len(passes) == 6
        for starts in passes:
            read = (starts[:, None] + np.arange(chunks * 8)) % size
            assert set(read.ravel().tolist()) == set(range(size))
        assert size < 200 or not np.array_equal(*passes[:2])


def test_streams_leave_their_blocks_at_different_steps() -> None:
    streams = Streams(np.zeros(100_000, np.uint8), 16, bptt=64, seed=0, block=4096)
    at_once = [int((streams._turns(step)[1] == 0).sum()) for step in range(1, 300)]
    assert max(at_once) <= 1


def test_at_any_moment_the_streams_read_an_even_sample_of_the_text() -> None:
    """What is read in the last tenth of half a pass is spread over the whole text."""
    size = 1_000_000
    dealt = Streams(np.zeros(size, np.uint8), 32, bptt=64, seed=0, block=4096)
    in_order = Streams(np.zeros(size, np.uint8), 32, bptt=64, seed=0, block=0)
    steps = range(220, 245)

    def never_near(streams: Streams) -> float:
        """The share of the text further than a hundredth of it from what was read."""
        read = np.unique(np.concatenate([streams.positions(step) for step in range(245)]))
        places = np.arange(0, size, 100)
        return float(np.mean([np.abs(read - p).min() > size / 250 for p in places]))

    assert never_near(dealt) < 0.6 * never_near(in_order)
    assert len({int(p) // 10_000 for s in steps for p in dealt.positions(s)}) > 25


@pytest.mark.parametrize("blocks", [2, 9, 64, 366, 1000, 4999])
def test_however_little_of_a_pass_is_read_it_is_spread_evenly_over_the_text(blocks: int) -> None:
    """Blocks drawn at random leave gaps of five or six times the mean."""
    size = 128 * blocks
    streams = Streams(np.zeros(size, np.uint8), 1, bptt=64, seed=3, block=128)
    blocks = streams._blocks
    begins = np.array(
        [int(streams.positions(s)[0]) for s in range(0, blocks * streams._chunks, streams._chunks)]
    )
    for read in {max(1, blocks * share // 100) for share in (5, 10, 25, 40, 65, 95, 100)}:
        places = np.sort(begins[:read])
        gaps = np.diff(np.append(places, places[0] + size))
        assert gaps.max() < 2 * size / read


def test_there_are_about_as_many_blocks_as_asked_for_and_none_is_left_out() -> None:
    for count in (0.2, 1, 1.5, 7, 100, 12_345.6, 10**9):
        before, number = fibonacci(count)
        assert math.gcd(before, number) == 1
        assert 1 / 1.42 < number / max(1, count) < 1.42
    assert [fibonacci(n)[1] for n in (1, 2, 3, 4, 5, 6, 7)] == [1, 2, 3, 5, 5, 5, 8]


def test_about_one_chunk_in_a_hundred_starts_from_nothing() -> None:
    streams = Streams(np.zeros(10**7, np.uint8), batch_size=50, bptt=1, seed=1, block=0)
    share = np.mean([streams.chunk(step).fresh.mean() for step in range(1, 400)])
    assert share == pytest.approx(0.01, abs=0.002)


def test_a_chunk_depends_on_its_step_and_seed_alone() -> None:
    ids = np.random.default_rng(0).integers(9, size=5000).astype(np.uint8)
    ahead = Streams(ids, 8, 16, seed=5, block=500)
    for step in range(50):
        ahead.chunk(step)
    for a, b in zip(ahead.chunk(50), Streams(ids, 8, 16, seed=5, block=500).chunk(50), strict=True):
        assert np.array_equal(a, b)
    coins = [
        np.stack([Streams(ids, 8, 16, seed=s, block=0).chunk(t).fresh for t in range(1, 99)])
        for s in (5, 6)
    ]
    assert not np.array_equal(*coins)


@pytest.mark.parametrize("size", [64, 100, 2047, 2048, 5000])
def test_batch_and_chunk_shrink_until_the_text_fills_them(size: int) -> None:
    batch_size, bptt = fit(32, 64, size)
    assert batch_size * bptt <= size
    assert batch_size * bptt * 2 > min(size, 2048)
    assert batch_size > 1
    assert bptt > 1


def test_frequencies_count_the_whole_text_and_are_never_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textgen.text.mapped.COUNTED", 3)  # several blocks
    ids = np.array([0, 1, 1, 3, 3, 3, 3], np.uint8)
    assert frequencies(counts_of(ids, 5)).tolist() == pytest.approx(
        [2 / 12, 3 / 12, 1 / 12, 5 / 12, 1 / 12]
    )


def test_in_the_longest_text_blocks_begin_where_they_should() -> None:
    """Products of places and lengths do not fit in 64 bits there."""
    size = 10**12
    text = np.broadcast_to(np.uint8(1), size)
    streams = Streams(text, batch_size=64, bptt=32, seed=0, block=1024)
    for step in (0, 10**6, 10**8):
        expected = []
        for stream, (turn, read) in enumerate(zip(*streams._turns(step), strict=True)):
            passes, number = divmod(int(turn) * 64 + stream, streams._blocks)
            begin = number * streams._stride % streams._blocks * size // streams._blocks
            expected.append((streams._begin(passes) + begin + int(read) * 32) % size)
        assert streams.positions(step).tolist() == expected
