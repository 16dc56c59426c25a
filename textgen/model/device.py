"""Which device computes, in which precision, and how the process is set up for it."""

import ctypes
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch

from textgen.errors import DeviceError, UsageError

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_AUTO = "try `device=auto`"


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is cuda where it is there, else cpu; UsageError, DeviceError for what is not.

    Apple's GPU is taken by name alone: nothing was measured on it.
    """
    cuda = range(torch.cuda.device_count()) if torch.cuda.is_available() else None
    gpus = [] if cuda is None else ["cuda", *(f"cuda:{n}" for n in cuda)]
    here = [*gpus, "cpu", *(["mps"] if torch.backends.mps.is_available() else [])]
    if name == "auto" or name in here:
        return torch.device(here[0] if name == "auto" else name)
    if not re.fullmatch("cpu|cuda(:[0-9]+)?|mps", name):
        raise UsageError(f"`device` is {name!r}; expected auto, cpu, cuda, cuda:N or mps", _AUTO)
    raise DeviceError(f"no device {name} on this machine; it has {', '.join(here)}", _AUTO)


def check_torch(*, gradients: bool = False) -> None:
    """Raise UsageError where a tensor is by default no float of 32 bits, or not on the CPU.

    gradients: whether they have to be computed too.
    """
    if torch.get_default_dtype() != torch.float32:
        what = f"torch's default dtype is {torch.get_default_dtype()}; expected torch.float32"
        raise UsageError(what, "torch.set_default_dtype(torch.float32)")
    if torch.get_default_device().type != "cpu":
        what = f"torch's default device is {torch.get_default_device()}; expected cpu"
        raise UsageError(what, 'torch.set_default_device("cpu")')
    if gradients and not torch.is_grad_enabled():
        what = "torch computes no gradients here; expected that it does"
        raise UsageError(what, "torch.set_grad_enabled(True)")


def prepare_device(device: torch.device, deterministic: bool = False) -> None:
    """What makes computing on `device` faster and holds for the whole process.

    A GPU becomes the current device, to which streams and graphs belong; one without a number is
    the current one already. Denormals are flushed to zero, and freed memory is kept, where the C
    library is glibc: by itself it has a large tensor's pages mapped and zeroed anew in each step,
    which at 2 x 512 takes about a quarter of it.

    deterministic: whether torch takes only kernels that give the same bits in each run; cuBLAS, and
    cuDNN with it, does so by a workspace whose size is read when it is first used.
    """
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.set_deterministic_debug_mode("error")  # unlike the other setter, loads no compiler
        torch.backends.cudnn.deterministic = True
    if device.type == "cuda":
        if device.index is not None:
            torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")  # TF32
    torch.set_flush_denormal(True)
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def restored() -> Iterator[None]:
    """Have torch as many threads and as deterministic afterwards as before, for what comes next."""
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    repeats = torch.backends.cudnn.deterministic
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(mode)
        torch.backends.cudnn.deterministic = repeats


def memory(device: torch.device) -> int | None:
    """Bytes of memory in all, where that can be asked for."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def check_precision(precision: str, device: torch.device) -> None:
    """Raises DeviceError where `device` cannot train in `precision`."""
    if precision == "fp16" and device.type == "cpu":
        raise DeviceError(
            "`precision=fp16` needs a GPU, and this runs on the CPU", "try `precision=auto`"
        )
    if precision == "bf16" and device.type == "cuda":  # and without the scaling that fp16 needs
        what = "`precision=bf16` is for CPUs: with CUDA torch has its recurrent layers in fp16"
        raise DeviceError(what, "try `precision=fp16`")
    if precision == "bf16" and device.type == "cpu" and not _trains_in_bf16():
        raise DeviceError("`precision=bf16`: this CPU has no bf16", "try `precision=fp32`")


@cache
def _trains_in_bf16() -> bool:
    """Whether the CPU's library has an LSTM in bf16; on x86 it needs AVX-512."""
    with torch.random.fork_rng(devices=[]):
        layer = torch.nn.LSTM(8, 8)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            layer(torch.zeros(2, 1, 8))[0].float().sum().backward()
    except RuntimeError:
        return False
    return True


def has_bf16_units() -> bool:
    """Whether the CPU multiplies bf16 in hardware (AVX512-BF16 or AMX), as torch reports."""
    # torch 2.10 may lack it
    ask: Callable[[], dict[str, object]] = getattr(torch.cpu, "get_capabilities", dict)
    capabilities = ask()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def product_dtype(device: torch.device) -> torch.dtype:
    """The type with the fastest products, by what the processor is, not by a clock."""
    if device.type == "cuda":
        return torch.float16
    return torch.bfloat16 if device.type == "cpu" and has_bf16_units() else torch.float32


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context in which a forward pass runs."""
    return torch.autocast(device.type, _TYPES[precision], enabled=precision != "fp32")
