"""What an epoch shows of a data set where that is not each sample once: classes balanced, samples repeated."""
from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import UsageError


class EpochOrder:
    """A data set of which an epoch shows samples several times, differently augmented, and others not at all.

    An epoch is as long as that of the data set itself. Index ``i + k * len(dataset)`` is sample ``i`` shown for the
    ``k``-th time: its draws are those of view ``k``, so that the batches are the same for any number of workers. What
    else the data set has, this one has too.

    Parameters
    ----------
    dataset : VideoClsCustom or alike
        With ``samples``, each with one ``label``, and ``load(index, epoch=, view=)``.
    balanced : bool
        Show every class as often as the others: of a large one other samples in every epoch, of a small one all of them
        again and again. Where all are equally large, each sample is shown once.
    repeats : int
        Show a sample so many times in succession (repeated augmentation: Hoffer et al. 2020, arXiv:1901.09335), and
        that much fewer of them.

    Raises
    ------
    UsageError
        When classes cannot be balanced, as samples have several labels.
    """

    def __init__(self, dataset, *, balanced: bool = False, repeats: int = 1):
        self.dataset, self.balanced, self.repeats = dataset, balanced, repeats
        self.samples = _Endless(dataset.samples)
        if balanced and any(isinstance(sample.label, tuple) for sample in dataset.samples):
            raise UsageError('--balance: samples with several labels cannot be shown as often by class')

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset':  # not there yet
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def load(self, index: int, *, epoch: int = 0, view: int = 0):
        """Read one sample as it is shown for the ``index // len``-th time."""
        time, sample = divmod(index, len(self.dataset))
        return self.dataset.load(sample, epoch=epoch, view=view + time)

    def shuffled(self, rng: np.random.Generator) -> np.ndarray:
        """Return the indices of an epoch in its order."""
        size = len(self.dataset)
        wanted = -(-size // self.repeats)
        order = self._balanced(rng, wanted) if self.balanced else rng.permutation(size)[:wanted]
        order, seen = np.repeat(order, self.repeats)[:size], Counter()
        indices = []
        for sample in order.tolist():
            indices.append(sample + seen[sample] * size)
            seen[sample] += 1
        return np.asarray(indices, np.int64)

    def _balanced(self, rng: np.random.Generator, wanted: int) -> np.ndarray:
        members: dict[int, list[int]] = defaultdict(list)
        for index, sample in enumerate(self.dataset.samples):
            members[sample.label].append(index)
        labels = sorted(members)
        share, rest = divmod(wanted, len(labels))
        more = set(rng.permutation(len(labels))[:rest].tolist())  # they take turns at what cannot be divided
        order = []
        for place, label in enumerate(labels):
            count = share + (place in more)
            rounds = -(-count // len(members[label]))
            order += np.concatenate([rng.permutation(members[label]) for _ in range(rounds)] or [[]])[:count].tolist()
        return rng.permutation(np.asarray(order, np.int64))


def class_weights(samples: Sequence[Any], num_classes: int) -> np.ndarray:
    """Return factors (K,) by which each class counts as much as the others; their mean over the samples is 1.

    A class without samples has 1.
    """
    counts = np.bincount([sample.label for sample in samples], minlength=num_classes)
    there = counts > 0
    weights = np.ones(num_classes, np.float32)
    weights[there] = len(samples) / (there.sum() * counts[there])
    return weights


class _Endless(Sequence):
    """Samples by an index that goes round and round."""

    def __init__(self, samples: Sequence[Any]):
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index):
        return self._samples[index % len(self._samples)]

    def __iter__(self):
        return iter(self._samples)
