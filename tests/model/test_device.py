from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from textgen.errors import DeviceError
from textgen.model import device
from textgen.model.device import (
    check_precision,
    has_bf16_units,
    pick_device,
    prepare_device,
    product_dtype,
)

FAULTS = """
import resource, torch
from textgen.model.device import prepare_device

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(12 << 20)  # 48 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

prepare_device(torch.device("cpu"))
print(min(faults() for _ in range(16)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a matter of glibc")
def test_memory_that_was_freed_is_there_for_the_next_tensor() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 100  # of 12,288 pages; without it, all are mapped anew each time


def test_a_gpu_becomes_the_current_device(monkeypatch: pytest.MonkeyPatch) -> None:
    current = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    before = torch.get_float32_matmul_precision()
    try:
        prepare_device(torch.device("cuda:1"))
    finally:
        torch.set_float32_matmul_precision(before)
    assert current == [torch.device("cuda:1")]


def test_the_gpu_without_a_number_is_the_current_one_already() -> None:
    """Torch's set_device demands a number."""
    before = torch.get_float32_matmul_precision()
    try:
        prepare_device(torch.device("cuda"))
    finally:
        torch.set_float32_matmul_precision(before)


DETERMINISTIC = """
import os, torch
from textgen.model.device import prepare_device

prepare_device(torch.device("cpu"))
assert not torch.are_deterministic_algorithms_enabled()
prepare_device(torch.device("cpu"), deterministic=True)
assert torch.are_deterministic_algorithms_enabled()
assert torch.backends.cudnn.deterministic
print(os.environ["CUBLAS_WORKSPACE_CONFIG"])
"""


def test_only_kernels_that_repeat_their_bits_are_taken_where_that_is_asked() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DETERMINISTIC], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ":4096:8"


def test_bf16_units_are_asked_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    for capabilities, dtype in (
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False, "avx2": True}, torch.float32),
        ({}, torch.float32),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda c=capabilities: c, raising=False)
        assert product_dtype(torch.device("cpu")) == dtype
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not has_bf16_units()  # an older torch


def test_a_precision_that_the_cpu_cannot_train_in_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, here in (("bf16", False), ("fp16", False), ("bf16", True), ("fp32", False)):
        monkeypatch.setattr(device, "_trains_in_bf16", lambda works=here: works)
        if here or name == "fp32":
            check_precision(name, torch.device("cpu"))
        else:
            with pytest.raises(DeviceError, match=name):
                check_precision(name, torch.device("cpu"))


def test_bf16_is_refused_with_cuda_whose_recurrent_layers_take_fp16() -> None:
    for name in ("fp32", "fp16"):
        check_precision(name, torch.device("cuda"))
    with pytest.raises(DeviceError, match="recurrent layers in fp16") as caught:
        check_precision("bf16", torch.device("cuda"))
    assert caught.value.hint == "try `precision=fp16`"


def test_apples_gpu_is_taken_by_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device().type == "cpu"
    assert pick_device("mps").type == "mps"
