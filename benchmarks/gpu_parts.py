"""What gpu.py measures: each part is a generator of rows."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from gpu_job import PRECISIONS, Job, Row, product_rate, products_in, tried
from throughput import SYMBOLS, Plain, model_of

import textgen
from textgen.architecture import ModelConfig
from textgen.config import SamplingOptions
from textgen.events import Evaluated, Finished, Planned, Saved
from textgen.inference.batch import BatchStepper, BatchWriter
from textgen.inference.folding import fold
from textgen.inference.sampling import Sampler, Uniforms
from textgen.model.device import autocast, check_precision, prepare_device, product_dtype
from textgen.model.network import State
from textgen.store.checkpoint import read_header
from textgen.store.contents import read_resumed
from textgen.training.batching import EACH
from textgen.training.first import first_network
from textgen.training.speed import measure, trial_of

FORK = multiprocessing.get_context("fork")  # the first process computes nothing: CUDA is untouched


def machine(job: Job) -> Iterator[Row]:
    """The card, and the rate of its products."""
    cuda = job.device.type == "cuda"
    card = torch.cuda.get_device_name(job.device) if cuda else "CPU"
    yield {"card": card, "torch": torch.__version__, "cuda": torch.version.cuda}
    for precision in PRECISIONS:
        row = {"product": precision}
        yield tried(row, lambda p=precision: {"tflops": product_rate(job, p) / 1e12})


def graph(job: Job) -> Iterator[Row]:
    """The same losses with the CUDA graph and without; a notice where there is none."""

    def compared(precision: str, optimizer: str) -> Row:
        how = {"optimizer": optimizer, "lr": 0.003}
        captured, eager = (job.learner(job.shapes[0], precision, **how) for _ in range(2))
        eager._graphed = None
        losses = [[float(one.advance()) for _ in range(20)] for one in (captured, eager)]
        difference = float(np.abs(np.subtract(*losses)).max())
        return {"largest difference of losses": difference, "notices": captured.notices}

    kinds = [*product(PRECISIONS, ("soap", "adamw")), ("fp16", "rmsprop"), ("fp16", "sgd")]
    for precision, optimizer in kinds:
        row = {"precision": precision, "optimizer": optimizer}
        yield tried(row, partial(compared, precision, optimizer))


def training(job: Job) -> Iterator[Row]:
    """Characters per second of a step, and what of the card it uses; and of the plain loop."""
    peaks: dict[str, float] = {}

    def ours(shape: tuple[int, ...], precision: str, captured: bool) -> Row:
        cuda = job.device.type == "cuda"
        if cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        learner = job.learner(shape, precision)
        if precision not in peaks:
            peaks[precision] = product_rate(job, precision)
        learner._graphed = learner._graphed if captured else None
        rate = shape[3] * shape[4] * job.rate(learner.advance, 1.0)
        share = 6 * model_of(shape).parameters * rate / peaks[precision]
        found: Row = {"chars/s": rate, "share of products": share}
        return found | ({"MB": torch.cuda.max_memory_allocated() / 1e6} if cuda else {})

    def plain(shape: tuple[int, ...], precision: str) -> Row:
        stored = "fp32" if precision == "tf32" else precision
        check_precision(stored, job.device)
        products_in(precision)
        loop = Plain(shape, job.device, stored)
        return {"chars/s": shape[3] * shape[4] * job.rate(loop.advance, 1.0)}

    for shape, precision in ((s, p) for s in job.shapes for p in PRECISIONS):
        layers, hidden, _, batch, bptt = shape
        row: Row = {"shape": f"{layers} x {hidden}, B {batch}, T {bptt}", "precision": precision}
        for captured in (True, False):
            side = {"side": "graph" if captured else "eager"}
            yield tried(row | side, partial(ours, shape, precision, captured))
        yield tried(row | {"side": "plain"}, partial(plain, shape, precision))


def resuming(job: Job) -> Iterator[Row]:
    """A run killed at a random moment and resumed, against one that was not."""
    steps = 30 if job.quick else 1500
    hidden = (16,) if job.quick else (256, 256)
    for deterministic in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            how: Row = {"run": "run", "steps": steps, "hidden": hidden, "device": str(job.device)}
            how |= {"deterministic": deterministic, "save_every": 0.05, "sample_every": 0}
            how |= {"eval_every": steps, "dropout": 0.1, "batch_size": 8 if job.quick else 64}
            for name, seconds in (("whole", None), ("killed", 0.001 if job.quick else 1.0)):
                process = FORK.Process(
                    target=train, args=(job.text, Path(folder, name), how, seconds)
                )
                process.start()
                process.join()
            killed = process.exitcode
            last = {n: Path(folder, n, "run", "last.safetensors") for n in ("whole", "killed")}
            at = read_header(last["killed"]).record.step
            process = FORK.Process(target=go_on, args=(last["killed"].parent,))
            process.start()
            process.join()
            whole, other = (read_resumed(read_header(path))["model"] for path in last.values())
            largest = max(float(np.abs(whole[n] - other[n]).max()) for n in whole)
            yield {
                "deterministic": deterministic,
                "exit code": killed,
                "saved at": at,
                "steps": steps,
                "largest difference of weights": largest,
                "bit for bit": all(np.array_equal(whole[n], other[n]) for n in whole),
            }


def train(text: Path, checkpoints: Path, how: Row, killed_after: float | None) -> None:
    """A run; killed_after: so many seconds from its second save on."""
    saves = 0
    for event in textgen.train(text, checkpoints=checkpoints, **how):
        saves += isinstance(event, Saved)
        if killed_after is not None and saves == 2:
            kill = threading.Timer(killed_after, os.kill, (os.getpid(), signal.SIGKILL))
            kill.daemon = True
            kill.start()
            saves += 1


def go_on(folder: Path) -> None:
    for _ in textgen.resume(folder):
        pass


def agreement(job: Job) -> Iterator[Row]:
    """Logits of the device against those of the CPU, by precision."""
    config = replace(model_of((2, 16, 8) if job.quick else (3, 224, 128)), dropout=0.0)
    network = first_network(config, np.arange(SYMBOLS), seed=0).eval()
    ids = torch.randint(SYMBOLS, (64, 8), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, _ = network(ids, State.zeros(config, 8))
        network = network.to(job.device)
        for precision in PRECISIONS:
            products_in(precision)
            row, kind = {"precision": precision}, "fp32" if precision == "tf32" else precision

            def differing(kind: str = kind) -> Row:
                check_precision(kind, job.device)
                with autocast(kind, job.device):
                    found, _ = network(ids.to(job.device), State.zeros(config, 8, job.device))
                return {"largest difference": float((found.float().cpu() - expected).abs().max())}

            yield tried(row, differing)


def sampling(job: Job) -> Iterator[Row]:
    """Characters per second of texts written side by side."""
    prepare_device(job.device)
    config: ModelConfig = model_of((1, 16, 8) if job.quick else (3, 224, 128))
    network = first_network(config, np.arange(SYMBOLS), seed=0)
    model = fold(config, {name: p.detach().numpy() for name, p in network.named_parameters()})
    for texts in (1, 4) if job.quick else (1, 64, 1024, 8192):
        stepper = BatchStepper(model, job.device, product_dtype(job.device), texts)
        writer = BatchWriter(stepper, Sampler(SamplingOptions(length=0)), np.array([1]))
        blocks = writer.write([Uniforms(1, number) for number in range(texts)], 10**9)
        rate = texts * len(next(blocks)) * job.rate(lambda b=blocks: next(b), 2.0)
        yield {"texts": texts, "chars/s": rate}


def planning(job: Job) -> Iterator[Row]:
    """What the planner takes, and what else there was: chars/s by B."""
    seconds = 1 if job.quick else 60
    begin = time.perf_counter()
    how: Row = {"time": seconds, "dry_run": True, "device": str(job.device)}
    plan = next(textgen.train(job.text, **how))
    assert isinstance(plan, Planned)
    took = time.perf_counter() - begin
    yield told(plan) | {"seconds": took, "notices": plan.notices}
    trial = trial_of(plan.training, plan.train_characters, job.device)
    for streams in (8, 16) if job.quick else (64, 128, 256, 512, 1024, 2048):
        rate = measure(plan.model, replace(trial, batch_size=streams))
        yield {"B": streams, "T": trial.bptt, "chars/s": rate}
    yield {"most streams": plan.train_characters // EACH}


def told(plan: Planned) -> Row:
    config = plan.training
    shape = f"{plan.model.layers} x {max(plan.model.hidden)}"
    row: Row = {"shape": shape, "B": config.batch_size, "T": config.bptt, "lr": config.lr}
    return row | {"precision": config.precision, "chars/s": plan.chars_per_second}


def timed(job: Job) -> Iterator[Row]:
    """A run of a minute: the held-out loss on the way, and by an exact pass at the end."""
    with tempfile.TemporaryDirectory() as folder:
        seconds, begin = 1 if job.quick else 60, time.perf_counter()
        how: Row = {"time": seconds, "run": "run", "device": str(job.device), "sample_every": 0}
        for event in textgen.train(job.text, checkpoints=folder, **how):
            match event:
                case Planned():
                    yield told(event)
                case Evaluated():
                    yield {"step": event.step, "s": event.seconds, "val nats": event.val_nats}
                case Finished():
                    took = time.perf_counter() - begin
                    yield {"took": took, "best val nats": event.best_val_nats, "steps": event.step}
        text = job.text.read_text(encoding="utf-8")
        held_out = text[-(len(text) // 10) :][: 2000 if job.quick else None]
        exact = textgen.load(Path(folder, "run")).score(held_out)
        yield {"last tenth, one pass, nats": exact.nats_per_char}


def collective(job: Job) -> Iterator[Row]:
    """Torch's collectives with one rank: NCCL on a GPU, gloo on a CPU."""
    backend = "nccl" if job.device.type == "cuda" else "gloo"
    with tempfile.TemporaryDirectory() as folder:
        store = dist.FileStore(str(Path(folder, "store")), 1)
        dist.init_process_group(backend, store=store, rank=0, world_size=1)
        try:
            values = torch.arange(1 << (10 if job.quick else 22), device=job.device).float()
            expected = values.clone()
            rate = job.rate(lambda: dist.all_reduce(values), 1.0)
            same = bool(torch.equal(values, expected))
            yield {"backend": backend, "all_reduce/s": rate, "MB": values.nbytes / 1e6, "ok": same}
        finally:
            dist.destroy_process_group()


def tests(job: Job) -> Iterator[Row]:
    """The tests marked `gpu`."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-n", "0", "-q", "-rfE", "tests/gpu"]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    yield {"exit code": done.returncode, "output": done.stdout.splitlines()[-12:]}
