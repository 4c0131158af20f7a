"""ONNX models with weights and activations of 8 bits, calibrated on clips (ONNX Runtime, QDQ, per channel)."""
from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...compute.operators import LAYERS, PASSING
from ...errors import OutputError, UsageError
from ..speed.cost import import_onnx, load_model
from ..speed.processor import has_int8_products

MODES = {'minmax': 'MinMax', 'entropy': 'Entropy'}
ACTIVATIONS = {'uint8': 'QUInt8', 'int8': 'QInt8'}


@dataclass(frozen=True)
class Layer:
    """A layer that can have 8 bits.

    Attributes
    ----------
    name : str
        Of its output.
    kind : str
        What ONNX calls it, as ``'Conv'``.
    weight : str
        Name of its weights in the file.
    """

    name: str
    kind: str
    weight: str


class Calibration:
    """A model and the ranges of its activations, from which int8 versions are made.

    Parameters
    ----------
    path : path
        A float32 ONNX model.
    batches : iterable of float32 ndarray
        Inputs of the model; they are gone through once, and held one at a time, or with ``'entropy'`` all.
    folder : path
        For files that are needed meanwhile; whoever made it removes it.
    mode : {'minmax', 'entropy'}
        Ranges are the extremes that were seen, or lose the least information.
    activations : {'uint8', 'int8'}
        Type of what flows between layers; the first is what x86 processors are quick with.
    reduce_range : bool, optional
        Weights of 7 bits, whose sums fit into 16 bits; by default where the processor has no instructions for sums of
        products of 8 bits.

    Attributes
    ----------
    layers : list of Layer
        In order of the computation.

    Raises
    ------
    UsageError
        When an argument is invalid, there are no batches or no layers, or a package is missing.
    """

    def __init__(self, path: str | os.PathLike, batches: Iterable[np.ndarray], folder: str | os.PathLike, *,
                 mode: str = 'minmax', activations: str = 'uint8', reduce_range: bool | None = None):
        for name, value, known in (('mode', mode, MODES), ('activations', activations, ACTIVATIONS)):
            if value not in known:
                raise UsageError(f'{name} must be one of {", ".join(known)}, got {value!r}')
        _import_quantization()
        self.path, self.mode, self.activations = Path(path), mode, activations
        self.reduce_range = has_int8_products() is False if reduce_range is None else reduce_range
        self._named, self._ranges = Path(folder, 'named.onnx'), Path(folder, 'ranges.json')
        self._batches: Iterable[np.ndarray] | None = batches
        model = load_model(path)
        self._input = model.graph.input[0].name
        self.metadata = {entry.key: entry.value for entry in model.metadata_props}
        self._nodes = _name_nodes(model)
        known = {tensor.name for tensor in model.graph.initializer}
        self.layers = [Layer(node.name, node.op_type, node.input[1]) for node in self._nodes
                       if node.op_type in LAYERS and node.input[1] in known]  # not products of two activations
        if not self.layers:
            raise UsageError(f'{path}: has no convolutions and no dense layers, so there is nothing to make int8 of')
        # 8 bits between layers pay in networks of convolutions. Of a transformer, whose norms and activations stay in
        # float, only the inputs of layers are made int8: ONNX Runtime fuses the rest as it does in the float model.
        self.convolutional = sum(layer.kind == 'Conv' for layer in self.layers) > len(self.layers) / 2
        import_onnx().save(model, self._named)

    def write(self, path: str | os.PathLike, layers: Collection[str]) -> None:
        """Write the model with these layers in int8 and the others in float.

        Parameters
        ----------
        layers : collection of str
            Their names; at least one.

        Raises
        ------
        OutputError
        """
        quantization = _import_quantization()
        kinds = quantization.QuantType
        reader = None if self._batches is None else _Reader(self._batches, self._input)
        wanted = [layer.name for layer in self.layers if layer.name in layers]
        with _quiet():
            try:
                quantization.quantize_static(
                    str(self._named), str(path), reader,
                    quant_format=quantization.QuantFormat.QDQ, per_channel=True, reduce_range=self.reduce_range,
                    op_types_to_quantize=[*LAYERS, *(PASSING if self.convolutional else ())],
                    activation_type=getattr(kinds, ACTIVATIONS[self.activations]), weight_type=kinds.QInt8,
                    nodes_to_quantize=[*wanted, *self._passing(set(wanted))], calibration_cache_path=self._ranges,
                    calibrate_method=getattr(quantization.CalibrationMethod, MODES[self.mode]),
                    extra_options=self._options())
            except OSError as error:
                raise OutputError(f'{path}: cannot be written: {error.strerror or error}') from error
        self._batches = None  # the ranges are on disk now
        onnx = import_onnx()
        model = onnx.load(path)
        onnx.helper.set_model_props(model, self.metadata)
        onnx.save(model, path)

    def _options(self) -> dict:
        options = {'MatMulConstBOnly': True, 'ActivationSymmetric': self.activations == 'int8'}
        if not self.convolutional:
            options['OpTypesToExcludeOutputQuantization'] = list(LAYERS)
        if self.mode == 'entropy':
            options['CalibStridedMinMax'] = 1  # histograms are made batch by batch, not of all of them
        return options

    def _passing(self, layers: set[str]) -> list[str]:
        """Names of the nodes that pass on the 8 bits of these layers, and get them from nobody else."""
        if not self.convolutional:
            return []
        eight = {output for node in self._nodes if node.name in layers for output in node.output}
        passing = []
        for node in self._nodes:
            if node.op_type in PASSING and all(name in eight for name in node.input if name):
                passing.append(node.name)
                eight |= set(node.output)
        return passing


def quantize_model(path: str | os.PathLike, batches: Iterable[np.ndarray], out: str | os.PathLike, *,
                   keep_float: Collection[str] = (), mode: str = 'minmax', activations: str = 'uint8',
                   reduce_range: bool | None = None) -> list[Layer]:
    """Write an int8 version of an ONNX model, and return the layers that are in it.

    Parameters
    ----------
    path : path
        A float32 ONNX model.
    batches : iterable of float32 ndarray
        Inputs that are typical.
    out : path
        The int8 model.
    keep_float : collection of str
        Names of layers, which are those of their outputs, to leave as they are.
    mode, activations, reduce_range
        As in `Calibration`.

    Raises
    ------
    UsageError
        When nothing is left to do, or an argument is invalid.
    OutputError
        When the model cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        calibration = Calibration(path, batches, folder, mode=mode, activations=activations, reduce_range=reduce_range)
        unknown = set(keep_float) - {layer.name for layer in calibration.layers}
        if unknown:
            raise UsageError(f'keep_float: the model has no layer {sorted(unknown)[0]}')
        layers = [layer for layer in calibration.layers if layer.name not in keep_float]
        if not layers:
            raise UsageError('keep_float: names every layer, so nothing would be int8')
        calibration.write(out, [layer.name for layer in layers])
    return layers


class _Reader:
    """A calibration reader of ONNX Runtime: one by one, or a range of them at a time."""

    def __init__(self, batches: Iterable[np.ndarray], input_name: str):
        self._source, self._input_name = batches, input_name
        self._list: Sequence[np.ndarray] | None = None
        self._range: Iterator[np.ndarray] | None = None

    def __len__(self) -> int:
        if self._list is None:
            self._list = list(self._source)
        if not self._list:
            raise UsageError('there is nothing to calibrate on: not one clip')
        return len(self._list)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Go through these batches next."""
        self._range = iter(self._list[start_index:end_index])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch by the name of the input; None after the last one."""
        if self._range is None:
            self._range = iter(self._source if self._list is None else self._list)
        batch = next(self._range, None)
        return None if batch is None else {self._input_name: batch}


def _name_nodes(model) -> list:
    """Give each node the name of its output, by which ONNX Runtime is told what to make int8; return the nodes."""
    for node in model.graph.node:
        node.name = node.output[0]
    return list(model.graph.node)


def _import_quantization():
    """Return ``onnxruntime.quantization``; `UsageError` with the cure where something that it needs is missing."""
    import_onnx()
    try:
        from onnxruntime import quantization
    except ImportError as error:
        raise UsageError(f"int8 needs onnxruntime.quantization ({error}): pip install 'gluon_action[onnx]'") from error
    return quantization


@contextlib.contextmanager
def _quiet():
    """Silence the root logger: ONNX Runtime advises to fuse what the export has fused already."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
