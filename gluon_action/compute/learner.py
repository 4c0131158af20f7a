"""What the training loop and the evaluation ask of an engine; arrays are NumPy's on both sides."""
from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import CheckpointError


class Shard(abc.ABC):
    """What a device made of its part of a batch, N samples. Devices may still compute it; reading waits for them.

    Attributes
    ----------
    label : ndarray
        (N,) class numbers, or (N, K).
    """

    label: np.ndarray

    @property
    @abc.abstractmethod
    def logits(self) -> np.ndarray:
        """Scores (N, K) before softmax or sigmoid."""

    @property
    @abc.abstractmethod
    def loss_sum(self) -> float:
        """Sum of the samples' losses."""

    @property
    @abc.abstractmethod
    def correct(self) -> int:
        """Samples whose best class was the label's."""


@dataclass
class LearnerState:
    """Everything a learner needs to continue as if it had never stopped; arrays are copies.

    Attributes
    ----------
    params : dict
        Parameters and running statistics of the first device, by key in a parameter file, each once.
    optimizer : dict
        What the optimizer remembers: ``'<key>#<place>'`` -> array.
    numbers : dict
        The optimizer's name, its counts of updates and its scalars, fit for JSON.
    statistics : list of dict
        Running statistics of each device after the first, by key.
    averages : dict
        Moving averages of all of `params`, by key; empty where none are kept.
    """

    params: dict[str, np.ndarray]
    optimizer: dict[str, np.ndarray]
    numbers: dict[str, Any]
    statistics: list[dict[str, np.ndarray]] = field(default_factory=list)
    averages: dict[str, np.ndarray] = field(default_factory=dict)

    def check_network(self, keys: Iterable[str]) -> None:
        """Refuse to be loaded into a network that has other parameters than these, with `CheckpointError`."""
        differing = sorted(set(self.params) ^ set(keys))
        if differing:
            raise CheckpointError(f'the checkpoint is of another network: {len(differing)} parameters are in one of '
                                  f'the two only, {differing[0]} among them')


def taught(stored: bool, y: Any, label: np.ndarray, teach: Callable[[], Any] | None) -> tuple[Any, np.ndarray, tuple]:
    """Return the labels on the device and here, and what a teacher says in a tuple, which is empty without one.

    Parameters
    ----------
    stored : bool
        Whether labels are (N, 2 K): what a teacher has said is behind them.
    y, label
        The labels on the device, and here.
    teach : callable, optional
        Asks a teacher.
    """
    if stored:
        classes = label.shape[1] // 2
        return y[:, :classes], label[:, :classes], (y[:, classes:],)
    return y, label, () if teach is None else (teach(),)


class Learner(abc.ABC):
    """A network on its devices, with loss and optimizer. `Loop` decides when it learns, and at what rate.

    A batch has ``data``, float32 (N * rows_per_sample, ...), and ``label``, (N,) or (N, K); at least one sample. Every
    device has running statistics of batch normalisation of its own.

    Attributes
    ----------
    net
        The network, as the engine knows it.
    names : list of str
        Keys in a parameter file of the parameters that are trained.
    accumulate : int
        Batches whose gradients are added up for an update.
    rows_per_sample : int
        Rows of a batch's data that are one sample: segments.
    takes_pixels : bool
        Whether `gradients` takes batches of pixels too and scales them on the devices, as ``batch.scaling`` says.
    num_devices : int
        That share a batch.
    needs_samples : bool
        Whether every batch must have a sample here, since other processes wait for what it makes of them.
    """

    net: Any
    names: list[str]
    accumulate: int
    rows_per_sample: int
    num_devices: int
    takes_pixels: bool = False
    needs_samples: bool = False

    @abc.abstractmethod
    def gradients(self, batch, seed: Sequence[int]) -> list[Shard]:
        """Add the gradients of a batch's loss to those that wait for an update. Does not wait for the devices.

        Parameters
        ----------
        batch : Batch
        seed : sequence of int
            Decides the random draws in the network: the same on every call with the same numbers, others on each
            device.
        """

    def together(self, samples: int) -> int:
        """Return the samples of an update, given those of this process, where others are counted with them."""
        return samples

    @abc.abstractmethod
    def update(self, rate: float, samples: int) -> None:
        """Change the parameters by the gradients that wait, which are sums over so many samples: see `together`."""

    @abc.abstractmethod
    def scores(self, batch) -> list[Shard]:
        """Score a batch as in validation; its samples may have several times as many rows. Does not wait."""

    @abc.abstractmethod
    def settle(self) -> None:
        """Let `net` hold what was learnt, where the engine keeps it elsewhere."""

    @abc.abstractmethod
    def adopt(self) -> None:
        """Continue from the values that `net` holds now, in place of what was learnt; moving averages begin there."""

    @abc.abstractmethod
    def wait(self) -> None:
        """Wait until the devices have nothing to do."""

    @abc.abstractmethod
    def parameters(self) -> dict[str, np.ndarray]:
        """Copies of what a parameter file of the network holds, under every key, as on the first device."""

    @abc.abstractmethod
    def showing_averages(self) -> contextlib.AbstractContextManager:
        """Let the network hold the moving averages within a ``with`` block, where any are kept.

        What is trained is what it was when the block ends, and `state` says that within it too.
        """

    @abc.abstractmethod
    def state(self) -> LearnerState:
        """Return a copy of the state; waits for the devices."""

    @abc.abstractmethod
    def load(self, state: LearnerState) -> None:
        """Continue from a state, also where the number of devices has changed.

        Raises
        ------
        CheckpointError
            When it is of another network or another optimizer.
        """

    @abc.abstractmethod
    def optimizer_state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return `optimizer` and `numbers` of the state alone."""

    @abc.abstractmethod
    def load_optimizer_state(self, arrays: dict[str, np.ndarray], numbers: dict[str, Any]) -> None:
        """Put back what `optimizer_state` returned.

        Raises
        ------
        CheckpointError
            When it is of another optimizer or of other parameters.
        """

    @abc.abstractmethod
    def weight_sums(self) -> tuple[float, float]:
        """Sums of the magnitudes and of the squares of all weights: not of biases, nor of batch normalisation."""

    @abc.abstractmethod
    def penalty(self) -> float:
        """Return the L2 term of the parameters that have one of their own, which no loss includes."""

    @abc.abstractmethod
    def endpoints(self, names: Sequence[str] | None = None) -> list[str]:
        """Return blocks whose output can be looked at: `names`, or the network's own endpoints.

        Raises
        ------
        UsageError
            For a name that no block has.
        """

    @abc.abstractmethod
    def activations(self, data: np.ndarray, endpoints: Sequence[str]) -> dict[str, np.ndarray]:
        """Return what blocks give out while the network scores `data`, the rows of one sample.

        Those that do not run, or give no single array, are left out. What is trained stays as it is.
        """
