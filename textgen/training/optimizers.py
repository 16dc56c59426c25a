"""The optimizers: torch's, without what it loads for its compiler, as a GPU can capture them."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from textgen.config import TrainingConfig
from textgen.model.network import CharModel
from textgen.training.soap import KEPT, Soap, turned

GRAM_DECAY = 2.5  # of n-grams' rows, by that of the matrices
# what an optimizer keeps for each parameter, in the parameter's shape; a scalar where it is `step`
MOMENTS = {
    "soap": ("step", "exp_avg", "exp_avg_sq"),
    "adamw": ("step", "exp_avg", "exp_avg_sq"),
    "adam": ("step", "exp_avg", "exp_avg_sq"),
    "rmsprop": ("step", "square_avg"),
    "sgd": ("momentum_buffer",),
}


def optimizer_of(
    network: CharModel, config: TrainingConfig, device: torch.device
) -> torch.optim.Optimizer:
    """Matrices have soap's bases and decay, but not biases, embedding and matches.

    Rows of n-grams decay most, for most of them are read but a few times.
    """
    groups: list[dict[str, Any]] = [
        {"params": [], "weight_decay": config.weight_decay, "turned": True},
        {"params": [], "weight_decay": 0.0, "turned": False},
        {"params": [], "weight_decay": GRAM_DECAY * config.weight_decay, "turned": False},
    ]
    for name, parameter in network.named_parameters():
        free = parameter.dim() < 2 or name.startswith(("embedding", "match"))
        groups[2 if name.startswith("grams") else free]["params"].append(parameter)
    cuda = device.type == "cuda"
    lr: Any = torch.tensor(config.lr, device=device) if cuda else config.lr
    fused = cuda or device.type == "cpu"
    scaled = config.precision == "fp16"
    if config.optimizer == "rmsprop":
        rmsprop = ScaledRMSprop if scaled else torch.optim.RMSprop
        return _eager(rmsprop)(groups, lr=lr, alpha=0.95, capturable=cuda)
    if config.optimizer == "sgd":
        sgd = ScaledSGD if scaled else torch.optim.SGD
        return _eager(sgd)(groups, lr=lr, momentum=0.9, fused=fused)
    adamw = Soap if config.optimizer == "soap" else torch.optim.AdamW
    made = _eager(adamw)(groups, lr=lr, betas=(0.7, 0.99), fused=fused, capturable=cuda)
    if isinstance(made, Soap) and config.precision == "bf16":
        made.precision = torch.bfloat16
    return made


def moments_of(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What it keeps, by `N.name`: the parameter's number and one of `MOMENTS`."""
    return {
        f"{number}.{name}": moment
        for number, named in optimizer.state_dict()["state"].items()
        for name, moment in named.items()
        if isinstance(moment, Tensor)
    }


def first_moments(optimizer: torch.optim.Optimizer, config: TrainingConfig) -> dict[str, Tensor]:
    """What it keeps from the first step on, by its shape alone, named as by `moments_of`."""
    found: dict[str, tuple[int, ...]] = {}
    in_order = [(group, p) for group in optimizer.param_groups for p in group["params"]]
    for number, (group, parameter) in enumerate(in_order):
        for name in MOMENTS[config.optimizer]:
            found[f"{number}.{name}"] = () if name == "step" else parameter.shape
        if config.optimizer == "soap" and turned(group, parameter):
            found |= {f"{number}.{name}": (parameter.shape[1],) * 2 for name in KEPT}
    return {name: torch.empty(shape, device="meta") for name, shape in found.items()}


def take_up_moments(optimizer: torch.optim.Optimizer, moments: Mapping[str, Tensor]) -> None:
    """Go on with what `moments_of` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, moment in moments.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = moment
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _eager(optimizer: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """The optimizer without what torch wraps around its methods for torch.compile.

    The first call of any of these imports the compiler, which takes two seconds.
    """
    names = ("add_param_group", "load_state_dict", "state_dict", "step", "zero_grad")
    methods = {name: inspect.unwrap(getattr(optimizer, name)) for name in names}
    methods["step"] = torch.no_grad()(methods["step"])
    return type(optimizer.__name__, (optimizer,), methods)


class ScaledRMSprop(torch.optim.RMSprop):
    """RMSprop that by itself leaves out a step whose gradients are infinite.

    For one that does not, `GradScaler` reads on the host whether they are; that is not captured.
    """

    _step_supports_amp_scaling = True  # GradScaler then gives `found_inf`, a scalar, 1 if they are

    def step(self) -> None:  # type: ignore[override]
        """A step, unless `found_inf`."""
        parameters = [p for group in self.param_groups for p in group["params"]]
        before = {id(p): p.detach().clone() for p in parameters}
        moments = {
            (id(p), name): moment.clone()
            for p in parameters
            for name, moment in self.state[p].items()
        }
        inspect.unwrap(torch.optim.RMSprop.step)(self)
        skipped = self.found_inf.bool()  # type: ignore[attr-defined]
        for p in parameters:
            p.copy_(torch.where(skipped, before[id(p)], p))
            for name, moment in self.state[p].items():
                zero = torch.zeros_like(moment)  # where the step was the first
                moment.copy_(torch.where(skipped, moments.get((id(p), name), zero), moment))


class ScaledSGD(torch.optim.SGD):
    """SGD whose momentum is 0 before the first step, also where that step is left out.

    Torch's fused kernel leaves the momentum unwritten in a step whose gradients are infinite.
    """

    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                kept: dict[str, Tensor] = self.state[p]
                kept.setdefault("momentum_buffer", torch.zeros_like(p))
        inspect.unwrap(torch.optim.SGD.step)(self)
