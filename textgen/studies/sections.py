"""The parts of a report on one run, as HTML; all text is escaped."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from textgen.errors import MISLEADING, CorpusError
from textgen.inference.surprise import mean_bits
from textgen.studies.chart import Line, Scale, chart
from textgen.studies.subject import SEED, WRITTEN, Subject

if TYPE_CHECKING:
    from textgen.inference.reach import Memory
    from textgen.inference.surprise import Character

SHOWN = 500  # characters of a sample that are shown
PASSAGE = 200  # characters of a copied passage that are shown
SHADES = (3, 5, 8, 12)  # bits from which on a character is shaded, each darker
POINTS = 80  # of a curve of distances
STEEP = 1e-5  # the least gradient that is drawn, as a share of the largest

_UNSHOWN = MISLEADING | dict.fromkeys([*range(9), *range(11, 32), 127], 0xFFFD)
_UNSHOWN |= {13: 0x240D}  # a line end of Windows is no damage

Row = Sequence[str]
Section = Callable[[Subject], str]


def printable(text: str) -> str:
    """Escaped; a carriage return as U+240D, and as U+FFFD other controls but newline and tab,
    surrogates and what turns text.
    """
    return escape(text.translate(_UNSHOWN))


def table(heads: Row, rows: Iterable[Row], numbers: Container[int]) -> str:
    """numbers: which columns, from 0, hold numbers."""

    def row(cells: Row, tag: str) -> str:
        looks = (' class="number"' if n in numbers else "" for n in range(len(cells)))
        pairs = zip(cells, looks, strict=True)
        return f"<tr>{''.join(f'<{tag}{look}>{printable(c)}</{tag}>' for c, look in pairs)}</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    return f'<div class="wide" tabindex="0"><table>{row(heads, "th")}{body}</table></div>'


def plan(subject: Subject) -> str:
    """Its settings."""
    rows = (f"<dt>{escape(n)}</dt><dd>{printable(v)}</dd>" for n, v in subject.plan)
    return f"<dl>{''.join(rows)}</dl>"


def memory(subject: Subject) -> str:
    """How far back it remembers, as two curves, a table and two sentences."""
    from textgen.inference.reach import remember

    if subject.model.vocabulary.end is not None:
        raise CorpusError("each document begins from zero state")
    found = remember(subject.network, subject.corpus.validation)
    unit = subject.unit
    sentences = "; ".join(found.in_words(f"{unit}s"))
    places = sorted({round(found.longest ** (n / POINTS)) for n in range(POINTS + 1)})
    distance = Scale(f"{unit}s back", 1, found.longest, log=4)
    nats = [(float(k), found.nats(k)) for k in places]
    steep = [(float(k), float(found.gradient[k - 1])) for k in places]
    steep = [(k, norm) for k, norm in steep if norm >= STEEP]
    losses = Scale.holding(f"nats per {unit}", [found.full, *(value for _, value in nats)])
    norms = Scale("gradient, largest: 1", STEEP, 1, log=10)
    drawn = chart([Line(nats, "c0")], distance, losses)
    drawn += chart([Line(steep, "c0")], distance, norms)
    return (
        f"<p>It {escape(sentences)}.</p>"
        f'<p class="faint">First the loss where the state has seen only so many {unit}s, then'
        f" how much the loss of a {unit} depends on the input so far back.</p>"
        f'<div class="charts">{drawn}</div>{_distances(found, unit)}'
    )


def _distances(found: Memory, unit: str) -> str:
    rows = []
    for k in (2**n for n in range(found.longest.bit_length())):
        figures = (
            f"{found.nats(k):.4f}",
            f"{found.error[k - 1]:.4f}",
            f"{found.gradient[k - 1]:.1e}",
        )
        rows.append((f"{k:,}", *figures))
    rows.append(("all", f"{found.full:.4f}", "", ""))
    inner = table(("seen", f"nats per {unit}", "standard error", "gradient"), rows, range(4))
    return f"<details><summary>As a table</summary>{inner}</details>"


def gates(subject: Subject) -> str:
    """How open each layer's gates are over a held-out text, and how long a state lasts."""
    from textgen.inference.activations import KEEPING, first, most, trace
    from textgen.inference.gates import CLOSED, OPEN, gates_of, lasting

    config = subject.model.header.record.model
    if subject.model.vocabulary.end is not None:
        raise CorpusError("each document begins from zero state")
    if config.cell not in KEEPING:
        raise CorpusError("an RNN has no gates")
    ids = first([subject.corpus.validation], most(config))
    rows, longest = [], len(ids) // 2
    for number, layer in enumerate(gates_of(trace(subject.model.folded, ids))):
        half = () if layer.half_lives is None else np.quantile(layer.half_lives, (0.5, 1.0))
        for gate in layer.gates:
            keeps = gate.name == KEEPING[config.cell]
            lasts = [lasting(life, longest) if keeps else "" for life in half]
            shares = f"{gate.mean:.2f}", f"{gate.closed:.1%}", f"{gate.open:.1%}"
            rows.append((f"{number}", gate.name, *shares, *lasts))
    heads = ("layer", "gate", "mean", f"below {CLOSED}", f"above {OPEN}", "half-life", "longest")
    told = (
        f"Over {len(ids):,} {subject.unit}s of the held-out text. Half-life: how many until the"
        f" {KEEPING[config.cell]} gates leave less than half of what a unit holds; of the median"
        " unit, and of the longest."
    )
    return f'<p class="faint">{told}</p>{table(heads, rows, (0, 2, 3, 4, 5, 6))}'


def samples(subject: Subject) -> str:
    """The begin of each sample."""
    parts = [f'<p class="faint">With seed {SEED}, from nothing.</p>']
    for temperature, text in subject.samples.items():
        end = len(text) if subject.model.backward else SHOWN
        shown = text[end - SHOWN : end].strip("\n")
        parts.append(f'<p class="faint">Temperature {temperature:g}</p>')
        parts.append(f'<div class="text" dir="auto">{printable(shown)}</div>')
    return "".join(parts)


def novelty(subject: Subject) -> str:
    """How much of each sample stands in the training text."""
    from textgen.inference.copying import COPIED, KnownText

    known = KnownText(subject.corpus.train)
    rows = []
    for temperature, text in subject.samples.items():
        copied, passage = known.copied_by(subject.model, text)
        cut = passage if len(passage) <= PASSAGE else passage[: PASSAGE - 1] + "…"
        rows.append((f"{temperature:g}", f"{copied.share:.1%}", str(copied.longest), cut))
    heads = ("temperature", f"in passages of {COPIED} or more", "longest", "the longest passage")
    written = f"Of {WRITTEN:,} {subject.unit}s written"
    told = f"{written}, those that stand word for word in the training text."
    return f'<p class="faint">{told}</p>{table(heads, rows, range(3))}'


def surprise(subject: Subject) -> str:
    """A held-out page, shaded by what its characters cost."""
    page = subject.held_out_page()
    bits, count = mean_bits(page)
    steps = "".join(
        f'<li><span class="s{n}">{least} bits</span></li>' for n, least in enumerate(SHADES, 1)
    )
    shown = "".join(_character(character) for character in page)
    return (
        f'<p class="faint">{count:,} characters of the held-out text at {bits:.2f} bits each.'
        " Point at one to see what it cost.</p>"
        f'<ul class="key">{steps}</ul><div class="text" dir="auto">{shown}</div>'
    )


def _character(character: Character) -> str:
    level = sum(character.bits >= least for least in SHADES)
    told = f"{character.bits:.1f} bits"
    look = ""
    if level:
        look = f' class="s{level}"'
        likelier = " ".join(map(_visible, character.likelier))
        told += f", likelier: {likelier}" if likelier else ", the likeliest"
    # a line end that was not expected needs something to be seen by
    text = character.text
    if level and text.endswith("\n"):
        text = f"{text[:-1]}↵\n"
    return f'<span{look} title="{printable(told)}">{printable(text)}</span>'


def _visible(character: str) -> str:
    names = {"\n": "line end", "\r": "carriage return", " ": "space", "\t": "tab"}
    return names.get(character, character)


def layers(subject: Subject) -> str:
    """The weights, their shapes and their numbers."""
    model = subject.model.header.record.model
    rows = [
        (name, " x ".join(f"{size:,}" for size in shape), f"{math.prod(shape):,}")
        for name, shape in model.shapes.items()
    ]
    rows.append(("all", "", f"{model.parameters:,}"))
    return table(("weights", "shape", "parameters"), rows, (2,))


# in the order in which a person reads them
SECTIONS: tuple[tuple[str, Section], ...] = (
    ("Plan", plan),
    ("Samples", samples),
    ("Novelty", novelty),
    ("Memory", memory),
    ("Gates", gates),
    ("Surprise", surprise),
    ("Layers", layers),
)
