from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations, product

import pytest
import typer

from textgen.cli.parse import duration, sampling, training, widths
from textgen.config import Choices, SamplingOptions
from textgen.errors import UsageError

SECONDS = {"h": 3600, "m": 60, "s": 1}


@pytest.mark.parametrize("units", [u for n in (1, 2, 3) for u in combinations("hms", n)])
def test_the_parts_of_a_duration_add_up(units: tuple[str, ...]) -> None:
    for numbers in product(("0", "1", "07", "90", "2.5"), repeat=len(units)):
        text = "".join(number + unit for number, unit in zip(numbers, units, strict=True))
        expected = sum(float(n) * SECONDS[u] for n, u in zip(numbers, units, strict=True))
        if expected:
            assert duration("time", text) == pytest.approx(expected)
        else:
            with pytest.raises(UsageError):
                duration("time", text)


@pytest.mark.parametrize(
    "text",
    [
        "1h30",
        "90 s",
        " 90s",
        "90s\n",
        "1.s",
        ".5s",
        "1,5m",
        "+3m",
        "1H",
        "3min",
        "1e2",
        "0",
        "1h1h",
        "5s3m",
        "1m2h",
        "",
    ],
)
def test_a_duration_that_cannot_be_told_is_named_with_one_that_can(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        duration("save_every", text)
    assert caught.value.message.startswith(f"`save_every` is {text!r}; expected a time above 0")
    typed = re.fullmatch(r"try `save_every=(.*)`", caught.value.hint)
    assert typed is not None
    assert duration("save_every", typed[1]) == 180


def test_durations_too_long_to_count_are_refused() -> None:
    with pytest.raises(UsageError):
        duration("time", "9" * 400 + "h")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("256", (256,)), ("128,64", (128, 64)), ("1,2,3,4", (1, 2, 3, 4)), ("-8,0", (-8, 0))],
)
def test_widths_are_whole_numbers_with_commas_between(text: str, expected: tuple[int]) -> None:
    assert widths(text) == expected  # whether they are within bounds is for `Choices` to say


@pytest.mark.parametrize(
    "text", ["", ",", "128,", ",128", "128,,64", "128;64", "128x64", "1.5", "1e3", "x", "9" * 5000]
)
def test_what_is_no_list_of_widths_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^`hidden` is '") as caught:
        widths(text)
    for typed in re.findall(r"`hidden=(.*?)`", caught.value.hint):
        assert widths(typed)


def test_what_is_not_given_is_left_to_the_planner() -> None:
    assert duration("time", None) is None
    assert widths(None) is None


@pytest.mark.parametrize(("make", "owner"), [(training, Choices), (sampling, SamplingOptions)])
def test_a_flag_has_the_help_of_its_setting(make: Callable[..., object], owner: type) -> None:
    for name, field in owner.__dataclass_fields__.items():
        flag = make(name, "A panel")
        assert isinstance(flag, typer.models.OptionInfo)
        assert (flag.help, flag.rich_help_panel) == (field.metadata["help"], "A panel")
