"""A trained model as a person uses it: it writes, and it scores."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textgen.bounds import Number, OneOf, whole
from textgen.config import SEEDS, TEXTS, UNKNOWN, SamplingOptions
from textgen.errors import CheckpointError
from textgen.inference.backward import drawn_by, turned_vocabulary, writer
from textgen.inference.folding import FoldedModel, fold
from textgen.inference.sampling import Sampler, Uniforms, random_seed
from textgen.inference.writer import GrowingText, Position, Writer, prologue
from textgen.store.checkpoint import Header, read_header
from textgen.store.contents import read_vocabulary, read_weights
from textgen.text.decoding import Reader
from textgen.text.given import file_ids, text_ids
from textgen.text.normal import normalized
from textgen.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from textgen.inference.evaluation import Evaluation
    from textgen.inference.surprise import Judgement
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
        return self.header.archive.sha256()

    @property
    def backward(self) -> bool:
        """Whether it reads from the end of a text to the beginning."""
        return self.header.record.corpus.backward

    @property
    def _as_written(self) -> Vocabulary:
        return turned_vocabulary(self.vocabulary) if self.backward else self.vocabulary

    @cached_property
    def folded(self) -> FoldedModel:
        return fold(self.header.record.model, self.weights)

    def normalized(self, text: str) -> str:
        """`text` in the normal form of what the model was trained on."""
        return normalized(text, self.header.record.corpus.normalize)

    def options_of(self, options: SamplingOptions | None, **changes: Any) -> SamplingOptions:
        """The options with `changes`, and stop texts in the normal form that the model writes."""
        options = replace(options or SamplingOptions(), **changes)
        return replace(options, stop=tuple(map(self.normalized, options.stop)))

    def _ids(self, prompt: str, unknown: str) -> NDArray:
        """Of a text to go on from."""
        return self.vocabulary.encode(self.normalized(prompt), unknown, "the prompt")

    def generate(
        self,
        prompt: str = "",
        options: SamplingOptions | None = None,
        *,
        number: int | None = None,
        position: Position | None = None,
        score: bool = False,
        **changes: Any,
    ) -> Writer:
        """An iterator of text that continues `prompt`, which it does not repeat.

        A model that reads backward writes what comes before `prompt`, in one piece.

        options, changes: the fields of `textgen.config.SamplingOptions`, but for `device`: one text
            is written in NumPy; number: which of the texts of the seed, by default the first;
            position: go on from there (`Writer.position`), with its sequence of draws too, unless
            `seed` or `number` asks for another; score: whether the writer's `nats_per_char` is
            wanted.
        Raises UsageError, UnknownCharacters, or CheckpointError as `check_position`.
        """
        options = self.options_of(options, **changes)
        number = int(number) if isinstance(number, np.integer) else number
        whole(0, SEEDS - 1, "0").check("number", 0 if number is None else number)
        seed = options.seed
        if position is None:
            uniforms = Uniforms(random_seed() if seed is None else seed, number or 0)
        else:
            self.check_position(position)
            seed = position.seed if seed is None else seed
            if number is None:
                number = position.number if seed == position.seed else 0
            same = (seed, number) == (position.seed, position.number)
            uniforms = Uniforms(seed, number, position.place if same else 0)
        return writer(
            self.folded,
            self.vocabulary,
            options,
            uniforms,
            prompt=self._ids(prompt, options.unknown),
            backward=self.backward,
            position=position,
            digest=lambda: self.digest,
            identity=self.header.record.identity,
            score=score,
        )

    def generate_many(
        self,
        prompt: str = "",
        options: SamplingOptions | None = None,
        *,
        num: int,
        streams: int = 64,
        **changes: Any,
    ) -> Iterator[str]:
        """`num` texts written side by side, `streams` at a time; for many texts far faster.

        Products are in bf16 or fp16 where the device has units for them, so these are other texts
        than `generate` writes; but text i of a seed is the same whatever `num` is.
        Raises UsageError, also for a length of 0, UnknownCharacters, DeviceError.
        """
        from textgen.inference.batch import BatchStepper, BatchWriter
        from textgen.model.device import pick_device, prepare_device, product_dtype

        options = self.options_of(options, **changes)
        TEXTS.check("num", num)
        TEXTS.check("streams", streams)
        Number(1, whole=True, example="500").check("length", options.length)
        seed = random_seed() if options.seed is None else options.seed
        ids = self._ids(prompt, options.unknown)[:: -1 if self.backward else 1]
        vocabulary, options, in_order = drawn_by(self.vocabulary, options, backward=self.backward)
        ids = np.array([*prologue(self.vocabulary, ids), *ids])
        device = pick_device(options.device)
        prepare_device(device)
        stepper = BatchStepper(self.folded, device, product_dtype(device), streams)
        writer = BatchWriter(stepper, Sampler(options, self.vocabulary.unknown), ids)
        for begin in range(0, num, streams):
            sources = [Uniforms(seed, n) for n in range(begin, min(num, begin + streams))]
            texts = [GrowingText(vocabulary, options) for _ in sources]
            pieces: list[list[str]] = [[] for _ in sources]
            for block in writer.write(sources, options.length):
                for text, written, column in zip(texts, pieces, block.T.tolist(), strict=True):
                    for i in column:
                        if text.done:
                            break
                        written.append(text.add(i))
                if all(text.done for text in texts):
                    break
            yield from map(in_order, map("".join, pieces))

    def fastest_device(self, streams: int = 1) -> str:
        """The device that writes `streams` texts fastest, measured where there are several."""
        linux = sys.platform.startswith("linux")
        if sys.platform == "darwin" or (linux and not any(map(os.path.exists, _ACCELERATORS))):
            return "cpu"
        from textgen.inference.batch import BLOCK
        from textgen.model.device import pick_device
        from textgen.model.graph import EAGER

        def seconds(device: str, blocks: int) -> float:
            options = SamplingOptions(length=blocks * BLOCK, seed=0, device=device)
            begin = time.perf_counter()
            if device == "cpu" and streams == 1:
                deque(self.generate(options=options), maxlen=0)
            else:
                deque(self.generate_many(options=options, num=streams, streams=streams), maxlen=0)
            return time.perf_counter() - begin

        devices = {"cpu": 0.0, str(pick_device()): 0.0}
        for device in devices if len(devices) > 1 else ():
            seconds(device, EAGER + 2)  # kernels are loaded
            start = 0.0 if self.vocabulary.has_end else seconds(device, EAGER + 2)  # a graph
            devices[device] = seconds(device, EAGER + 10) - start
        return min(devices, key=devices.__getitem__)

    def check_position(self, position: Position) -> None:
        """Raise CheckpointError if `position` is of another model: run, vocabulary or shape."""
        record = self.header.record
        shapes = {name: (axis.size,) for name, axis in record.model.state.items()}
        fits = shapes == {name: array.shape for name, array in position.arrays.items()}
        fits = fits and 0 <= position.pending < len(self.vocabulary)
        fits = fits and position.identity in ("", record.identity)
        fits = fits and position.vocabulary in ("", self._as_written.digest)
        if not fits:
            raise CheckpointError(
                f"the saved state does not fit {self.header.path}: it is of another model",
                "name the run that it was saved from",
            )

    def score(
        self,
        text: str | Path | NDArray,
        *,
        unknown: str = "error",
        progress: Callable[[int], None] | None = None,
    ) -> Evaluation:
        """How well the model predicts `text`, in nats and bits per character: one exact pass.

        text: a string, a file (read in blocks, so that memory does not grow with it, but for a
            model that reads backward), both cut into documents as the model's corpus was; or ids
            (n,) in the order in which the model reads.
        progress: called with the number of characters scored since the last call.
        Raises UnknownCharacters unless `unknown` says otherwise, CorpusError for too short a text,
        UsageError for what is no text and no ids.
        """
        from textgen.inference.evaluation import evaluate

        blocks = self.blocks(text, unknown)
        result = evaluate(self.network(), blocks, progress, self.vocabulary.end)
        _check_scored(result, text)
        return result

    def judge(
        self,
        text: str | Path | NDArray,
        *,
        unknown: str = "error",
        progress: Callable[[int], None] | None = None,
        fast: bool = False,
    ) -> Judgement:
        """As `score`, with accuracy and calibration.

        fast: read a text that is not cut into documents in up to 64 parts side by side, each warmed
            up for as long as it takes: several times as fast, and within 1e-4 nats per character.
        """
        from textgen.inference.surprise import judge

        blocks, end = self.blocks(text, unknown), self.vocabulary.end
        result = judge(self.network(), blocks, progress, end=end, fast=fast)
        _check_scored(result, text)
        return result

    def blocks(self, text: str | Path | NDArray, unknown: str = "error") -> Iterable[NDArray]:
        """The ids of `text` in pieces, in the order in which the model reads; as for `score`."""
        OneOf(UNKNOWN).check("unknown", unknown)
        blocks: Iterable[NDArray]
        if isinstance(text, Path):
            blocks = file_ids(text, self.reader, self.vocabulary, unknown)
        elif isinstance(text, str):
            blocks = [text_ids(text, self.reader(), self.vocabulary, unknown)]
        else:
            self.vocabulary.check_ids(text)
            return [text]
        if self.backward:
            return [np.concatenate([np.zeros(0, self.vocabulary.dtype), *blocks])[::-1]]
        return blocks

    def export(
        self, path: str | Path, *, precision: str | None = None, anonymous: bool = False
    ) -> None:
        """Write one file for others; arguments and errors as of `textgen.sharing.export.export`."""
        from textgen.sharing.export import export

        export(self.header, Path(path), precision=precision, anonymous=anonymous)

    def reader(self) -> Reader:
        """Reads files as the model's corpus was read."""
        return Reader.of_model(self.header.record.corpus)

    def network(self) -> CharModel:
        """The model as a torch module, on the CPU, in evaluation mode."""
        import torch

        from textgen.model.network import CharModel

        network = CharModel(self.header.record.model)
        network.load_state_dict({n: torch.from_numpy(a.copy()) for n, a in self.weights.items()})
        return network.eval()


def _check_scored(result: Evaluation, text: str | Path | NDArray) -> None:
    if not result.characters:
        from textgen.inference.evaluation import too_short

        raise too_short(str(text) if isinstance(text, Path) else "the text")
