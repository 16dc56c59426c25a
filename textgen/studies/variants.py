"""What is compared: the variants of one setting or two, in networks of equal size."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

from textgen.architecture import ModelConfig
from textgen.config import SEEDS, Choices
from textgen.errors import UsageError

VARIED = (
    *("cell", "layers", "hidden", "embedding", "skip", "history", "grams"),
    *("dropout", "weight_drop", "batch_size", "bptt", "optimizer", "lr"),
    *("schedule", "warmup", "clip", "weight_decay", "precision"),
)
MOST_AXES = 2
NEAR = 0.01  # how far the parameters of a variant may be from those aimed at: of two, 2 % apart
UNITS = (32, 16, 8, 4, 2, 1)  # of a width: the rounder it is, the faster its products
WIDEST = 1 << 16


@dataclass(frozen=True)
class Variant:
    """label: its values of what is compared, such as `lstm` or `layers 2, lr 0.01`."""

    label: str
    choices: Choices

    @property
    def suffix(self) -> str:
        """The label as a part of a run's name."""
        return self.label.replace(", ", "-").replace(" ", "-").replace(",", "x")

    def seeded(self, number: int) -> "Variant":
        """The same with another seed, the variant's own plus `number`."""
        seed = (self.choices.seed + number) % SEEDS
        return replace(self, choices=replace(self.choices, seed=seed))


def variants_of(settings: Mapping[str, Any]) -> list[Variant]:
    """One for each combination of values; settings: fields of `Choices`, those compared as lists.

    Raises UsageError for no list or for more than two, and for values that a run cannot have.
    """
    axes = {n: v for n, v in settings.items() if isinstance(v, list) and len(v) > 1}
    fixed = {n: v[0] if isinstance(v, list) and v else v for n, v in settings.items()}
    for name, values in axes.items():
        if name not in VARIED:
            what = f"`{name}` has {len(values)} values; expected one"
            raise UsageError(what, f"give one value; several may be had by {', '.join(VARIED)}")
        if twice := [value for value in values if values.count(value) > 1]:
            what = f"`{name}` names {twice[0]} twice; expected different values"
            raise UsageError(what, "leave one out")
    if not 0 < len(axes) <= MOST_AXES:
        found = ", ".join(f"`{name}`" for name in axes) or "none"
        what = f"{found}: {len(axes)} settings have several values; expected one or two"
        hint = f"keep {' and '.join([f'`{n}`' for n in axes][:MOST_AXES])}"
        raise UsageError(what, hint if axes else "try `cell=rnn,gru,lstm`")
    variants = []
    for combination in product(*axes.values()):
        chosen = dict(zip(axes, combination, strict=True))
        label = ", ".join(_named(name, value) for name, value in chosen.items())
        variants.append(Variant(label, Choices(**fixed | chosen)))
    return variants


def _named(name: str, value: object) -> str:
    name = name.replace("_", "-")
    match value:
        case bool():
            return name if value else f"no-{name}"
        case str():
            return value
        case tuple():
            return f"{name} {','.join(map(str, value))}"
    return f"{name} {value}"


def of_equal_size(planned: Sequence[ModelConfig], choices: Sequence[Choices]) -> list[ModelConfig]:
    """A network for each of `choices`, with as many parameters as the smallest of `planned`.

    The smallest is the one that each variant has the time for; its depth counts where none is
    chosen. Widths are the roundest that come near its parameters. Rows for matches and n-grams do
    not count: beside a variant without, they would leave one with them but narrow layers.
    """
    counted = [network.bare for network in planned]
    aim = min(counted, key=lambda network: network.parameters)
    shapes = [
        partial(_of_width, own, chosen.layers or aim.layers)
        for own, chosen in zip(counted, choices, strict=True)
    ]
    return [
        replace(own, hidden=shape(width_for(aim.parameters, shape)).hidden)
        for own, shape in zip(planned, shapes, strict=True)
    ]


def _of_width(network: ModelConfig, layers: int, width: int) -> ModelConfig:
    return replace(network, hidden=(width,) * layers)


def width_for(parameters: int, shape: Callable[[int], ModelConfig]) -> int:
    """The roundest width whose network has about so many parameters; else the nearest."""

    def off(width: int) -> float:
        return abs(shape(width).parameters / parameters - 1)

    below = bisect_left(range(1, WIDEST), parameters, key=lambda w: shape(w).parameters)
    for unit in UNITS:
        lower = max(1, below) // unit * unit
        width = min({lower or unit, lower + unit}, key=off)
        if off(width) <= NEAR:
            break
    return width
