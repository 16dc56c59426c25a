"""Writing what comes before a text, with a model that reads backward.

Its ids run from the end to the beginning. What it is given and what it writes is turned round here;
at level byte a byte is turned as the character of that number, for UTF-8 cannot be read backward.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from numpy.typing import NDArray

from textgen.config import SamplingOptions
from textgen.errors import UsageError
from textgen.inference.folding import FoldedModel
from textgen.inference.sampling import Uniforms
from textgen.inference.writer import Writer
from textgen.text.vocabulary import Vocabulary

_BYTES = "".join(map(chr, range(256)))


def turned(text: str, level: str) -> str:
    """`text` as the model reads it."""
    if level == "byte":
        text = text.encode("utf-8", "surrogateescape").decode("latin-1")
    return text[::-1]


def in_reading_order(text: str, level: str) -> str:
    """The inverse of `turned`."""
    text = text[::-1]
    return text.encode("latin-1").decode("utf-8", "surrogateescape") if level == "byte" else text


def turned_vocabulary(vocabulary: Vocabulary) -> Vocabulary:
    """The vocabulary of turned texts."""
    bytewise = Vocabulary("char", _BYTES, has_end=vocabulary.has_end)
    return bytewise if vocabulary.level == "byte" else vocabulary


class Drawn(NamedTuple):
    """How the texts of a model are drawn: the vocabulary and the options, as the model reads.

    in_order: what was drawn, in reading order.
    """

    vocabulary: Vocabulary
    options: SamplingOptions
    in_order: Callable[[str], str]


def drawn_by(vocabulary: Vocabulary, options: SamplingOptions, *, backward: bool) -> Drawn:
    """With vocabulary and stop texts turned round, where the model reads backward."""
    if not backward:
        return Drawn(vocabulary, options, str)
    level = vocabulary.level
    options = replace(options, stop=tuple(turned(text, level) for text in options.stop))
    return Drawn(turned_vocabulary(vocabulary), options, partial(in_reading_order, level=level))


def writer(
    model: FoldedModel,
    vocabulary: Vocabulary,
    options: SamplingOptions,
    uniforms: Uniforms,
    *,
    prompt: NDArray,
    backward: bool,
    **others: Any,
) -> Writer:
    """A writer that goes on from the ids of `prompt`, or before them; others: as `Writer` has it.

    prompt: shape (n,), in reading order. Raises UsageError for a text without an end that would be
    written backward.
    """
    if not backward:
        return Writer(model, vocabulary, options, uniforms, prompt=prompt, **others)
    if not options.length:
        what = "`length` is 0, and a text that is written backward is shown when it is whole"
        raise UsageError(what, "try `length=500`")
    drawn = drawn_by(vocabulary, options, backward=True)
    others |= {"prompt": prompt[::-1], "in_order": drawn.in_order}
    return BackwardWriter(model, drawn.vocabulary, drawn.options, uniforms, **others)


class BackwardWriter(Writer):
    """A writer in reading order: one piece, handed out when all of it is drawn.

    in_order: see `Drawn`; vocabulary, options and prompt are turned round.
    """

    def __init__(self, *arguments: Any, in_order: Callable[[str], str], **others: Any) -> None:
        super().__init__(*arguments, **others)
        self._in_order = in_order

    def __next__(self) -> str:
        drawn = "".join(self._pieces)
        if not drawn:
            raise StopIteration
        return self._in_order(drawn)
