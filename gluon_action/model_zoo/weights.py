"""Weights: what is published, loading it by name, and loading files whose fit is checked."""
from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import mxnet as mx

from .. import engine
from ..errors import WeightsError
from .download import fetch_weights

if TYPE_CHECKING:
    from .recognizer import Recognizer
    from .registry import ModelCard

_log = logging.getLogger(__name__)

#: ImageNet networks of GluonCV that bodies start from, and the SHA-1 of their files.
BASES = {
    'vgg16': 'e660d4569ccb679ec68f1fd3cce07a387252a90a',
    'vgg16_bn': '7f01cf050d357127a73826045c245041b0df7363',
    'googlenet': 'c7c89366fb4410c0aeb34827795f7dab9423f950',
    'inceptionv3': 'a5050dbcbfc54908fc1b7700698eb7ffbc150417',
    'resnet18_v1b': '2d9d980c990442f826f20781ed039851e78dabe3',
    'resnet34_v1b': '8e16b84814e84f64d897854003f049872991eaa6',
    'resnet50_v1b': '0ecdba34691be172036ddf244ff1b2eade75ffde',
    'resnet50_v1b_gn': '48ddf358d5acc879f76740dae695be67d96beea6',
    'resnet101_v1b': 'a455932aa95cb7dcfa05fd040b9b5a5660733c39',
    'resnet152_v1b': 'a5a61ee1ce5ab7c09720775b223360f3c60e211d',
}

# A weighted consensus starts as the average, so weights from an average or a single frame fit it as they are.
_OPTIONAL = 'tsn_consensus.'

# Channels of a network's input -> what it looks at.
_STREAMS = {3: 'RGB', 2: 'optical flow'}


def load_weights(net: Recognizer, path: str | os.PathLike, ctx=None, ignore_head: bool = False) -> None:
    """Load a parameter file of this network or of GluonCV's, with or without segments.

    Parameters
    ----------
    net : Recognizer
        A network of the zoo.
    path : str or path
        What ``save_parameters`` wrote.
    ctx : mxnet.Context or list, optional
        Devices to move the parameters to; by default they stay where they are.
    ignore_head : bool
        Load the body and leave the head as it is: for weights that were trained on other classes.

    Raises
    ------
    WeightsError
        When the file cannot be read or does not fit; nothing has been loaded then.
    """
    assign(net, read_parameters(path), path, ctx=ctx, ignore_head=ignore_head)


def load_pretrained(net: Recognizer, card: ModelCard, tag: bool | str, ignore_head: bool = False, ctx=None,
                    root: str | None = None, way_out: str = 'use pretrained=False to do without') -> None:
    """Load the weights that GluonCV published for `card`; True means the first ones on the card.

    Raises
    ------
    WeightsError
        When there are none, they cannot be had, or they do not fit.
    """
    if not card.weights and tag is True:
        base = 'from ImageNet with pretrained_base=True, or ' if card.base else ''
        raise WeightsError(f'no weights of {card.name} can be downloaded; use pretrained=False and start {base}from a '
                           'file with load_weights (--resume-params), which gluon-action import-weights makes of the '
                           'weights of others')
    name, published = next(iter(card.weights.items())) if tag is True else _by_tag(card.name, card.weights, str(tag))
    try:
        path = fetch_weights(card.name, name, published, root)
    except WeightsError as error:
        raise WeightsError(f'{error}; {way_out}') from error
    assign(net, read_parameters(path), path, ctx=ctx, ignore_head=ignore_head)


def load_base(net: Recognizer, tag: bool | str = True, ctx=None, root: str | None = None) -> None:
    """Load GluonCV's ImageNet weights into the body; the head is left alone.

    A network that no ImageNet network resembles has nothing to start from: True leaves it as it is.

    Raises
    ------
    WeightsError
        When they do not exist, cannot be had or do not fit; it names ``pretrained_base=False``.
    """
    way_out = 'pass pretrained_base=False (--no-pretrained-base) to start from random weights'
    if not net.base and tag is True:
        _log.info('%s starts from random weights: there is no ImageNet network of its shape', _title(net))
        return
    if net.base not in BASES:
        raise WeightsError(f'no ImageNet weights are published for {net.base or type(net).__name__}; {way_out}')
    known = {BASES[net.base][:8]: BASES[net.base]}
    try:
        path = fetch_weights(net.base, *_by_tag(net.base, known, next(iter(known)) if tag is True else tag), root)
        arrays = net.from_base(read_parameters(path))
        body = {key for key in net._collect_params_with_prefix() if not key.startswith((*net.head_prefixes, _OPTIONAL))}
        # What is left over is the head for ImageNet's 1000 classes.
        assign(net, {key: array for key, array in arrays.items() if key in body}, path, ctx=ctx, ignore_head=True,
               new=net.new_parameters)
    except WeightsError as error:
        raise WeightsError(f'ImageNet weights {net.base}: {error}; {way_out}') from error


def _by_tag(name: str, known: dict[str, str], tag: str) -> tuple[str, str]:
    """Return the tag in the file's name, and the hash to check: the whole one where it is known."""
    for known_tag, sha1 in known.items():
        if tag.lower() in (known_tag, sha1):
            return known_tag, sha1
    if not 8 <= len(tag) <= 40 or set(tag.lower()) - set('0123456789abcdef'):
        raise WeightsError(f'{name}: a tag is the first 8 or more hexadecimal digits of the SHA-1, got {tag!r}; '
                           f'published: {", ".join(known) or "none"}')
    return tag[:8].lower(), tag.lower()  # the published files are named in small letters


def read_parameters(path: str | os.PathLike) -> dict[str, mx.nd.NDArray]:
    """Return what a parameter file holds, by key, without the ``basenet.`` of GluonCV's older TSN files.

    Raises
    ------
    WeightsError
        When it is missing, torn, or another kind of file.
    """
    others = 'gluon-action import-weights makes one of those of TensorFlow and PyTorch'
    if not Path(path).is_file():
        checkpoint = Path(path).is_dir() or Path(f'{path}.index').is_file()
        raise WeightsError(f'{path}: no such file of parameters' + f'; {others}' * checkpoint)
    try:
        arrays = mx.nd.load(str(path))
    except (mx.MXNetError, ValueError, UnicodeDecodeError) as error:
        cause = str(error).strip().splitlines()[-1]
        raise WeightsError(f'{path}: not a file of parameters, or a torn one ({cause}); {others}') from error
    if not isinstance(arrays, dict) or not any('.' in key for key in arrays):
        raise WeightsError(f'{path}: has no keys of layers; it must come from save_parameters, not from export or '
                           'save_params')
    return {key.removeprefix('basenet.'): array for key, array in arrays.items()}


def assign(net: Recognizer, arrays: dict[str, mx.nd.NDArray], source: str | os.PathLike, *, ctx=None,
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
        parameter._load_init(arrays[key], devices if parameter._data is None else None, cast_dtype=cast_dtype,
                             dtype_source=dtype_source)
        if devices and parameter.list_ctx() != devices:
            parameter.reset_ctx(devices)


def check_fit(net: Recognizer, arrays: dict, source: str | os.PathLike, *, ignore_head: bool = False,
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
        key for key, parameter in params.items() if id(parameter) not in given and not key.startswith(_OPTIONAL)
        and not (ignore_head and key.startswith(net.head_prefixes))]
    extra = [] if ignore_extra else [key for key in arrays if key not in params]
    if missing or extra:
        parts = [f'{len(keys)} {what} ({few(keys)})'
                 for keys, what in ((missing, 'are missing in the file'), (extra, 'are not in the network')) if keys]
        raise WeightsError(f'{source} is not of a {_title(net)} with {len(params)} parameters: {" and ".join(parts)}'
                           f'{hint}')
    _check_shapes(net, params, arrays, source)


def _check_channels(params: dict, arrays: dict, source: str | os.PathLike) -> None:
    for key, parameter in params.items():
        here, there = parameter.shape, arrays[key].shape if key in arrays else ()
        if here and len(here) == len(there) > 2 and {here[1], there[1]} == set(_STREAMS):
            has, takes = (f'{_STREAMS[shape[1]]} ({shape[1]} channels)' for shape in (there, here))
            raise WeightsError(f'{source} was trained on {has}, this network takes {takes}; use a model of its stream: '
                               f'{"i3d_flow_*" if there[1] == 2 else "i3d_rgb_*"}')


def _check_shapes(net: Recognizer, params: dict, arrays: dict, source: str | os.PathLike) -> None:
    wrong = [key for key in params if key in arrays and not _fits(params[key].shape, arrays[key].shape)]
    heads = [key for key in wrong if key.startswith(net.head_prefixes)]
    if heads and heads == wrong and params[heads[0]].shape[1:] == arrays[heads[0]].shape[1:]:
        there, here = arrays[heads[0]].shape[0], params[heads[0]].shape[0]
        raise WeightsError(f'{source} was trained on {there} classes, this network has {here}; build it with '
                           f'nclass={there} (--num-classes {there}), or keep the body and start a new head: '
                           '--new-head, ignore_head=True in load_weights, replace_head=True in get_model')
    if wrong:
        example = f'{wrong[0]} is {arrays[wrong[0]].shape} in the file and {params[wrong[0]].shape} in the network'
        raise WeightsError(f'{source} does not fit a {_title(net)}: {len(wrong)} shapes differ, {example}; was it '
                           'another depth or input_size?')


def _fits(shape: tuple[int, ...] | None, other: tuple[int, ...]) -> bool:
    # 0 is a size that is not known yet.
    return shape is None or len(shape) == len(other) and all(a in (0, b) for a, b in zip(shape, other))


def _title(net: Recognizer) -> str:
    return net.card.name if net.card else type(net).__name__


def few(keys: Iterable[str]) -> str:
    """Return the first three keys for a message."""
    keys = list(keys)
    return ', '.join(keys[:3]) + (', ...' if len(keys) > 3 else '')
