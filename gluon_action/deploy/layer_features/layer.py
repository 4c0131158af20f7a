"""The layer that features are taken from: any of a network in MXNet, of an exported model what it gives."""
from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from ...errors import UsageError
from ..onnx.model import OnnxModel
from ..predict.predictor import Predictor

_log = logging.getLogger(__name__)

#: What is taken of a network in MXNet by default: the features that its classifier takes.
POOLED = 'pooled'
#: Layers that an error names at most; ``--list-layers`` lists all.
_NAMED = 40


class Layer(Protocol):
    """What computes features; `name` is that of the layer, `channels_last` says where their channels are."""

    name: str
    channels_last: bool

    def run(self, input: np.ndarray, count: int) -> np.ndarray:
        """Return features float32 (count, ...) of an input of so many windows."""


def open_layer(predictor: Predictor, layer: str | None = None) -> Layer:
    """Open a layer of a model that predicts.

    Parameters
    ----------
    predictor : Predictor
    layer : str, optional
        By default the features before the classifier; of an exported model, where it gives none, its scores.

    Raises
    ------
    UsageError
        When there is no such layer; the message names those that there are.
    ModelError
        When the network does not tell its features from its scores, and no layer is named.
    """
    names = layer_shapes(predictor)
    if isinstance(predictor.model, OnnxModel):
        if layer is None:
            layer = next((name for name in names if name == 'features'), predictor.preprocess.output_name)
            if layer != 'features':
                _log.warning('%s: an exported model gives its scores alone, so these are taken for features; for those '
                             'before the classifier name the run or the model that it was exported of', predictor.name)
        _check_layer(layer, names, predictor, 'an exported model gives nothing else, name the run or the model that '
                     'it was exported of')
        return _OfExported(predictor.model, layer)
    if layer not in (None, POOLED):
        _check_layer(layer, names, predictor, '--list-layers shows them with their shapes')
    return _OfNetwork(predictor, layer or POOLED)


def layer_shapes(predictor: Predictor) -> dict[str, tuple]:
    """Return the names of all layers of a model, and the shape of what each gives for one clip."""
    if isinstance(predictor.model, OnnxModel):
        return {name: tuple(shape[1:]) for name, shape in predictor.model.outputs.items()}
    from ...compute.on_mxnet.layers import layer_shapes as shapes_of
    rows = predictor.preprocess.rows
    return {name: shape[1:] if shape[0] in (1, rows) else shape
            for name, shape in shapes_of(predictor.model.net, predictor.preprocess.shape(rows)).items()}


class _OfNetwork:
    def __init__(self, predictor: Predictor, name: str):
        from ...compute.on_mxnet.layers import LayerNetwork
        self.name = name
        self._network = LayerNetwork(predictor.model.net, name,
                                     predictor.preprocess.shape(predictor.preprocess.rows), predictor.model.engine)
        self.channels_last = self._network.channels_last

    def run(self, input: np.ndarray, count: int) -> np.ndarray:
        values = self._network.run(input)
        return mean_over_views(values, count)


class _OfExported:
    channels_last = True

    def __init__(self, model: OnnxModel, name: str):
        self.name, self._model = name, model

    def run(self, input: np.ndarray, count: int) -> np.ndarray:
        return mean_over_views(self._model.run(input, self.name), count)


def mean_over_views(values: np.ndarray, count: int) -> np.ndarray:
    """Return the means float32 (count, ...) of as many equal groups of consecutive values (n, ...)."""
    return values.reshape(count, -1, *values.shape[1:]).mean(axis=1, dtype=np.float64).astype(np.float32)


def mean_over_places(values: np.ndarray, channels_last: bool) -> np.ndarray:
    """Return the means (n, C) of maps (n, C, ...), or with `channels_last` of tokens (n, ..., C), over their places."""
    axes = range(1, values.ndim - 1) if channels_last else range(2, values.ndim)
    return values.mean(axis=tuple(axes), dtype=np.float64).astype(np.float32) if axes else values


def _check_layer(layer: str, names: Mapping[str, tuple], predictor: Predictor, advice: str) -> None:
    if layer in names:
        return
    close = difflib.get_close_matches(layer, names, n=1)
    # The stages of a network come before what is inside of them, as deep as there is room for.
    depths = [name.count('.') for name in names]
    deepest = max((depth for depth in set(depths) if sum(other <= depth for other in depths) <= _NAMED), default=0)
    told = [name for name, depth in zip(names, depths) if depth <= deepest]
    more = f' and {len(names) - len(told)} more inside of these' if len(names) > len(told) else ''
    meant = f'; did you mean {close[0]}?' if close else '.'
    raise UsageError(f'--layer {layer}: {predictor.name} has no such layer{meant} It has {", ".join(told)}{more}; '
                     f'{advice}')
