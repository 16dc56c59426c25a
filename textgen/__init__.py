"""textgen: a text file goes in, a small character LSTM that writes like it comes out.

`textgen.train("corpus.txt", time=60)` is an iterator of events; what it saves,
`textgen.load("checkpoints/corpus")`, can `generate("Once", length=200)` and `score(text)`.
"""

from __future__ import annotations

import time as clock

from textgen.errors import TextgenError

TYPE_CHECKING = False  # that of `typing` would be imported
if TYPE_CHECKING:  # the functions import what they need, so that `import textgen` is instant
    from collections.abc import Callable, Generator
    from pathlib import Path
    from typing import Any

    from textgen import config as config
    from textgen import events as events
    from textgen import studies as studies
    from textgen.events import Event, Reading
    from textgen.inference.text_model import TextModel
    from textgen.studies.comparison import Report

__version__ = "0.2.0.dev0"
__all__ = ["TextgenError", "compare", "load", "resume", "serve", "train"]


def load(path: str | Path) -> TextModel:
    """A trained model: `generate()` writes, `score()` measures.

    path: a checkpoint file, or a run's folder (its best weights).
    Raises RunError or CheckpointError if there is none, or if it is damaged.
    """
    from pathlib import Path

    from textgen.inference.text_model import TextModel
    from textgen.store.runs import checkpoint_at

    return TextModel(checkpoint_at(Path(path)))


def train(
    *files: str | Path,
    run: str | None = None,
    checkpoints: str | Path = "checkpoints",
    overwrite: bool = False,
    base: str | Path | None = None,
    dry_run: bool = False,
    progress: Callable[[Reading], None] | None = None,
    **choices: Any,
) -> Generator[Event]:
    """Train on files (with none, on the bundled fables); an iterator of events.

    Nothing happens before the first event is asked for. Leave it at any, and the run is saved.

    run: its name, by default the first file's; overwrite: start over a run that exists;
    base: a run or a checkpoint to begin from, its weights and its shape; dry_run: stop after the
    first event, the plan; no run is written; progress: is told how much of the text was read.
    choices: the fields of `textgen.config.Choices`, `time` and `save_every` as numbers of seconds;
        the planner decides on those left out.
    Raises a TextgenError with a message and a hint for whatever a person can mend.
    """
    began = clock.monotonic()
    from contextlib import ExitStack, closing
    from itertools import chain, islice
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from textgen.config import Choices, CorpusConfig
    from textgen.model.device import restored
    from textgen.store.checkpoint import read_header
    from textgen.store.runs import find_checkpoint, new_run
    from textgen.text.corpus import default_corpus
    from textgen.text.pipes import kept
    from textgen.text.sources import absolute, path_of
    from textgen.training import follower, launch, ranks, start

    chosen, where = Choices(**choices), Path(checkpoints)
    paths = [*map(path_of, files)] or [default_corpus()]
    held_out = [] if chosen.val_file is None else [path_of(chosen.val_file)]
    # settings are checked before a pipe is read
    CorpusConfig.of(chosen, tuple(map(str, paths)), chosen.val_file and str(chosen.val_file))
    if launch.launch().rank:
        return follower.follow(cache=chosen.cache)
    with restored(), ExitStack() as stack:
        again = stack.enter_context(ranks.join().led()).resumes  # after a rank was lost
        target = new_run(_named(run, paths), where, overwrite or dry_run or again)
        if again:
            return (yield from start.again(target, chosen, began, progress).events())
        of_base = None if base is None else read_header(find_checkpoint(str(base), where))
        if not dry_run:
            target.check_writable()
        folder = Path(stack.enter_context(TemporaryDirectory())) if dry_run else target.folder
        with kept([*paths, *held_out], folder, temporary=dry_run) as now:
            read = tuple(map(absolute, now))
            corpus = CorpusConfig.of(chosen, read[: len(paths)], *read[len(paths) :])
            of = target, corpus, chosen, began
            loop = start.begin(*of, base=of_base, given=choices.keys(), progress=progress)
            events = (e for e in [loop.planned()]) if dry_run else loop.events()
            first = [*islice(stack.enter_context(closing(events)), 2)]  # the plan, the first save
        yield from chain(first, events)


def resume(
    run: str | Path | None = None,
    *,
    checkpoints: str | Path = "checkpoints",
    files: str | Path | tuple[str | Path, ...] = (),
    val_file: str | Path | None = None,
    progress: Callable[[Reading], None] | None = None,
    **choices: Any,
) -> Generator[Event]:
    """Go on with a run (the latest, if none is named) from where it was last saved.

    run: its name, its folder, or one of its files: `last`, `previous` or `best`.
    files, val_file: where the corpus is now, if it moved; progress: as for `train`.
    choices: `time` (seconds), `epochs` or `steps`: train for so much more, instead of to the
        planned end; `device`: by default the one it was trained on; `cache`; `accumulate` and
        `deterministic`: from here on.
    Raises UsageError, RunError if there is no such run or it is finished, CheckpointError,
    CorpusError if its text is gone or another.
    """
    began = clock.monotonic()
    from dataclasses import replace
    from pathlib import Path

    from textgen.config import Choices
    from textgen.errors import UsageError
    from textgen.model.device import restored
    from textgen.store.run import Run
    from textgen.store.runs import find_source
    from textgen.text.sources import absolute
    from textgen.training import follower, launch, ranks, start

    taken = ("time", "epochs", "steps", "device", "cache", "accumulate", "deterministic")
    if others := sorted(choices.keys() - set(taken)):
        raise UsageError(
            f"`{others[0]}` is given; expected none but {', '.join(taken)}",
            "to change a setting, train anew: textgen train",
        )
    chosen = Choices(**choices)
    if launch.launch().rank:
        return follower.follow(cache=chosen.cache)
    with restored(), ranks.join().led() as leader:
        found = find_source(None if run is None else str(run), Path(checkpoints))
        moved = (files,) if isinstance(files, str | Path) else files
        now = tuple(map(absolute, moved)), None if val_file is None else absolute(val_file)
        if leader.resumes:  # what was asked for is in the newest checkpoint by now
            found = Run(found.parent).newest
            chosen = replace(chosen, time=None, epochs=None, steps=None)
        yield from start.resume(found, now, chosen, began, progress).events()


def serve(
    *runs: str | Path,
    checkpoints: str | Path = "checkpoints",
    ready: Callable[[str], object] | None = None,
    **options: Any,
) -> None:
    """Answer requests for text, in the form of OpenAI's completions, until SIGTERM or SIGINT.

    Running texts then have ten seconds to end. A run that is trained further, or anew, is loaded
    again when what it writes from is saved.

    runs: names, folders or checkpoint files (the latest run, if none is named); ready: is called
        with the server's address once it listens.
    options: the fields of `textgen.config.ServingOptions`.
    Raises UsageError, RunError if the port is taken, CheckpointError, MissingLibrary.
    """
    from pathlib import Path

    from textgen.config import ServingOptions
    from textgen.errors import MissingLibrary

    chosen = ServingOptions(**options)
    try:
        from textgen.serving.server import serve as run
    except ImportError as error:
        raise MissingLibrary(f"a server needs {error.name}", "serve") from None
    run([str(given) for given in runs], Path(checkpoints), chosen, ready)


def compare(
    *files: str | Path,
    run: str | None = None,
    checkpoints: str | Path = "checkpoints",
    overwrite: bool = False,
    seeds: int = 1,
    progress: Callable[[Reading], None] | None = None,
    **choices: Any,
) -> Generator[Report]:
    """Train variants on equal terms, each as a run of its own; an iterator of reports.

    Leave the iterator at any report, and the same call goes on from there.

    run: what the runs' names begin with, by default the first file's; seeds: with how many each
        variant is trained, from `seed` on; overwrite and progress as for `train`.
    choices: the fields of `textgen.config.Choices`; one or two of them are lists, of the values
        that are compared. A budget is for each run.
    Raises a TextgenError; RunError where it was begun with other settings.
    """
    from pathlib import Path

    from textgen.config import CorpusConfig
    from textgen.studies.comparison import Comparison
    from textgen.studies.variants import variants_of
    from textgen.text.corpus import default_corpus
    from textgen.text.sources import absolute, path_of

    chosen = variants_of(choices)[0].choices
    paths = [*map(path_of, files)] or [default_corpus()]
    held_out = None if chosen.val_file is None else absolute(chosen.val_file)
    corpus = CorpusConfig.of(chosen, tuple(map(absolute, paths)), held_out)
    name, folder = _named(run, paths), Path(checkpoints)
    how: Any = {"seeds": seeds, "overwrite": overwrite}
    yield from Comparison(name, folder, corpus, choices, **how).reports(progress)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """The modules whose classes are arguments and results, when they are first asked for."""
        if name not in ("config", "events", "studies"):
            raise AttributeError(f"module 'textgen' has no attribute {name!r}")
        from importlib import import_module

        return import_module(f"textgen.{name}")


def _named(run: str | None, paths: list[Path]) -> str:
    """The name of a run: its own, or that of the first file."""
    from textgen.text.sources import title

    return title(paths[0]) if run is None else run
