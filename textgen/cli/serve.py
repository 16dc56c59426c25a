"""textgen serve."""

import logging
import os
import sys
import time
import traceback
from contextlib import suppress
from typing import Annotated

import typer

from textgen.cli.parse import CHECKPOINTS, Checkpoints, RunNames, given, serving
from textgen.cli.terminal import visible
from textgen.config import ServingOptions

LISTEN, LIMITS, OUTPUT = "Who is answered", "How much one request may ask for", "Output"
DEFAULT = ServingOptions()
LOG = logging.getLogger("textgen.serving")
KEY = serving("api_key", LISTEN, envvar="TEXTGEN_API_KEY")


class _Lines(logging.Handler):
    """What the server logs, on stderr, with the time."""

    def emit(self, record: logging.LogRecord) -> None:
        now = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        text = record.getMessage()
        if record.exc_info and os.environ.get("TEXTGEN_DEBUG"):
            text += "\n" + "".join(traceback.format_exception(*record.exc_info))
        elif record.exc_info:
            text += f": {record.exc_info[1]!r}"
        with suppress(OSError, ValueError):  # nobody reads it
            print(now, text if record.exc_info else visible(text), file=sys.stderr, flush=True)


def _tell(address: str) -> None:
    LOG.info("serving on %s", address)


def serve(
    context: typer.Context,
    runs: RunNames = None,
    host: Annotated[str, serving("host", LISTEN)] = DEFAULT.host,
    port: Annotated[int, serving("port", LISTEN)] = DEFAULT.port,
    api_key: Annotated[str | None, KEY] = None,
    allow_origin: Annotated[list[str] | None, serving("allow_origin", LISTEN)] = None,
    max_body: Annotated[int, serving("max_body", LIMITS)] = DEFAULT.max_body,
    max_prompt: Annotated[int, serving("max_prompt", LIMITS)] = DEFAULT.max_prompt,
    max_tokens: Annotated[int, serving("max_tokens", LIMITS)] = DEFAULT.max_tokens,
    max_n: Annotated[int, serving("max_n", LIMITS)] = DEFAULT.max_n,
    queue: Annotated[int, serving("queue", LIMITS)] = DEFAULT.queue,
    seconds: Annotated[float, serving("seconds", LIMITS)] = DEFAULT.seconds,
    log_prompts: Annotated[bool, serving("log_prompts", OUTPUT)] = DEFAULT.log_prompts,
    checkpoints: Checkpoints = CHECKPOINTS,
) -> None:
    """Serve models to other programs, and a page that writes.

    POST /v1/completions is as OpenAI's interface has it, max_tokens counting characters; GET / is
    the page that `export` writes. One line of log for each request goes to stderr. It ends by
    Ctrl-C or SIGTERM, with exit code 0, once running texts have ended, or after 10 seconds.
    """
    import textgen

    options = given(context, ServingOptions) | {"allow_origin": tuple(allow_origin or ())}
    if api_key is None:  # typer takes an empty variable for none
        options["api_key"] = os.environ.get("TEXTGEN_API_KEY")
    LOG.setLevel(logging.INFO)
    LOG.addHandler(_Lines())
    textgen.serve(*(runs or ()), checkpoints=checkpoints, ready=_tell, **options)
