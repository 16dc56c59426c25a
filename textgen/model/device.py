"""Which device computes, in which precision, and how the process is set up for it."""

import ctypes
import sys
from functools import cache

import torch

from textgen.errors import DeviceError, UsageError

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_AUTO = "try `device=auto`"


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
        raise UsageError(f"`device` is {name!r}; expected auto, cpu, cuda, cuda:N or mps", _AUTO)
    if name not in here:
        raise DeviceError(f"no device {name} on this machine; it has {', '.join(here)}", _AUTO)
    return device


def prepare_device(device: torch.device) -> None:
    """What makes computing on `device` faster and holds for the whole process.

    A GPU becomes the current device, to which streams and graphs belong. On a CPU denormals are
    flushed to zero, and freed memory is kept for the next step, where the C library is glibc: by
    itself it returns a large tensor's pages to the kernel as soon as that is freed, and has the
    next one's mapped and zeroed anew, which at 2 x 512 takes about a quarter of a step.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")  # TF32
    torch.set_flush_denormal(True)
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def check_precision(precision: str, device: torch.device) -> None:
    """Raises DeviceError where `device` cannot train in `precision`."""
    if precision == "fp16" and device.type == "cpu":
        raise DeviceError(
            "`precision=fp16` needs a GPU, and this runs on the CPU", "try `precision=auto`"
        )
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise DeviceError("`precision=bf16`: this GPU has no bf16", "try `precision=fp16`")
    if precision == "bf16" and device.type == "cpu" and not _trains_in_bf16():
        raise DeviceError("`precision=bf16`: this CPU has no bf16", "try `precision=fp32`")


@cache
def _trains_in_bf16() -> bool:
    """Whether the CPU's library has an LSTM in bf16; on x86 it needs AVX-512."""
    layer = torch.nn.LSTM(8, 8)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            layer(torch.zeros(2, 1, 8))[0].float().sum().backward()
    except RuntimeError:
        return False
    return True


def has_bf16_units() -> bool:
    """Whether the CPU multiplies bf16 in hardware (AVX512-BF16 or AMX), told by torch."""
    capabilities: dict[str, object] = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # torch 2.10 may lack it
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def product_dtype(device: torch.device) -> torch.dtype:
    """The type with the fastest products: fp16 on a CUDA GPU, bf16 on a CPU that has units for it.

    Decided by what the processor is, not by a clock, so that a seed writes the same on each day.
    """
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if device.type == "cpu" and has_bf16_units() else torch.float32


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context in which a forward pass runs."""
    return torch.autocast(device.type, _TYPES[precision], enabled=precision != "fp32")
