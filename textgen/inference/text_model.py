"""A trained model as a person uses it: it writes, and it scores."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from textgen.config import check_choice, check_number
from textgen.errors import CheckpointError, CorpusError
from textgen.inference.sampling import SamplingConfig, Uniforms, random_seed
from textgen.inference.stepper import Stepper
from textgen.inference.writer import Position, Stops, Writer, first_id
from textgen.store.checkpoint import Header, read_header
from textgen.store.contents import read_vocabulary, read_weights
from textgen.text.vocabulary import UNKNOWN, Vocabulary

if TYPE_CHECKING:
    from textgen.inference.evaluation import Evaluation
    from textgen.model.network import CharModel


_ACCELERATORS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # CUDA, CUDA under WSL, ROCm


class TextModel:
    """What `textgen.load` gives: weights, vocabulary and the record of their training."""

    def __init__(self, path: Path) -> None:
        """path: a checkpoint file. Raises CheckpointError if it is none, or is damaged."""
        self.header: Header = read_header(path)
        self.vocabulary: Vocabulary = read_vocabulary(self.header)
        self.weights: dict[str, NDArray] = read_weights(self.header)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the checkpoint file, as `sha256sum` prints it."""
        with open(self.header.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def generate(
        self,
        prompt: str = "",
        *,
        length: int = 500,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int | None = None,
        number: int = 0,
        stop: Sequence[str] = (),
        unknown: str = "error",
        position: Position | None = None,
        score: bool = False,
    ) -> Writer:
        """An iterator of text that continues `prompt`, which it does not repeat.

        length: characters to write (bytes at level byte); 0: without end.
        temperature, top_k, top_p, min_p: see SamplingConfig.
        seed: the same seed writes the same text; None takes one at random.
        number: which of the texts of that seed.
        stop: texts before which to end; they are not written.
        unknown: what becomes of prompt characters the model never saw: error, skip or replace.
        position: go on from there (`Writer.position`) instead of from nothing. Its own sequence
            of draws goes on too, unless `seed` or `number` asks for another.
        score: keep the log-probability of what is written, in `Writer.log_probability`.

        Raises UsageError for a value out of range, UnknownCharacters, or CheckpointError if
        `position` belongs to a model of another shape.
        """
        config = SamplingConfig(temperature, top_k, top_p, min_p)
        check_number("length", length, 0, whole=True, example="500")
        check_choice("unknown", unknown, UNKNOWN)
        if seed is not None:
            check_number("seed", seed, 0, 2**63 - 1, whole=True, example="1")
        if position is None:
            uniforms = Uniforms(random_seed() if seed is None else seed, number)
        else:
            self.check_position(position)
            seed = position.seed if seed is None else seed
            same = (seed, number) == (position.seed, position.number)
            uniforms = Uniforms(seed, number, position.place if same else 0)
        return Writer(
            Stepper(self.header.record.model, self.weights),
            self.vocabulary,
            config,
            uniforms,
            self.vocabulary.encode(prompt, unknown, "the prompt"),
            length=length,
            stop=stop,
            position=position,
            digest=self.digest,
            score=score,
        )

    def generate_many(
        self,
        prompt: str = "",
        *,
        num: int,
        length: int = 500,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int | None = None,
        stop: Sequence[str] = (),
        unknown: str = "error",
        device: str = "auto",
        streams: int = 64,
    ) -> Iterator[str]:
        """`num` texts written side by side, in order; for many texts far faster.

        Products are in bf16 or fp16 where the device has units for them, so these are other texts
        than `generate` writes for the same seed; but text i is the same whatever `num` is. `length`
        must have an end here. The rest is as in `generate`.

        device: auto is the first of cuda, mps and cpu that is there.
        streams: how many are written at a time.
        """
        from textgen.inference.batch import write_many
        from textgen.model.device import pick_device

        config = SamplingConfig(temperature, top_k, top_p, min_p)
        check_number("num", num, 1, whole=True, example="3")
        check_number("length", length, 1, whole=True, example="500")
        check_choice("unknown", unknown, UNKNOWN)
        seed = random_seed() if seed is None else seed
        check_number("seed", seed, 0, 2**63 - 1, whole=True, example="1")
        ids = self.vocabulary.encode(prompt, unknown, "the prompt")
        if not len(ids):
            ids = np.array([first_id(self.vocabulary)])
        place = pick_device(device)
        model = self.header.record.model
        for begin in range(0, num, streams):
            sources = [Uniforms(seed, n) for n in range(begin, min(num, begin + streams))]
            blocks = write_many(model, self.weights, ids, config, sources, place, streams)
            texts = [_Text(self.vocabulary, length, tuple(stop)) for _ in sources]
            while not all(text.done for text in texts):
                for text, column in zip(texts, next(blocks).T, strict=True):
                    text.add(column)
            yield from (text.whole for text in texts)

    def fastest_device(self, streams: int = 1) -> str:
        """The device that writes `streams` texts fastest, by a short measurement.

        Only a machine with an accelerator is measured; without one it is the CPU, and torch is not
        imported. For one text the CPU's way is `generate`, for more `generate_many`.
        """
        if sys.platform.startswith("linux") and not any(map(os.path.exists, _ACCELERATORS)):
            return "cpu"
        from textgen.inference.batch import BLOCK
        from textgen.model.device import pick_device

        accelerator = str(pick_device())
        if accelerator == "cpu":
            return "cpu"

        def rate(device: str) -> float:
            """Characters per second, the start (kernels, graphs) left out."""
            seconds = []
            for blocks in (1, 9):
                length = blocks * BLOCK
                begin = time.perf_counter()
                if device == "cpu" and streams == 1:
                    deque(self.generate(length=length, seed=0), maxlen=0)
                else:
                    many = self.generate_many(
                        num=streams, length=length, seed=0, device=device, streams=streams
                    )
                    deque(many, maxlen=0)
                seconds.append(time.perf_counter() - begin)
            return 8 * BLOCK * streams / max(seconds[1] - seconds[0], 1e-9)

        return max("cpu", accelerator, key=rate)

    def check_position(self, position: Position) -> None:
        """Raise CheckpointError if `position` is of a model of another shape."""
        model = self.header.record.model
        parts = ("hidden", "cell") if model.cell == "lstm" else ("hidden",)
        expected = {f"{n}.{p}": (h,) for n, h in enumerate(model.hidden) for p in parts}
        found = {name: array.shape for name, array in position.arrays.items()}
        if found != expected or not 0 <= position.pending < len(self.vocabulary):
            raise CheckpointError(
                f"the saved state does not fit {self.header.path}: it is of a model of another"
                " shape",
                "name the run that it was saved from",
            )

    def score(
        self,
        text: str | NDArray,
        *,
        unknown: str = "error",
        progress: Callable[[int], None] | None = None,
    ) -> Evaluation:
        """How well the model predicts `text`, in nats and bits per character.

        text: a string, or ids of shape (n,). One exact pass from zero state; the first character,
        which nothing precedes, is not scored.
        progress: called with the number of characters read since the last call.
        Raises UnknownCharacters unless `unknown` says otherwise, CorpusError if there is too little
        to score.
        """
        from textgen.inference.evaluation import evaluate

        ids = self.vocabulary.encode(text, unknown) if isinstance(text, str) else text
        if len(ids) < 2:
            raise CorpusError(
                f"the text has {len(ids)} characters to score; expected 2 or more",
                "name a longer text",
            )
        return evaluate(self.network(), ids, progress=progress)

    def network(self) -> CharModel:
        """The model as a torch module, on the CPU, in evaluation mode."""
        import torch

        from textgen.model.network import CharModel

        network = CharModel(self.header.record.model)
        network.load_state_dict({n: torch.from_numpy(a.copy()) for n, a in self.weights.items()})
        return network.eval()


class _Text:
    """One of several texts that grow side by side."""

    def __init__(self, vocabulary: Vocabulary, length: int, stop: tuple[str, ...]) -> None:
        self._decode = vocabulary.decoder()
        self._left = length
        self._cut = Stops(stop)
        self.whole = ""

    @property
    def done(self) -> bool:
        return self._left == 0

    def add(self, ids: NDArray) -> None:
        for i in ids[: self._left].tolist():
            self.whole += self._cut.ready(self._decode(i))
            self._left -= 1
            if self._cut.reached:
                self._left = 0
                return
        if self.done:
            self.whole += self._cut.ready(self._decode(None)) + self._cut.held
