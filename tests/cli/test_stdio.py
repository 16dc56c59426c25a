from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from textgen.cli import saving

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
ENTRY = shlex.join([sys.executable, "-c", "from textgen.__main__ import main; main()"])
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def shell(trained: Path, tmp_path: Path) -> Shell:
    """Run a line in bash, in an empty folder; `textgen` is the command, `run` the trained run."""

    def run(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
        begin = f'set -o pipefail; run={trained}; textgen() {{ {ENTRY} "$@"; }}; '
        return subprocess.run(
            ["bash", "-c", begin + line],
            cwd=tmp_path,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


WRITERS = ["sample $run --seed 1", "info $run", "ls --checkpoints $run/..", "--help"]


@pytest.mark.parametrize(
    ("command", "to", "why"),
    [
        *((command, "/dev/full", "No space left") for command in WRITERS),
        (WRITERS[0], "&-", "it is closed"),
    ],
)
def test_a_stdout_that_takes_nothing_is_one_error(
    shell: Shell, command: str, to: str, why: str
) -> None:
    done = shell(f"textgen {command} >{to}")
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    assert error.startswith(f"error: cannot write to stdout: {why}")
    assert hint.startswith("hint: ")


@pytest.mark.parametrize("command", [*WRITERS, "eval -c $run", "info $run --json"])
def test_a_reader_that_leaves_ends_a_command_silently(shell: Shell, command: str) -> None:
    done = shell(f"textgen {command} | true")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_of_events_that_leaves_ends_training_and_the_run_is_saved(
    shell: Shell, corpus: Path
) -> None:
    small = "--hidden 8 --embedding 4 --batch-size 2 --bptt 8 --precision fp32 --steps 1000000"
    done = shell(f"textgen train {corpus} {small} --json | head -n 3")
    assert (done.returncode, done.stderr) == (0, "")
    assert shell("textgen info").returncode == 0


def test_messages_that_cannot_be_written_are_dropped(shell: Shell) -> None:
    for to in ("/dev/full", ">(true)"):
        done = shell(f"textgen sample $run --length 9 -p x --unknown skip 2> {to}")
        assert (done.returncode, len(done.stdout), done.stderr) == (0, 10, "")


def test_no_file_takes_the_place_of_a_closed_stream(shell: Shell) -> None:
    done = shell("textgen sample $run --length 9 <&- 2>&- --save-state state; echo; wc -c <state")
    assert done.returncode == 0
    assert done.stdout[9] == "\n"
    assert int(done.stdout[10:]) > 100
    assert shell("textgen sample $run --length 9 <&- >&- 2>&-").returncode == 1


def test_no_state_is_kept_of_a_text_that_lost_its_reader_and_it_is_said(shell: Shell) -> None:
    done = shell("textgen sample $run --seed 1 --length 0 --save-state s | head -c 9; test ! -e s")
    assert (done.returncode, len(done.stdout)) == (0, 9)
    told = "the text has no reader any more; its state is not kept in s"
    assert done.stderr == f"note: {told}\n"


@pytest.mark.parametrize(("code", "why"), [(0, "has no reader any more"), (130, "is not whole")])
def test_why_no_state_is_kept_is_said(
    code: int, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit), saving.told(Path("s")):
        sys.exit(code)
    assert capsys.readouterr().err == f"note: the text {why}; its state is not kept in s\n"


# Locales


def test_what_ascii_lacks_is_escaped_and_noted(shell: Shell, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "caf\u00e9.txt").write_bytes(corpus.read_bytes())
    done = shell("textgen eval -c $run caf*.txt", **ASCII)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].endswith(r"caf\ufffd\ufffd.txt")
    assert done.stderr == "note: ascii lacks some characters; they are escaped, as \\xe9 is\n"
    assert shell("textgen --help", **ASCII).stderr == ""


def test_a_path_that_the_locale_cannot_write_is_one_error(shell: Shell) -> None:
    done = shell("textgen info $'caf\\xc3\\xa9' --checkpoints $'caf\\xc3\\xa9'", **ASCII)
    assert done.returncode == 1
    assert "unexpected" not in done.stderr


# Prompts


def written(shell: Shell, line: str) -> str:
    done = shell(line)
    assert done.returncode == 0, done.stderr
    return done.stdout


SAMPLE = "textgen sample $run --length 5 --seed 1"


def test_a_pipe_that_is_idle_is_left_alone_and_that_is_noted(shell: Shell) -> None:
    done = shell(f"{SAMPLE} < <(sleep 30 & echo $! > pid; wait); kill $(cat pid)")
    assert len(done.stdout) == 5
    assert done.stderr.startswith("note: nothing is in the pipe yet; -f - waits for it")


def test_a_prompt_is_read_from_wherever_it_comes(shell: Shell) -> None:
    expected = written(shell, f"{SAMPLE} -p 'The fox'")
    for line in (
        f"printf 'The fox' | {SAMPLE}",
        f"(sleep 1; printf 'The fox') | {SAMPLE} -f -",
        f"printf 'The fox' | {SAMPLE} -f /dev/stdin",
        f"{SAMPLE} -f <(printf 'The fox')",
        f"printf 'The fox' > file; {SAMPLE} < file",
        f"printf 'The fox' > file; {SAMPLE} -f - < file",
    ):
        assert written(shell, line) == expected, line


def test_a_prompt_from_a_pipe_is_read_as_one_from_a_file(shell: Shell) -> None:
    expected = written(shell, f"{SAMPLE} -p $'The fox\\nran'")
    text = "\\xef\\xbb\\xbfThe fox\\r\\nran"
    for end in ("-f file", "-f - < file", "< file", "-f /dev/stdin < file"):
        assert written(shell, f"printf '{text}' > file; {SAMPLE} {end}") == expected, end


def test_a_prompt_from_a_pipe_is_in_the_encoding_of_the_text(shell: Shell) -> None:
    text = r"printf 'caf\xe9 au lait\n%.0s' $(seq 50) > a.txt"
    quick = "--steps 2 --hidden 8 --embedding 4 --batch-size 2 --bptt 8 --precision fp32"
    written(shell, f"{text}; textgen train a.txt --encoding latin-1 {quick}")
    sample = "textgen sample a --seed 1 --length 5"
    expected = written(shell, f"{sample} -p café")
    assert expected.startswith("café")
    for way in ("-f file", "-f - < file", "< file"):
        assert written(shell, rf"printf 'caf\xe9' > file; {sample} {way}") == expected, way
    refused = shell(r"printf 'caf\xe9' | textgen sample $run")
    assert "byte offset 3: 0xE9 is not valid utf-8" in refused.stderr


def test_a_loop_keeps_the_lines_that_it_reads(shell: Shell) -> None:
    loop = f"while read x; do echo $x; {SAMPLE} --no-echo; echo; done < names"
    out = written(shell, f"printf 'one\\ntwo\\n' > names; {loop}")
    assert out.splitlines()[::2] == ["one", "two"]


def test_a_text_to_score_may_come_from_a_pipe(shell: Shell, corpus: Path) -> None:
    out = written(shell, f"textgen eval -c $run {corpus} <(cat {corpus}) /dev/stdin < {corpus}")
    out += written(shell, f"textgen eval -c $run - < {corpus}")
    scores = [line.rpartition("  ")[0] for line in out.splitlines() if "nats/char" in line]
    assert len(scores) == 4
    assert len(set(scores)) == 1


def test_folders_and_archives_are_scored_as_the_text_of_their_files(
    shell: Shell, corpus: Path
) -> None:
    parts = f"mkdir parts; head -c 2000 {corpus} > parts/a; tail -c +2001 {corpus} > parts/b"
    packed = "tar -c parts/a parts/b > parts.tar; gzip < parts.tar > parts.tar.gz"
    score = f"textgen eval -c $run {corpus} parts parts.tar parts.tar.gz"
    out = written(shell, f"{parts}; {packed}; {score}; rm -r parts parts.tar*")
    scores = [line.rpartition("  ")[0] for line in out.splitlines() if "nats/char" in line]
    assert len(scores) == 4
    assert len(set(scores)) == 1


def test_a_run_is_not_resumed_from_what_is_piped_in(shell: Shell, corpus: Path) -> None:
    done = shell(f"textgen resume $run --steps 5 --corpus - < {corpus}")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: - is a pipe; expected a file, for a run is resumed from its corpus",
        "hint: save it first, for example: cat > corpus.txt",
    ]


def test_a_line_that_is_not_utf_8_is_a_turn_like_any_other(shell: Shell) -> None:
    done = shell("printf '/length 5\\n\\xff\\nThe\\n' | textgen play $run")
    assert (done.returncode, len(done.stdout)) == (0, 9)
    assert "error: the prompt has a character the model never saw" in done.stderr


# Ctrl-C


def test_ctrl_c_while_the_command_line_is_imported_ends_it_without_a_traceback() -> None:
    program = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's `&` ignores it
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'textgen.cli.app':\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from textgen.__main__ import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_copy_of_what_is_piped_in_goes_when_it_is_stopped_on_the_way(
    tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "textgen", "train", "-", "--steps", "1"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stderr": subprocess.DEVNULL}

    def heed() -> None:  # though nohup had it ignored
        signal.signal(number, signal.SIG_DFL)

    with subprocess.Popen(command, cwd=tmp_path, preexec_fn=heed, **pipes) as process:
        assert process.stdin is not None
        process.stdin.write(b"the fox\n" * 100_000)
        process.stdin.flush()
        copy, end = tmp_path / "checkpoints" / "stdin" / "input-1.txt", time.monotonic() + 60
        while not (copy.exists() and copy.stat().st_size) and time.monotonic() < end:
            time.sleep(0.05)
        assert copy.stat().st_size  # what is there is kept before there is more
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    assert [*tmp_path.iterdir()] == []


def test_ctrl_c_five_times_when_a_run_is_saved_ends_with_the_code_of_one(
    corpus: Path, tmp_path: Path
) -> None:
    small = "--hidden 8 --embedding 4 --batch-size 2 --bptt 8 --precision fp32 --steps 1000000"
    process = subprocess.Popen(
        [*shlex.split(ENTRY), "train", corpus, *small.split(), "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stderr
    for _ in range(3):
        process.stdout.readline()
    reader = threading.Thread(target=process.stdout.read)  # it must not wait to be read
    reader.start()
    process.send_signal(signal.SIGINT)
    assert "saved; go on with" in process.stderr.readline()
    for _ in range(5):
        process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 130
    reader.join()
    process.stdout.close()
    assert rest.strip() == ""


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["sample", "--temp=x"], 2)])
@pytest.mark.parametrize("many", [False, True])
def test_one_of_many_processes_ends_without_the_last_steps_of_python(
    arguments: list[str], code: int, many: bool
) -> None:
    program = (
        "import atexit, sys\n"
        "atexit.register(print, 'last steps')\n"
        f"sys.argv[1:] = {arguments}\n"
        "from textgen.__main__ import main\n"
        "main()"
    )
    place = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, **(place if many else {})},
    )
    assert done.returncode == code
    assert ("last steps" in done.stdout) is not many
    assert bool(done.stderr) is bool(code)
    assert ("textgen" in done.stdout) is not bool(code)


def test_a_signal_ends_one_of_many_processes_so_too() -> None:
    program = (
        "import atexit, sys\n"
        "atexit.register(print, 'last steps')\n"
        "from textgen.cli import app\n"
        "app._commands = lambda: lambda **_: sys.exit(143)\n"
        "app.main()"
    )
    place = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **place})
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")
