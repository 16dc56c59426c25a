"""What runs learned, on one HTML page that needs nothing else: no script, no request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path

from textgen.errors import MissingLibrary, TextgenError
from textgen.sharing.document import document, is_made_by, source
from textgen.sharing.output import Output, ending
from textgen.studies.chart import Line, Scale, chart
from textgen.studies.curves import AXES, Curve, unit_of
from textgen.studies.sections import SECTIONS, Section, printable, table
from textgen.studies.subject import Subject

_MAKER = "textgen-report"  # an exported page is of textgen
_COLOURS = 6  # of lines, in report.css


def output(path: Path) -> Output:
    """Where a report goes. Raises UsageError for another ending than .html."""
    ending(path, (".html",))
    return Output(path, "report", is_report)


def is_report(path: Path) -> bool:
    """Whether a file was made by `page`. Raises OSError."""
    return is_made_by(_MAKER, path)


def report(subjects: Sequence[Subject]) -> Iterator[str | bytes]:
    """The title of each section as it begins, and at the end the page.

    A section that cannot be made says why on the page.
    """
    curves = [subject.curve for subject in subjects]
    body = [_overview(subjects), "<h2>Losses</h2>", losses(curves)]
    for subject in subjects:
        name = subject.curve.name
        body.append(f"<h2>{printable(name)}</h2>")
        for title, section in SECTIONS:
            yield f"{name}: {title.lower()}"
            body.append(f"<section><h3>{title}</h3>{_made(section, subject)}</section>")
    title = " and ".join(curve.name for curve in curves)
    yield _page(f"What {title} learned", "".join(body))


def _made(section: Section, subject: Subject) -> str:
    try:
        return section(subject)
    except TextgenError as error:
        hint = f" ({error.hint})" if isinstance(error, MissingLibrary) else ""
        return f'<p class="faint">Not measured: {printable(error.message + hint)}.</p>'


def losses(curves: Sequence[Curve]) -> str:
    """A chart for each axis, and which line is whose."""
    y = Scale.holding(
        f"nats per {unit_of(curves)}",
        [loss for c in curves for e in c.evaluations for loss in (e.val_nats, e.train_nats)],
    )
    charts = []
    for name, axis in AXES.items():
        x = Scale(axis.label, 0, max(value for c in curves for value in c.along(name)) or 1)
        lines = []
        for number, curve in enumerate(curves):
            colour, places = f"c{number % _COLOURS}", curve.along(name)
            train, val = zip(*((e.train_nats, e.val_nats) for e in curve.evaluations), strict=True)
            lines.append(Line([*zip(places, train, strict=True)], f"{colour} dashed"))
            lines.append(Line([*zip(places, val, strict=True)], colour))
        charts.append(chart(lines, x, y))
    looks = [(f"c{number % _COLOURS}", curve.name) for number, curve in enumerate(curves)]
    looks += [("", "validation"), ("dashed", "training")]
    return f'{_key(looks)}<div class="charts">{"".join(charts)}</div>'


def _key(looks: Sequence[tuple[str, str]]) -> str:
    items = (
        f'<li><svg viewBox="0 0 28 10"><polyline class="{look}" points="0,5 28,5"/></svg>'
        f"{printable(name)}</li>"
        for look, name in looks
    )
    return f'<ul class="key">{"".join(items)}</ul>'


def _overview(subjects: Sequence[Subject]) -> str:
    rows = []
    for subject in subjects:
        record = subject.curve.record
        best, last, model = record.best, record.history[-1], record.model
        assert best is not None
        shape = f"{model.cell} {' + '.join(map(str, model.hidden))}"
        read = f"{last.characters:,}"
        loss = f"{best.val_nats:.4f}", f"{best.val_bits:.4f}"
        rows.append((subject.curve.name, shape, f"{model.parameters:,}", read, *loss))
    heads = ("run", "model", "parameters", "characters read", "best nats", "best bits")
    unit = unit_of(subject.curve for subject in subjects)
    told = f"Losses are per {unit} of the held-out text."
    return f'{table(heads, rows, range(2, 6))}<p class="faint">{told}</p>'


def _page(title: str, body: str) -> bytes:
    style, template = source("studies", "report.css"), source("studies", "report.html")
    values = {"body": body, "maker": escape(f"textgen {version('textgen-lstm')}")}
    return document(_MAKER, printable(title), style, template, values)
