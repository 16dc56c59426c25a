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
    """What a request came to so far. prompt: the characters read, of all prompts together."""

    def __init__(self, asked: Completion, name: str, loaded: Loaded, prompt: int) -> None:
        self._asked = asked
        self._head = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": name,
            "system_fingerprint": loaded.version,
        }
        self._prompt = prompt
        self._backward = loaded.model.backward
        self.written = 0  # characters
        self._offsets: dict[int, int] = {}

    def choice(self, number: int, piece: Piece, *, begins: bool) -> dict[str, Any]:
        """What of text `number` is in `piece`; begins: whether it is the text's first."""
        prompt = self._asked.prompts[number // self._asked.n]
        text = piece.text
        self.written += len(text)
        if self._asked.echo and begins and not self._backward:
            text = prompt + text
        if self._asked.echo and piece.end and self._backward:
            text += prompt
        logprobs = None
        if self._asked.logprobs is not None:
            begin = self._offsets.get(number, 0 if self._asked.echo else len(prompt))
            left_out = prompt if self._asked.options.unknown == "skip" else ""
            logprobs, self._offsets[number] = _logprobs(piece.tokens, begin, left_out)
        end = piece.end
        return {"text": text, "index": number, "logprobs": logprobs, "finish_reason": end}

    def usage(self) -> dict[str, int]:
        total = self._prompt + self.written
        counts = {"prompt_tokens": self._prompt, "completion_tokens": self.written}
        return {**counts, "total_tokens": total}

    def whole(self, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The one answer to a request that is not streamed."""
        return {**self._head, "choices": list(choices), "usage": self.usage()}

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
    return Piece("".join(piece.text for piece in pieces), tokens, pieces[-1].end)


def _logprobs(tokens: Sequence[Token], begin: int, prompt: str) -> tuple[dict[str, Any], int]:
    """The object of OpenAI's interface, and the offset after the last token.

    prompt: characters that no token stands for may lie between those of this, which comes first.
    """
    offsets = []
    for token in tokens:
        while begin < len(prompt) and not prompt.startswith(token.text, begin):
            begin += 1
        offsets.append(begin)
        begin += len(token.text)
    found = {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.log_probability for token in tokens],
        "top_logprobs": [token.likeliest for token in tokens],
        "text_offset": offsets,
    }
    return found, begin
