"""A session of writing by turns, and the commands that change it."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from textgen.bounds import Number
from textgen.cli.interrupts import Interrupts
from textgen.cli.terminal import Output
from textgen.config import SEEDS, SamplingOptions
from textgen.errors import UsageError
from textgen.inference.sampling import random_seed
from textgen.inference.text_model import TextModel
from textgen.inference.writer import Position

HELP = """\
Type text and the model goes on from it; Enter alone lets it go on. Ctrl-C
stops the writing, Ctrl-D leaves. A line that begins with / is a command:
  /temp 0.5, /top-k 20, /top-p 0.9, /min-p 0.05: how characters are chosen
  /length 300   how many characters it writes at a turn
  /unknown skip what becomes of those it never saw: error, skip or replace
  /seed 7       begin the draws of seed 7
  /reset        forget everything
  /undo         take the last turn back
  /save FILE    keep the state; /load FILE goes on from it
  /help         this"""
# command: setting, type of its value
SETTINGS: dict[str, tuple[str, type[int] | type[float] | type[str]]] = {
    "temp": ("temperature", float),
    "top-k": ("top_k", int),
    "top-p": ("top_p", float),
    "min-p": ("min_p", float),
    "length": ("length", int),
    "unknown": ("unknown", str),
    "seed": ("seed", int),
}
SPELLINGS = {name: f"/{typed}" for typed, (name, _) in SETTINGS.items()}


class Session:
    """The model, options and position between turns."""

    def __init__(self, model: TextModel) -> None:
        self.model = model
        self.options = SamplingOptions(length=200, seed=random_seed())
        self.position: Position | None = None
        self._before: list[Position | None] = []

    def turn(self, text: str, output: Output) -> None:
        """Write `text`, once it is known to be readable, and what follows; Ctrl-C ends the turn."""
        writer = self.model.generate(text, self.options, position=self.position)
        with Interrupts() as interrupts:
            output.write(text)
            try:
                for piece in writer:
                    output.write(piece)
                    if interrupts.signal is not None:
                        break
            finally:
                output.write("\n")
        self._move(writer.position)
        if interrupts.signal not in (None, signal.SIGINT):
            raise typer.Exit(interrupts.exit_code)

    def command(self, line: str) -> str:
        """Run `/name value`; returns the answer. Raises TextgenError for unusable input."""
        name, _, value = line[1:].strip().partition(" ")
        value = value.strip()
        if name in SETTINGS:
            return self._choose(*SETTINGS[name], value)
        match name:
            case "help":
                return HELP
            case "reset":
                self._move(None)
                return "everything is forgotten"
            case "undo":
                return self._undo()
            case "save":
                return self._save(value)
            case "load":
                return self._load(value)
        raise UsageError(f"no command /{name}", "/help names them")

    def _choose(self, name: str, kind: Callable[[str], Any], value: str) -> str:
        try:
            chosen = kind(value)
        except ValueError:
            what = f"{value!r} is no {'whole ' if kind is int else ''}number"
            raise UsageError(what, f"try `{name}=1`") from None
        if name == "length":
            Number(1, whole=True, example="300").check(name, chosen)
        self.options = replace(self.options, **{name: chosen})
        if name == "seed" and self.position is not None:  # its draws begin anew
            self.position = replace(self.position, seed=chosen, place=0)
        shown = f"{chosen:g}" if kind is float else chosen
        return f"{name.replace('_', '-')} {shown}"

    def _move(self, position: Position | None) -> None:
        self._before.append(self.position)
        self.position = position

    def _undo(self) -> str:
        if not self._before:
            raise UsageError("there is no turn to take back", "type something first")
        self.position = self._before.pop()
        seed = ((self.options.seed or 0) + 1) % SEEDS  # or it would write the same again
        self.options = replace(self.options, seed=seed)
        return f"the last turn is taken back; seed {seed}"

    def _save(self, value: str) -> str:
        if self.position is None or not value:
            what = "there is nothing to save, or no file named"
            raise UsageError(what, "/save FILE, after a turn")
        if Path(value).is_dir():
            raise UsageError(f"{value} is a folder; expected a file", "/save FILE")
        try:
            self.position.save(Path(value))
        except OSError as error:
            raise UsageError(f"cannot save in {value}: {error.strerror}", "/save FILE") from None
        return f"saved in {value}; /load {value} goes on from it"

    def _load(self, value: str) -> str:
        if not value:
            raise UsageError("no file is named", "/load FILE, of one that /save made")
        position = Position.load(Path(value))
        self.model.check_position(position)
        self.options = replace(self.options, seed=position.seed)
        self._move(position)
        return f"going on from {value}"
