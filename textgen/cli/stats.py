"""textgen stats: what a text is, before anybody waits for a model of it."""

from __future__ import annotations

import dataclasses
import json as jsonlib
import textwrap
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textgen.cli.info import alphabet_line
from textgen.cli.parse import given, training
from textgen.cli.piped import read_again
from textgen.cli.shading import WIDTH, cut
from textgen.cli.terminal import harmless, note, progress
from textgen.cli.train import CORPUS, DATA, DEFAULT, Cache

if TYPE_CHECKING:
    from textgen.events import Reading
    from textgen.text.corpus import Corpus

_SHOWN = {"\t": "tab", " ": "space", "\n": "line end"}


def stats(
    context: typer.Context,
    corpus: Annotated[list[Path] | None, CORPUS] = None,
    val_fraction: Annotated[float, training("val_fraction", DATA)] = DEFAULT.val_fraction,
    val_file: Annotated[Path | None, training("val_file", DATA)] = None,
    encoding: Annotated[str, training("encoding", DATA)] = DEFAULT.encoding,
    newlines: Annotated[str, training("newlines", DATA)] = DEFAULT.newlines,
    normalize: Annotated[str, training("normalize", DATA)] = DEFAULT.normalize,
    min_count: Annotated[int, training("min_count", DATA)] = DEFAULT.min_count,
    level: Annotated[str, training("level", DATA)] = DEFAULT.level,
    documents: Annotated[str | None, training("documents", DATA)] = None,
    dedupe: Annotated[bool, training("dedupe", DATA)] = DEFAULT.dedupe,
    cache: Cache = DEFAULT.cache,
    json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Tell what a text is: its size, alphabet and lines, and how it would be split.

    It is read as textgen train would read it.
    """
    from textgen.config import Choices, CorpusConfig
    from textgen.text.corpus import default_corpus, read_corpus
    from textgen.text.pipes import as_given
    from textgen.text.sources import absolute

    choices = Choices(**given(context, Choices))
    paths = [*(corpus or [default_corpus()]), *([val_file] if val_file else [])]
    with read_again(paths) as now:
        files = [absolute(path) for path in now]
        held_out = files.pop() if val_file else None
        config = CorpusConfig.of(choices, tuple(files), held_out)
        with progress() as bar:
            task = bar.add_task("reading", total=None)

            def show(read: Reading) -> None:
                bar.update(task, total=read.total, completed=read.done)

            found = read_corpus(config, cache=cache, progress=show)
        facts = facts_of(found)
        for copy, path in zip(now, paths, strict=True):
            facts["notices"] = [as_given(notice, copy, path) for notice in facts["notices"]]
    if json:
        print(jsonlib.dumps(facts))
        return
    for name, value in _rows(facts):
        print(cut(f"{name:<9} {harmless(value)}", WIDTH))
    for notice in facts["notices"]:
        note(f"note: {notice}")


def facts_of(corpus: Corpus) -> dict[str, Any]:
    """What `--json` prints."""
    from textgen.text.statistics import documents_of, lines_of, oddest, rarest, scripts

    lines = lines_of(corpus)
    return {
        "texts": len(corpus.lengths),
        "characters": int(corpus.counts[: corpus.vocabulary.end].sum()),
        "distinct": len(corpus.vocabulary.characters) or int((corpus.counts[:256] > 0).sum()),
        "scripts": scripts(corpus.vocabulary),
        "rarest": rarest(corpus),
        "oddest": oddest(corpus),
        "documents": documents_of(corpus),
        "lines": lines and dataclasses.asdict(lines),
        "train_characters": len(corpus.train),
        "val_characters": len(corpus.validation),
        "sha256": corpus.fingerprint,
        "notices": corpus.notices,
    }


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    lines = facts["lines"]
    size = f"{facts['characters']:,} characters, {facts['distinct']} distinct"
    texts = f"{facts['texts']:,} text{'s' if facts['texts'] > 1 else ''}, {size}"
    rows = [("read", texts)]
    rows += [("alphabet", row) for row in _folded(alphabet_line(facts["scripts"]))]
    for name in ("rarest", "oddest"):
        rows += [(name, f"{_named(character)}: {count:,}") for character, count in facts[name]]
    if documents := facts["documents"]:
        lengths = f"median {documents['median']:,}, longest {documents['longest']:,} characters"
        repeated = f"{documents['duplicates'] / documents['documents']:.1%} duplicates"
        rows.append(("documents", f"{documents['documents']:,}, {lengths}, {repeated}"))
    if lines:
        lengths = f"{lines['lines']:,}, median {lines['median']}, longest {lines['longest']:,}"
        whole = lines["examined"] == facts["train_characters"]
        of = "of the part" if whole else "at the beginning of the part"
        rows.append(("lines", f"{lengths} characters, {of} to train on"))
        repeated = f"{lines['repeated_lines']:.1%} of the characters by lines"
        repeated += f", {lines['repeated_paragraphs']:.1%} by paragraphs"
        rows.append(("repeated", f"{repeated} (of 20 or more)"))
    parts = f"{facts['train_characters']:,} to train on, {facts['val_characters']:,} held out"
    parts += ", with the documents' ends" if documents else ""
    rows += [("parts", parts), ("sha256", facts["sha256"])]
    labels = [name for name, _ in rows]
    once = ("" if name in labels[:place] else name for place, name in enumerate(labels))
    return [(label, value) for label, (_, value) in zip(once, rows, strict=True)]


def _named(character: str) -> str:
    shown = _SHOWN.get(character, character)
    return f"U+{ord(character):04X} {shown} {unicodedata.name(character, '').lower()}".rstrip()


def _folded(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH - 10)
