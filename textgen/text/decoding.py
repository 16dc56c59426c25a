"""From a file's bytes to its symbols, in blocks: code points, or bytes at level byte."""

import codecs
import difflib
import hashlib
import io
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textgen.errors import CorpusError, quoted

READ = 1 << 22  # bytes read at a time
_ODD = {"\r": "CR", "\r\n": "CRLF"}  # line ends that become LF


@dataclass
class Reader:
    """Reads files of one level and encoding.

    digest: SHA-256 of all bytes read; notices: what was changed, one line each.
    """

    level: str = "char"
    encoding: str = "utf-8"
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    notices: list[str] = field(default_factory=list)

    def symbols(self, path: Path) -> Iterator[NDArray]:
        """A file in blocks: code points, uint32, or bytes, uint8; BOM left out, newlines as LF.

        Raises CorpusError for a file that cannot be read, is binary, or is not in the encoding,
        and for a device, which may have no end.
        """
        if special(path) == "a device":
            raise CorpusError(f"{path} is a device; expected a text", "name a file, or a pipe")
        try:
            with open(path, "rb") as file:
                blocks = self._hashed(iter(lambda: file.read(READ), b""))
                if self.level == "byte":
                    for block in blocks:
                        yield np.frombuffer(block, np.uint8)
                else:
                    for text in self._decoded(blocks, path):
                        yield np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        except OSError as error:
            raise _unreadable(path, error) from None

    def text(self, path: Path) -> str:
        """A whole file; at level byte, bytes that are not UTF-8 as lone surrogates (PEP 383)."""
        raw = b"".join(map(text_of, self.symbols(path)))
        return raw.decode("utf-8", "surrogateescape" if self.level == "byte" else "surrogatepass")

    def _hashed(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self.digest.update(block)
            yield block

    def _decoded(self, blocks: Iterator[bytes], path: Path) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder(self.encoding)()
        newlines = io.IncrementalNewlineDecoder(None, translate=True)
        taken = lines = 0
        begun = marked = final = False
        block = next(blocks, b"")
        while not final:
            _refuse_binary(block, path, self.encoding, taken)
            following = next(blocks, b"")
            final = not following
            try:
                text = decoder.decode(block, final)
            except UnicodeDecodeError as error:
                offset = taken + len(block) - len(error.object) + error.start
                line = lines + error.object[: error.start].count(b"\n") + 1
                what = f"0x{error.object[error.start]:02X} is not valid {self.encoding}"
                other = "latin-1" if codecs.lookup(self.encoding).name == "utf-8" else "utf-8"
                raise CorpusError(
                    f"{path}, line {line}, byte offset {offset}: {what}",
                    f"name the encoding of the file, for example `encoding={other}`;"
                    " or `level=byte` to model bytes",
                ) from None
            except UnicodeError as error:  # UTF-16 without a byte-order mark
                hint = "name the byte order too, for example `encoding=utf-16-le`"
                raise CorpusError(f"{path}: {error}", hint) from None
            taken += len(block)
            lines += block.count(b"\n")
            if text and not begun:
                begun, marked = True, text.startswith("\ufeff")
                text = text[marked:]
            if text := newlines.decode(text, final):
                yield text
            block = following
        if marked:
            self.notices.append(f"{path}: left out the byte-order mark at its start")
        found = newlines.newlines or ()  # a string where there is one kind
        kinds = (found,) if isinstance(found, str) else found
        if odd := [name for end, name in _ODD.items() if end in kinds]:
            self.notices.append(f"{path}: turned {' and '.join(odd)} line ends into LF")


def text_of(symbols: NDArray) -> bytes:
    """UTF-8 of code points; bytes as they are."""
    if symbols.dtype == np.uint8:
        return symbols.tobytes()
    return symbols.tobytes().decode("utf-32-le", "surrogatepass").encode("utf-8", "surrogatepass")


def codes_of(text: bytes, level: str = "char") -> NDArray:
    """Code points of UTF-8, uint32; at level byte the bytes, uint8."""
    if level == "byte":
        return np.frombuffer(text, np.uint8)
    text = text.decode("utf-8", "surrogatepass").encode("utf-32-le", "surrogatepass")
    return np.frombuffer(text, np.uint32)


def special(path: Path) -> str:
    """`a pipe`, `a socket` or `a device` where `path` is one, else nothing."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # nothing there, or a name that no file can have
        return ""
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return "a device"
    return "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else ""


def _unreadable(path: Path, error: OSError) -> CorpusError:
    match error:
        case FileNotFoundError():
            names: list[str] = []
            with suppress(OSError):
                names = os.listdir(path.parent)
            close = difflib.get_close_matches(path.name, names)
            near = [found for n in close if (found := path.parent / n).is_file()]
            hint = f"did you mean {quoted(near[0])}" if near else "check the path"
            return CorpusError(f"no such file: {path}; expected a text file", hint)
        case IsADirectoryError():
            hint = f"name the files in it: {quoted(path)}/*.txt"
            return CorpusError(f"{path} is a folder; expected a text file", hint)
        case PermissionError():
            return CorpusError(f"no permission to read {path}", f"chmod u+r {quoted(path)}")
    return CorpusError(f"cannot read {path}: {error.strerror or error}", "check the path")


def _refuse_binary(block: bytes, path: Path, encoding: str, taken: int) -> None:
    """Look for zero bytes in a block with `taken` bytes before it."""
    wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    if wide or (offset := block.find(0)) < 0:
        return
    if taken == 0 and block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        found = f"begins with a UTF-16 byte-order mark; expected {encoding}"
        raise CorpusError(f"{path} {found}", "try `encoding=utf-16`")
    found = f"looks like a binary file: a zero byte at byte offset {taken + offset}; expected text"
    raise CorpusError(f"{path} {found}", "`level=byte` models any file at all")
