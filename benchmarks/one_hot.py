"""How much sooner a step is done where characters are read one-hot, by how many there are.

    python benchmarks/one_hot.py

Steps of SOAP in fp32, without dropout, of networks that read one-hot and that look up the
embedding, in turn. Printed are medians and their ratio.
"""

import statistics
import time

import numpy as np
from throughput import CPU, model_of, training_of

from textgen.architecture import ModelConfig
from textgen.model.network import CharModel
from textgen.training.step import Learner

SHAPES = ((1, 128, 128, 64, 32), (2, 192, 128, 64, 64), (2, 192, 128, 32, 128))
SYMBOLS = (45, 65, 100, 127)
STEPS = 40


def main() -> None:
    for shape in SHAPES:
        for symbols in SYMBOLS:
            model = model_of(shape, symbols, dropout=0.0)
            sides = {one_hot: learner_of(model, shape, one_hot) for one_hot in (False, True)}
            seconds: dict[bool, list[float]] = {side: [] for side in sides}
            for _ in range(STEPS):
                for side, learner in sides.items():
                    begin = time.perf_counter()
                    float(learner.advance())
                    seconds[side].append(time.perf_counter() - begin)
            looked_up, one_hot = (1000 * statistics.median(s[5:]) for s in seconds.values())
            layers, width, _, streams, length = shape
            print(
                f"{layers} x {width}, {streams} of {length}, {symbols} characters: {one_hot:.1f} ms"
                f" for {looked_up:.1f}, {looked_up / one_hot:.2f} times as fast"
            )


def learner_of(model: ModelConfig, shape: tuple[int, ...], one_hot: bool) -> Learner:
    ids = np.random.default_rng(0).integers(model.vocabulary_size, size=1 << 18).astype(np.uint8)
    network = CharModel(model, one_hot=one_hot)
    return Learner(network, training_of(shape, "fp32", "soap"), ids, CPU)


if __name__ == "__main__":
    main()
