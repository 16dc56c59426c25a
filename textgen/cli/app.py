"""The commands, and the boundary where an error becomes two lines and an exit code."""

import gc
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from inspect import cleandoc
from typing import Annotated, Any

import typer
from typer.main import get_command

import textgen
from textgen.cli import (
    cache,
    classify,
    clean,
    compare,
    eval,
    export,
    fill,
    info,
    inspect,
    ls,
    memory,
    play,
    plot,
    report,
    resume,
    rm,
    sample,
    serve,
    stats,
    train,
)
from textgen.cli.spinning import spin_shortly
from textgen.cli.terminal import report_error, report_exception
from textgen.errors import RankLost, UsageError
from textgen.training.launch import launch

spin_shortly()
app = typer.Typer(
    name="textgen",
    help="Train a small character model on a text file, and write with it.",
    invoke_without_command=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("resume")(resume.resume)
app.command("sample")(sample.sample)
app.command("play")(play.play)
app.command("fill")(fill.fill)
app.command("eval")(eval.evaluate)
app.command("classify")(classify.classify)
app.command("compare")(compare.compare)
app.command("memory")(memory.memory)
app.command("plot")(plot.plot)
app.command("report")(report.report)
app.command("inspect")(inspect.inspect)
app.command("export")(export.export)
app.command("serve")(serve.serve)
app.command("info")(info.info)
app.command("ls")(ls.ls)
app.command("rm")(rm.rm)
app.command("clean")(clean.clean)
app.command("stats")(stats.stats)
app.command("cache")(cache.cache)
for command in app.registered_commands:  # the terminal folds lines, not the docstring
    _paragraphs = cleandoc(command.callback.__doc__ or "").split("\n\n")
    command.help = "\n\n".join(" ".join(part.split("\n")) for part in _paragraphs)


def _version(asked: bool) -> None:
    if asked:
        print(f"textgen {textgen.__version__}")
        raise typer.Exit


VERSION = typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")


@app.callback()
def _options(context: typer.Context, version: Annotated[bool, VERSION] = False) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


def _commands() -> Any:
    """The commands. A path may not be empty, which pathlib takes for the current folder."""
    group: Any = get_command(app)
    for parameter in (p for command in group.commands.values() for p in command.params):
        if parameter.type.name == "path":
            parameter.type.convert = partial(_path, parameter.type.convert)
    return group


def _path(convert: Callable[..., Any], value: Any, parameter: Any, context: Any) -> Any:
    if value == "":
        parameter.type.fail("the path is empty", parameter, context)
    return convert(value, parameter, context)


def main() -> None:
    """The entry point of the `textgen` command."""
    try:
        code = _commands()(standalone_mode=False)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get("TEXTGEN_DEBUG") and not isinstance(error, typer.TyperException):
            raise
        code = _report(error)
    except SystemExit as error:  # of a signal, or of a pipe that nobody reads
        if not launch().many:
            raise
        code = error.code if isinstance(error.code, int) else bool(error.code)
    finally:
        gc.freeze()  # at its end Python would look for garbage in all of torch, for half a second
    if launch().many:
        _end_at_once(code or 0)
    sys.exit(code)


def _end_at_once(code: int) -> None:
    """End without Python's own last steps.

    A thread of torch.distributed that lets go of a tensor while Python ends aborts the process.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # its reader is gone, or it is closed
            stream.flush()
    os._exit(code)


def _report(error: BaseException) -> int:
    """Say what went wrong; the exit code."""
    match error:
        case RankLost(told=True):
            return error.exit_code
        case typer.TyperException() | UsageError() if launch().rank:  # the first rank says it
            return 2
        case KeyboardInterrupt() | typer.Abort() if launch().rank:
            return 130
        case typer.TyperException():  # what the parser found
            context = getattr(error, "ctx", None)
            command = context.command_path if context else "textgen"
            report_error(error.format_message(), f"{command} --help shows what it takes")
            return 2
        case KeyboardInterrupt() | typer.Abort():
            print(file=sys.stderr)
            return 130  # 128 + SIGINT
    return report_exception(error)
