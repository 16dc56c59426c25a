"""From a file's bytes to its symbols, block by block: code points, or bytes at level byte."""

from __future__ import annotations

import codecs
import difflib
import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textgen.errors import CorpusError

READ = 1 << 22  # bytes read at a time


@dataclass
class Reader:
    """Reads files of one level and encoding.

    digest: SHA-256 of all bytes read; notices: what was changed on the way, one line each.
    """

    level: str = "char"
    encoding: str = "utf-8"
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    notices: list[str] = field(default_factory=list)

    def symbols(self, path: Path) -> Iterator[NDArray]:
        """The symbols of a file, in blocks: uint32 code points, or uint8 bytes at level byte.

        A byte-order mark is left out, CRLF and CR become LF.
        Raises CorpusError for a file that cannot be read, is binary, or is not in the encoding.
        """
        try:
            with open(path, "rb") as file:
                blocks = self._hashed(iter(lambda: file.read(READ), b""))
                if self.level == "byte":
                    for block in blocks:
                        yield np.frombuffer(block, np.uint8)
                else:
                    for text in self._decoded(blocks, path):
                        yield np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        except FileNotFoundError:
            near = difflib.get_close_matches(path.name, _names(path.parent), n=1, cutoff=0.5)
            hint = f"did you mean {path.parent / near[0]}" if near else "check the path"
            raise CorpusError(f"no such file: {path}; expected a text file", hint) from None
        except IsADirectoryError:
            raise CorpusError(
                f"{path} is a folder; expected a text file", f"name the files in it: {path}/*.txt"
            ) from None
        except PermissionError:
            raise CorpusError(f"no permission to read {path}", f"chmod u+r {path}") from None
        except OSError as error:
            raise CorpusError(
                f"cannot read {path}: {error.strerror or error}", "check the path"
            ) from None

    def text(self, path: Path) -> str:
        """A whole file; at level byte, bytes that are not UTF-8 as lone surrogates (PEP 383)."""
        raw = b"".join(map(text_of, self.symbols(path)))
        return raw.decode("utf-8", "surrogateescape" if self.level == "byte" else "surrogatepass")

    def _hashed(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self.digest.update(block)
            yield block

    def _decoded(self, blocks: Iterator[bytes], path: Path) -> Iterator[str]:
        bytes_to_text = codecs.getincrementaldecoder(self.encoding)()
        newlines = io.IncrementalNewlineDecoder(None, translate=True)
        taken = lines = 0
        begun = marked = False
        block = next(blocks, b"")
        _refuse_binary(block, path, self.encoding)
        final = False
        while not final:
            following = next(blocks, b"")
            final = not following
            try:
                text = bytes_to_text.decode(block, final)
            except UnicodeDecodeError as error:
                offset = taken + len(block) - len(error.object) + error.start
                line = lines + error.object[: error.start].count(b"\n") + 1
                raise CorpusError(
                    f"{path}, line {line}, byte offset {offset}: 0x{error.object[error.start]:02X}"
                    f" is not valid {self.encoding}",
                    f"name the encoding of the file, for example {_another(self.encoding)};"
                    " or `level=byte` to model bytes",
                ) from None
            except UnicodeError as error:  # UTF-16 without a byte-order mark
                raise CorpusError(
                    f"{path}: {error}", "name the byte order too, for example `encoding=utf-16-le`"
                ) from None
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
        kinds = newlines.newlines or ()
        kinds = (kinds,) if isinstance(kinds, str) else kinds
        if odd := sorted({"\r": "CR", "\r\n": "CRLF"}[k] for k in kinds if k != "\n"):
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


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _another(encoding: str) -> str:
    other = "latin-1" if codecs.lookup(encoding).name == "utf-8" else "utf-8"
    return f"`encoding={other}`"


def _refuse_binary(block: bytes, path: Path, encoding: str) -> None:
    wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    if wide or (offset := block.find(0)) < 0:
        return
    if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise CorpusError(
            f"{path} begins with a UTF-16 byte-order mark; expected {encoding}",
            "try `encoding=utf-16`",
        )
    raise CorpusError(
        f"{path} looks like a binary file: a zero byte at byte offset {offset}; expected text",
        "`level=byte` models any file at all",
    )
