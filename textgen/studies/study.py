"""The file of a comparison: its settings, its networks and what its runs came to so far."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from textgen.errors import RunError, quoted
from textgen.store.archive import simple_json
from textgen.store.files import write_file
from textgen.studies.figures import Result

VERSION = 1  # of the format
FREE = ("cache", "save_every", "device")  # settings that may change on the way


@dataclass
class Study:
    """settings: as given; hidden: the widths of each variant, by its label, where none are chosen;
    identities: of the runs that were begun, by name; results: of those that are done; replaced:
    identities of runs from before that are started over, None of one that cannot be read.
    """

    settings: dict[str, Any]
    fingerprint: str = ""  # of the text
    hidden: dict[str, tuple[int, ...]] = field(default_factory=dict)
    identities: dict[str, str] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)
    replaced: dict[str, str | None] = field(default_factory=dict)
    version: int = VERSION

    def save(self, path: Path) -> None:
        """Raises RunError where it cannot be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, [json.dumps(dataclasses.asdict(self), indent=1).encode()])
        except OSError as error:
            what = f"cannot save {path}: {error.strerror or error}"
            raise RunError(what, "choose another folder with `checkpoints`") from None


def open_study(path: Path, settings: Mapping[str, Any], overwrite: bool) -> Study:
    """The study that is kept at `path`, or a new one. Raises RunError if it has other settings.

    overwrite: a new one, which starts over the runs that the one before had begun, and no others.
    """
    new = Study(json.loads(json.dumps(settings, default=_of_numpy)))
    try:
        found = msgspec.convert(simple_json(path.read_text("utf-8")), Study)
    except FileNotFoundError:
        return new
    except (OSError, ValueError, RecursionError, msgspec.ValidationError) as error:
        if overwrite:
            return new
        what = f"{path} cannot be read as the file of a comparison: {error}"
        raise RunError(what, f"remove it: rm {quoted(path)}; or add `overwrite`") from None
    if overwrite:
        # a run that was to be started over, and was not saved since, is still the one before
        return dataclasses.replace(new, replaced={**found.identities, **found.replaced})
    if found.version > VERSION:
        what = f"{path} is of format {found.version}; this version reads up to {VERSION}"
        raise RunError(what, "install a newer textgen")
    for name in {**found.settings, **new.settings}:
        before, now = found.settings.get(name), new.settings.get(name)
        if before != now and name not in FREE:
            what = "the text" if name == "files" else f"`{name}`"
            raise RunError(
                f"{what} is {_shown(now)}, and the comparison in {path} was begun with"
                f" {_shown(before)}; expected the same settings",
                "give those, or another name: `run=NAME`; or start it over: add `overwrite`",
            )
    return found


def _of_numpy(number: Any) -> Any:
    return number.item()


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "left out" if value is None else str(value)
