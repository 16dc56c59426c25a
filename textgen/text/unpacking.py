"""The bytes of a compressed file, unpacked in a bounded amount of memory."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

from textgen.errors import CorpusError

MODULES = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma", ".zst": "zstd"}  # by ending
MEMORY = 1 << 27  # bytes that unpacking may take, whatever a header asks for; also zstd's own limit
_READ = 1 << 16  # bytes of a compressed file read at a time


def unpacked(packed: Any, suffix: str) -> Any:
    """What is in `packed`, a file with `path`, that was compressed as `suffix` says.

    Raises CorpusError if this Python cannot read it.
    """
    module = next((name for ending, name in MODULES.items() if suffix.endswith(ending)), None)
    if module is None:
        return packed
    try:
        if module == "lzma":
            decoder = import_module(module).LZMADecompressor
            return _Streams(packed, partial(decoder, memlimit=MEMORY))
        if module == "gzip":
            return import_module(module).open(packed)
        if module == "bz2":
            return _Streams(packed, import_module(module).BZ2Decompressor)
    except ImportError:
        what = f"{packed.path} is compressed, and this Python was built without {module}"
        raise CorpusError(what, "unpack it first, or use a Python that has it") from None
    for name in ("compression.zstd", "backports.zstd"):
        with suppress(ImportError):
            return _Streams(packed, import_module(name).ZstdDecompressor)
    raise CorpusError(
        f"{packed.path} is compressed with zstd, which this Python cannot read",
        "install the extra: pip install 'textgen-lstm[zstd]'",
    )


class _Streams:
    """A file of compressed streams, one after the other, perhaps with zero bytes between them.

    The modules' own files take one that begins with an error for what is no stream and ends the
    text, and lzma's takes no limit of memory.
    """

    def __init__(self, packed: Any, begin: Callable[[], Any]) -> None:
        """begin: makes the decompressor of a stream."""
        self._packed = packed
        self._begin = begin
        self._decoder = begin()

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end. Raises as the module does, EOFError if cut off."""
        while True:
            raw = b""
            if self._decoder.eof:
                raw = self._decoder.unused_data.lstrip(b"\0")
                while not raw and (block := self._packed.read(_READ)):
                    raw = block.lstrip(b"\0")
                if not raw:
                    return b""
                self._decoder = self._begin()
            elif self._decoder.needs_input:
                raw = self._packed.read(_READ)
                if not raw:
                    raise EOFError("it ends in the middle")
            unpacked: bytes = self._decoder.decompress(raw, size)
            if unpacked:
                return unpacked
