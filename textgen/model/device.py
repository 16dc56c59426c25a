"""Which device computes, in which precision, and how the process is set up for it."""

from __future__ import annotations

import ctypes
import sys

import torch

from textgen.errors import DeviceError, UsageError

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is the first of cuda, mps, cpu that is there.

    Raises UsageError for a name that is no device, DeviceError for one that is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    here = ["cpu"]
    if torch.cuda.is_available():
        here += ["cuda", *(f"cuda:{n}" for n in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        here.append("mps")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(
            f"--device is {name!r}; expected auto, cpu, cuda, cuda:N or mps", "try --device auto"
        )
    if name not in here:
        raise DeviceError(f"no device {name} on this machine; it has {', '.join(here)}", _AUTO)
    return device


_AUTO = "try --device auto"


def check_precision(precision: str, device: torch.device) -> None:
    """Raises DeviceError where `device` cannot train in `precision`."""
    if precision == "fp16" and device.type == "cpu":
        raise DeviceError(
            "--precision fp16 needs a GPU, and this runs on the CPU", "try --precision bf16"
        )
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise DeviceError("--precision bf16: this GPU has no bf16", "try --precision fp16")


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context in which a forward pass runs."""
    return torch.autocast(device.type, _TYPES[precision], enabled=precision != "fp32")


def prepare_process() -> None:
    """What makes a training step faster and holds for the whole process.

    Denormals are flushed to zero. Freed memory is kept for the next step, where the C library is
    glibc: by itself it returns a large tensor's pages to the kernel as soon as that is freed, and
    has the next one's mapped and zeroed anew, which at 2 x 512 takes about a quarter of a step.
    """
    torch.set_flush_denormal(True)
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h
