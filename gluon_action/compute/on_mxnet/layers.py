"""Layers of a network as networks of their own: what any block inside gives, and the features below the classifier."""
from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import mxnet as mx
import numpy as np
from mxnet import gluon

from ...errors import ModelError
from ...model_zoo.recognizer import Recognizer
from ...model_zoo.tsn import TSN
from ...nn import SizedBlock
from ..engines import Engine, OnMXNet

#: Layers that are no block: the features that the classifier takes, and what the network gives.
POOLED, SCORES = 'pooled', 'scores'


class Layer(NamedTuple):
    """What a layer gives: the symbol, and the one that went into the block (None of what is no block)."""

    output: mx.sym.Symbol
    input: mx.sym.Symbol | None = None


class LayerNetwork:
    """A network that ends at one of its layers; what comes after it is not computed.

    Parameters
    ----------
    net : Recognizer
        With its weights, not hybridized.
    layer : str
        `POOLED`, `SCORES`, or the name of a block as keys in parameter files have it: ``Mixed_4f``, ``blocks.2.norm1``.
    shape : tuple of int
        Shape of the input that the network makes one score of.
    engine : Engine, optional
        What computes; MXNet on the CPU by default.

    Attributes
    ----------
    channels_last : bool
        Whether the last axis of what the layer gives is that of the channels, as of tokens, and not the second.

    Raises
    ------
    KeyError
        When there is no such layer: `layer_shapes` knows them all.
    ModelError
        When there are no features, as a network of somebody else's may not tell them from its scores.
    """

    def __init__(self, net: Recognizer, layer: str, shape: tuple[int, ...], engine: Engine | None = None):
        self._rows = shape[0]
        layers = _layers(net, shape)
        symbol = _pooled(net, layers, shape) if layer == POOLED else layers[layer].output
        ours, twice = (symbol.infer_shape(data=(count * shape[0], *shape[1:]))[1][0] for count in (1, 2))
        self._together = ours[0] in (1, shape[0]) and twice[0] == 2 * ours[0]
        self.channels_last = _tokens(symbol)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # that the type of 'data' is open, as it should be
            block = _Beginning(symbol, mx.sym.var('data'), params=net.collect_params())
        self._scorer = (engine or OnMXNet()).scorer(block, rows=self._rows)

    def run(self, input: np.ndarray) -> np.ndarray:
        """Return what the layer gives, float32 (n, ...), for an input of n scores, averaged over the rows of each.

        A layer that has frames or places among its rows keeps them as the axis behind n.
        """
        count = len(input) // self._rows
        # What the first axis counts is known of one score alone, unless it is the rows.
        step = len(input) if self._together else self._rows
        given = np.concatenate([self._scorer(input[first:first + step])() for first in range(0, len(input), step)])
        inside = len(given) // count  # rows of a score, or 1 behind a consensus; times what else is there
        rows = self._rows if inside % self._rows == 0 else 1
        values = given.reshape(count, rows, inside // rows, *given.shape[1:]).mean(axis=1, dtype=np.float64)
        return (values[:, 0] if values.shape[1] == 1 else values).astype(np.float32)


class _Beginning(gluon.SymbolBlock):
    """What a symbol computes, its parameters by their own names."""

    def _collect_params_with_prefix(self, prefix=''):
        # Gluon leaves out what all names begin with: of a single parameter that is the whole name.
        return dict(self.params.items())


def layer_shapes(net: Recognizer, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return every layer of a network, and the shape of what it gives for an input of this shape."""
    layers = _layers(net, shape)
    found = {name: layer.output for name, layer in layers.items()}
    with contextlib.suppress(ModelError):
        found = {POOLED: _pooled(net, layers, shape), **found}
    return _shapes(found, shape)


def _layers(net: Recognizer, shape: tuple[int, ...]) -> dict[str, Layer]:
    """Every block that gives one array, in the order in which they are computed, by its path; last the scores."""
    layers: dict[str, Layer] = {}

    def watch(path: str):
        def hook(block, inputs, output) -> None:
            if isinstance(output, mx.sym.Symbol) and len(output.list_outputs()) == 1:
                layers[path] = Layer(output, inputs[0])
        return hook

    handles = [block.register_forward_hook(watch(path)) for path, block in _blocks(net)]
    try:
        scores = _traced(net, shape)
    finally:
        for handle in handles:
            handle.detach()
    return {**layers, SCORES: Layer(scores)}


def _blocks(net: gluon.Block, path: str = '') -> Iterator[tuple[str, gluon.Block]]:
    """Blocks inside a network by their paths, as keys in parameter files begin."""
    for name, block in net._children.items():
        if isinstance(net, TSN) and block is net.basenet:  # its keys have no prefix, see `TSN`
            yield from _blocks(block, path)
            continue
        inside = f'{path}.{name}' if path else name
        yield inside, block
        yield from _blocks(block, inside)


def _pooled(net: Recognizer, layers: dict[str, Layer], shape: tuple[int, ...]) -> mx.sym.Symbol:
    """What the network gives when it is asked for features; of one that cannot be asked, the input of its head."""
    with _asked_for_features(net):
        features = _traced(net, shape)
    if _operators(features) != _operators(layers[SCORES].output):
        return features
    head = net.card.head.rpartition('.')[0] if net.card else ''
    if head in layers:
        return layers[head].input
    raise ModelError(f'{net.card.name if net.card else type(net).__name__} does not tell its features from its scores; '
                     'name the layer that they are to be taken from')


@contextlib.contextmanager
def _asked_for_features(net: Recognizer) -> Iterator[None]:
    asked = [block for block in (net, *(block for _, block in _blocks(net)), getattr(net, 'basenet', None))
             if getattr(block, 'feat_ext', None) is False]
    for block in asked:
        block.feat_ext = True
    try:
        yield
    finally:
        for block in asked:
            block.feat_ext = False


def _traced(net: Recognizer, shape: tuple[int, ...]) -> mx.sym.Symbol:
    if isinstance(net, SizedBlock):
        net.plan_for(*shape[2:])
    return net(mx.sym.var('data'))


def _shapes(symbols: dict[str, mx.sym.Symbol], shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    found = mx.sym.Group(list(symbols.values())).infer_shape(data=shape)[1]
    return dict(zip(symbols, found))


def _nodes(symbol: mx.sym.Symbol) -> list[dict[str, Any]]:
    return [node for node in json.loads(symbol.tojson())['nodes'] if node['op'] != 'null']


def _operators(symbol: mx.sym.Symbol) -> list[str]:
    return [node['op'] for node in _nodes(symbol)]


def _tokens(symbol: mx.sym.Symbol) -> bool:
    """Whether what is computed are tokens: they were transposed last, or normalised or multiplied one by one before."""
    nodes = _nodes(symbol)
    return bool(nodes) and (nodes[-1]['op'] == 'transpose' or any(
        node['op'] == 'LayerNorm' or node['op'] == 'FullyConnected'
        and node.get('attrs', {}).get('flatten') == 'False' for node in nodes))
