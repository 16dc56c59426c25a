"""The entry point of the `textgen` command: Ctrl-C at any moment ends it with code 130."""

from __future__ import annotations

import gc
import os
import sys

try:
    import signal
except KeyboardInterrupt:
    sys.exit(130)

TYPE_CHECKING = False  # that of `typing` would be imported
if TYPE_CHECKING:
    from types import FrameType


def main() -> None:
    """Run the command line."""
    gc.set_threshold(10_000)  # what torch makes in its import stays: a tenth of it was the search
    heard, ending = signal.getsignal(signal.SIGINT) is signal.default_int_handler, False

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not ending:
            signal.default_int_handler(number, frame)

    if heard:  # while modules are imported there is nothing to put in order
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from textgen.cli import app, stdio

    stdio.open_streams()
    try:
        if heard:
            signal.signal(signal.SIGINT, interrupt)
        app.main()
    except KeyboardInterrupt:  # one more, while the first was being reported
        sys.exit(130)
    finally:  # at its end Python restores the default, which would end it by the signal
        ending = True  # between this and what came before no signal is looked at
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
