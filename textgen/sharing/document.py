"""HTML files that need nothing else: their head, and the policy that forbids the network."""

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from textgen.sharing.output import begins_with

_GENERATOR = '<meta name="generator" content="{} '
_SEARCHED = 500  # bytes at a document's begin that hold its generator


def document(
    maker: str, title: str, style: str, body: str, values: Mapping[str, str], *, script: str = ""
) -> bytes:
    """An HTML file.

    maker: what `is_made_by` knows it by; body: its template, where `{{name}}` stands for a value;
    script: what it may run, WebAssembly too.
    """
    allowed = f" script-src {_digest(script)} 'wasm-unsafe-eval';" if script else ""
    head = {
        "generator": f"{maker} {version('textgen-lstm')}",
        "policy": f"default-src 'none';{allowed} style-src {_digest(style)};"
        " base-uri 'none'; form-action 'none'",
        "title": title,
        "style": style,
        "script": script,
    }
    filled = head | dict(values)
    template = source("sharing", "head.html") + body
    return re.sub(r"\{\{(\w+)\}\}", lambda found: filled[found[1]], template).encode()


def is_made_by(maker: str, path: Path) -> bool:
    """Whether a file is a document of that maker. Raises OSError."""
    return begins_with(path, _GENERATOR.format(maker).encode(), _SEARCHED)


def source(room: str, name: str) -> str:
    """A file of the package's."""
    return (files(f"textgen.{room}") / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """As a content-security policy names an element's text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
