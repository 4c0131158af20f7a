"""Weights: what is published, loading it by name, and loading files."""
from __future__ import annotations

import logging
import os

from ..errors import WeightsError
from .download import fetch_weights
from .fit import OPTIONAL, assign, title
from .params_file import read_parameters
from .preparation import adopt_preparation
from .recognizer import Recognizer

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

    Notes
    -----
    What lies beside the file says how its weights want frames prepared; the network's card follows it.
    """
    assign(net, read_parameters(path), path, ctx=ctx, ignore_head=ignore_head)
    adopt_preparation(net, path)


def load_pretrained(net: Recognizer, card, tag: bool | str, ignore_head: bool = False, ctx=None,
                    root: str | None = None, way_out: str = 'use pretrained=False to do without') -> None:
    """Load the weights that GluonCV published.

    Parameters
    ----------
    net : Recognizer
    card : ModelCard
        Of the model whose weights they are.
    tag : bool or str
        Which ones; True means the first ones on the card.
    ignore_head, ctx, root
        As in `get_model`.
    way_out : str
        What to do when they cannot be downloaded.

    Raises
    ------
    WeightsError
        When there are none, the download fails, or they do not fit.
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
        When they do not exist, cannot be downloaded or do not fit; it names ``pretrained_base=False``.
    """
    way_out = 'pass pretrained_base=False (--no-pretrained-base) to start from random weights'
    if not net.base and tag is True:
        _log.info('%s starts from random weights: there is no ImageNet network of its shape', title(net))
        return
    if net.base not in BASES:
        raise WeightsError(f'no ImageNet weights are published for {net.base or type(net).__name__}; {way_out}')
    known = {BASES[net.base][:8]: BASES[net.base]}
    try:
        path = fetch_weights(net.base, *_by_tag(net.base, known, next(iter(known)) if tag is True else tag), root)
        arrays = net.from_base(read_parameters(path))
        body = {key for key in net._collect_params_with_prefix() if not key.startswith((*net.head_prefixes, OPTIONAL))}
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
