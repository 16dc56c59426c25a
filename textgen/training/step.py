"""One training step, and all that changes from one step to the next."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from textgen.config import ModelConfig, TrainingConfig
from textgen.errors import CheckpointError
from textgen.model.device import autocast, prepare_process
from textgen.model.graph import Graphed
from textgen.model.network import CharModel, State
from textgen.store.checkpoint import OTHER_FILE
from textgen.training.schedule import learning_rate
from textgen.training.streams import Streams, frequencies

GROUPS = ("model", "optimizer", "state", "scaler", "losses")  # the arrays of a `last` checkpoint

_LOSSES = ("since", "grad_norm")


class Trainer:
    """Weights, optimizer, the streams' state and the step: what must be kept to go on exactly.

    The masks of a step are drawn by a generator seeded from (seed, step), and the streams are a
    function of the step, so the step is all there is to know about chance and about the data.

    ids: the training text, shape (N,).
    """

    def __init__(
        self, model: ModelConfig, config: TrainingConfig, ids: NDArray, device: torch.device
    ) -> None:
        prepare_process()
        self.config = config
        self.device = device
        self.step = 0  # done so far
        self.streams = Streams(ids, config.batch_size, config.bptt, config.seed)
        network = CharModel(model)
        shares = torch.from_numpy(frequencies(ids, model.vocabulary_size))
        network.initialise(torch.Generator().manual_seed(config.seed), shares)
        self.model = network.to(device)
        self.parameters = list(self.model.parameters())
        self.optimizer = _optimizer(self.model, config, device)
        self.scaler = self._scaler()
        self.generator = torch.Generator(device)
        self.state = State.zeros(model, config.batch_size, device)
        self.losses: list[Tensor] = []  # nats/char of each step since they were last taken
        self.grad_norm = torch.zeros((), device=device)
        self.notices: list[str] = []  # what a person should be told, until it was
        self._graphed: Graphed | None = None
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32
            # weight-drop has new matrices in each step, in no buffer of cuDNN's
            warnings.filterwarnings("ignore", "RNN module weights are not part")
            self._graphed = Graphed(self._update, self.generator, self._recover)

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return learning_rate(self.step, self.config)

    def advance(self) -> Tensor:
        """Do one step; the loss in nats/char, a scalar on the device."""
        chunk = self.streams.chunk(self.step)
        inputs, targets, fresh = (torch.from_numpy(a).to(self.device) for a in chunk)
        self.generator.manual_seed(_mix(self.config.seed, self.step))
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(self.lr)
            else:
                group["lr"] = self.lr
        loss = (self._graphed or self._update)(inputs, targets, fresh)
        self.step += 1
        self.losses.append(loss)
        return loss

    def _update(self, inputs: Tensor, targets: Tensor, fresh: Tensor) -> Tensor:
        """Forward, backward and what follows from it, in place; the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        state = self.state.zeroed(fresh)
        with autocast(self.config.precision, self.device):
            logits, state = self.model(inputs, state, self.generator)  # (T, B, V)
        loss = cross_entropy(logits.float().flatten(0, 1), targets.flatten())
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        self.grad_norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.state.copy_(state.detach())
        return loss.detach()

    def _scaler(self) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(self.device.type, enabled=self.config.precision == "fp16")

    def _recover(self, reason: str) -> None:
        """Make good for an update that was begun and not ended: nothing of it was computed."""
        self.notices.append(f"no CUDA graph, so each step takes longer: {reason}")
        self.grad_norm = torch.zeros((), device=self.device)
        before = self.scaler.state_dict()
        self.scaler = self._scaler()
        if before:
            self.scaler.load_state_dict(before)

    def take_losses(self) -> float:
        """The mean of the losses since the last call."""
        mean = torch.stack(self.losses).cpu().double().mean().item() if self.losses else 0.0
        self.losses.clear()
        return mean

    def is_finite(self) -> bool:
        """Whether every weight is a number."""
        return bool(torch.stack([p.detach().sum() for p in self.parameters]).isfinite().all())

    def weights(self) -> dict[str, NDArray]:
        """A copy of the weights, by name."""
        return {n: _array(p) for n, p in self.model.state_dict().items()}

    def arrays(self) -> dict[str, dict[str, NDArray]]:
        """Everything in GROUPS, for a checkpoint."""
        moments = self.optimizer.state_dict()["state"]
        losses = torch.stack(self.losses) if self.losses else torch.zeros(0)
        return {
            "model": self.weights(),
            "optimizer": {
                f"{number}.{name}": _array(moment)
                for number, named in moments.items()
                for name, moment in named.items()
                if isinstance(moment, Tensor)
            },
            "state": {name: _array(part) for name, part in self.state.named().items()},
            "scaler": {name: np.array(v) for name, v in self.scaler.state_dict().items()},
            "losses": dict(zip(_LOSSES, (_array(losses), _array(self.grad_norm)), strict=True)),
        }

    def restore(self, arrays: dict[str, dict[str, NDArray]], step: int) -> None:
        """Take up what `arrays` gave after `step` steps. Raises CheckpointError if it misfits."""
        try:
            weights = {name: torch.from_numpy(a.copy()) for name, a in arrays["model"].items()}
            self.model.load_state_dict(weights)
            moments: dict[int, dict[str, Tensor]] = {}
            for key, array in arrays["optimizer"].items():
                number, _, name = key.partition(".")
                moments.setdefault(int(number), {})[name] = torch.from_numpy(array.copy())
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
            self.state = State(
                tuple(
                    tuple(
                        torch.from_numpy(arrays["state"][f"{number}.{name}"].copy())
                        .to(self.device)
                        .view_as(part)
                        for name, part in zip(("hidden", "cell"), layer, strict=False)
                    )
                    for number, layer in enumerate(self.state.layers)
                )
            )
            if arrays["scaler"]:
                self.scaler.load_state_dict({k: a.item() for k, a in arrays["scaler"].items()})
            since, norm = (torch.from_numpy(arrays["losses"][n].copy()) for n in _LOSSES)
            self.losses, self.grad_norm = list(since.to(self.device)), norm.to(self.device)
        except (KeyError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(
                f"the checkpoint's arrays do not fit its record: {reason}", OTHER_FILE
            ) from None
        self.step = step


def _array(tensor: Tensor) -> NDArray:
    return tensor.detach().to("cpu", copy=True).numpy()


def _mix(seed: int, step: int) -> int:
    """A seed of its own for each (seed, step)."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0] >> 1)


def _optimizer(
    model: CharModel, config: TrainingConfig, device: torch.device
) -> torch.optim.Optimizer:
    """Weight decay touches matrices alone, neither biases nor the embedding."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        matrix = parameter.dim() > 1 and not name.startswith("embedding")
        (decayed if matrix else free).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    cuda = device.type == "cuda"  # where a step is captured, and its rate has to be a tensor
    lr: Any = torch.tensor(config.lr, device=device) if cuda else config.lr
    fused = cuda or device.type == "cpu"
    match config.optimizer:
        case "adamw":
            betas = (0.7, 0.99)
            return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=fused, capturable=cuda)
        case "rmsprop":
            return torch.optim.RMSprop(groups, lr=lr, alpha=0.95, capturable=cuda)
        case _:
            return torch.optim.SGD(groups, lr=lr, momentum=0.9, fused=fused)
