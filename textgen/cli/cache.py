"""textgen cache: the encoded texts that are kept for the next run."""

import json as jsonlib
import os
import time
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from textgen.cli.table import table
from textgen.cli.terminal import harmless, note, short
from textgen.errors import RunError, UsageError, quoted


class Action(StrEnum):
    """What to do with the cache."""

    ls = "ls"
    clear = "clear"


ACTION = typer.Argument(help="ls lists what is kept, clear removes it.")


def cache(
    action: Annotated[Action, ACTION] = Action.ls,
    json: Annotated[bool, typer.Option("--json", help="One JSON object per text.")] = False,
) -> None:
    """List or remove the encoded texts that are kept for the next run.

    They are in the user's cache folder, or in the one that TEXTGEN_CACHE names; at most 20 GB, of
    which the ones used longest ago go first. Any of them can be made again from its text.
    """
    from textgen.text.cache import Cache

    kept = Cache()
    if action is Action.clear:
        if json:
            raise UsageError("--json lists, and clear removes; expected one", "leave out --json")
        note(f"freed {short(kept.clear())}B in {kept.folder}")
        if not os.access(kept.folder, os.W_OK | os.X_OK) and kept.entries():
            what = f"there is no leave to remove what is left in {kept.folder}"
            raise RunError(what, f"give it: chmod u+rwx {quoted(kept.folder)}")
        return
    entries = kept.entries()
    if not entries:
        note(f"nothing is kept in {kept.folder}")
        return
    if json:
        for entry in entries:
            print(jsonlib.dumps(asdict(entry) | {"path": str(entry.path)}))
        return
    rows = [("BYTES", "CHARACTERS", "USED", "TEXT")]
    for entry in entries:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
        text = harmless(", ".join(entry.files))
        rows.append((short(entry.bytes), f"{entry.characters:,}", used, text))
    for line in table(rows):
        print(line)
