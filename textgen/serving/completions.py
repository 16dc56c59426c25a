"""POST /v1/completions: a request becomes texts, and their pieces become the answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from textgen.config import ServingOptions
from textgen.errors import TextgenError
from textgen.inference.backward import drawn_by
from textgen.inference.sampling import Uniforms, random_seed
from textgen.inference.writer import prologue
from textgen.serving.answers import Answer, sse
from textgen.serving.metrics import Metrics
from textgen.serving.models import Loaded, Models, Served
from textgen.serving.requests import Completion, Refused, check_prompts, parse
from textgen.serving.scheduler import Full, Scheduler, gone
from textgen.serving.text import FAILED, OVERDUE, Piece, Text

RETRY_AFTER = "2"  # seconds
SLOWEST_BODY = 10.0  # seconds in which a body must be there,
SLOWEST_READER = 10.0  # and in which the last of a stream must be read, once its texts' time is up

Pieces = asyncio.Queue[tuple[int, Piece]]  # with the number of their text


class Completions:
    """Answers requests for texts."""

    def __init__(
        self, models: Models, scheduler: Scheduler, limits: ServingOptions, metrics: Metrics
    ) -> None:
        self._models, self._scheduler = models, scheduler
        self._limits, self._metrics = limits, metrics

    async def answer(self, request: Request) -> Response:
        """The answer, whole or streamed. Raises Refused."""
        asked = parse(await body_of(request, self._limits), self._limits)
        served = self.served(asked.model)
        loaded = served.loaded
        pieces: Pieces = asyncio.Queue()
        begun = partial(_begun, asked, served.name, loaded, self._limits)
        asked, read, answer = await asyncio.to_thread(begun)
        texts = self._texts(asked, loaded, read, _into(pieces))
        note = {"model": served.name, "texts": len(texts)}
        if self._limits.log_prompts:
            note["prompt"] = json.dumps(asked.prompts)
        request.state.note = note
        try:
            self._scheduler.submit(loaded.engine, texts)
        except Full:
            what = "the server is writing as much as it can; try again later"
            headers = {"Retry-After": RETRY_AFTER}
            raise Refused(what, status=429, kind="rate_limit_error", headers=headers) from None
        try:
            first = await _unless_gone(request, pieces.get())
            _check(first[1])
            if asked.stream:
                stream = self._events(answer, texts, pieces, first)
                return Stream(stream, texts, note, answer, self._limits.seconds + SLOWEST_READER)
            collected = await _unless_gone(request, _collected(len(texts), pieces, first))
        except BaseException:
            gone(texts)
            raise
        self._count(texts)
        body = await asyncio.to_thread(answer.whole, collected)
        note["characters"] = answer.written
        return Response(body, media_type="application/json")

    def served(self, name: str | None) -> Served:
        """The model of that name, or the first. Raises Refused."""
        if name is None:
            return self._models.first
        if name not in self._models.served:
            what = f"there is no model {name[:100]!r} here; GET /v1/models names them"
            raise Refused(what, status=404, param="model", code="model_not_found")
        return self._models.served[name]

    def _texts(
        self,
        asked: Completion,
        loaded: Loaded,
        read: Sequence[NDArray],
        deliver: Callable[[int, Piece], None],
    ) -> list[Text]:
        """A text for each prompt and each of its numbers; text i of a prompt is of draw i.

        read: the ids of each prompt.
        """
        model, options = loaded.model, asked.options
        vocabulary, backward = model.vocabulary, model.backward
        if asked.logprobs is not None and (backward or vocabulary.level == "byte"):
            what = "`logprobs` are given of models of characters that read forward; leave it out"
            raise Refused(what, param="logprobs")
        drawn = drawn_by(vocabulary, options, backward=backward)
        seed = random_seed() if options.seed is None else options.seed
        texts: list[Text] = []
        for ids in read:
            ids = ids[::-1] if backward else ids
            scored = asked.echo and asked.logprobs is not None
            before = [*prologue(vocabulary, ids), *np.asarray(ids).tolist()]
            for number in range(asked.n):
                text = Text(
                    before,
                    drawn.vocabulary,
                    drawn.options,
                    Uniforms(seed, number),
                    deliver=_numbered(deliver, len(texts)),
                    seconds=self._limits.seconds,
                    in_order=drawn.in_order,
                    streamed=asked.stream and not backward,
                    scores=asked.logprobs,
                    given=len(ids) if scored else 0,
                )
                texts.append(text)
        return texts

    async def _events(
        self, answer: Answer, texts: list[Text], pieces: Pieces, first: tuple[int, Piece]
    ) -> AsyncIterator[bytes]:
        begun: set[int] = set()
        running = len(texts)
        item = first
        while True:
            number, piece = item
            if piece.end in (OVERDUE, FAILED):
                late = " in time" if piece.end == OVERDUE else ""
                what = f"the server could not write this text{late}"
                error = Refused(what, status=503, kind="server_error")
                yield sse(error.body)
                piece = replace(piece, end="length")
            yield answer.event(answer.choice(number, piece, begins=number not in begun))
            begun.add(number)
            running -= piece.end is not None
            if not running:
                break
            item = await pieces.get()
        self._count(texts)
        yield answer.last_events()

    def _count(self, texts: list[Text]) -> None:
        for text in texts:
            if text.begun is not None:
                self._metrics.first.observe(text.begun - text.asked)


class Stream(StreamingResponse):
    """Server-sent events; however the stream ends, its texts give their places back.

    A client that does not read it within so many seconds has gone away.
    """

    def __init__(
        self,
        events: AsyncIterator[bytes],
        texts: list[Text],
        note: dict[str, Any],
        answer: Answer,
        seconds: float,
    ) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._texts, self._note, self._answer = texts, note, answer
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            raise ClientDisconnect from None
        finally:
            gone(self._texts)
            self._note["characters"] = self._answer.written


async def body_of(request: Request, limits: ServingOptions) -> bytes:
    """The body, of JSON by its header. Raises Refused for one too long or too slow."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # no page of another origin sends that without being allowed to
        what = f"the content type is {kind[:100] or 'missing'}; expected application/json"
        raise Refused(what, status=415)
    body = bytearray()
    try:
        async with asyncio.timeout(SLOWEST_BODY):
            async for part in request.stream():
                body += part
                if len(body) > limits.max_body:
                    what = f"the body is longer than {limits.max_body:,} bytes"
                    raise Refused(what, status=413, headers={"Connection": "close"})
    except TimeoutError:
        what = f"the body was not there after {SLOWEST_BODY:g} seconds"
        raise Refused(what, status=408, headers={"Connection": "close"}) from None
    return bytes(body)


async def _collected(
    count: int, pieces: Pieces, first: tuple[int, Piece]
) -> list[tuple[int, list[Piece]]]:
    """All pieces of each text, in the order of their numbers. Raises Refused."""
    found: dict[int, list[Piece]] = {n: [] for n in range(count)}
    item = first
    while True:
        number, piece = item
        _check(piece)
        found[number].append(piece)
        count -= piece.end is not None
        if not count:
            return list(found.items())
        item = await pieces.get()


def _begun(
    asked: Completion, name: str, loaded: Loaded, limits: ServingOptions
) -> tuple[Completion, list[NDArray], Answer]:
    """What is asked for as the model reads it, the ids of each prompt, and the answer so far.

    Raises Refused.
    """
    prompts = tuple(map(loaded.model.normalized, asked.prompts))
    options = loaded.model.options_of(asked.options)
    asked = replace(asked, prompts=prompts, options=options)
    check_prompts(asked.prompts, limits)  # a normal form may be the longer one
    encode = partial(loaded.model.vocabulary.encode, unknown=asked.options.unknown)
    try:
        read = [encode(prompt, what="the prompt") for prompt in asked.prompts]
    except TextgenError as error:
        what = f"{error.message}; {error.hint}"
        raise Refused(what, param="prompt", code="unknown_characters") from None
    return asked, read, Answer(asked, name, loaded, [*map(len, read)])


def _check(piece: Piece) -> None:
    """Raise Refused for a text that could not be written."""
    if piece.end == OVERDUE:
        what = "the text could not be begun in time; try again later"
        headers = {"Retry-After": RETRY_AFTER}
        raise Refused(what, status=503, kind="server_error", headers=headers)
    if piece.end == FAILED:
        raise Refused("the text could not be written", status=500, kind="server_error")


async def _unless_gone(request: Request, work: Any) -> Any:
    """What `work` comes to; ClientDisconnect as soon as the client is gone."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        for task in (working, watching):
            task.cancel()
            with suppress(asyncio.CancelledError, Refused):
                await task


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _into(pieces: Pieces) -> Callable[[int, Piece], None]:
    """A function that puts a piece there from another thread."""
    loop = asyncio.get_running_loop()

    def deliver(number: int, piece: Piece) -> None:
        with suppress(RuntimeError):  # the server is gone
            loop.call_soon_threadsafe(pieces.put_nowait, (number, piece))

    return deliver


def _numbered(deliver: Callable[[int, Piece], None], number: int) -> Callable[[Piece], None]:
    return lambda piece: deliver(number, piece)
