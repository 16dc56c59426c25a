"""The bytes of a compressed file, unpacked in a bounded amount of memory."""

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
    if module == "lzma":
        return _Xz(packed)
    if module != "zstd":
        return import_module(module).open(packed)
    for name in ("compression.zstd", "backports.zstd"):
        with suppress(ImportError):
            return import_module(name).open(packed)
    raise CorpusError(
        f"{packed.path} is compressed with zstd, which this Python cannot read",
        "install the extra: pip install 'textgen-lstm[zstd]'",
    )


class _Xz:
    """A file of xz streams, one after the other, with zero bytes between them.

    lzma.LZMAFile takes no limit of memory.
    """

    def __init__(self, packed: Any) -> None:
        import lzma

        self._packed = packed
        self._begin = partial(lzma.LZMADecompressor, memlimit=MEMORY)
        self._decoder = self._begin()

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end. Raises LZMAError, and EOFError if cut off."""
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
            if block := self._decoder.decompress(raw, size):
                return block
