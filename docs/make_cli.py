"""Write docs/cli.md from the commands' own help.

python docs/make_cli.py
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "cli.md"
KEPT = {"PATH", "SYSTEMROOT"}  # of the environment; what else is set could change the help
FIXED = {"COLUMNS": "80", "NO_COLOR": "1", "PYTHONUTF8": "1", "TERM": "dumb"}
INTRODUCTION = """\
# The command line

Made from `--help` by `python docs/make_cli.py`.

**Exit codes**: 0 done, 1 failed, 2 wrong usage; 130 interrupted by Ctrl-C, 143 by `kill`, 129 by a
closed terminal (`train`, `resume` and `compare` save first). `serve` ends with 0 at Ctrl-C and
`kill`. An error is two lines on stderr: what was found and what was expected, and a hint that can
be typed.

**Streams**: data goes to stdout, all else to stderr. Data is text from `sample`, `play` and `fill`,
what the other commands find out, and with `--json` one object per line; `train` and `resume` have
no other, and `rm`, `clean`, `cache clear`, `export`, `plot`, `report` and `serve` none. A reader
that closes stdout early, as `head` does, ends a command silently, with exit code 0; any other
failure to write there is an error. What cannot be written to stderr is dropped.
Characters that the encoding of stdout lacks are escaped, as `\\xe9`, and a note says so; text from
`sample`, `play` and `fill` is UTF-8 in a pipe or a file, whatever the locale.

**Prompts**: without `--prompt` and `--prompt-file`, `sample` takes what is piped into stdin, if
something is there when it begins to write, or a file that stdin was redirected from, if nobody read
of it before; so `while read x; do textgen sample; done < names` leaves the names to `read`.
`-f -` waits for stdin to end, and `-p ''` leaves it alone.

**Texts**: pipes, `/dev/stdin` and `<(command)` can be prompts and texts to score, and a corpus of
`train`, which keeps a copy: a run is resumed from it. Devices are refused.

**`--stop`** ends the text before a stop text. Of stop texts that overlap, the one that begins first
counts. The state that `--save-state` keeps is that of the text written: no stop text is in it.
"""
HELP = """
from textgen.cli.app import app

for name in ("", *(command.name for command in app.registered_commands)):
    print("\\f" + f"textgen {name}".strip())
    app([*name.split(), "--help"], prog_name="textgen", standalone_mode=False)
"""


def page() -> str:
    """The text of docs/cli.md."""
    environment = {name: os.environ[name] for name in KEPT & os.environ.keys()} | FIXED
    command = [sys.executable, "-c", HELP]
    made = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    sections = [INTRODUCTION]
    for section in made.stdout.decode().split("\f")[1:]:
        name, *lines = (line.rstrip() for line in section.splitlines())
        text = "\n".join(lines).strip("\n")
        sections.append(f"## {name}\n\n```text\n{text}\n```\n")
    return "\n".join(sections)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
