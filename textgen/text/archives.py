"""The texts in an archive, tar or zip, each as a stream."""

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from textgen.errors import CorpusError
from textgen.text.stream import File, Stream, damaged


def zip_members(path: Path, progress: Callable[[int], None] | None) -> Iterator[tuple[str, Stream]]:
    """Name and bytes of each; progress as of `Sources`. Raises CorpusError."""
    import zipfile

    with File(path, None) as packed:
        try:
            archive = zipfile.ZipFile(path)
        except NotImplementedError as error:  # how zipfile says so
            raise _sealed(str(path), "made for a later version of unzip") from error
        except (zipfile.BadZipFile, UnicodeError, OSError) as error:
            raise damaged(str(path), 0, error) from None
        before, size = 0, path.stat().st_size  # before: bytes unpacked of members
        with archive:
            for member in sorted(archive.infolist(), key=lambda m: m.filename):
                link = stat.S_ISLNK(member.external_attr >> 16)
                if not member.filename:
                    raise damaged(str(path), 0, zipfile.BadZipFile("a member without a name"))
                if member.is_dir() or link or _hidden(member.filename):
                    continue
                packed.count = min(packed.count + member.compress_size, size)
                name = f"{path}:{member.filename}"
                try:
                    file: Any = archive.open(member)
                except (zipfile.BadZipFile, UnicodeError) as error:
                    raise damaged(name, 0, error) from None
                except NotImplementedError as error:  # it is a RuntimeError too
                    raise _sealed(name, "compressed in a way that cannot be read") from error
                except RuntimeError as error:  # or Python was built without the module
                    how = "encrypted" if member.flag_bits & 1 else f"compressed ({error})"
                    raise _sealed(name, how) from error
                with file:
                    stream = Stream(name, file, packed, ".zip", before)
                    yield name, stream
                before += stream.count
                if progress:
                    progress(member.compress_size)
        packed.check_unchanged()


def tar_members(stream: Stream) -> Iterator[tuple[str, Stream]]:
    """Name and bytes of each. Raises CorpusError."""
    import tarfile

    ends = (tarfile.EOFHeaderError, tarfile.EmptyHeaderError)  # type: ignore[attr-defined]

    class Member(tarfile.TarInfo):
        """TarFile takes a damaged header for the end, but for the first; here it is an error."""

        @classmethod
        def fromtarfile(cls, archive: tarfile.TarFile) -> "Member":
            try:
                return super().fromtarfile(archive)
            except ends:
                raise
            except (tarfile.HeaderError, ValueError, LookupError, ArithmeticError) as error:
                raise tarfile.ReadError(str(error)) from None

    try:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=Member) as archive:  # type: ignore[call-overload]
            while member := archive.next():
                if member.isfile() and not _hidden(member.name):
                    name = f"{stream.name}:{member.name}"
                    file = archive.extractfile(member)
                    yield name, Stream(name, file, stream.packed, stream.suffix)
                archive.members.clear()  # it would remember them all
            while stream.read(1 << 16):  # to the end, where checksums are compared
                pass
    except tarfile.TarError as error:
        raise damaged(stream.name, stream.count, error) from None


def _hidden(name: str) -> bool:
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def _sealed(name: str, how: str) -> CorpusError:
    return CorpusError(f"{name} is {how}", "unpack it, and name what comes out")
