"""The entry point of the `textgen` command: Ctrl-C at any moment ends it with code 130."""

import gc
import os
import sys

try:
    import signal
except KeyboardInterrupt:
    sys.exit(130)


def main() -> None:
    """Run the command line."""
    gc.set_threshold(10_000)  # what torch makes in its import stays: a tenth of it was the search
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heard:  # while modules are imported there is nothing to put in order
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    from textgen.cli import app, stdio

    stdio.open_streams()
    try:
        if heard:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        app.main()
    except KeyboardInterrupt:  # one more, while the first was being reported
        sys.exit(130)
    finally:  # at its end Python restores the default, which would end it by the signal
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
