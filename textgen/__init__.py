"""textgen: a text file goes in, a small character LSTM that writes like it comes out.

import textgen

for event in textgen.train("corpus.txt", time=60):
    print(event)
model = textgen.load("checkpoints/corpus")
for piece in model.generate("Once", length=200, temperature=0.8):
    print(piece, end="")
print(model.score("some text").bits_per_char)
"""

from __future__ import annotations

import time as clock
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgen.errors import TextgenError

if TYPE_CHECKING:  # the functions below import what they need, so that `import textgen` is instant
    from textgen.events import Event
    from textgen.inference.text_model import TextModel

__version__ = "0.1.0"
__all__ = ["TextgenError", "load", "resume", "train"]


def load(path: str | Path) -> TextModel:
    """A trained model: `generate()` writes, `score()` measures.

    path: a checkpoint file, or a run's folder (its best weights).
    Raises RunError or CheckpointError if there is none, or if it is damaged.
    """
    from textgen.inference.text_model import TextModel
    from textgen.store.runs import find_checkpoint

    return TextModel(find_checkpoint(str(path), Path(path).parent))


def train(
    *files: str | Path,
    run: str | None = None,
    checkpoints: str | Path = "checkpoints",
    overwrite: bool = False,
    encoding: str = "utf-8",
    level: str = "char",
    val_fraction: float = 0.1,
    val_file: str | Path | None = None,
    device: str = "auto",
    dry_run: bool = False,
    **choices: Any,
) -> Iterator[Event]:
    """Train on files (with none, on the corpus in the box); an iterator of events.

    Nothing happens before the first event is asked for. Leave the iterator at any event and the
    run is saved, to go on with `resume`.

    dry_run: stop after the first event, the plan; nothing is written.
    choices: the fields of `textgen.training.planning.Choices`: `time` (seconds), `epochs` or
        `steps`, `hidden=(256, 256)`, `lr`, `dropout`, … ; the planner decides on those left out.
    Raises a TextgenError with a message and a hint for whatever a person can mend.
    """
    began = clock.monotonic()
    from textgen.config import CorpusConfig
    from textgen.model.device import pick_device
    from textgen.store.runs import new_run
    from textgen.text.corpus import default_corpus, read_corpus
    from textgen.training.loop import begin_training
    from textgen.training.planning import DEFAULT_TIME, Choices, plan

    # absolute paths, so that the run can be resumed from another folder
    paths = [Path(f) for f in files] or [default_corpus()]
    corpus_config = CorpusConfig(
        files=tuple(str(path.resolve()) for path in paths),
        level=level,
        encoding=encoding,
        val_fraction=val_fraction,
        val_file=None if val_file is None else str(Path(val_file).resolve()),
    )
    chosen = Choices(**choices)
    if chosen.budget is None:
        chosen = replace(chosen, time=DEFAULT_TIME)
    target = new_run(run or paths[0].stem, Path(checkpoints), overwrite or dry_run)
    place = pick_device(device)
    corpus = read_corpus(corpus_config)
    decided = plan(chosen, corpus, place, began)
    deadline = None if chosen.time is None else began + chosen.time
    training = begin_training(target, corpus, corpus_config, decided, place, deadline)
    if dry_run:
        yield training.planned()
    else:
        yield from training.events()


def resume(
    run: str | Path | None = None,
    *,
    checkpoints: str | Path = "checkpoints",
    time: float | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    files: tuple[str | Path, ...] = (),
    device: str = "auto",
) -> Iterator[Event]:
    """Go on with a run (the latest, if none is named) from where it was last saved.

    time (seconds), epochs, steps: end so much further on, instead of where the run was to end.
    files: where the corpus is now, if it moved.
    device: auto is the one it was trained on, if this machine has it.
    """
    began = clock.monotonic()
    from textgen.store.runs import find_run
    from textgen.training.loop import resume_training
    from textgen.training.planning import Choices

    found = find_run(None if run is None else str(run), Path(checkpoints))
    budget = Choices(time=time, epochs=epochs, steps=steps)
    moved = tuple(str(Path(f).resolve()) for f in files)
    training = resume_training(found, device, budget, began, moved)
    yield from training.events()
