"""Whether weights fit a network, and putting them into it."""
from __future__ import annotations

import logging
import os
from collections.abc import Iterable

import mxnet as mx
import numpy as np
from mxnet import gluon

from ... import engine
from ...errors import WeightsError

_log = logging.getLogger(__name__)

# Channels of a network's input -> what it looks at.
_STREAMS = {3: 'RGB', 2: 'optical flow'}

# A weighted consensus starts as the average, so weights from an average or a single frame fit it as they are.
OPTIONAL = 'tsn_consensus.'


def assign(net: gluon.HybridBlock, arrays: dict[str, np.ndarray], source: str | os.PathLike, *, ctx=None,
           ignore_head: bool = False, allow_missing: bool = False, ignore_extra: bool = False, cast_dtype: bool = True,
           dtype_source: str = 'current', new: tuple[str, ...] = ()) -> None:
    """Put arrays into the parameters of the same keys, once all of them are known to fit.

    A parameter that the network knows by several keys, as GluonCV's heads, needs an array for one of them.

    Parameters
    ----------
    net : Recognizer
        Network whose parameters need not be initialised.
    arrays : dict
        Key -> array, as from `read_parameters`.
    source : str or path
        Where they came from, for messages.
    ctx : mxnet.Context or list, optional
        Devices for them; by default where the parameters are, or the CPU.
    ignore_head, allow_missing, ignore_extra : bool
        Leave the head as it is; leave parameters that have no array; leave arrays that have no parameter.
    cast_dtype, dtype_source
        As in ``Block.load_parameters``.
    new : tuple of str
        Parts of the keys of parameters that need no array.

    Raises
    ------
    WeightsError
        When a shape differs, or keys do.
    """
    params = net._collect_params_with_prefix()
    if ignore_head:
        arrays = {key: array for key, array in arrays.items() if not key.startswith(net.head_prefixes)}
    arrays, notes = net.fitted(arrays)
    for key, note in notes.items():
        _log.info('%s: %s is %s', source, key, note)
    check_fit(net, arrays, source, ignore_head=ignore_head, allow_missing=allow_missing, ignore_extra=ignore_extra,
              new=new)
    devices = [ctx] if isinstance(ctx, mx.Context) else ctx
    for key in arrays.keys() & params.keys():
        parameter = params[key]
        engine.make_writable(parameter)
        array = mx.nd.array(arrays[key], dtype=arrays[key].dtype)
        parameter._load_init(array, devices if parameter._data is None else None, cast_dtype=cast_dtype,
                             dtype_source=dtype_source)
        if devices and parameter.list_ctx() != devices:
            parameter.reset_ctx(devices)


def check_fit(net: gluon.HybridBlock, arrays: dict, source: str | os.PathLike, *, ignore_head: bool = False,
              allow_missing: bool = False, ignore_extra: bool = False, new: tuple[str, ...] = (),
              hint: str = '') -> None:
    """Check that `arrays` have the keys and shapes of a network's parameters.

    Parameters
    ----------
    net, source, ignore_head, allow_missing, ignore_extra, new
        As in `assign`; with `ignore_head` the arrays have no head.
    arrays : dict
        Key -> anything with a shape.
    hint : str
        What the message ends with when keys differ.

    Raises
    ------
    WeightsError
        When a shape differs, or keys do.
    """
    params = net._collect_params_with_prefix()
    _check_channels(params, arrays, source)
    given = {id(parameter) for key, parameter in params.items() if key in arrays or any(part in key for part in new)}
    missing = [] if allow_missing else [
        key for key, parameter in params.items() if id(parameter) not in given and not key.startswith(OPTIONAL)
        and not (ignore_head and key.startswith(net.head_prefixes))]
    extra = [] if ignore_extra else [key for key in arrays if key not in params]
    if missing or extra:
        parts = [f'{len(keys)} {what} ({few(keys)})'
                 for keys, what in ((missing, 'are missing in the file'), (extra, 'are not in the network')) if keys]
        raise WeightsError(f'{source} is not of a {title(net)} with {len(params)} parameters: {" and ".join(parts)}'
                           f'{hint}')
    _check_shapes(net, params, arrays, source)


def _check_channels(params: dict, arrays: dict, source: str | os.PathLike) -> None:
    for key, parameter in params.items():
        here, there = parameter.shape, arrays[key].shape if key in arrays else ()
        if here and len(here) == len(there) > 2 and {here[1], there[1]} == set(_STREAMS):
            has, takes = (f'{_STREAMS[shape[1]]} ({shape[1]} channels)' for shape in (there, here))
            raise WeightsError(f'{source} was trained on {has}, this network takes {takes}; use a model of its stream: '
                               f'{"i3d_flow_*" if there[1] == 2 else "i3d_rgb_*"}')


def _check_shapes(net: gluon.HybridBlock, params: dict, arrays: dict, source: str | os.PathLike) -> None:
    wrong = [key for key in params if key in arrays and not _fits(params[key].shape, arrays[key].shape)]
    heads = [key for key in wrong if key.startswith(net.head_prefixes)]
    if heads and heads == wrong and params[heads[0]].shape[1:] == arrays[heads[0]].shape[1:]:
        there, here = arrays[heads[0]].shape[0], params[heads[0]].shape[0]
        raise WeightsError(f'{source} was trained on {there} classes, this network has {here}; build it with '
                           f'nclass={there} (--num-classes {there}), or keep the body and start a new head: '
                           '--new-head, ignore_head=True in load_weights, replace_head=True in get_model')
    if wrong:
        example = f'{wrong[0]} is {arrays[wrong[0]].shape} in the file and {params[wrong[0]].shape} in the network'
        raise WeightsError(f'{source} does not fit a {title(net)}: {len(wrong)} shapes differ, {example}; was it '
                           'another depth or input_size?')


def _fits(shape: tuple[int, ...] | None, other: tuple[int, ...]) -> bool:
    # 0 is a size that is not known yet.
    return shape is None or len(shape) == len(other) and all(a in (0, b) for a, b in zip(shape, other))


def title(net: gluon.HybridBlock) -> str:
    """Return the name of a network for a message."""
    return net.card.name if net.card else type(net).__name__


def few(keys: Iterable[str]) -> str:
    """Return the first three keys for a message."""
    keys = list(keys)
    return ', '.join(keys[:3]) + (', ...' if len(keys) > 3 else '')
