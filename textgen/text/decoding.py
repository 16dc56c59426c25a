"""From a file's bytes to its symbols, in blocks: code points, or bytes at level byte."""

import codecs
import difflib
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textgen.config import CorpusConfig
from textgen.errors import CorpusError, quoted
from textgen.text.cutting import Cutter
from textgen.text.normal import in_form, normalized
from textgen.text.sources import Sources, special
from textgen.text.stream import Stream

READ = 1 << 18  # bytes read at a time: few enough to stay in a processor's cache
_ODD = {"\r": "CR", "\r\n": "CRLF"}  # line ends that become LF
_MARKS = {  # byte-order marks; UTF-32 first, for its mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass
class Reader:
    """Reads files of one level and encoding.

    encoding: with utf-8, a byte-order mark of UTF-16 or UTF-32 decides for its file; newlines: lf
    or keep; normalize: none, nfc or nfkc; progress: called with the number of bytes read from disk;
    cutter: of texts into documents; digest: SHA-256 of the bytes of all texts, unpacked; hint: what
    to do about a text that cannot be read so, where no other way to read can be chosen.
    """

    level: str = "char"
    encoding: str = "utf-8"
    newlines: str = "lf"
    normalize: str = "none"
    progress: Callable[[int], None] | None = None
    cutter: Cutter | None = None
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    hint: str = ""
    _changed: dict[str, list[str]] = field(default_factory=dict)  # names by what was changed
    _skipped: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, corpus: CorpusConfig, progress: Callable[[int], None] | None = None) -> "Reader":
        """As the files of `corpus` are read."""
        how = corpus.level, corpus.encoding, corpus.newlines, corpus.normalize
        cutter = Cutter(_as_read(corpus), corpus.level) if corpus.documents else None
        return cls(*how, progress, cutter)

    @classmethod
    def of_model(cls, corpus: CorpusConfig) -> "Reader":
        """As `of`, for a text that a model trained on `corpus` is given."""
        hint = f"the model reads {corpus.encoding}: convert the text, for example with iconv"
        return replace(cls.of(corpus), hint=f"{hint}; or name a model of bytes")

    @property
    def notices(self) -> list[str]:
        """What was changed and what was left out, one line each."""
        lines = list(self._skipped)
        for what, names in self._changed.items():
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            lines.append(f"{names[0]}{more}: {what}")
        if self.cutter and self.cutter.empty:
            lines.append(f"left out {self.cutter.empty:,} empty documents")
        return lines

    def symbols(self, path: Path) -> Iterator[NDArray]:
        """All texts of a path in blocks, one after the other: see `texts`."""
        for _, blocks in self.texts(path):
            yield from blocks

    def texts(self, path: Path) -> Iterator[tuple[str, Iterator[NDArray]]]:
        """The texts of a path: each by name, and in blocks, to be read before the next.

        A block is of code points, uint32 (or uint8 where all are ASCII), or of bytes, uint8; with a
        cutter, END stands before and after each document. A byte-order mark is left out. Raises
        CorpusError for what cannot be read, is binary, or is not in the encoding, for a device,
        which may have no end, and for a folder without text.
        """
        if special(path) == "a device":
            raise CorpusError(f"{path} is a device; expected a text", "name a file, or a pipe")
        sources, found = Sources(self.progress), False
        try:
            for name, stream in sources.texts(path):
                try:
                    first = stream.read(READ)
                except OSError as error:
                    raise _unreadable(Path(name), error) from None
                if path.is_dir() and self.level == "char" and (not first or self._binary(first)):
                    sources.skipped["binary" if first else "empty"] += 1
                    continue
                found = True
                symbols = self._symbols(name, first, stream)
                yield name, self.cutter.cut(symbols) if self.cutter else symbols
        except OSError as error:
            raise _unreadable(path, error) from None
        left_out = [f"{count} {what}" for what, count in sources.skipped.items() if count]
        if path.is_dir() and left_out:
            self._skipped.append(f"{path}: left out {', '.join(left_out)}")
        if not found:
            raise _nothing(path, left_out, self.hint)

    def text(self, path: Path) -> str:
        """All texts of a path as one, not cut: see `whole_texts`."""
        return "".join(self.whole_texts(path))

    def whole_texts(self, path: Path) -> list[str]:
        """Not cut; at level byte, what is not UTF-8 as lone surrogates (PEP 383)."""
        errors = "surrogateescape" if self.level == "byte" else "surrogatepass"
        texts = replace(self, cutter=None).texts(path)
        return [b"".join(map(text_of, blocks)).decode("utf-8", errors) for _, blocks in texts]

    def _symbols(self, name: str, first: bytes, stream: Stream) -> Iterator[NDArray]:
        blocks = self._blocks(first, stream)
        if self.level == "byte":
            for block in blocks:
                yield np.frombuffer(block, np.uint8)
            return
        texts = self._decoded(blocks, name)
        for text in in_form(texts, self.normalize):
            if text.isascii():
                yield np.frombuffer(text.encode("ascii"), np.uint8)
                continue
            try:
                yield np.frombuffer(text.encode("utf-32-le"), np.uint32)
            except UnicodeEncodeError as error:  # some encodings can write it
                half = f"U+{ord(text[error.start]):04X}, which is half of a character"
                what = f"{name} holds {half} in {self.encoding}; expected whole characters"
                hint = "mend the text, or `level=byte` models its bytes"
                raise self._refused(CorpusError(what, hint)) from None

    def _refused(self, error: CorpusError) -> CorpusError:
        """The error, with the reader's own hint if it has one."""
        error.hint = self.hint or error.hint
        return error

    def _blocks(self, first: bytes, stream: Stream) -> Iterator[bytes]:
        block = first
        while block:
            self.digest.update(block)
            yield block
            try:
                block = stream.read(READ)
            except OSError as error:
                raise _unreadable(Path(stream.name), error) from None

    def _decoded(self, blocks: Iterator[bytes], name: str) -> Iterator[str]:
        block = next(blocks, b"")
        encoding = self._encoding_of(block)
        decoder = codecs.getincrementaldecoder(encoding)()
        newlines = io.IncrementalNewlineDecoder(None, translate=self.newlines == "lf")
        taken = lines = 0
        begun = marked = final = False
        while not final:
            if not _wide(encoding) and 0 in block:
                raise self._refused(_is_binary(name, taken + block.find(0)))
            following = next(blocks, b"")
            final = not following
            try:
                text = decoder.decode(block, final)
            except UnicodeError as error:
                if isinstance(error, UnicodeDecodeError) and "BOM" not in error.reason:
                    place = taken + len(block) - len(error.object), lines + 1
                    marks = encoding != self.encoding
                    raise self._refused(_invalid(name, encoding, place, error, marks)) from None
                # UTF-16 or UTF-32 without a mark
                own = f"{codecs.lookup(encoding).name}-le"
                hint = f"name the byte order too, for example `encoding={own}`"
                raise self._refused(CorpusError(f"{name}: {error}", hint)) from None
            taken += len(block)
            lines += text.count("\n")
            if text and not begun:
                begun, marked = True, text.startswith("\ufeff")
                text = text[marked:]
            if text := newlines.decode(text, final):
                yield text
            block = following
        if encoding != self.encoding:
            self._note(name, f"read as {encoding}, as its byte-order mark says")
        elif marked:
            self._note(name, "left out the byte-order mark at its start")
        found = newlines.newlines or ()  # a string where there is one kind
        kinds = (found,) if isinstance(found, str) else found
        if self.newlines == "lf" and (odd := [n for end, n in _ODD.items() if end in kinds]):
            self._note(name, f"turned {' and '.join(odd)} line ends into LF")

    def _encoding_of(self, block: bytes) -> str:
        if codecs.lookup(self.encoding).name == "utf-8":
            for mark, encoding in _MARKS.items():
                if block.startswith(mark):
                    return encoding
        return self.encoding

    def _binary(self, block: bytes) -> bool:
        return 0 in block and not _wide(self._encoding_of(block))

    def _note(self, name: str, what: str) -> None:
        self._changed.setdefault(what, []).append(name)


def _as_read(corpus: CorpusConfig) -> str:
    """What texts are cut by, in the line ends and the normal form that they are read in."""
    separator = corpus.documents or ""
    if corpus.level == "byte":
        return separator
    if corpus.newlines == "lf":
        separator = separator.replace("\r\n", "\n").replace("\r", "\n")
    return normalized(separator, corpus.normalize)


def _wide(encoding: str) -> bool:
    return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


def text_of(symbols: NDArray) -> bytes:
    """UTF-8 of code points; bytes as they are."""
    if symbols.dtype == np.uint8:
        return symbols.tobytes()
    return symbols.tobytes().decode("utf-32-le", "surrogatepass").encode("utf-8", "surrogatepass")


def _unreadable(path: Path, error: OSError) -> CorpusError:
    where = path if error.filename is None else error.filename
    match error:
        case FileNotFoundError():
            names: list[str] = []
            with suppress(OSError):
                names = os.listdir(path.parent)
            close = difflib.get_close_matches(path.name, names)
            near = [found for n in close if (found := path.parent / n).is_file()]
            hint = f"did you mean {quoted(near[0])}" if near else _listing(path.parent)
            return CorpusError(f"no such file: {where}; expected a text file", hint)
        case PermissionError():
            return CorpusError(f"no permission to read {where}", f"chmod u+r {quoted(where)}")
    return CorpusError(f"cannot read {where}: {error.strerror or error}", _listing(path.parent))


def _listing(folder: Path) -> str:
    """How to see what is there, or in the nearest folder above it that there is."""
    there = next(filter(os.path.isdir, (folder, *folder.parents)), Path())
    return f"see what is there: ls {quoted(there)}"


def _nothing(path: Path, left_out: list[str], own: str) -> CorpusError:
    """own: the reader's hint, if it has one."""
    kind = "folder" if path.is_dir() else "archive"
    more = f", left out {', '.join(left_out)}" if left_out else ""
    found = f"{path} is {'an' if kind == 'archive' else 'a'} {kind} without text{more}"
    binary = any(what.endswith(" binary") for what in left_out)
    of_binary = own or "`level=byte` models any file at all"
    hint = of_binary if binary else "name a file, or another folder"
    return CorpusError(f"{found}; expected a text file in it", hint)


def _is_binary(name: str, offset: int) -> CorpusError:
    found = f"looks like a binary file: a zero byte at byte offset {offset}; expected text"
    return CorpusError(f"{name} {found}", "`level=byte` models any file at all")


def _invalid(
    name: str, encoding: str, place: tuple[int, int], error: UnicodeDecodeError, marked: bool
) -> CorpusError:
    """place: byte offset and line of what the decoder was given; marked: by a byte-order mark."""
    offset = place[0] + error.start
    order = error.encoding if _wide(encoding) else encoding  # only the first block has the mark
    line = place[1] + error.object[: error.start].decode(order, "replace").count("\n")
    what = f"0x{error.object[error.start]:02X} is not valid {encoding}"
    other = "latin-1" if codecs.lookup(encoding).name == "utf-8" else "utf-8"
    hint = f"name the encoding of the file, for example `encoding={other}`"
    if marked:
        hint = "get the file anew, for its byte-order mark says how it is encoded"
    return CorpusError(
        f"{name}, line {line}, byte offset {offset}: {what}",
        f"{hint}; or `level=byte` to model bytes",
    )
