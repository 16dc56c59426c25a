from __future__ import annotations

import pytest
import torch
from networks import model_config

from textgen.errors import UsageError
from textgen.training import memory
from textgen.training.memory import check_memory


def test_a_network_too_large_for_the_machine_is_refused_with_the_sum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "memory", lambda device: 24 * 10**9)
    model = model_config(65, hidden=(65536,))
    with pytest.raises(UsageError, match=r"`hidden` is 65536.* parameters take .* 24 GB") as raised:
        check_memory(model, 64, torch.device("cpu"))
    assert f"{model.parameters:,}" in raised.value.message
    check_memory(model_config(65, hidden=(1024, 1024)), 2048, torch.device("cpu"))


def test_a_step_too_large_for_the_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory", lambda device: 24 * 10**9)
    with pytest.raises(UsageError, match="steps of 1,000,000,000 characters"):
        check_memory(model_config(65), 10**9, torch.device("cpu"))


def test_each_of_many_gpus_holds_its_part_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory", lambda device: 150 * 10**9)
    model, gpu = model_config(65, hidden=(320, 320, 320)), torch.device("cuda")
    with pytest.raises(UsageError, match="steps of 33,554,432 characters"):
        check_memory(model, 4 * 65536 * 128, gpu)
    launched = {"RANK": "0", "WORLD_SIZE": "8", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    check_memory(model, 4 * 65536 * 128, gpu)
    with pytest.raises(UsageError, match="steps of 33,554,432 characters"):
        check_memory(model, 4 * 65536 * 128, torch.device("cpu"))


def test_ranks_on_many_machines_share_a_step_between_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "memory", lambda device: 150 * 10**9)
    model, cpu = model_config(65, hidden=(320, 320, 320)), torch.device("cpu")
    launched = {"RANK": "0", "WORLD_SIZE": "8", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in {**launched, "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    check_memory(model, 65536 * 128, cpu)  # 8 ranks on 4 machines
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    with pytest.raises(UsageError, match="steps of 8,388,608 characters"):
        check_memory(model, 65536 * 128, cpu)
