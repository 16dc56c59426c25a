"""A page that writes: the model and all that runs it in one HTML file.

product.js multiplies, model.js is the network and the draw, page.js what is pressed and shown.
"""

import base64
import json
from html import escape
from importlib.metadata import version
from pathlib import Path

from textgen.architecture import FACTOR, GRAM
from textgen.config import COUNTED, MATCHED
from textgen.errors import MISLEADING
from textgen.sharing.document import document, is_made_by, source
from textgen.sharing.rounding import pack_rounded
from textgen.sharing.weights import UNNAMED, described, published
from textgen.store.checkpoint import Header
from textgen.store.contents import read_weights
from textgen.store.record import Record

NAMED = 3  # files whose names are shown
_MAKER = "textgen"


def page_file(header: Header, anonymous: bool, precision: str) -> list[bytes]:
    """The parts of an HTML file that needs nothing else. Raises CheckpointError, UsageError.

    precision: int8, fp16 or fp32, of the weights.
    """
    record = published(header.record, anonymous=anonymous)
    weights = read_weights(header)
    ordered = {name: weights[name] for name in record.model.shapes}
    about = _about(record, precision)
    values = {
        "about": "\n".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in about),
        # `<` could begin the end of the element that holds it
        "model": json.dumps(_description(header, precision)).replace("<", "\\u003c"),
        "weights": base64.b64encode(pack_rounded(ordered, precision)).decode(),
    }
    script = "".join(source("sharing", f"{name}.js") for name in ("product", "model", "page"))
    style, body = source("sharing", "page.css"), source("sharing", "page.html")
    return [document(_MAKER, escape(_title(record)), style, body, values, script=script)]


def is_page(path: Path) -> bool:
    """Whether a file was made by `page_file`. Raises OSError."""
    return is_made_by(_MAKER, path)


def _description(header: Header, precision: str) -> dict[str, object]:
    """What model.js and page.js need besides the weights."""
    model = header.record.model
    network: dict[str, object] = {"cell": model.cell, "hidden": model.hidden, "skips": model.skips}
    network |= {"history": model.history, "matched": MATCHED, "gram": GRAM, "factor": FACTOR}
    return described(header) | network | {"shapes": model.shapes, "precision": precision}


def _title(record: Record) -> str:
    names = _names(record)
    return "A text model" if names == UNNAMED else f"A model of {names}"


def _names(record: Record) -> str:
    names = record.corpus.files
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]).translate(MISLEADING) + more


def _about(record: Record, precision: str) -> list[tuple[str, str]]:
    model, best = record.model, record.best
    unit = COUNTED[record.corpus.level]
    loss = best and f"{best.val_nats:.4f} nats, {best.val_bits:.4f} bits"
    widths = " + ".join(map(str, model.hidden))
    way = ", reads backward" if record.corpus.backward else ""
    length = f"{record.train_characters:,} {unit}s"
    names = _names(record)
    rounding = "" if precision == "fp32" else f", before rounding to {precision}"
    return [
        ("Trained on", length if names == UNNAMED else f"{names}, {length}"),
        ("Held-out loss", f"{loss} per {unit}{rounding}" if best else "not measured"),
        ("Model", f"{model.cell} {widths}, {model.parameters:,} parameters in {precision}{way}"),
        ("Made with", f"textgen {version('textgen-lstm')}"),
    ]
