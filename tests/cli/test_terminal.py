from __future__ import annotations

import io
import unicodedata
from dataclasses import fields
from datetime import timedelta

import pytest

from textgen.cli import terminal
from textgen.cli.session import SPELLINGS
from textgen.cli.terminal import clock, harmless, report_exception, short, spelled, spelling
from textgen.config import Choices, SamplingOptions
from textgen.errors import TextgenError, UsageError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


# Settings as they are typed


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("`lr` is 0", "--lr is 0"),
        ("try `lr=0.1`", "try --lr 0.1"),
        ("try `weight_drop=0.2` or `batch_size=8`", "try --weight-drop 0.2 or --batch-size 8"),
        ("`val_file=my tale.txt` is empty", "--val-file my tale.txt is empty"),
        ("say `files=FILE`, `run=NAME`", "say --files FILE, --run NAME"),
        ("add `overwrite`", "add --overwrite"),
        ("`hidden=128,64`", "--hidden 128,64"),
        ("`stop=`", "--stop "),
        ("`banana` and `banana=3` stay, as `--lr` does", None),
        ("`lr and lr` and lr=0.1 stay", None),
        ("`lr=0.1 stays", None),
        ("", None),
    ],
)
def test_settings_in_backticks_become_flags(text: str, typed: str | None) -> None:
    assert spelled(text, {}) == (text if typed is None else typed)


def test_every_setting_has_a_flag_of_its_name() -> None:
    for owner in (Choices, SamplingOptions):
        for name in (field.name for field in fields(owner)):
            flag = "--" + name.replace("_", "-")
            assert spelled(f"a `{name}`, `{name}=1`.", {}) == f"a {flag}, {flag} 1."


def test_a_command_may_spell_settings_its_own_way() -> None:
    flags = {"files": "--corpus", "temperature": "/temp"}
    assert spelled("`files=x` `temperature` `top_k`", flags) == "--corpus x /temp --top-k"


def test_errors_raised_within_are_spelled_on_their_way_out() -> None:
    with pytest.raises(UsageError) as caught, spelling(files="--corpus"):
        raise UsageError("`files` is gone", "try `files=x` or `lr=1`")
    assert caught.value.message == "--corpus is gone"
    assert caught.value.hint == "try --corpus x or --lr 1"
    with pytest.raises(ValueError, match="`files`"), spelling(files="--corpus"):
        raise ValueError("`files`")  # not one of ours
    with pytest.raises(TextgenError) as caught, spelling():
        raise TextgenError("it broke")
    assert (caught.value.message, caught.value.hint) == ("it broke", "")


def test_every_command_of_play_has_its_spelling() -> None:
    assert {name: spelled(f"`{name}`", SPELLINGS) for name in SPELLINGS} == SPELLINGS
    assert SPELLINGS["top_k"] == "/top-k"


def test_an_error_is_two_lines_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.report_error("a\n `lr`\tis\x1b[2J", "try\n\n`lr=0.1`")
    terminal.report_error("no hint")
    terminal.note("a `lr=2`\x07")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "error: a --lr is\u241b[2J\nhint: try --lr 0.1\nerror: no hint\na --lr 2\u2407\n"
    )


def test_a_gpu_without_memory_is_no_bug_to_report(capsys: pytest.CaptureFixture[str]) -> None:
    exhausted = type("OutOfMemoryError", (RuntimeError,), {})
    assert report_exception(exhausted("CUDA out of memory.\nSee documentation")) == 1
    err = capsys.readouterr().err
    assert "CUDA out of memory." in err
    assert "--device cpu" in err
    assert "unexpected" not in err


def test_errors_are_red_where_a_person_looks_and_wants_colour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = []
    for environment in ({"TERM": "xterm"}, {"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}):
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.setattr("sys.stderr", Terminal())
            terminal.report_error("x")
            shown.append(terminal.sys.stderr.getvalue())
    assert shown == ["\033[1;31merror:\033[0m x\n", "error: x\n", "error: x\n"]
    assert not terminal.looking(io.StringIO())
    assert not terminal.looking(None)


def test_what_goes_to_a_terminal_that_only_prints_lines_is_harmless_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("sys.stdout", Terminal())
    with terminal.Output() as output:
        output.write("a\x1b[2J")
        assert terminal.sys.stdout.getvalue() == "a\u241b[2J"


# Text made harmless


def test_no_character_that_a_terminal_obeys_is_left() -> None:
    every = "".join(map(chr, range(0x3000))) + "".join(map(chr, range(0xD800, 0xE000)))
    shown = harmless(every)
    assert len(shown) == len(every)
    for before, after in zip(every, shown, strict=True):
        turns = unicodedata.bidirectional(before) in {
            *("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"),
        }
        obeyed = unicodedata.category(before) in ("Cc", "Cs") or turns
        assert (before != after) == (obeyed and before not in "\n\t"), hex(ord(before))
    assert shown.encode("utf-8")
    assert harmless(shown) == shown


def test_a_control_character_is_shown_as_its_picture() -> None:
    for code in {*range(32), 127} - {9, 10}:
        name = unicodedata.name(harmless(chr(code)))
        assert name.startswith("SYMBOL FOR "), code
    assert unicodedata.name(harmless("\x7f")) == "SYMBOL FOR DELETE"


# Numbers made short


def test_a_clock_shows_what_a_clock_shows() -> None:
    for seconds in (0, 0.4, 9, 59.4, 59.6, 60, 599, 3599.4, 3599.6, 3600, 35_999, 86_399):
        full = str(timedelta(seconds=round(seconds)))  # 0:00:07
        assert clock(seconds) == full.removeprefix("0:").removeprefix("0" * full.startswith("0:"))
    assert clock(100 * 3600) == "100:00:00"


def test_a_short_number_is_right_to_three_digits() -> None:
    factors = {"k": 1e3, "M": 1e6, "G": 1e9}
    for number in (0, 0.5, 7, 999, 999.4, 1000, 1234, 99_949, 999_499, 999_500, 1e6, 4.56e8, 2e9):
        text = short(number)
        value = float(text.rstrip("kMG")) * factors.get(text[-1], 1)
        assert value == pytest.approx(number, rel=0.005)
        assert len(text) <= 5
    assert short(999_500) == "1M"  # and not 1e+03k
