from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from conftest import prose, train

import textgen
from textgen.cli import app, parse, terminal
from textgen.errors import UsageError
from textgen.inference.backward import BackwardWriter
from textgen.inference.stepper import Stepper
from textgen.inference.text_model import TextModel
from textgen.inference.writer import Position, Writer

SMALL = "--hidden 12 --embedding 6 --batch-size 4 --bptt 16 --precision fp32 --lr 0.02".split()


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Run the command line in this process."""

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["textgen", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            app.main()
        captured = capsys.readouterr()
        return Result(caught.value.code or 0, captured.out, captured.err)

    return call


def test_train_then_sample_then_eval(run, corpus: Path, tmp_path: Path) -> None:
    where = ["--checkpoints", tmp_path]
    trained = run("train", corpus, *where, *SMALL, "--steps", 40, "--eval-every", 20)
    assert trained.code == 0
    assert trained.out == ""
    lines = trained.err.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("step ")] == [
        ["step", "20"],
        ["step", "40"],
    ]
    assert lines[-1] == f"write with it: textgen sample tales --checkpoints {tmp_path}"
    assert all(len(line) <= 80 for line in lines if not line.startswith(("run", "write")))

    written = run("sample", *where, "--seed", 5, "--length", 100, "-p", "The fox")
    assert written.code == 0
    assert written.out.startswith("The fox")
    assert len(written.out) == len("The fox") + 100
    assert written.err == ""
    assert run("sample", *where, "--seed", 5, "--length", 100, "-p", "The fox").out == written.out

    scored = run("eval", *where, "--json")
    figures = json.loads(scored.out)
    assert figures["characters"] == 399
    assert figures["bits_per_char"] == pytest.approx(figures["nats_per_char"] / math.log(2))
    metrics = (tmp_path / "tales" / "metrics.jsonl").read_text().splitlines()
    assert figures["nats_per_char"] == pytest.approx(json.loads(metrics[-1])["val_nats"], abs=1e-4)


def test_a_seed_is_told_when_none_is_given(run, trained: Path) -> None:
    first = run("sample", trained, "--length", 50)
    word, seed = first.err.split()
    assert word == "seed"
    assert run("sample", trained, "--length", 50, "--seed", seed).out == first.out


def test_several_texts_are_those_of_their_numbers(run, trained: Path) -> None:
    three = run("sample", trained, "--seed", 1, "--length", 40, "--num", 3).out
    model = textgen.load(trained)
    texts = ["".join(model.generate(length=40, seed=1, number=n)) for n in range(3)]
    assert three == "".join(text + "\n" for text in texts)


def test_what_several_texts_go_on_from_is_read_once(
    run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("sample", trained, "--seed", 4, "--length", 3, "--save-state", tmp_path / "state")
    asked = ["sample", trained, "--seed", 4, "--length", 20, "-p", "the fox said"]
    model, begun = textgen.load(trained), Position.load(tmp_path / "state")
    for more, position in (([], None), (["--load-state", tmp_path / "state"], begun)):
        both = run(*asked, *more, "--num", 2, "--no-echo").out
        how: dict[str, Any] = {"seed": 4, "length": 20, "position": position}
        alone = [model.generate("the fox said", number=number, **how) for number in range(2)]
        assert both == "".join(f"{''.join(text)}\n" for text in alone)
    read, steps = Writer._read, []

    def counted(stepper: Stepper, ids: list[int]) -> int:
        steps.append(len(ids) - 1)
        return read(stepper, ids)

    monkeypatch.setattr(Writer, "_read", staticmethod(counted))
    run(*asked, "--num", 3)
    assert sum(steps) == len("the fox said") - 1


def test_texts_are_written_side_by_side(run, trained: Path) -> None:
    result = run("sample", trained, "--seed", 1, "--length", 30, "--num", 3, "--batch", "--json")
    texts = [json.loads(line)["text"] for line in result.out.splitlines()]
    assert texts == list(textgen.load(trained).generate_many(num=3, length=30, seed=1))
    refused = run("sample", trained, "--batch", "--length", 0)
    assert refused.code == 2
    assert "--batch" in refused.err


def test_json_tells_all_that_is_needed_to_repeat_a_text(run, trained: Path) -> None:
    options = ["--temp", 0.5, "--top-k", 9, "--top-p", 0.9, "--min-p", 0.01, "--stop", "moon"]
    out = run("sample", trained, "--seed", 4, "--length", 60, "-p", "The ", *options, "--json").out
    facts = json.loads(out)
    model = textgen.load(trained)
    names = ("length", "temperature", "top_k", "top_p", "min_p", "seed", "number", "stop")
    again = model.generate(facts["prompt"], **{name: facts[name] for name in names}, score=True)
    assert "".join(again) == facts["text"]
    assert again.nats_per_char == pytest.approx(facts["nats_per_char"])
    digest = hashlib.sha256((trained / "best.safetensors").read_bytes()).hexdigest()
    assert facts["digest"] == digest


def test_a_state_is_put_away_and_taken_up(run, trained: Path, tmp_path: Path) -> None:
    common = ["sample", trained, "--seed", 7]
    whole = run(*common, "--length", 200, "-p", "The ").out
    state = tmp_path / "state"
    first = run(*common, "--length", 80, "-p", "The ", "--save-state", state).out
    second = run(*common, "--length", 120, "--load-state", state)
    assert first + second.out == whole
    assert run("sample", trained, "--length", 120, "--load-state", state).out == second.out


def test_the_prompt_is_left_out_on_demand(run, trained: Path) -> None:
    with_it = run("sample", trained, "--seed", 1, "--length", 9, "-p", "The ").out
    without = run("sample", trained, "--seed", 1, "--length", 9, "-p", "The ", "--no-echo").out
    assert with_it == "The " + without


def test_a_prompt_can_be_piped_in(trained: Path) -> None:
    arguments = ["-m", "textgen", "sample", trained, "--seed", "1", "--length", "20"]
    done = subprocess.run([sys.executable, *arguments], input=b"The king ", capture_output=True)
    expected = textgen.load(trained).generate("The king ", length=20, seed=1)
    assert done.stdout.decode() == "The king " + "".join(expected)


def test_a_prompt_of_a_model_of_lines_may_end_with_its_newline(
    run, lines: Path, tmp_path: Path
) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("th\n")
    where = ["sample", lines, "--seed", 1, "--length", 9]
    expected = run(*where, "-p", "th").out
    assert run(*where, "-f", file).out == expected
    arguments = [sys.executable, "-m", "textgen", *map(str, where)]
    piped = subprocess.run(arguments, input=b"th\n", capture_output=True)
    assert piped.stdout.decode() == expected


def test_what_is_piped_in_stands_after_a_text_that_is_written_backward(
    corpus: Path, tmp_path: Path
) -> None:
    train(corpus, tmp_path, run="back", steps=5, backward=True)
    arguments = ["-m", "textgen", "sample", tmp_path / "back", "--seed", "1", "--length", "20"]
    done = subprocess.run([sys.executable, *arguments], input=b" the king", capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().rstrip("\n").endswith(" the king")


def test_ctrl_c_ends_an_endless_text_and_keeps_its_state(trained: Path, tmp_path: Path) -> None:
    arguments = ["sample", trained, "--seed", "1", "--length", "0", "--save-state", tmp_path / "s"]
    process = subprocess.Popen(
        [sys.executable, "-m", "textgen", *arguments], stdout=subprocess.PIPE
    )
    begun = process.stdout.read(5000)
    process.send_signal(signal.SIGINT)
    begun += process.stdout.read()
    process.stdout.close()
    assert process.wait() == 130
    model = textgen.load(trained)
    position = Position.load(tmp_path / "s")
    further = "".join(model.generate(position=position, length=50))
    whole = "".join(model.generate(length=len(begun) + 50, seed=1))
    assert begun.decode() + further == whole


def test_a_prompt_comes_from_a_file_too(run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_bytes(b"The king\r\nsaid")
    out = run("sample", trained, "-f", tmp_path / "prompt.txt", "--length", 10, "--seed", 1).out
    assert out.startswith("The king\nsaid")


def test_eval_scores_files_and_names_what_is_unknown(run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The fox said never.\n")
    (tmp_path / "b.txt").write_text("The fox saïd §never§.\n")
    good = run("eval", tmp_path / "a.txt", "-c", trained)
    assert good.code == 0
    assert "nats/char" in good.out
    assert "19 characters" in good.out
    bad = run("eval", tmp_path / "b.txt", "-c", trained)
    assert bad.code == 1
    assert "U+00A7 SECTION SIGN) at character 14 and 1 more" in bad.err
    skipped = run("eval", tmp_path / "b.txt", "-c", trained, "--unknown", "skip", "--json")
    assert json.loads(skipped.out)["characters"] == 18
    assert "U+00EF" in skipped.err


def test_eval_scores_the_part_that_was_learned(run, trained: Path) -> None:
    train = json.loads(run("eval", "-c", trained, "--split", "train", "--json").out)
    assert train["characters"] == 3599


def test_eval_of_a_changed_text_says_how_to_score_it(run, tmp_path: Path) -> None:
    text = tmp_path / "tales.txt"
    text.write_text(prose(4000))
    where = ["--checkpoints", tmp_path / "runs"]
    run("train", text, *where, *SMALL, "--steps", 1)
    text.write_text(prose(4000, seed=1))
    changed = run("eval", *where)
    text.unlink()
    missing = run("eval", *where)
    for result, message in ((changed, "the corpus changed"), (missing, "no such file")):
        assert result.code == 1
        assert message in result.err
        assert "textgen eval -c RUN FILE" in result.err
        assert "resume" not in result.err


def test_json_is_one_event_a_line_and_nothing_else(run, corpus: Path, tmp_path: Path) -> None:
    result = run("train", corpus, "--checkpoints", tmp_path, *SMALL, "--steps", 10, "--json")
    events = [json.loads(line) for line in result.out.splitlines()]
    assert events[0]["event"] == "planned"
    assert events[-1]["event"] == "finished"
    assert result.err == ""


def test_bytes_that_are_no_text_are_told_in_json_too(run, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(bytes(range(128, 256)) * 20)
    options = [*SMALL, "--steps", 8, "--eval-every", 4, "--sample-every", 2, "--level", "byte"]
    result = run("train", tmp_path / "data.bin", "--checkpoints", tmp_path, *options, "--json")
    samples = [e["text"] for e in map(json.loads, result.out.splitlines()) if "text" in e]
    assert len(samples) == 4
    assert any("\udc80" <= c <= "\udcff" for c in "".join(samples))


def test_texts_side_by_side_that_are_not_whole_are_given_up_at_a_signal(
    run, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def many(*_: object, **__: object) -> Iterator[str]:
        yield "one"
        signal.raise_signal(signal.SIGTERM)
        yield "two"

    monkeypatch.setattr(TextModel, "generate_many", many)
    result = run("sample", trained, "--batch", "--num", 2, "--seed", 1, "-p", "")
    assert (result.code, result.out) == (143, "one\n")


def test_a_signal_while_the_prompt_is_read_ends_the_process(
    run, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    monkeypatch.setattr(Writer, "_read", read)
    result = run("sample", trained, "--seed", 1, "-p", "the", "--length", 5)
    assert (result.code, result.out) == (143, "")


def test_a_signal_while_a_text_is_written_backward_ends_the_process(
    run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(corpus, tmp_path, steps=1, backward=True)

    def drawn(_: object) -> str:
        signal.raise_signal(signal.SIGTERM)
        return "the fox"

    monkeypatch.setattr(BackwardWriter, "__next__", drawn)
    result = run("sample", tmp_path / "tales", "--seed", 1, "--before", "", "--length", 5)
    assert (result.code, result.out) == (143, "")


def test_info_and_ls_tell_of_a_run(run, trained: Path) -> None:
    told = run("info", trained).out
    for fact in ("lstm", "2 x 12", "60 of 60", "nats/char", "3,600 for training"):
        assert fact in told
    facts = json.loads(run("info", trained / "best.safetensors", "--json").out)
    assert facts["kind"] == "best"
    assert facts["parameters"] == 3262 + 1021 * 6
    header, row = run("ls", "--checkpoints", trained.parent).out.splitlines()
    assert header.split()[:3] == ["RUN", "MODEL", "STEPS"]
    assert header.split()[-2:] == ["SIZE", "SAVED"]
    assert row.split()[:4] == ["tales", "lstm", "12,12", "60/60"]
    listed = json.loads(run("ls", "--json", "--checkpoints", trained.parent).out)
    assert listed["size"] == sum(path.stat().st_size for path in trained.iterdir())
    assert row.split()[5] == f"{terminal.short(listed['size'])}B"


def test_without_a_corpus_it_trains_on_the_fables(run, tmp_path: Path) -> None:
    result = run("train", "--checkpoints", tmp_path, *SMALL, "--steps", 2)
    assert result.code == 0
    assert (tmp_path / "fables" / "best.safetensors").exists()


def test_a_plan_is_shown_and_nothing_is_written(run, corpus: Path, tmp_path: Path) -> None:
    result = run("train", corpus, "--checkpoints", tmp_path, *SMALL, "--steps", 2, "--dry-run")
    assert "4 x 16 characters" in result.err
    assert not list(tmp_path.iterdir())


def test_sampling_does_without_torch(trained: Path) -> None:
    code = (
        "import sys; from textgen.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as done: assert not done.code\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code, "sample", str(trained), "--length", "9"],
        check=True,
        capture_output=True,
        timeout=60,
    )


def test_a_reader_that_leaves_is_no_error(trained: Path) -> None:
    endless = f"{sys.executable} -m textgen sample {trained} --length 0 --seed 1 | head -c 3000"
    done = subprocess.run(endless, shell=True, capture_output=True, text=True, timeout=60)
    assert len(done.stdout) == 3000
    assert done.stderr == ""


def on_a_terminal(arguments: list[object], stdout: IO[bytes] | int) -> str:
    """What a command writes to stderr, a terminal of 80 columns; it ends with 0."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "textgen", *map(str, arguments)],
        stderr=follower,
        stdout=stdout,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"},
    )
    os.close(follower)
    seen = b""
    while True:
        try:
            seen += os.read(leader, 65536)
        except OSError:  # the other end is closed, everything was read
            break
    os.close(leader)
    assert process.wait() == 0
    return seen.decode()


def test_on_a_terminal_progress_is_drawn_and_in_a_pipe_it_is_not(
    corpus: Path, tmp_path: Path
) -> None:
    arguments = ["train", corpus, "--checkpoints", tmp_path, *SMALL, "--steps", "30"]
    text = on_a_terminal(arguments, stdout=subprocess.DEVNULL)
    assert "\x1b[" in text
    assert "chars/s" in text
    assert "it writes" in text
    assert "nats" in text
    assert "bits" in text


@pytest.mark.parametrize("flags", [["--json"], ["--json", "--lines"]])
def test_scores_go_to_stdout_where_somebody_looks_at_stderr(
    trained: Path, corpus: Path, tmp_path: Path, flags: list[str]
) -> None:
    arguments = ["eval", corpus, "-c", trained, *flags]
    with (tmp_path / "scores").open("wb") as file:
        assert "%" in on_a_terminal(arguments, stdout=file)
    lines = (tmp_path / "scores").read_text().splitlines()
    assert [json.loads(line) for line in lines]


def test_control_characters_are_shown_not_obeyed() -> None:
    assert terminal.harmless("a\x1b[2Jb\x07\x9b31m\n\tc") == "a\u241b[2Jb\u2407\ufffd31m\n\tc"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("3m", 180), ("1h30m", 5400), ("1.5m", 90), ("45", 45), ("0.5s", 0.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse.duration("time", text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "-3m", "3 m", "nan", "inf", "3d", "m3", "1e3s", "٣m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="`time`"):
        parse.duration("time", text)


def test_numbers_are_made_short() -> None:
    numbers = {999: "999", 1000: "1k", 45_600: "45.6k", 999_600: "1M", 1_234_567: "1.23M"}
    assert {n: terminal.short(n) for n in numbers} == numbers
    assert [terminal.clock(s) for s in (7, 61, 3700)] == ["0:07", "1:01", "1:01:40"]


def test_ctrl_c_on_a_terminal_leaves_no_mark_in_the_live_display(
    corpus: Path, tmp_path: Path
) -> None:
    """The terminal itself would echo ^C, and so push the display down by a line."""
    leader, follower = pty.openpty()
    arguments = ["train", corpus, "--checkpoints", tmp_path, *SMALL, "--steps", "100000"]

    def own_the_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [sys.executable, "-m", "textgen", *map(str, arguments)],
        stdin=follower,
        stdout=subprocess.DEVNULL,
        stderr=follower,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"},
        preexec_fn=own_the_terminal,
    )
    seen = b""
    while b"chars/s" not in seen:
        seen += os.read(leader, 65536)
    os.write(leader, b"\x03")
    while b"textgen resume" not in seen:
        seen += os.read(leader, 65536)
    assert process.wait(timeout=60) == 130
    assert b"^C" not in seen
    assert termios.tcgetattr(follower)[3] & termios.ECHOCTL  # as it was before
    os.close(leader)
    os.close(follower)


MEMORY = """
import os, sys, textgen
from pathlib import Path
from textgen.events import Stepped

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

options = {"hidden": (8,), "embedding": 4, "batch_size": 2, "bptt": 4, "precision": "fp32"}
options |= {"steps": 10**6, "eval_every": 10**6, "checkpoints": sys.argv[2]}
events = textgen.train(sys.argv[1], **options)
for event in events:
    if isinstance(event, Stepped) and event.step == 500:
        before = resident()
    if isinstance(event, Stepped) and event.step == 2000:
        break
print(resident() - before)
events.close()
model = textgen.load(Path(sys.argv[2]) / "tales")
sizes = []
model.score(Path(sys.argv[3]), progress=lambda _: sizes.append(resident()))
print(sizes[-1] - sizes[len(sizes) // 4])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_flat_in_training_and_scoring(corpus: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.txt"
    large.write_text(corpus.read_text() * 8)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(corpus), str(tmp_path), str(large)],
        capture_output=True,
        text=True,
        check=True,
    )
    training, scoring = map(int, done.stdout.split())
    # a loss tensor kept for each step was kept until the next validation, and pinned the heap
    assert training < 400_000
    assert scoring < 1 << 20


def test_a_model_that_reads_backward_writes_what_comes_before(
    run, corpus: Path, tmp_path: Path
) -> None:
    where = ["--checkpoints", tmp_path]
    trained = run("train", corpus, *where, *SMALL, "--steps", 20, "--backward", "--run", "back")
    assert trained.code == 0, trained.err
    written = run("sample", "back", *where, "--before", " the moon.", "--length", 30, "--seed", 1)
    assert written.code == 0, written.err
    assert written.out.endswith(" the moon.")
    assert len(written.out) == 30 + len(" the moon.")
    assert "read backward" in run("info", "back", *where).out

    refused = run("sample", "back", *where, "-p", "the")
    assert (refused.code, refused.err.splitlines()[-1][:5]) == (2, "hint:")
    assert "--before TEXT" in refused.err
    for length in ("--length", 0), ("--length", 0, "--before", "the"):
        refused = run("sample", "back", *where, *length)
        assert (refused.code, "--length 500" in refused.err) == (2, True)
    found = run("fill", "The fox", "moon.", "-b", "back", *where)
    assert "--checkpoint" in found.err
    assert "does not read forward" in found.err
    assert run("play", "back", *where).code == 2

    run("train", corpus, *where, *SMALL, "--steps", 20)
    refused = run("sample", "tales", *where, "--before", "the")
    assert "textgen train --backward" in refused.err
    filled = run(
        "fill", "The fox", "moon.", "-c", "tales", "-b", "back", *where, "--length", 6, "--num", 2
    )
    assert filled.code == 0, filled.err
    assert len(filled.out.splitlines()) >= 2
    os.utime(tmp_path / "back" / "last.safetensors")  # the latest, which reads backward
    latest = run("fill", "The fox", "moon.", "-b", "back", *where, "--length", 6, "--num", 2)
    assert latest.code == 0, latest.err
    few = run(
        "fill", "The", " fox", "-c", "tales", "-b", "back", *where, "--length", 1, "--num", 99
    )
    assert f"proposed {len(few.out.splitlines())} different texts, not 99" in few.err
    assert run("fill", "The", "moon.", "-c", "tales", "-b", "tales", *where).code == 2


def test_documents_are_written_one_on_a_line(run, lines: Path) -> None:
    where = [lines.name, "--checkpoints", lines.parent, "--temp", 1, "--length", 100]
    written = run("sample", *where, "--num", 20, "--seed", 1)
    assert written.code == 0
    assert len(written.out.splitlines()) == 20
    assert written.out.endswith("\n")
    for flags in ([], ["--batch"]):
        chosen = run("sample", *where, *flags, "--num", 20, "--seed", 1, "--unique", "--novel")
        words = chosen.out.splitlines()
        assert len({*words}) == len(words) == 20
        assert not {*words} & {*(lines.parent / "words.txt").read_text().splitlines()}
    prompted = run("sample", *where, "--num", 5, "-p", "fox", "--unique", "--json")
    texts = [json.loads(line)["text"] for line in prompted.out.splitlines()]
    assert len({*texts}) == len(texts) == 5


def test_what_goes_on_within_a_document_cannot_be_told_to_be_new(
    run, lines: Path, tmp_path: Path
) -> None:
    where = [lines.name, "--checkpoints", lines.parent, "--seed", 1]
    state = tmp_path / "state"
    run("sample", *where, "--length", 2, "--save-state", state)
    refused = run("sample", *where, "--load-state", state, "--novel")
    assert (refused.code, "whose beginning it lacks" in refused.err) == (2, True)
    run("sample", *where, "--length", 100, "--save-state", state)  # to its end
    assert run("sample", *where, "--load-state", state, "--novel").code == 0


def test_it_says_when_too_few_texts_are_new(run, lines: Path) -> None:
    where = [lines.name, "--checkpoints", lines.parent]
    written = run("sample", *where, "--num", 3, "--temp", 0, "--unique")
    assert written.code == 0
    assert len(written.out.splitlines()) == 1
    assert "note: of 150 texts 1 were new; 3 were asked for" in written.err


def test_where_no_text_is_new_no_state_is_kept_and_it_is_an_error(run, tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("a\nb\n" * 40)
    where = ["--checkpoints", tmp_path]
    assert run("train", text, *where, *SMALL, "--steps", 60, "--documents", "line").code == 0
    keep = ["--save-state", tmp_path / "s"]
    written = run("sample", *where, "--novel", "--temp", 0, "--seed", 1, *keep)
    assert (written.code, written.out) == (1, "")
    assert f"error: no state is kept in {tmp_path / 's'}" in written.err


def test_what_stands_between_documents_stands_between_texts(run, tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("\n%\n".join(["one\ntwo", "three\nfour", "five\nsix"] * 9))
    where = ["--checkpoints", tmp_path]
    trained = run("train", text, *where, *SMALL, "--steps", 5, "--documents", r"\n%\n")
    assert trained.code == 0
    assert "24 of 27 documents (88.9%) are duplicates" in trained.err
    assert run("sample", *where, "--num", 3, "--length", 9).out.count("\n%\n") == 3
    info = run("info", *where)
    assert r"documents \n%\n," in info.out
    assert "held out 0.1 of the documents" in info.out
    command = run("info", *where, "--command").out
    assert r"'--documents=\n%\n' --no-dedupe" in command


def test_playing_goes_on_with_another_document(lines: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "textgen", "play", lines.name, "--checkpoints", str(lines.parent)],
        input="/seed 1\nfox\n\n\n",
        capture_output=True,
        text=True,
        check=True,
    )
    said = result.stdout.split("\n")
    assert said[0].startswith("fox")
    assert len(said) == 4  # three turns of one document each, and nothing after the last line end


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["compare", "TEXT", "--cell", "rnn,gru", "--seeds", "0", "--steps", "2"], "--seeds"),
        (["memory", "--recall", "--seed", "-1"], "--seed"),
        (["memory", "--recall", "--time", "0s"], "--time"),
        (["memory", "--recall", "--time", "1e9d"], "--time"),
    ],
)
def test_numbers_of_a_study_are_checked_before_it_begins(
    run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*(corpus if word == "TEXT" else word for word in words))
    assert result.code == 2
    assert name in result.err
    assert result.out == ""


def test_hints_can_be_typed(run, trained: Path, tmp_path: Path) -> None:
    gone = run("sample", trained, "--novelty", "--length", 5)  # its text is a temporary file
    filled = run("fill", "a", "b", "-c", trained, "-b", trained)
    wide = run("compare", "x.txt", "--hidden", "64,wide")
    assert gone.code == 0 or "put the text back, or leave out --novelty" in gone.err
    assert "--backward-run is" in filled.err
    assert "hint: try --hidden 128,256" in wide.err


def test_what_eval_leaves_out_of_a_folder_is_told(run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the fox said\r\n")
    (tmp_path / "b.bin").write_bytes(b"\0")
    scored = run("eval", "-c", trained, tmp_path)
    assert scored.code == 0
    assert f"note: {tmp_path}: left out 1 binary" in scored.err
    assert "turned CRLF line ends into LF" in scored.err


def test_a_log_of_a_report_holds_no_control_codes(trained: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "textgen", "report", trained, "-o", tmp_path / "r.html"],
        env={**os.environ, "FORCE_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\x1b" not in done.stderr


def test_a_saved_text_that_was_not_the_first_of_its_seed_goes_on(
    run, trained: Path, tmp_path: Path
) -> None:
    model = textgen.load(trained)
    third = model.generate("The ", length=50, seed=7, number=3)
    begun = "".join(third)
    third.position.save(tmp_path / "state")
    rest = run("sample", trained, "--load-state", tmp_path / "state", "--length", 50).out
    whole = "".join(model.generate("The ", length=100, seed=7, number=3))
    assert begun + rest.rstrip("\n") == whole.rstrip("\n")


def test_the_terminal_folds_help_not_the_source() -> None:
    for command in app.app.registered_commands:
        assert command.help
        assert all("\n" not in paragraph for paragraph in command.help.split("\n\n"))


def test_what_is_shown_when_it_is_whole_has_an_end(run, trained: Path, lines: Path) -> None:
    where = [trained.name, "--checkpoints", trained.parent, "--length", 0]
    for flag in ("--json", "--unique"):
        refused = run("sample", *where, flag)
        assert (refused.code, refused.out) == (2, "")
        assert "with --length 0 it has no end" in refused.err
        assert "--stop TEXT" in refused.err
    ended = run("sample", *where, "--json", "--stop", ".", "--seed", 1)
    assert ended.code == 0, ended.err
    assert "." not in json.loads(ended.out)["text"]
    documents = run("sample", lines.name, "--checkpoints", lines.parent, "--length", 0, "--json")
    assert documents.code == 0, documents.err


def test_a_text_to_write_towards_comes_from_a_file_too(
    run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(corpus, tmp_path, steps=1, backward=True)
    (tmp_path / "end.txt").write_text(" the moon.")
    where = ["tales", "--checkpoints", tmp_path, "--length", 9, "--seed", 1]
    written = run("sample", *where, "-f", tmp_path / "end.txt")
    assert (written.code, written.out[9:]) == (0, " the moon."), written.err
    refused = run("sample", *where, "-f", tmp_path / "end.txt", "--before", "the")
    assert (refused.code, "--before and --prompt-file are both" in refused.err) == (2, True)
    monkeypatch.setattr("textgen.cli.stdio._something_in", lambda _: False)
    reading, writing = os.pipe()
    with open(reading) as empty:
        monkeypatch.setattr(sys, "stdin", empty)
        written = run("sample", *where)
    os.close(writing)
    assert written.code == 0
    assert "-f - waits for it, --before '' says that there is none" in written.err


@pytest.mark.parametrize(
    "words", [["train", ""], ["eval", ""], ["stats", ""], ["sample", "-f", ""], ["export", "a", ""]]
)
def test_an_empty_path_is_not_the_current_folder(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    (tmp_path / "a.txt").write_text(prose(3000))
    monkeypatch.chdir(tmp_path)
    refused = run(*words)
    assert (refused.code, "the path is empty" in refused.err) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
