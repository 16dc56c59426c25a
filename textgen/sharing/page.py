"""A page that writes: the model and all that runs it in one HTML file.

model.js is the network and the draw, page.js what is pressed and shown.
"""

import base64
import hashlib
import json
import re
from html import escape
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from textgen.sharing.rounding import pack_rounded
from textgen.sharing.weights import UNNAMED, described, published
from textgen.store.checkpoint import Header
from textgen.store.contents import read_weights
from textgen.store.files import open_regular
from textgen.store.record import Record

_GENERATOR = '<meta name="generator" content="textgen '
_SEARCHED = 500  # bytes at a page's begin that hold its generator


def page_file(header: Header, anonymous: bool, precision: str) -> list[bytes]:
    """The parts of an HTML file that needs nothing else. Raises CheckpointError, UsageError.

    precision: int8, fp16 or fp32, of the weights.
    """
    record = published(header.record, anonymous=anonymous)
    weights = read_weights(header)
    ordered = {name: weights[name] for name in record.model.shapes}
    style = _source("page.css")
    script = _source("model.js") + _source("page.js")
    policy = (
        f"default-src 'none'; script-src {digest(script)}; style-src {digest(style)};"
        " base-uri 'none'; form-action 'none'"
    )
    filled = {
        "generator": f"textgen {version('textgen-lstm')}",
        "policy": policy,
        "title": escape(_title(record)),
        "style": style,
        "about": "\n".join(
            f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in _about(record, precision)
        ),
        # `<` could begin the end of the element that holds it
        "model": json.dumps(_description(header, precision)).replace("<", "\\u003c"),
        "weights": base64.b64encode(pack_rounded(ordered, precision)).decode(),
        "script": script,
    }
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: filled[match[1]], _source("page.html"))
    return [page.encode()]


def is_page(path: Path) -> bool:
    """Whether a file was made by `page_file`. Raises OSError."""
    with open(open_regular(path), "rb") as file:
        return _GENERATOR.encode() in file.read(_SEARCHED)


def _source(name: str) -> str:
    return (files("textgen.sharing") / name).read_text(encoding="utf-8")


def digest(text: str) -> str:
    """As a content-security policy names an element's text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _description(header: Header, precision: str) -> dict[str, object]:
    """What model.js and page.js need besides the weights."""
    model = header.record.model
    network = {"cell": model.cell, "hidden": model.hidden, "skips": model.skips}
    return described(header) | network | {"shapes": model.shapes, "precision": precision}


def _title(record: Record) -> str:
    names = ", ".join(record.corpus.files)
    return "A text model" if names == UNNAMED else f"A model of {names}"


def _about(record: Record, precision: str) -> list[tuple[str, str]]:
    model, best = record.model, record.best
    unit = "byte" if record.corpus.level == "byte" else "character"
    loss = best and f"{best.val_nats:.4f} nats, {best.val_bits:.4f} bits"
    widths = " + ".join(map(str, model.hidden))
    way = ", reads backward" if record.corpus.backward else ""
    length = f"{record.train_characters:,} {unit}s"
    names = ", ".join(record.corpus.files)
    rounding = "" if precision == "fp32" else f", before rounding to {precision}"
    return [
        ("Trained on", length if names == UNNAMED else f"{names}, {length}"),
        ("Held-out loss", f"{loss} per {unit}{rounding}" if best else "not measured"),
        ("Model", f"{model.cell} {widths}, {model.parameters:,} parameters in {precision}{way}"),
        ("Made with", f"textgen {version('textgen-lstm')}"),
    ]
