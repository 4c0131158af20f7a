"""Weights in the files of others: recognised, renamed and checked, variable by variable."""
from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
from gluoncv import model_zoo as gluoncv_zoo

from ...class_names import letters_of
from ...errors import WeightsError
from ..loading.fit import assign, check_fit, few
from ..loading.params_file import read_parameters
from ..loading.preparation import adopt_preparation
from ..timesformer import TimeSformer
from . import clip_networks, image_networks, inception_i3d, transformers
from .conversion import Conversion, Row
from .family import Family
from .formats.safetensors_file import begins_one, read_safetensors
from .formats.tensorflow import find_prefix, is_part, read_checkpoint
from .formats.torch_file import read_file

if TYPE_CHECKING:
    from ..recognizer import Recognizer

__all__ = ['FORMATS', 'Conversion', 'convert', 'convert_arrays', 'convert_base', 'load_any', 'order_classes']

PARAMS = Family('params', 'parameters of MXNet', '', (), (('{name:**}', '{name}'),))
_FAMILIES = (*transformers.FAMILIES, *inception_i3d.FAMILIES, *clip_networks.FAMILIES, *image_networks.FAMILIES)
#: Formats by the names that an index of weights gives them.
FORMATS = {family.name: family for family in (*_FAMILIES, PARAMS)}

# The number that a file of MXNet's arrays begins with.
_PARAMS_MAGIC = b'\x12\x01\0\0\0\0\0\0'


def load_any(net: Recognizer, source: str | os.PathLike, ctx=None, ignore_head: bool = False, **reading) -> Conversion:
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
    **reading
        Further arguments of `convert`.

    Returns
    -------
    Conversion
        What became of every variable.

    Raises
    ------
    WeightsError
        As `convert`; nothing has been loaded then.
    """
    conversion = convert(source, net, ignore_head=ignore_head, **reading)
    assign(net, conversion.arrays, source, ctx=ctx, ignore_head=ignore_head)
    adopt_preparation(net, source, head=not ignore_head)
    return conversion


def convert(source: str | os.PathLike, net: Recognizer, *, ignore_head: bool = False, format: str | None = None,
            channels: str = 'rgb', classes: tuple[Sequence[str], Sequence[str]] | None = None) -> Conversion:
    """Bring weights into the names and layout of a network; the network is left as it is.

    Parameters
    ----------
    source : str or path
        A checkpoint of TensorFlow (what its files begin with, one of them, or their folder), a file of ``torch.save``
        or of safetensors, or a parameter file of this package or of GluonCV. Nothing that is in a file is run. The
        names in it are those of one of `FORMATS`.
    net : Recognizer
        A network of the zoo.
    ignore_head : bool
        Leave the head out: for weights that were trained on other classes.
    format : str, optional
        One of `FORMATS`; by default it is recognised by the names.
    channels : {'rgb', 'bgr'}
        Order of colours that the weights were trained with. The network takes RGB: filters of its input are turned.
    classes : tuple of (list of str, list of str), optional
        Names of the classes in the order of the weights, and in that of the network. Rows of the head go where their
        class is here; letter case and signs in the names do not matter.

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
    source, variables, others, family = _read(source)
    conversion = convert_arrays(variables, net, source, ignore_head=ignore_head, channels=channels, classes=classes,
                                format=format or (family and family.name))
    conversion.rows.extend((name, (), None, 'beside the weights') for name in others)
    return conversion


def convert_arrays(variables: Mapping[str, np.ndarray], net: Recognizer, source: str | os.PathLike, *,
                   ignore_head: bool = False, format: str | None = None, channels: str = 'rgb',
                   classes: tuple[Sequence[str], Sequence[str]] | None = None,
                   why_no_head: str = 'the head is left out') -> Conversion:
    """Do what `convert` does with variables that were read.

    Parameters
    ----------
    variables : dict
        Name -> array.
    source : str or path
        Where they came from, for messages.
    why_no_head : str
        The note on a head that is left out.
    net, ignore_head, format, channels, classes
        As in `convert`.
    """
    params = net._collect_params_with_prefix()
    family = _family_of(source, variables, params, format)
    arrays, rows = _place(source, variables, params, family, net.head_prefixes if ignore_head else (), why_no_head)
    given = {id(params[key]) for key in arrays if key in params}
    for key, parameter in params.items():
        value = next((value for ending, value in family.constants.items() if key.endswith(ending)), None)
        if value is not None and id(parameter) not in given:
            arrays[key] = np.full(parameter.shape, value, np.float32)
            rows.append(('', parameter.shape, key, f'{value:g} in this format'))
    if family.complete:
        rows += family.complete(arrays, params, rows)
    arrays, notes = net.fitted(arrays)
    notes = [notes]
    if channels != 'rgb':
        notes.append(_turn_colours(source, arrays, channels))
    check_fit(net, arrays, source, ignore_head=ignore_head,
              hint=f'; {family.title} is for {family.models}' if family.models else '')
    if classes and not ignore_head:
        notes.append(order_classes(source, arrays, net.head_prefixes, *classes))
    rows = [(name, shape, key, '; '.join(filter(None, (note, *(told.get(key) for told in notes)))))
            for name, shape, key, note in rows]
    by_parameter = {id(params[key]): array for key, array in arrays.items()}
    arrays = {key: by_parameter[id(parameter)] for key, parameter in params.items() if id(parameter) in by_parameter}
    return Conversion(str(source), family.title, arrays, rows)


def convert_base(base: str, source: str | os.PathLike, *, format: str | None = None,
                 channels: str = 'rgb') -> Conversion:
    """Bring weights of a network for images into the names of the ImageNet network that a body starts from.

    Parameters
    ----------
    base : str
        As in ``net.base``: GluonCV's name of the network, or ``'vit_base_patch16'``.
    source, format, channels
        As in `convert`.

    Returns
    -------
    Conversion
        With what ``net.from_base`` takes. The head for ImageNet's classes is left out.

    Raises
    ------
    WeightsError
        As `convert`.
    """
    source, variables, others, family = _read(source)
    if family is PARAMS:  # GluonCV's own names, which whoever starts from them checks
        return Conversion(source, PARAMS.title, variables, [])
    conversion = convert_arrays(
        variables, _image_network(base), source, ignore_head=True, channels=channels,
        format=format or (family and family.name), why_no_head='the head for the classes of ImageNet is left out')
    conversion.rows.extend((name, (), None, 'beside the weights') for name in others)
    return conversion


def read_variables(source: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return the variables of a checkpoint by their own names: of TensorFlow, PyTorch, safetensors or MXNet.

    Raises
    ------
    WeightsError
        When it cannot be read.
    """
    return _read(source)[1]


def _image_network(base: str):
    """Return a network for images that has parameters, but no values in them, and what `check_fit` asks for."""
    if base.startswith('vit_'):
        net = TimeSformer(1000, attention='space_only')
    else:
        net = gluoncv_zoo.get_model(base, pretrained=False)
        net.head_prefixes, net.fitted = ('fc.', 'output.', 'head.'), lambda arrays: (arrays, {})
    net.card = SimpleNamespace(name=base)
    return net


def _read(source: str | os.PathLike) -> tuple[str, dict[str, np.ndarray], list[str], Family | None]:
    """Return where the variables are, the variables, the names of what else there is, and the format if that says."""
    path = Path(source)
    if not path.is_file() or is_part(path):
        prefix = find_prefix(path)
        return str(prefix), read_checkpoint(prefix), [], None
    try:
        with open(path, 'rb') as file:
            start = file.read(9)
    except OSError as error:
        raise WeightsError(f'{path}: cannot be read: {error.strerror or error}') from error
    if start[:8] == _PARAMS_MAGIC:
        return str(path), read_parameters(path), [], PARAMS
    if start[:2] == b'PK' or start[:1] == b'\x80':
        return str(path), *read_file(path), None
    if begins_one(start):
        return str(path), read_safetensors(path), [], None
    raise WeightsError(f'{path}: neither a checkpoint of TensorFlow, nor a file of torch.save or safetensors, nor '
                       f'parameters of MXNet: it begins with {start[:8].hex() or "nothing"}')


def _family_of(source: str | os.PathLike, variables: Mapping[str, np.ndarray], params: Mapping,
               format: str | None) -> Family:
    if format is not None and format not in FORMATS:
        raise WeightsError(f'{source}: no format of weights is named {format!r}; known are {", ".join(FORMATS)}')
    family = FORMATS.get(format) or next((one for one in _FAMILIES if one.recognises(variables, params)), None)
    if family is None and any(name in params for name in variables):
        family = PARAMS
    if family is None:
        raise WeightsError(f'{source}: has {len(variables)} variables ({few(variables)}) with the names of no known '
                           f'network: {", ".join(known.title for known in _FAMILIES)}, or the network that was asked '
                           'for')
    objection = family.objection(variables) if family.objection else ''
    if objection:
        raise WeightsError(f'{source}: {objection}')
    return family


def _place(source: str | os.PathLike, variables: Mapping[str, np.ndarray], params: Mapping, family: Family,
           left_out: tuple[str, ...], why: str) -> tuple[dict[str, np.ndarray], list[Row]]:
    """Return arrays by key, and a row for every variable."""
    arrays, rows, unknown, owners = {}, [], [], {}
    place = family.place(variables, params)
    for name, variable in variables.items():
        placed = place(name)
        if placed is None:
            unknown.append(name)
            continue
        key, note = placed
        if key in owners:
            raise WeightsError(f'{source}: {owners[key]} and {name} are both for {key}')
        if key and left_out and key.startswith(left_out):
            key, note = None, why
        elif key:
            owners[key] = name
            arrays[key], told = _changed(family, key, family.turned(key, variable), params.get(key))
            note = '; '.join(filter(None, (note, *told)))
        rows.append((name, variable.shape, key, note))
    if unknown:
        raise WeightsError(f'{source}: {len(unknown)} of {len(variables)} variables are not of {family.title} '
                           f'({few(unknown)}), so the rest may not be either; nothing was loaded')
    return arrays, rows


def _changed(family: Family, key: str, array: np.ndarray, parameter) -> tuple[np.ndarray, list[str]]:
    """Return what the network holds, with notes on what was done."""
    notes = []
    for ending, change, note in family.changes:
        if re.search(f'(?:^|\\.)(?:{ending})$', key):
            array = change(array)
            notes.append(note)
    shape = parameter.shape if parameter is not None else ()
    if array.ndim == 4 and len(shape) == 5 and shape[2] == 1:
        array = array[:, :, None]
        notes.append('a filter of one frame')
    elif array.ndim == 4 and len(shape) == 2:
        array = array.reshape(len(array), -1)
        notes.append('a filter over all places')
    return array, notes


def _turn_colours(source: str | os.PathLike, arrays: dict[str, np.ndarray], channels: str) -> dict[str, str]:
    """Turn the input of filters that take BGR; inside no published network are layers three channels wide."""
    if channels != 'bgr':
        raise WeightsError(f"{source}: the colours of weights come as 'rgb' or 'bgr', got {channels!r}")
    stems = [key for key, array in arrays.items() if array.ndim > 3 and array.shape[1] == 3]
    for key in stems:
        arrays[key] = np.ascontiguousarray(arrays[key][:, ::-1])
    return dict.fromkeys(stems, 'turned from BGR to RGB')


def order_classes(source: str | os.PathLike, arrays: dict[str, np.ndarray], heads: tuple[str, ...],
                  theirs: Sequence[str], ours: Sequence[str]) -> dict[str, str]:
    """Put the rows of the head where their classes are here.

    Parameters
    ----------
    source : str or path
        Where the arrays came from, for messages.
    arrays : dict
        Key -> array; those of the head are replaced.
    heads : tuple of str
        How keys of the head begin.
    theirs, ours : list of str
        As `classes` of `convert`.

    Returns
    -------
    dict
        Key -> what became of it, where anything did.

    Raises
    ------
    WeightsError
        When the names are of other classes.
    """
    places = {letters_of(name): row for row, name in enumerate(theirs)}
    strange = [name for name in ours if letters_of(name) not in places]
    keys = [key for key in arrays if key.startswith(heads)]
    rows = {len(arrays[key]) for key in keys}
    if strange or len(places) != len(ours) or rows - {len(ours)}:
        told = f'{few(strange)} are not among them' if strange else \
            f'the weights have {", ".join(map(str, rows))} rows, and {len(ours)} are wanted'
        raise WeightsError(f'{source}: the names of its {len(theirs)} classes are not those of the network: {told}; '
                           'give the names of both in their order, or leave the head out (--new-head)')
    order = [places[letters_of(name)] for name in ours]
    if order == list(range(len(ours))):
        return {}
    moved = sum(row != place for place, row in enumerate(order))
    for key in keys:
        arrays[key] = arrays[key][order]
    return dict.fromkeys(keys, f'{moved} rows moved to where their classes are here')
