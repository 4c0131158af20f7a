"""What TensorBoard shows of a network while it trains: its parameters, its activations, and the clips it sees."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import autograd
from tensorboardX import summary

from ...data.flow.methods import flow_colors
from ...errors import UsageError
from ..hooks import Hook
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
        self._blocks = endpoints_of(loop.net, self.endpoints) if self.activations else {}

    def on_batch(self, loop, batch):
        """Summarise network and batch, if it is time."""
        step = loop.progress.step
        if step % self.every or not len(batch.indices):
            return
        if self._blocks:
            sample = batch.data[:loop.batch_multiplier].as_in_context(loop.contexts[0])
            outputs = outputs_of(loop.net, self._blocks, sample.astype(loop.dtype, copy=False))
            for name, output in outputs.items():
                self.events.add(step, *_activation(name, output))
        if self.parameters:
            for key, array in loop.parameters().items():
                self.events.add(step, *_histogram(key.replace('.', '/'), array.asnumpy()))
        if self.images:
            for number, picture in enumerate(self._pictures(loop.net, batch.data)):
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

    def _pictures(self, net: mx.gluon.Block, clips: mx.nd.NDArray) -> Iterator[np.ndarray]:
        card = getattr(net, 'card', None)
        mean = np.asarray(self._mean or (card.mean if card else _MIDDLE), np.float32)
        std = np.asarray(self._std or (card.std if card else _MIDDLE), np.float32)
        for clip in clips[:self.images]:
            frame = (clip if clip.ndim == 3 else clip[:, clip.shape[1] // 2]).asnumpy().transpose(1, 2, 0)
            picture = np.rint(np.clip(frame * std + mean, 0, 1) * 255).astype(np.uint8)
            yield flow_colors(picture) if picture.shape[2] == 2 else picture


def endpoints_of(net: mx.gluon.Block, names: Sequence[str] | None = None) -> dict[str, mx.gluon.Block]:
    """Blocks of a network by name.

    Parameters
    ----------
    net : Block
    names : sequence of str, optional
        Attributes, inner ones joined by dots; by default ``net.endpoints``, else the outermost blocks.

    Raises
    ------
    UsageError
        For a name that no block has.
    """
    if names is None:
        named = [name for name in getattr(net, 'endpoints', ()) if name in net._children]
        names = named or list(net._children)
    return {name: _block_at(net, name) for name in names}


def outputs_of(net: mx.gluon.Block, blocks: Mapping[str, mx.gluon.Block], x: mx.nd.NDArray) -> dict[str, mx.nd.NDArray]:
    """What blocks inside a network give out while it scores `x`.

    Nothing runs by block inside a compiled graph. So the network computes operator by operator this once, and the
    graphs it has are kept for the training.

    Returns
    -------
    dict of str to NDArray
        In the order of `blocks`; of a block that runs several times the last output. Those that give no single array,
        or do not run, are left out.
    """
    outputs: dict[str, mx.nd.NDArray] = {}

    def keep(name: str) -> Callable:
        def hook(block, inputs, output):
            if isinstance(output, mx.nd.NDArray):
                outputs[name] = output
        return hook

    with contextlib.ExitStack() as stack:
        for name, block in blocks.items():
            stack.enter_context(block.register_forward_hook(keep(name)))
        stack.enter_context(_uncompiled(net))
        stack.enter_context(autograd.pause(train_mode=False))
        net(x)
    return {name: outputs[name] for name in blocks if name in outputs}


@contextlib.contextmanager
def _uncompiled(net: mx.gluon.Block) -> Iterator[None]:
    """Let a network compute without its compiled graphs, which ``net.hybridize(False)`` would throw away."""
    found: list[mx.gluon.HybridBlock] = []
    net.apply(lambda block: found.append(block) if getattr(block, '_active', False) else None)
    for block in found:
        block._active = False
    try:
        yield
    finally:
        for block in found:
            block._active = True


def _block_at(net: mx.gluon.Block, name: str) -> mx.gluon.Block:
    block = net
    for part in name.split('.'):
        if part not in block._children:
            inside = ', '.join(block._children) or 'none'
            raise UsageError(f'the network has no endpoint {name!r}: of {part!r} there is no block; the blocks there '
                             f'are {inside}')
        block = block._children[part]
    return block


def _activation(name: str, output: mx.nd.NDArray) -> list:
    output = output.astype('float32', copy=False)
    zeros = float((output == 0).mean().asscalar())
    # Every n-th value, n odd, so that no channel or column of an even number is left out.
    values = output.asnumpy().ravel()[::max(1, -(-output.size // _MOST_ACTIVATIONS)) | 1]
    return [*_histogram(f'activations/{name}', values), summary.scalar(f'sparsity/{name}', zeros)]


def _histogram(tag: str, values: np.ndarray) -> list:
    values = np.clip(values[np.isfinite(values)], _BARS[0], _BARS[-1])
    return [summary.histogram(tag, values, _BARS)] if values.size else []
