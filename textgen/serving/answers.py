"""Answers in the form of OpenAI's completions."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from typing import Any

from textgen.serving.models import Loaded
from textgen.serving.requests import Completion
from textgen.serving.text import Piece, Token


class Answer:
    """What a request came to so far."""

    def __init__(self, asked: Completion, name: str, loaded: Loaded, read: Sequence[int]) -> None:
        """read: characters, or bytes, that each prompt is read as."""
        self._asked, self._read = asked, sum(read)
        self._head = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": name,
            "system_fingerprint": loaded.version,
        }
        vocabulary, unknown = loaded.model.vocabulary, asked.options.unknown
        echoed = asked.prompts if asked.echo and asked.logprobs is not None else ()
        # for each id that a prompt is read as, the place of its character
        self._places = [vocabulary.places(prompt, unknown).tolist() for prompt in echoed]
        self._backward = loaded.model.backward
        self.written = 0  # characters, or bytes of a model of bytes
        self._reached: dict[int, tuple[int, int]] = {}  # of each text: its tokens, where it ends

    def choice(self, number: int, piece: Piece, *, begins: bool) -> dict[str, Any]:
        """What of text `number` is in `piece`; begins: whether it is the text's first."""
        prompt = self._asked.prompts[number // self._asked.n]
        text = piece.text
        self.written += piece.written
        if self._asked.echo and begins and not self._backward:
            text = prompt + text
        if self._asked.echo and piece.end and self._backward:
            text += prompt
        logprobs = None
        if self._asked.logprobs is not None:
            logprobs = _logprobs(piece.tokens, self._offsets(number, piece.tokens))
        end = piece.end
        return {"text": text, "index": number, "logprobs": logprobs, "finish_reason": end}

    def _offsets(self, number: int, tokens: Sequence[Token]) -> list[int]:
        """Where the next tokens of text `number` begin in it, its prompt counted."""
        place = number // self._asked.n
        given = self._places[place] if self._asked.echo else []
        told, end = self._reached.get(number, (0, len(self._asked.prompts[place])))
        found = given[told : told + len(tokens)]
        for token in tokens[len(found) :]:
            found.append(end)
            end += len(token.text)
        self._reached[number] = told + len(tokens), end
        return found

    def usage(self) -> dict[str, int]:
        counts = {"prompt_tokens": self._read, "completion_tokens": self.written}
        return {**counts, "total_tokens": self._read + self.written}

    def whole(self, texts: Sequence[tuple[int, Sequence[Piece]]]) -> bytes:
        """The one answer to a request that is not streamed, as JSON; texts: by number.

        It is written choice by choice, for while json writes no other thread runs.
        """
        choices = (self.choice(n, joined(pieces), begins=True) for n, pieces in texts)
        written = ", ".join(map(json.dumps, choices))
        head, usage = json.dumps(self._head), json.dumps(self.usage())
        return f'{head[:-1]}, "choices": [{written}], "usage": {usage}}}'.encode()

    def event(self, choice: dict[str, Any]) -> bytes:
        """A part of a stream."""
        usage = {"usage": None} if self._asked.usage else {}
        return sse({**self._head, "choices": [choice], **usage})

    def last_events(self) -> bytes:
        """The end of a stream."""
        end = b"data: [DONE]\n\n"
        if not self._asked.usage:
            return end
        return sse({**self._head, "choices": [], "usage": self.usage()}) + end


def sse(facts: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return f"data: {json.dumps(facts)}\n\n".encode()


def joined(pieces: Sequence[Piece]) -> Piece:
    """All pieces of a text as one."""
    tokens = tuple(token for piece in pieces for token in piece.tokens)
    written = sum(piece.written for piece in pieces)
    return Piece("".join(piece.text for piece in pieces), written, tokens, pieces[-1].end)


def _logprobs(tokens: Sequence[Token], offsets: list[int]) -> dict[str, Any]:
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.log_probability for token in tokens],
        "top_logprobs": [token.likeliest for token in tokens],
        "text_offset": offsets,
    }
