"""What training takes of memory, so that what cannot fit is refused before it is tried."""

import torch

from textgen.architecture import CELL, ModelConfig
from textgen.errors import UsageError
from textgen.model.device import memory
from textgen.training.launch import launch

COPIES = 5  # of the weights: themselves, gradients, two moments and the average
_NUMBER, _HALF = 4, 2  # bytes


def check_memory(model: ModelConfig, per_step: int, device: torch.device) -> None:
    """Raise UsageError if steps of `per_step` characters need more than all memory of `device`.

    The need is a lower bound: the copies of the weights, and what a step keeps of each character
    for its backward pass. Of many ranks each has a GPU of its own; on CPUs those of one machine
    share its memory.
    """
    this = launch()
    number, sharing = (_NUMBER, this.here) if device.type == "cpu" else (_HALF, 1)
    per_step = -(-per_step * sharing // this.size)
    gates = CELL[model.cell].gates
    of_weights = _NUMBER * COPIES * model.parameters
    kept = model.embedding + sum((gates + 2) * width for width in model.hidden)
    of_step = number * per_step * kept
    there = memory(device)
    if there is None or of_weights + of_step <= there:
        return
    if of_weights > of_step:
        what = f"`hidden` is {','.join(map(str, model.hidden))}: {model.parameters:,} parameters"
        hint = "try `hidden=256`"
        if model.grams * model.embedding > model.parameters / 2:
            what = f"`grams` is {model.grams:,}, `embedding` {model.embedding:,}"
            hint = "try `grams=16381`, `embedding=128`"
    else:
        what = f"steps of {per_step:,} characters through layers of {max(model.hidden)}"
        hint = "try `batch_size=64` `bptt=32`"
    need = f"take {_in_gb(of_weights + of_step)} of memory to train"
    raise UsageError(f"{what} {need}; this machine has {_in_gb(there)}", hint)


def _in_gb(size: int) -> str:
    return f"{size / 1e9:,.0f} GB"
