"""The gates of a model and the units that follow something: as facts for `--json`, and as lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from textgen.cli.shading import WIDTH
from textgen.cli.table import table

if TYPE_CHECKING:
    from textgen.inference.activations import Trace
    from textgen.inference.text_model import TextModel

NAMED = 3  # units that are shown for each thing they follow
SHOWN = (0.5, 0.9, 1.0)  # quantiles of the units whose half-lives are shown
GATES = ("layer", "gate", "mean", "below 0.1", "above 0.9", "half-life", "1 in 10", "longest")
UNITS = ("follows", "unit", "correlation", "p", "units that do")


def unit_facts(model: TextModel, trace: Trace) -> dict[str, Any]:
    """The gates of each layer, and the units that follow something, the strongest first.

    `half_lives` is null of an RNN, `units` of a text too short.
    """
    import numpy as np

    from textgen.inference.activations import KEEPING, completed
    from textgen.inference.gates import gates_of
    from textgen.inference.units import SHORTEST, following
    from textgen.text.features import features

    cell = model.header.record.model.cell
    layers = gates_of(trace)
    facts: dict[str, Any] = {
        "cell": cell,
        "keeping": KEEPING.get(cell),
        "gates": [[asdict(gate) for gate in layer.gates] for layer in layers],
        "half_lives": [
            layer.half_lives.tolist() for layer in layers if layer.half_lives is not None
        ]
        or None,
        "units": None,
        "unfollowed": None,
    }
    texts, places = completed(model.vocabulary, trace.ids, model.backward)
    if len(texts) >= SHORTEST:
        ends = np.cumsum([len(text) for text in texts]) - 1
        named = {what: series[ends] for what, series in features("".join(texts)).items()}
        found = following([trace.values(n)[places] for n in range(len(layers))], named)
        facts["units"] = [each._asdict() for each in found]
        facts["unfollowed"] = [what for what in named if what not in {each.what for each in found}]
    return facts


def unit_lines(facts: dict[str, Any]) -> Iterator[str]:
    """Two tables within 80 columns, each with its explanation."""
    yield ""
    yield from _gate_lines(facts)
    yield ""
    yield from _unit_lines(facts)


def _gate_lines(facts: dict[str, Any]) -> Iterator[str]:
    import numpy as np

    from textgen.inference.gates import lasting

    keeping = facts["keeping"]
    if keeping is None:
        yield "an RNN has no gates, and no half-life: each character writes its whole state anew"
        return
    rows = [GATES]
    longest = facts["read"] // 2
    for number, (gates, lives) in enumerate(zip(facts["gates"], facts["half_lives"], strict=True)):
        for gate in gates:
            shown = np.quantile(lives, SHOWN) if gate["name"] == keeping else []
            shares = f"{gate['mean']:.3f}", f"{gate['closed']:.1%}", f"{gate['open']:.1%}"
            row = str(number), gate["name"], *shares, *(lasting(life, longest) for life in shown)
            rows.append((*row, *[""] * (len(GATES) - len(row))))
    yield from table(rows)
    what = "cell" if facts["cell"] == "lstm" else "state"
    yield f"half-life: characters until the {keeping} gates leave less than half of a {what};"
    yield "of the median unit, of one unit in ten that or more, and of the longest"


def _unit_lines(facts: dict[str, Any]) -> Iterator[str]:
    from textgen.inference.units import SHORTEST

    if facts["units"] is None:
        yield f"too short a text to tell units from chance; expected {SHORTEST:,} characters"
        return
    counts = Counter(unit["what"] for unit in facts["units"])
    seen: Counter[str] = Counter()
    rows = [UNITS]
    for unit in facts["units"]:
        what = unit["what"]
        seen[what] += 1
        if seen[what] <= NAMED:
            figures = f"{unit['correlation']:+.3f}", f"{unit['p']:.4f}"
            number = f"{counts[what]:,}" if seen[what] == 1 else ""
            rows.append((what, f"{unit['layer']}:{unit['unit']}", *figures, number))
    if facts["units"]:
        yield from table(rows)
        yield "p: that any unit of the model seems by chance to follow any of these so closely"
    if facts["unfollowed"]:
        yield from wrap(f"no unit follows: {', '.join(facts['unfollowed'])}", WIDTH)
