"""One training step, and all that changes from one step to the next."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from textgen.config import TrainingConfig
from textgen.errors import OutOfMemory
from textgen.model.device import autocast, prepare_device
from textgen.model.graph import Graphed
from textgen.model.loss import FEW, share_of
from textgen.model.network import CharModel, State
from textgen.store.contents import LARGEST_WEIGHT
from textgen.text.corpus import Corpus
from textgen.training.arrays import Arrays, array_of, check_arrays
from textgen.training.calibration import check_inverse_temperature
from textgen.training.judged import Judged
from textgen.training.late import Late, is_late
from textgen.training.mixed import streams_over
from textgen.training.optimizers import first_moments, moments_of, optimizer_of, take_up_moments
from textgen.training.ranks import Alone
from textgen.training.schedule import learning_rate
from textgen.training.soap import Soap
from textgen.training.streams import ALL, Chunk, in_turn

AGREED = 64  # steps after which ranks, which may round differently, begin from equal weights


class Learner:
    """Weights, optimizer, the streams' state and the step: what must be kept to go on exactly.

    Masks and data position depend only on (seed, step), so no RNG state is kept.
    """

    def __init__(
        self,
        network: CharModel,
        config: TrainingConfig,
        ids: NDArray,
        device: torch.device,
        mixed: NDArray | None = None,
        *,
        aside: NDArray | None = None,
        ranks: Alone | None = None,
    ) -> None:
        """ids: of the text; mixed: of the one that a share of the streams reads, if one does.

        aside: ids, if any, on which a temperature is fitted, and which are learned in the end;
        ranks: the processes that the streams are dealt to. Raises UsageError if they are too many.
        """
        prepare_device(device, config.deterministic)
        self.config = config
        self.device = device
        self.step = 0  # done so far
        end = None if config.filled is None else network.config.vocabulary_size - 1
        self.streams = streams_over(ids, config, mixed, end)
        self.network = network.to(device).train()
        self._judged = Judged(self.network, config, aside, end)
        self._late = Late(aside, config, end) if aside is not None and config.late else None
        self.optimizer = optimizer_of(self.network, config, device)
        self.scaler = self._scaler()
        self.generator = torch.Generator(device)
        self.ranks = ranks or Alone()
        self._part = self.ranks.part(config.batch_size)
        # a softmax that is estimated is so by the characters of all streams
        estimated = network.config.vocabulary_size > FEW and device.type == "cpu"
        self._reads_all = estimated and self.ranks.size > 1
        self.state = State.zeros(network.config, config.batch_size, device).of(self._part)
        wide = torch.float32 if device.type == "mps" else torch.float64
        self.loss_sum = torch.zeros((), dtype=wide, device=device)  # nats/char, since last taken
        self.loss_count = 0
        self.grad_norm = torch.zeros((), device=device)
        self.notices: list[str] = []  # to be reported; whoever does takes them out
        self._graphed: Graphed | None = None
        if device.type == "cuda":
            self._graphed = Graphed(device, self.generator)

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        network: CharModel,
        config: TrainingConfig,
        device: torch.device,
        mixed: NDArray | None,
        *,
        ranks: Alone,
    ) -> "Learner":
        """One for the training part of `corpus`, less what is kept aside."""
        ids, aside = corpus.parted(config.aside)
        kept = aside if len(aside) > 1 else None  # an end symbol alone is no document
        return cls(network, config, ids, device, mixed, aside=kept, ranks=ranks)

    @property
    def lr(self) -> float:
        return learning_rate(self.step, self.config)

    def advance(self) -> Tensor:
        """Do one step; the loss in nats/char, a scalar on the device."""
        self.generator.manual_seed(_mix(self.config.seed, self.step))
        for group in self.optimizer.param_groups:  # where a step is captured, its rate is a tensor
            lr = group["lr"]
            group["lr"] = lr.fill_(self.lr) if isinstance(lr, Tensor) else self.lr
        try:
            chunk = self._on_device(self._read())
            if self._graphed:
                loss = self._graphed(self._update, chunk, recover=self._recover)
            else:
                loss = self._update(chunk)
            if isinstance(self.optimizer, Soap):
                self.optimizer.turn(self.step + 1)
        except torch.OutOfMemoryError:
            raise self._out_of_memory() from None
        self.step += 1
        if self.step % AGREED == 0:
            self.ranks.agree(self.network)
        self._judged.follow(self.step, self.config.average)
        self.loss_sum += loss
        self.loss_count += 1
        return loss

    def _read(self) -> Chunk:
        part = ALL if self._reads_all else self._part
        read = self.streams.chunk(self.step, part)
        begins = self._judged.settled is None
        if self._late is None or (begins and not is_late(self.step, self.config)):
            return read
        if begins:
            self._judged.settle(self.step)
        return self._late.into(read, self.step, part, fresh=begins)

    def _out_of_memory(self) -> OutOfMemory:
        config = self.config
        what = f"{config.batch_size} streams of {config.bptt} characters"
        if config.accumulate > 1:
            what += f" in {config.accumulate} groups"
        return OutOfMemory(
            f"{self.device} has too little memory for a step of {what}",
            f"resume the run, or begin anew, with `accumulate={2 * config.accumulate}`",
        )

    def _on_device(self, chunk: Chunk) -> Tensor:
        """Window and, as the last row, `fresh`, (T+2, B) int64: one copy, beside the computing."""
        packed = torch.from_numpy(np.concatenate([chunk.window, chunk.fresh[None]]))
        if self.device.type != "cuda":  # elsewhere the source may be gone before it is copied
            return packed.to(self.device)
        return packed.pin_memory().to(self.device, non_blocking=True)

    def _update(self, chunk: Tensor) -> Tensor:
        """Forward, backward and what follows from it, in place; the loss."""
        beside = None
        if self._reads_all:
            ours = self._part
            beside = torch.cat([chunk[1:-1, : ours.start], chunk[1:-1, ours.stop :]], dim=1)
            chunk = chunk[:, ours]
        inputs, targets, fresh = chunk[:-2].clamp(min=0), chunk[1:-1], chunk[-1].bool()
        self.optimizer.zero_grad(set_to_none=True)
        state, size = self.state.zeroed(fresh), self.config.batch_size * self.config.bptt
        masks = self.network.masks(self.config.batch_size, self.generator).of(self._part)
        total = torch.zeros((), device=self.device)
        groups = in_turn(self.config.accumulate, len(fresh))
        for some in groups:
            goals = targets[:, some]
            given = inputs[:, some], goals, state.of(some), masks.of(some), self.generator
            with autocast(self.config.precision, self.device):
                loss, after = self.network.loss(*given, beside=beside)
            if len(groups) > 1:
                loss = share_of(loss, (goals >= 0).sum() / (targets >= 0).sum().clamp(min=1))
            loss = self.ranks.weighted(loss, targets, size)
            self.scaler.scale(loss).backward()
            self.state.of(some).copy_(after.detach())
            total += loss.detach()
        loss = self.ranks.reduced(self.network, total, targets, size)
        self.scaler.unscale_(self.optimizer)
        self.grad_norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss

    def _scaler(self) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(self.device.type, enabled=self.config.precision == "fp16")

    def _recover(self, reason: str) -> None:
        """Make good for an update that was begun and not ended: nothing of it was computed.

        The generator is replaced, for torch's own still takes itself to be captured.
        """
        self.notices.append(f"no CUDA graph, so each step takes longer: {reason}")
        self.grad_norm = torch.zeros((), device=self.device)
        seed, self.generator = self.generator.initial_seed(), torch.Generator(self.device)
        self.generator.manual_seed(seed)
        before = self.scaler.state_dict()
        self.scaler = self._scaler()
        if before:
            self.scaler.load_state_dict(before)

    def take_losses(self) -> float:
        mean = float(self.loss_sum) / max(1, self.loss_count)
        self.loss_sum.zero_()
        self.loss_count = 0
        return mean

    def is_finite(self) -> bool:
        """Whether the weights, and their average, are numbers of a size that can be read back."""
        kept = [self.network.state_dict(), self._judged.weights]
        largest = [array.abs().max() for named in kept for array in named.values()]
        return bool(torch.stack(largest).max() <= LARGEST_WEIGHT)

    @contextmanager
    def judged(self) -> Iterator[CharModel]:
        """The network with the weights that it is judged by and writes from: see `Judged`."""
        with self._judged.applied(self.step):
            yield self.network

    def weights(self) -> dict[str, NDArray]:
        """Those of the network that is `judged`."""
        with self.judged() as network:
            return {name: array_of(tensor) for name, tensor in network.state_dict().items()}

    def arrays(self, state: State | None = None) -> Arrays:
        """All that `restore` takes, by group and name.

        state: of all streams; by default all ranks give theirs, by `whole_state`.
        """
        groups = self._groups(state or self.whole_state())
        return {g: {n: array_of(a) for n, a in named.items()} for g, named in groups.items()}

    def whole_state(self) -> State:
        """That of the streams of all ranks, which call it at once."""
        return self.state.map(partial(self.ranks.whole, streams=self.config.batch_size))

    def _groups(self, state: State) -> dict[str, dict[str, Any]]:
        """The live tensors and numbers of `arrays`; state: of all streams."""
        losses = {"sum": self.loss_sum, "count": self.loss_count, "grad_norm": self.grad_norm}
        return {
            "model": dict(self._judged.weights),
            "live": self.network.state_dict() if self._judged.averaged else {},
            "optimizer": moments_of(self.optimizer),
            "state": dict(state.parts),
            "scaler": self.scaler.state_dict(),
            "losses": losses,
            "temperature": {"sharpness": self._judged.settled or 0.0} if self._late else {},
        }

    def restore(self, arrays: Arrays, step: int) -> None:
        """Take up what `arrays` gave after `step` steps. Raises CheckpointError if it misfits."""
        expected = self._groups(State.zeros(self.network.config, self.config.batch_size))
        # nor has a run moments that was restarted and left before it did a step
        begun = step and arrays["optimizer"]
        expected["optimizer"] = first_moments(self.optimizer, self.config) if begun else {}
        check_arrays(arrays, expected)
        check_inverse_temperature(*map(float, arrays["temperature"].values()))
        self.take_up(arrays, step)

    def take_up(self, arrays: Arrays, step: int) -> None:
        """`restore` for arrays that another rank checked."""
        tensors = {
            group: {name: torch.from_numpy(np.array(a)).clone() for name, a in named.items()}
            for group, named in arrays.items()
        }
        self.network.load_state_dict(tensors["live" if self._judged.averaged else "model"])
        self._judged.take_up(tensors["model"])
        if self._late:
            self._judged.settled = float(tensors["temperature"]["sharpness"]) or None
        take_up_moments(self.optimizer, tensors["optimizer"])
        self.state.copy_(State(tensors["state"]).of(self._part))
        if arrays["scaler"]:
            self.scaler.load_state_dict({k: a.item() for k, a in arrays["scaler"].items()})
        self.loss_sum.copy_(tensors["losses"]["sum"])
        self.loss_count = int(tensors["losses"]["count"])
        self.grad_norm = tensors["losses"]["grad_norm"].to(self.device)
        self.step = step

    def restart(self, weights: dict[str, NDArray], step: int, *, learned: bool = False) -> None:
        """Go on from weights alone, as after `step` steps: without moments, from zero state.

        learned: whether they have learned what was kept aside; no temperature is fitted then.
        """
        tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
        self.network.load_state_dict(tensors)
        # nor where it is about to be: that is settled here, for all ranks
        learned = learned or (self._late is not None and is_late(step, self.config))
        self._judged.restart(tensors, step, learned=learned)
        self.step = step


def _mix(seed: int, step: int) -> int:
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> 1)
