"""The weights that a run is judged by and writes from: an average of those that it trains.

It is an exponential moving average, after Polyak & Juditsky 1992, "Acceleration of Stochastic
Approximation by Averaging", with a temperature in the head: see `calibration`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from numpy.typing import NDArray
from torch import Tensor

from textgen.config import TrainingConfig
from textgen.inference.parts import predictions
from textgen.model.device import autocast
from textgen.model.network import CharModel
from textgen.training.calibration import FITTED, further, inverse_temperature, sharpen


class Judged:
    """The average of a network's weights as it trains, or those weights if none is kept."""

    def __init__(
        self, network: CharModel, config: TrainingConfig, aside: NDArray | None, end: int | None
    ) -> None:
        """aside: ids, if any, to fit a temperature on; end: the end symbol, if there is one."""
        self._network = network
        self._precision = config.precision
        self._aside, self._end = aside, end
        self._average = self._copied() if config.average else None
        self._fitted = -1, 1.0  # the step at which a temperature was fitted last, 1 / temperature
        self.settled: float | None = None  # 1 / temperature, when `aside` was about to be learned

    @property
    def averaged(self) -> bool:
        return self._average is not None

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """As they are before the temperature."""
        return self._network.state_dict() if self._average is None else self._average

    def follow(self, step: int, reach: float) -> None:
        """Take in the weights after `step` steps; the average goes back over so large a share.

        Or over 100,000 steps: a smaller share of a difference is lost in float32.
        """
        if self._average is not None:
            newest = 1 / min(1e5, max(1.0, reach * step))
            for name, live in self._network.state_dict().items():
                self._average[name].lerp_(live, newest)

    def take_up(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from an average that was saved."""
        if self._average is not None:
            for name, tensor in self._average.items():
                tensor.copy_(weights[name])

    def restart(self, weights: Mapping[str, Tensor], step: int, *, learned: bool) -> None:
        """Go on from weights that are those judged after `step` steps, with their temperature.

        learned: whether they have learned what was kept aside; none is fitted then.
        """
        self.take_up(weights)
        self._fitted = step, 1.0
        self.settled = 1.0 if learned else None

    @contextmanager
    def applied(self, step: int) -> Iterator[None]:
        """Within, the network has the weights that are judged after `step` steps."""
        if self._average is None and self._aside is None:
            yield
            return
        live = self._copied()
        try:
            self._network.load_state_dict(self.weights)
            sharpen(self._network.head, self._inverse_temperature(step))
            yield
        finally:
            self._network.load_state_dict(live)

    def settle(self, step: int) -> None:
        """Keep the temperature of the weights after `step` steps for all that follow."""
        with self.applied(step):
            self.settled = self._fitted[1]

    def _inverse_temperature(self, step: int) -> float:
        """1 / temperature for the weights after `step` steps, which the network has to have."""
        if self.settled is not None:
            return self.settled
        if self._aside is not None and self._fitted[0] != step:
            precision = partial(autocast, self._precision, self._network.head.weight.device)
            found = predictions(self._network, self._aside, precision, FITTED, self._end)
            self._fitted = step, further(inverse_temperature(found))
        return self._fitted[1]

    def _copied(self) -> dict[str, Tensor]:
        return {name: live.clone() for name, live in self._network.state_dict().items()}
