"""Whatever befalls a run in training, it loses at most one save interval and resumes exactly."""

from __future__ import annotations

import faulthandler
from collections import Counter
from collections.abc import Callable

import pytest
from faults.kinds import KINDS
from faults.trials import Ground, Skipped, Trial


def befall(ground: Ground, kind: Callable[[Trial], None], seed: int) -> None:
    """One fault, and what must hold after it."""
    with ground.befallen(kind, seed) as trial:
        if not trial.checked:  # a small disk is checked while it is there
            trial.check()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_nothing_is_lost_and_resuming_is_exact(
    ground: Ground, kind: Callable[[Trial], None]
) -> None:
    try:
        befall(ground, kind, seed=1)
    except Skipped as reason:
        pytest.skip(str(reason))


@pytest.mark.faults
def test_many_random_faults(ground: Ground, request: pytest.FixtureRequest) -> None:
    """The long form: `pytest -m faults -n 0 -s --count 300 --seed 1 tests/faults`."""
    faulthandler.cancel_dump_traceback_later()  # it takes minutes
    count, seed = (request.config.getoption(name) for name in ("--count", "--seed"))
    done: Counter[str] = Counter()
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    for number in range(seed * 1_000_000, seed * 1_000_000 + count):
        kind = KINDS[number % len(KINDS)]
        try:
            befall(ground, kind, number)
            done[kind.__name__] += 1
        except Skipped as reason:
            skipped[kind.__name__] = str(reason)
        except Exception as error:
            failed[f"{kind.__name__}, seed {number}"] = str(error)
            print(f"\n{kind.__name__}, seed {number}: {error}", flush=True)
    print(f"\n{done.total()} faults without loss, {len(failed)} with, seed {seed}: {dict(done)}")
    print(f"skipped: {skipped}")
    assert not failed
