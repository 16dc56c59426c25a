"""textgen play: writing by turns; the state is carried from turn to turn."""

import sys

import typer

from textgen.cli.parse import CHECKPOINTS, Checkpoints, RunName
from textgen.cli.stdio import as_read
from textgen.cli.terminal import Output, coloured, note, report_exception, spelling
from textgen.errors import UsageError, quoted


def play(run: RunName = None, checkpoints: Checkpoints = CHECKPOINTS) -> None:
    """Write by turns with a model: you begin, it goes on.

    Ctrl-C stops the writing, Ctrl-D leaves, /help names the commands.
    """
    from textgen.cli.session import SPELLINGS, Session
    from textgen.inference.text_model import TextModel
    from textgen.store.runs import find_checkpoint

    session = Session(TextModel(find_checkpoint(run, checkpoints)))
    if session.model.backward:
        what = f"{session.model.header.path} reads backward, and play goes on forward"
        raise UsageError(what, f"textgen sample {quoted(session.model.header.path)} --before TEXT")
    note(f"{session.model.header.name}: type and it goes on; /help, Ctrl-D leaves")
    prompt, corpus = _prompt(), session.model.header.record.corpus
    while True:
        try:
            line = as_read(input(prompt), corpus).removesuffix("\n")
        except EOFError:
            note("")
            return
        except KeyboardInterrupt:  # drop the line that was being typed
            note("")
            continue
        try:
            with spelling(**SPELLINGS):
                if line.startswith("/"):
                    for part in session.command(line).split("\n"):
                        note(part)
                else:
                    with Output() as output:
                        session.turn(line, output)
        except typer.Exit:
            raise
        except KeyboardInterrupt:  # while a file is read, or a long prompt
            note("")
        except Exception as error:  # whatever it is, it costs no more than this turn
            report_exception(error)


def _prompt() -> str:
    """The prompt; line editing and history come with readline, where there is one."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return ""
    try:
        import readline  # noqa: F401 (input() uses it once it is imported)
    except ImportError:
        return "> "
    # \\001 and \\002 tell readline what takes no room on the line
    return "\001\033[1;36m\002>\001\033[0m\002 " if coloured(sys.stdout) else "> "
