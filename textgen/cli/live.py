"""A live display that leaves no stale rows where a terminal is resized or the process suspended."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from rich.console import Console, ConsoleRenderable, RenderableType
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment

from textgen.cli.terminal import in_foreground, quiet_interrupt

_ERASE = (ControlType.ERASE_IN_LINE, 2)
_UP = (ControlType.CURSOR_UP, 1)


class Display:
    """Draws what `frame` returns, between `start` and `stop`.

    frame: of rows as wide as the console. Ctrl-Z is noted in `suspended`; `pause` follows it
    between two steps, when nothing is being drawn.
    """

    def __init__(self, console: Console, frame: Callable[[], RenderableType]) -> None:
        self._console, self._frame = console, frame
        self._stack = ExitStack()
        self.suspended = False

    def start(self) -> None:
        self.suspended = False
        if hasattr(signal, "SIGTSTP") and signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:
            signal.signal(signal.SIGTSTP, self._note)
            self._stack.callback(signal.signal, signal.SIGTSTP, signal.SIG_DFL)
        self._stack.enter_context(quiet_interrupt())
        self._live = self._stack.enter_context(_Refolding(self._console, self._frame))
        self._live.refresh()

    def stop(self, leave: bool) -> None:
        """leave: whether the last frame stays on the screen."""
        self._live.transient = not leave
        self._stack.close()
        self._console.control(_folding(True))  # whatever became of the last frame

    def pause(self) -> float:
        """Suspend the process until it is continued; the seconds it took."""
        self.stop(leave=False)
        began = time.monotonic()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.start()
        return time.monotonic() - began

    def _note(self, *_: object) -> None:
        self.suspended = True


class Board(Protocol):
    """What a display draws.

    frame: it as it is now; show: takes an event; paused: leaves so many seconds out of its figures;
    stays: whether the last frame is left on the screen.
    """

    @property
    def stays(self) -> bool: ...
    def frame(self) -> RenderableType: ...
    def show(self, event: Any, /) -> None: ...
    def paused(self, seconds: float, /) -> None: ...


@contextmanager
def drawn(board_of: Callable[[Console], Board]) -> Iterator[Callable[[Any], None]]:
    """The function to hand each event to, for as long as a board is drawn on stderr."""
    console = Console(stderr=True, highlight=False)
    board = board_of(console)
    display = Display(console, board.frame)

    def show(event: Any) -> None:
        board.show(event)
        if display.suspended:
            board.paused(display.pause())

    display.start()
    try:
        yield show
    finally:
        display.stop(leave=board.stays)


class _Refolding(Live):
    """Draws in the foreground alone, each row on one of the terminal's, and erases what it drew.

    A terminal that became narrower has folded the rows of the last frame; one whose characters are
    wider than rich takes them for, as of Devanagari, would fold those of the next.
    """

    def __init__(self, console: Console, frame: Callable[[], RenderableType]) -> None:
        options: dict[str, Any] = {"refresh_per_second": 8, "redirect_stdout": False}
        super().__init__(console=console, get_renderable=frame, **options)
        self._width = max(1, console.width)  # COLUMNS=0 is taken at its word
        self._hidden = True  # whether the cursor is

    def refresh(self) -> None:
        ours = in_foreground(self.console.file)
        if ours != self._hidden:
            self._hidden = ours
            self.console.show_cursor(not ours)
            self._live_render._shape = None  # what was drawn is no longer right above
        if ours:
            super().refresh()

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        if not in_foreground(self.console.file):  # above the rows of others none of ours stand
            return renderables
        with self._lock:
            before, self._width = self._width, max(1, self.console.width)
            folds = (before - 1) // self._width  # of each row, one below the other
            more = folds * self._live_render.last_render_height
            erase = Control(*(_ERASE, _UP) * more)
            *above, frame = super().process_renderables(renderables)
            return [erase, *above, _folding(False), frame, _folding(True)]


def _folding(on: bool) -> Control:
    """Whether the terminal goes on in the next row where one is full.

    A segment with a control type, whichever, takes no columns.
    """
    control = Control()
    control.segment = Segment(f"\x1b[?7{'h' if on else 'l'}", None, [(ControlType.BELL,)])
    return control
