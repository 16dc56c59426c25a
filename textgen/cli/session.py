"""A session of writing by turns: what is remembered, and the commands that change it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import typer

from textgen.cli.interrupts import Interrupts
from textgen.cli.terminal import Output
from textgen.errors import UsageError
from textgen.inference.sampling import SamplingConfig, random_seed
from textgen.inference.text_model import TextModel
from textgen.inference.writer import Position

HELP = """\
Type text and the model goes on from it; Enter alone lets it go on. Ctrl-C stops the writing,
Ctrl-D leaves. A line that begins with / is a command:
  /temp 0.5     /top-k 20     /top-p 0.9     /min-p 0.05     how characters are chosen
  /length 300   how many characters it writes at a turn
  /seed 7       begin the draws of seed 7
  /reset        forget everything
  /undo         take the last turn back
  /save FILE    keep the state; /load FILE goes on from it
  /help         this"""


class Session:
    """What is remembered between turns."""

    def __init__(self, model: TextModel) -> None:
        self.model = model
        self.settings = SamplingConfig()
        self.length = 200
        self.seed = random_seed()
        self.position: Position | None = None
        self._before: list[Position | None] = []

    def turn(self, text: str, output: Output) -> None:
        """Go on from `text`; at Ctrl-C as far as it came."""
        writer = self.model.generate(
            text,
            length=self.length,
            **vars(self.settings),
            seed=self.seed,
            position=self.position,
        )
        with Interrupts() as interrupts:
            for piece in writer:
                output.write(piece)
                if interrupts.signal is not None:
                    break
        self._before.append(self.position)
        self.position = writer.position
        if interrupts.signal not in (None, signal.SIGINT):
            raise typer.Exit(interrupts.exit_code)

    def command(self, line: str) -> str:
        """Obey `/name value`; what to say to it. Raises TextgenError for what makes no sense."""
        name, _, value = line[1:].strip().partition(" ")
        action = self._actions.get(name)
        if action is None:
            raise UsageError(f"no command /{name}", "/help names them")
        return action(self, value.strip())

    def _choose(self, field: str, kind: type[int] | type[float], value: str) -> str:
        try:
            number = kind(value)
        except ValueError:
            raise UsageError(
                f"{value!r} is no number", f"try /{field.replace('_', '-')} 1"
            ) from None
        chosen: dict[str, Any] = {field: number}
        self.settings = replace(self.settings, **chosen)
        return f"{field.replace('_', '-')} {number:g}"

    def _length(self, value: str) -> str:
        if not value.isdecimal() or int(value) < 1:
            raise UsageError(f"{value!r} is no length", "try /length 300")
        self.length = int(value)
        return f"length {self.length}"

    def _seed(self, value: str) -> str:
        if not value.isdecimal() or int(value) >= 2**63:
            raise UsageError(f"{value!r} is no seed", "try /seed 7")
        self.seed = int(value)
        if self.position is not None:
            self.position = replace(self.position, seed=self.seed, place=0)
        return f"seed {self.seed}"

    def _reset(self, _: str) -> str:
        self._before.append(self.position)
        self.position = None
        return "everything is forgotten"

    def _undo(self, _: str) -> str:
        if not self._before:
            raise UsageError("there is no turn to take back", "type something first")
        self.position = self._before.pop()
        self.seed += 1  # or it would write the same again
        return f"the last turn is taken back; seed {self.seed}"

    def _save(self, value: str) -> str:
        if self.position is None or not value:
            raise UsageError(
                "there is nothing to save, or no file named", "/save FILE, after a turn"
            )
        try:
            self.position.save(Path(value))
        except OSError as error:
            raise UsageError(f"cannot save in {value}: {error.strerror}", "/save FILE") from None
        return f"saved in {value}; /load {value} goes on from it"

    def _load(self, value: str) -> str:
        position = Position.load(Path(value))
        self.model.check_position(position)
        self._before.append(self.position)
        self.position, self.seed = position, position.seed
        return f"going on from {value}"

    def _help(self, _: str) -> str:
        return HELP

    _actions: ClassVar[dict[str, Callable[[Session, str], str]]] = {
        "temp": lambda self, value: self._choose("temperature", float, value),
        "top-k": lambda self, value: self._choose("top_k", int, value),
        "top-p": lambda self, value: self._choose("top_p", float, value),
        "min-p": lambda self, value: self._choose("min_p", float, value),
        "length": _length,
        "seed": _seed,
        "reset": _reset,
        "undo": _undo,
        "save": _save,
        "load": _load,
        "help": _help,
    }
