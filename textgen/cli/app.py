"""The commands, and the boundary where an error becomes two lines and an exit code."""

import os
import sys
from typing import Annotated

import typer

import textgen
from textgen.cli import eval, info, ls, play, resume, sample, train
from textgen.cli.terminal import report_error
from textgen.errors import TextgenError

# Idle OpenMP threads spin; on a busy machine this keeps the thread they wait for from running. A
# short spin is as fast on an idle machine and many times faster on a busy one. It must be set
# before torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

INTERRUPTED = 130  # 128 + SIGINT

app = typer.Typer(
    name="textgen",
    help="Train a small character model on a text file, and write with it.",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("resume")(resume.resume)
app.command("sample")(sample.sample)
app.command("play")(play.play)
app.command("eval")(eval.evaluate)
app.command("info")(info.info)
app.command("ls")(ls.ls)


def _version(asked: bool) -> None:
    if asked:
        print(f"textgen {textgen.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


def main() -> None:
    """The entry point of the `textgen` command."""
    try:
        code = app(standalone_mode=False)
    except TextgenError as error:
        if os.environ.get("TEXTGEN_DEBUG"):
            raise
        report_error(error.message, error.hint)
        code = error.exit_code
    except typer.TyperException as error:  # what the parser found
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "textgen"
        report_error(error.format_message(), f"{command} --help shows what it takes")
        code = 2
    except BrokenPipeError:  # the reader has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except (KeyboardInterrupt, typer.Abort):
        if os.environ.get("TEXTGEN_DEBUG"):
            raise
        print(file=sys.stderr)
        code = INTERRUPTED
    except Exception as error:
        if os.environ.get("TEXTGEN_DEBUG"):
            raise
        report_error(
            f"unexpected {type(error).__name__}: {error}",
            "TEXTGEN_DEBUG=1 shows where; please report it",
        )
        code = 1
    sys.exit(code)
