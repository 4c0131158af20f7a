"""What TensorBoard shows of a network while it trains: its parameters, its activations, and the clips it sees."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from tensorboardX import summary

from ....data.flow.methods import flow_colors
from ....errors import UsageError
from ...hook import Hook
from .event_file import EventFile

#: Limits of the bars of a histogram, as TensorFlow's: each 1.1 times the one before, on both sides of 0.
_BARS = np.concatenate([-(1e-12 * 1.1 ** np.arange(774))[::-1], [0], 1e-12 * 1.1 ** np.arange(774)])
_MOST_ACTIVATIONS = 1 << 20
_MIDDLE = 0.5


class Summaries(Hook):
    """Writes distributions, pictures and numbers for TensorBoard, every so many steps.

    * A histogram of every parameter, running statistics included, under its key in a parameter file, with
      ``/`` for the dots: TensorBoard makes a group of each stage.
    * ``activations/<endpoint>``, a histogram of the endpoint's output for the first sample of the batch (of at most a
      million values, evenly spaced), and ``sparsity/<endpoint>``, the share of zeros in it.
    * ``images/<n>``, the middle frame of clip n of the batch as the network gets it; flow as colours.
    * The numbers that the caller gives.

    They are of the network before the step and of the batch that it is about to be trained on. Activations are those
    of scoring: batch normalisation by running statistics, no dropout. What is trained stays the same, byte for byte.

    Parameters
    ----------
    events : EventFile
        That of the run: ``RunLog(...).events``, whose hook comes before this one.
    every : int
        Steps between summaries, from step 0 on.
    scalars : callable, optional
        ``scalars(loop, result) -> {tag: number}``, asked after every step whose number is a multiple of `every`:
        ``Losses/...``, ``Metrics/train/...``. Reading the result waits for the devices.
    epoch_scalars : callable, optional
        ``epoch_scalars(loop, record) -> {tag: number}``, asked after each epoch and its validation:
        ``Metrics/eval/...``.
    parameters, activations : bool
        Whether to write these histograms.
    images : int
        Most pictures of a batch; 0 for none.
    endpoints : sequence of str, optional
        Blocks whose output is looked at, by attribute, inner ones as ``'Mixed_3b.Branch_0'``; by default the network's
        ``endpoints``, else its outermost blocks.
    mean, std : sequence of float, optional
        Of pixels in 0..1, to undo their normalisation for the pictures; by default those of the network's card, or 0.5
        for a network without.

    Raises
    ------
    UsageError
        When `every` or `images` is invalid, or, when training starts, for an endpoint that the network has not.
    OutputError
        When events cannot be written.
    """

    def __init__(self, events: EventFile, *, every: int = 100,
                 scalars: Callable[[Any, Any], Mapping[str, float]] | None = None,
                 epoch_scalars: Callable[[Any, dict], Mapping[str, float]] | None = None, parameters: bool = True,
                 activations: bool = True, images: int = 16, endpoints: Sequence[str] | None = None,
                 mean: Sequence[float] | None = None, std: Sequence[float] | None = None):
        if every < 1 or images < 0:
            raise UsageError(f'summaries are written every 1 or more steps, with 0 or more images, got {every} and '
                             f'{images}')
        self.events, self.every, self.images = events, every, images
        self.parameters, self.activations, self.endpoints = parameters, activations, endpoints
        self._scalars, self._epoch_scalars = scalars, epoch_scalars
        self._mean, self._std = mean, std

    def on_start(self, loop, epochs, batches):
        """Find the endpoints."""
        self._endpoints = loop.learner.endpoints(self.endpoints) if self.activations else []

    def on_batch(self, loop, batch):
        """Summarise network and batch, if it is time."""
        step = loop.progress.step
        if step % self.every or not len(batch.indices):
            return
        learner = loop.learner
        data = batch.data if getattr(batch, 'scaling', None) is None else batch.scaled().data
        if self._endpoints:
            sample = data[:learner.rows_per_sample]
            for name, output in learner.activations(sample, self._endpoints).items():
                self.events.add(step, *_activation(name, output))
        if self.parameters:
            for key, array in learner.parameters().items():
                self.events.add(step, *_histogram(key.replace('.', '/'), array))
        if self.images:
            for number, picture in enumerate(self._pictures(getattr(learner.net, 'card', None), data)):
                self.events.add(step, summary.image(f'images/{number}', picture, dataformats='HWC'))
        self.events.flush()

    def on_step(self, loop, result):
        """Write the caller's numbers, if it is time."""
        if self._scalars is not None and result.step % self.every == 0:
            self.events.scalars(result.step, self._scalars(loop, result))

    def on_epoch(self, loop, record):
        """Write the caller's numbers."""
        if self._epoch_scalars is not None:
            self.events.scalars(loop.progress.step, self._epoch_scalars(loop, record))
            self.events.flush()

    def close(self):
        """Close the file."""
        self.events.close()

    def _pictures(self, card, clips: np.ndarray) -> Iterator[np.ndarray]:
        mean = np.asarray(self._mean or (card.mean if card else _MIDDLE), np.float32)
        std = np.asarray(self._std or (card.std if card else _MIDDLE), np.float32)
        for clip in clips[:self.images]:
            frame = (clip if clip.ndim == 3 else clip[:, clip.shape[1] // 2]).transpose(1, 2, 0)
            picture = np.rint(np.clip(frame * std + mean, 0, 1) * 255).astype(np.uint8)
            yield flow_colors(picture) if picture.shape[2] == 2 else picture


def _activation(name: str, output: np.ndarray) -> list:
    zeros = float((output == 0).mean())
    # Every n-th value, n odd, so that no channel or column of an even number is left out.
    values = output.ravel()[::max(1, -(-output.size // _MOST_ACTIVATIONS)) | 1]
    return [*_histogram(f'activations/{name}', values), summary.scalar(f'sparsity/{name}', zeros)]


def _histogram(tag: str, values: np.ndarray) -> list:
    values = np.clip(values[np.isfinite(values)], _BARS[0], _BARS[-1])
    return [summary.histogram(tag, values, _BARS)] if values.size else []
