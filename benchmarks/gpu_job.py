"""What the parts of gpu.py share: the device, its precisions, and how a rate is taken."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from throughput import SHAPES, ours

from textgen.errors import TextgenError
from textgen.model.device import check_precision
from textgen.training.step import Learner

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What to measure on; quick: everything small."""

    device: torch.device
    text: Path
    quick: bool

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Layers, hidden, embedding, B, T."""
        if self.quick:
            return [(1, 16, 8, 4, 8)]
        return [*SHAPES[2:], (3, 224, 128, 64, 32), (3, 224, 128, 1024, 32)]

    def learner(self, shape: tuple[int, ...], precision: str, **changes: Any) -> Learner:
        """That of throughput.py on this device, in a precision that may be tf32."""
        stored = "fp32" if precision == "tf32" else precision
        check_precision(stored, self.device)
        learner = ours(shape, stored, self.device, **changes)
        products_in(precision)
        return learner

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def rate(self, step: Callable[[], object], seconds: float) -> float:
        """How often `step` runs in a second, after a few times to warm up."""
        for _ in range(6):
            step()
        self.wait()
        begin, done = time.perf_counter(), 0
        while time.perf_counter() - begin < (0.05 if self.quick else seconds):
            for _ in range(5):
                step()
            self.wait()
            done += 5
        return done / (time.perf_counter() - begin)


def tried(row: Row, work: Callable[[], Row]) -> Row:
    """The row with what `work` finds, or with why it found nothing."""
    try:
        return row | work()
    except TextgenError as error:
        return row | {"left out": error.message}
    except Exception as error:
        return row | {"failed": f"{type(error).__name__}: {error}"}


def products_in(precision: str) -> None:
    """Whether products of fp32 are rounded to TF32; the rest is what a step asks for by itself."""
    rounded = precision != "fp32"
    torch.set_float32_matmul_precision("high" if rounded else "highest")
    torch.backends.cudnn.allow_tf32 = rounded


def product_rate(job: Job, precision: str) -> float:
    """Operations per second of a large product of matrices."""
    size = 256 if job.quick else 8192
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    a, b = torch.randn(2, size, size, device=job.device).to(kind)
    products_in(precision)
    with torch.inference_mode():
        return 2 * size**3 * job.rate(lambda: a @ b, 0.5)
