"""`export`: the ending of a file's name decides what is written."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from textgen.bounds import OneOf
from textgen.sharing.output import Output, ending
from textgen.sharing.page import is_page, page_file
from textgen.sharing.rounding import PRECISIONS
from textgen.sharing.weights import is_weights_file, weights_file
from textgen.store.checkpoint import Header


class Format(NamedTuple):
    """write: the parts of the file, of (header, anonymous, precision); is_ours: whether a file is
    such; precisions: that the weights may have, the first one if none is asked for.
    """

    write: Callable[[Header, bool, str], Iterable[bytes | memoryview]]
    is_ours: Callable[[Path], bool]
    precisions: tuple[str, ...]


def _onnx_file(header: Header, anonymous: bool, _: str) -> list[bytes]:
    from textgen.sharing.onnx import onnx_file  # imports torch

    return onnx_file(header, anonymous)


def _is_onnx(path: Path) -> bool:
    from textgen.sharing.onnx import is_onnx

    return is_onnx(path)


FORMATS = {
    ".html": Format(page_file, is_page, PRECISIONS),
    ".safetensors": Format(lambda h, a, _: weights_file(h, a), is_weights_file, ("fp32",)),
    ".onnx": Format(_onnx_file, _is_onnx, ("fp32",)),
}


def export(
    header: Header, path: Path, *, precision: str | None = None, anonymous: bool = False
) -> None:
    """Write a checkpoint's model for others, whole or not at all, without a path of this machine.

    A file that exists is replaced only if it is an earlier export of that format.
    precision: of the weights, int8, fp16 or fp32; anonymous: leave out the name of the text.
    Raises UsageError for another ending or precision, CheckpointError for a damaged checkpoint,
    RunError if the file cannot be written.
    """
    form = FORMATS[ending(path, FORMATS)]
    precision = precision or form.precisions[0]
    OneOf(form.precisions).check("precision", precision)
    output = Output(path, "export", form.is_ours)
    output.check()
    output.write(form.write(header, anonymous, precision))
