"""Weights in the files of others: recognised, renamed and checked, variable by variable."""
from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import WeightsError
from ..fit import assign, check_fit, few
from ..params_file import read_parameters
from ..preparation import adopt_preparation
from . import deepmind_i3d, slim, timesformer, torchvision_s3d
from .conversion import Conversion, Names
from .tensorflow import find_prefix, is_part, read_checkpoint
from .torch_file import read_file

if TYPE_CHECKING:
    from ..recognizer import Recognizer

__all__ = ['Conversion', 'convert', 'load_any']

_STEM = 'Conv3d_1a_7x7.conv.weight'
# The number that a file of MXNet's arrays begins with.
_PARAMS_MAGIC = b'\x12\x01\0\0\0\0\0\0'


def load_any(net: Recognizer, source: str | os.PathLike, ctx=None, ignore_head: bool = False) -> Conversion:
    """Load weights of any format that `convert` knows.

    Parameters
    ----------
    net : Recognizer
        A network of the zoo.
    source : str or path
        See `convert`.
    ctx : mxnet.Context or list, optional
        Devices to move the parameters to; by default they stay where they are.
    ignore_head : bool
        Load the body and leave the head as it is: for weights that were trained on other classes.

    Returns
    -------
    Conversion
        What became of every variable.

    Raises
    ------
    WeightsError
        As `convert`; nothing has been loaded then.
    """
    conversion = convert(source, net, ignore_head=ignore_head)
    assign(net, conversion.arrays, source, ctx=ctx, ignore_head=ignore_head)
    adopt_preparation(net, source)
    return conversion


def convert_base(base: str, source: str | os.PathLike, *, format: str | None = None) -> Conversion:
    """Bring weights of a network for images into the names of the ImageNet network that a body starts from.

    Parameters
    ----------
    base : str
        GluonCV's name of the network.
    source : str or path
    format : str, optional
        Whose names are in the file, as the index of weights calls them.

    Raises
    ------
    WeightsError
        When the file cannot be read.
    """
    if format not in (None, 'params'):
        raise WeightsError(f'{source}: {base} cannot be imported from files of {format}')
    return Conversion(str(source), 'parameters of MXNet', read_parameters(source), [])


def convert(source: str | os.PathLike, net: Recognizer, *, ignore_head: bool = False) -> Conversion:
    """Bring weights into the names and layout of a network; the network is left as it is.

    Parameters
    ----------
    source : str or path
        A checkpoint of TensorFlow (what its files begin with, one of them, or their folder) with the names of
        DeepMind's I3D, or of slim's I3D, S3D and S3D-G; a file of ``torch.save`` with those of torchvision's S3D, the
        authors' TimeSformer, or ViT for images; or a parameter file of this package or of GluonCV. Nothing that is in
        a file is run.
    net : Recognizer
        A network of the zoo.
    ignore_head : bool
        Leave the head out: for weights that were trained on other classes.

    Returns
    -------
    Conversion
        With an array for every parameter of the network, but for the head where it is left out.

    Raises
    ------
    WeightsError
        When the source cannot be read, when one of its variables is not accounted for, or when it is of another
        network: other layers, other channels of the input, other classes.
    """
    source, variables, others = _read(source)
    params = net._collect_params_with_prefix()
    names = _names_of(source, variables, params)
    arrays, rows = _place(source, variables, names, net.head_prefixes if ignore_head else ())
    for key, parameter in params.items():
        value = next((value for ending, value in names.constants.items() if key.endswith(ending)), None)
        if value is not None and key not in arrays and parameter.grad_req == 'null':
            arrays[key] = np.full(parameter.shape, value, np.float32)
            rows.append(('', parameter.shape, key, f'{value:g} in this format'))
    if names.complete:
        rows += names.complete(arrays, params, rows)
    arrays, notes = net.fitted(arrays)
    rows = [(name, shape, key, '; '.join(filter(None, (note, notes.get(key))))) for name, shape, key, note in rows]
    check_fit(net, arrays, source, ignore_head=ignore_head,
              hint=f'; {names.title} is for {names.models}' if names.models else '')
    rows += [(name, (), None, 'beside the weights') for name in others]
    return Conversion(source, names.title, {key: arrays[key] for key in params if key in arrays}, rows)


def _read(source: str | os.PathLike) -> tuple[str, dict[str, np.ndarray], list[str]]:
    """Return where the variables are, the variables, and the names of what else there is."""
    path = Path(source)
    if path.is_file() and not is_part(path):
        try:
            with open(path, 'rb') as file:
                start = file.read(8)
        except OSError as error:
            raise WeightsError(f'{path}: cannot be read: {error.strerror or error}') from error
        if start == _PARAMS_MAGIC:
            return str(path), read_parameters(path), []
        if start[:2] != b'PK' and start[:1] != b'\x80':
            raise WeightsError(f'{path}: neither a checkpoint of TensorFlow, nor a file of torch.save, nor parameters '
                               f'of MXNet: it begins with {start.hex() or "nothing"}')
        return str(path), *read_file(path)
    prefix = find_prefix(path)
    return str(prefix), read_checkpoint(prefix), []


def _names_of(source: str, variables: dict, params: dict) -> Names:
    if timesformer.recognises(variables):  # most of its names are those of the zoo's network
        return timesformer.names(variables)
    if any(name in params for name in variables):
        return Names('parameters of MXNet', '', lambda name: (name, ''), {}, from_tensorflow=False)
    if deepmind_i3d.recognises(variables):
        stem = params.get(_STEM)
        return deepmind_i3d.names(variables, stem.shape[1] if stem else None)
    if slim.recognises(variables):
        if variables.get('InceptionV1/Conv2d_1a_7x7/weights', np.empty(0)).ndim == 4:
            raise WeightsError(f"{source}: is slim's Inception-v1 for images, its filters have no frames; what can be "
                               'imported is the network for clips')
        return slim.names(variables)
    if torchvision_s3d.recognises(variables):
        return torchvision_s3d.names()
    raise WeightsError(f'{source}: has {len(variables)} variables ({few(variables)}) with the names of no '
                       "known network: DeepMind's I3D, slim's I3D, S3D and S3D-G, torchvision's S3D, TimeSformer, ViT, "
                       'or the network that was asked for')


def _place(source: str, variables: dict[str, np.ndarray], names: Names,
           left_out: tuple[str, ...]) -> tuple[dict[str, np.ndarray], list[tuple]]:
    """Return arrays by key, and a row for every variable."""
    arrays, rows, unknown, owners = {}, [], [], {}
    for name, variable in variables.items():
        placed = names.place(name)
        if placed is None:
            unknown.append(name)
            continue
        key, note = placed
        if key in owners:
            raise WeightsError(f'{source}: {owners[key]} and {name} are both for {key}')
        if key and left_out and key.startswith(left_out):
            key, note = None, 'the head is left out'
        elif key:
            owners[key], arrays[key] = name, names.turned(key, variable)
        rows.append((name, variable.shape, key, note))
    if unknown:
        raise WeightsError(f'{source}: {len(unknown)} of {len(variables)} variables are not of {names.title} '
                           f'({few(unknown)}), so the rest may not be either; nothing was loaded')
    return arrays, rows
