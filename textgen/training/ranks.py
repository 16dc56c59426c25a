"""The processes that train one run together: each has some of the streams, all have the weights.

The first one leads: it alone plans, speaks, writes and decides, and tells the others what is next;
they wait for that, and never for a clock, a signal or a disk of their own.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from typing import Any

import msgspec
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from textgen.errors import DeviceError, RankLost, TextgenError, UsageError
from textgen.model.device import pick_device
from textgen.model.loss import share_of
from textgen.training.arrays import Arrays
from textgen.training.launch import Launch, launch

ORDERS = ("end", "begin", "arrays", "step", "validate", "gather")
WAIT = timedelta(days=1)  # for what the first rank does alone, or while all are suspended
GATHERING = timedelta(minutes=10)  # for all ranks to begin
ROLL_CALL = 3.0  # seconds in which the ranks that are left say that they are


class Alone:
    """One process that trains by itself."""

    rank, size, resumes = 0, 1, False

    def part(self, streams: int) -> slice:
        """Which of the streams are computed here."""
        return slice(0, streams)

    def device(self, device: torch.device) -> torch.device:
        """That of this process, where `device` is that of the first rank."""
        return device

    def tell(self, order: str, facts: bytes = b"") -> None:
        """As the first rank, say to the others what all do next."""

    def share(self, arrays: Arrays) -> Arrays:
        """The arrays of the first rank, on all ranks."""
        return arrays

    def weighted(self, loss: Tensor, targets: Tensor, size: int) -> Tensor:
        """The mean `loss` of this rank's targets (T, b) as its share of that of all.

        size: how many targets a step has on all ranks, padding counted.
        """
        return loss

    def reduced(self, network: nn.Module, loss: Tensor, targets: Tensor, size: int) -> Tensor:
        """Sum over all ranks the gradients of the weighted losses, in place, and these; the sum."""
        return loss

    def total(self, numbers: Tensor) -> Tensor:
        """The sum of all ranks' numbers."""
        return numbers

    def agree(self, network: nn.Module) -> None:
        """Give all ranks the first one's weights, in place."""

    def whole(self, part: Tensor, streams: int) -> Tensor:
        """The rows (B, ...) of all streams, where `part` has those of this rank."""
        return part

    def saved(self) -> None:
        """Note that the run was saved, for a restart."""

    @contextmanager
    def led(self) -> Iterator["Alone"]:
        """As the first rank, let the others go at the end."""
        yield self


class Ranks(Alone):
    """One of the processes that torchrun started."""

    def __init__(self, this: Launch) -> None:
        """Wait for all ranks to begin. Raises RankLost if one does not."""
        self.rank, self.size, self._local = this.rank, this.size, this.local_rank
        hosts_store = self.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        how: dict[str, Any] = {"is_master": hosts_store, "timeout": GATHERING}
        try:
            self._notes = TCPStore(*address, wait_for_workers=False, **how)
            # the launcher's own store outlives a restart, which each machine's launcher counts anew
            begun = self._notes.add(f"textgen/begun/{self.rank}", 1)
            self._store = PrefixStore(f"textgen/{begun}", self._notes)
            if missing := self._roll_call("come", GATHERING.total_seconds()):
                what = f"rank {_named(missing)} of {self.size} did not come"
                raise RankLost(what, "see what torchrun says of it, and start all again")
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            how = {"store": self._store, "rank": self.rank, "world_size": self.size}
            dist.init_process_group(backend, timeout=WAIT, **how)
        except RuntimeError as error:
            what = f"rank {self.rank} cannot reach the others: {str(error).splitlines()[0]}"
            raise RankLost(what, "see what torchrun says, and start all again") from None
        self.resumes = self._notes.check(["textgen/saved"])

    def part(self, streams: int) -> slice:
        if streams < self.size:
            what = f"`batch_size={streams}` on {self.size} ranks; expected a stream for each"
            raise UsageError(what, f"start fewer: torchrun --nproc-per-node {streams}")
        return slice(*(rank * streams // self.size for rank in (self.rank, self.rank + 1)))

    def device(self, device: torch.device) -> torch.device:
        if device.type == "mps":
            raise DeviceError("ranks cannot train on mps", "try `device=cpu`")
        return pick_device(f"cuda:{self._local}") if device.type == "cuda" else device

    def tell(self, order: str, facts: bytes = b"") -> None:
        if self.size == 1:  # nobody hears it
            return
        self._broadcast(torch.tensor([ORDERS.index(order), len(facts)]))
        if facts:
            self._broadcast(torch.frombuffer(bytearray(facts), dtype=torch.uint8))

    def hear(self) -> tuple[str, bytes]:
        """As any other rank, wait for what the first one says."""
        order, length = self._broadcast(torch.zeros(2, dtype=torch.int64)).tolist()
        facts = torch.zeros(length, dtype=torch.uint8)
        return ORDERS[order], self._broadcast(facts).numpy().tobytes() if length else b""

    def share(self, arrays: Arrays) -> Arrays:
        """arrays: anything on the other ranks."""
        if self.rank == 0:
            shapes = {g: {n: (a.dtype.str, a.shape) for n, a in arrays[g].items()} for g in arrays}
            self.tell("arrays", msgspec.json.encode(shapes))
        else:
            shapes = msgspec.json.decode(self.hear()[1])
            arrays = {g: {n: np.zeros(s, d) for n, (d, s) in shapes[g].items()} for g in shapes}
        for named in arrays.values():
            for array in named.values():
                self._broadcast(torch.from_numpy(array))
        return arrays

    def weighted(self, loss: Tensor, targets: Tensor, size: int) -> Tensor:
        return loss if self.size == 1 else share_of(loss, _weight(targets, size))

    def reduced(self, network: nn.Module, loss: Tensor, targets: Tensor, size: int) -> Tensor:
        parameters = list(network.parameters())
        gradients = [p.grad.flatten() for p in parameters if p.grad is not None]
        weight = torch.ones_like(loss) if self.size == 1 else _weight(targets, size)
        flat = self.total(torch.cat([*gradients, torch.stack([loss, weight])]))
        if self.size > 1:
            flat[:-1].div_(flat[-1].clone())  # by 1, but where there is padding
        *parts, loss, _ = flat.split([*map(len, gradients), 1, 1])
        for parameter, gradient in zip(parameters, parts, strict=True):
            parameter.grad = gradient.view_as(parameter)
        return loss[0]

    def total(self, numbers: Tensor) -> Tensor:
        if numbers.is_cuda:  # on the device's own stream, of which a failure is not told here
            dist.all_reduce(numbers)
            return numbers
        with self._reached():
            dist.all_reduce(numbers)
        return numbers

    def agree(self, network: nn.Module) -> None:
        weights = [p.detach() for p in network.parameters()]
        flat = self._broadcast(torch.cat([w.flatten() for w in weights]))
        for weight, first in zip(weights, flat.split([w.numel() for w in weights]), strict=True):
            weight.copy_(first.view_as(weight))

    def whole(self, part: Tensor, streams: int) -> Tensor:
        rows = part.new_zeros((streams, *part.shape[1:]))
        rows[self.part(streams)] = part
        return self.total(rows)

    def saved(self) -> None:
        with suppress(RuntimeError):
            self._notes.set("textgen/saved", "")

    @contextmanager
    def led(self) -> Iterator["Alone"]:
        try:
            yield self
        finally:
            with suppress(TextgenError):
                self.tell("end")

    def _broadcast(self, numbers: Tensor) -> Tensor:
        with self._reached():
            dist.broadcast(numbers, 0)
        return numbers

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # another rank's end of the connection is closed
            raise self._lost(str(error)) from None

    def _lost(self, reason: str) -> RankLost:
        """Who is not there any more, by a roll call of those that are."""
        with suppress(RuntimeError):  # the store went too
            if missing := self._roll_call("left", ROLL_CALL):
                what = f"rank {_named(missing)} of {self.size} is gone"
                first = next(rank for rank in range(self.size) if rank not in missing)
                return RankLost(what, _GO_ON, told=first != self.rank)
        return RankLost(f"a rank is gone: {reason.splitlines()[0]}", _GO_ON, told=self.rank != 0)

    def _roll_call(self, occasion: str, seconds: float) -> list[int]:
        """Say that this rank is there; which others do not say so in time."""
        self._store.set(f"{occasion}/{self.rank}", "")
        missing, until = list(range(self.size)), time.monotonic() + seconds
        while True:
            missing = [r for r in missing if not self._store.check([f"{occasion}/{r}"])]
            if not missing or time.monotonic() > until:
                return missing
            time.sleep(0.05)  # in Python, where Ctrl-C is heard


_GO_ON = "the last save is whole: textgen resume, or torchrun --max-restarts 3 next time"


def _named(ranks: list[int]) -> str:
    return ", ".join(map(str, ranks))


def _weight(targets: Tensor, size: int) -> Tensor:
    return (targets >= 0).sum() / size


@cache
def join() -> Alone:
    """This process among those of its launch; the first call waits for all of them."""
    this = launch()
    return Ranks(this) if this.many else Alone()
