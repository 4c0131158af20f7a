"""Weights to start from: which are published, fetching the best that can be had, and loading files."""
from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...class_names import letters_of
from ...errors import WeightsError
from ...weights import Index, Row, read_index
from ...weights.choice import fetch_best, is_at_hand, row_by_tag
from ..recognizer import Recognizer
from .fit import OPTIONAL, assign
from .params_file import read_parameters
from .preparation import adopt_preparation, describe_row

_log = logging.getLogger(__name__)
_WITHOUT_BASE = 'pass pretrained_base=False (--no-pretrained-base) to start from random weights'
_WITHOUT_KINETICS = ('start from random weights with pretrained_base=False (--no-pretrained-base), from a file with '
                     'load_weights (--resume-params FILE --new-head), or, in Python, from ImageNet with '
                     'use_kinetics_pretrain=False')
_WITHOUT = 'use pretrained=False to do without'


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
    adopt_preparation(net, path, head=not ignore_head)


@dataclass(frozen=True)
class Start:
    """Published weights that are there, verified, for a network to start from.

    Attributes
    ----------
    row : Row
        What is published of them.
    paths : tuple of Path
        Their files.
    card : ModelCard
        The card of the network that starts from them, with the preparation of its input that they are used to.
    """

    row: Row
    paths: tuple[Path, ...]
    card: Any

    @property
    def body_only(self) -> bool:
        """Whether they bring no head for the network: an ImageNet network's, or those of other classes."""
        return self.row.kind == 'base' or not self.row.head or self.row.model != self.card.name

    @property
    def num_classes(self) -> int:
        """Classes of their head, as far as the row says: those that it names, or the model's."""
        return len(self.row.class_names or ()) or self.card.num_classes


def find_start(card, *, pretrained: bool | str = False, pretrained_base: bool | str = False,
               kinetics: bool | None = None, replace_head: bool = False, base: str | None = None,
               root: str | os.PathLike | None = None, trust_first_use: bool = False,
               index: str | os.PathLike | None = None) -> Start | None:
    """Fetch published weights: the best of the model's that can be had, or those of a tag.

    A line in the log (logger ``gluon_action``, level INFO) says what is taken, from where, its published score and its
    licence. Warnings say which sets were passed over, why, and that a licence forbids commercial use.

    Parameters
    ----------
    card : ModelCard
        Of the network that is to start.
    pretrained : bool or str
        Weights of the whole network, or those with this tag.
    pretrained_base : bool or str
        Weights of an ImageNet network for the body, or those with this tag.
    kinetics : bool, optional
        Whether the body of a ``*_custom`` model starts from the Kinetics weights of the same network, those with the
        tag of `pretrained_base` if it is one; by default where `pretrained_base` is True.
    replace_head : bool
        With the tag of weights without a head: they will do. True takes weights with one in any case.
    base : str, optional
        The ImageNet network; by default the card's.
    root, trust_first_use
        As in :func:`gluon_action.weights.fetch`.
    index : str or path, optional
        As in :func:`gluon_action.weights.read_index`.

    Returns
    -------
    Start or None
        None where nothing was asked for, or where no ImageNet network resembles this one.

    Raises
    ------
    WeightsError
        When there are none, or none that can be had: every address and what happened there; it names the way out.
    """
    if pretrained:
        return _start(card, card.name, pretrained, read_index(index), root, trust_first_use, _WITHOUT, replace_head)
    if kinetics or (kinetics is None and card.starts_from and pretrained_base is True):
        tag = pretrained_base if isinstance(pretrained_base, str) and pretrained_base else True
        return _start(card, card.starts_from, tag, read_index(index), root, trust_first_use, _WITHOUT_KINETICS)
    base = card.base if base is None else base
    if not pretrained_base:
        return None
    if not base:
        if pretrained_base is not True:
            raise WeightsError(f'no ImageNet weights are published for {card.name}; {_WITHOUT_BASE}')
        _log.info('%s starts from random weights: there is no ImageNet network of its shape', card.name)
        return None
    found = read_index(index)
    if not found.rows_of(base) and pretrained_base is True:
        raise WeightsError(f'no ImageNet weights are published for {base}; {_WITHOUT_BASE}')
    try:
        return _start(card, base, pretrained_base, found, root, trust_first_use, _WITHOUT_BASE)
    except WeightsError as error:
        raise WeightsError(f'ImageNet weights {base}: {error}') from None  # its text says every cause


def start_at_hand(card, *, base: str | None = None, root: str | os.PathLike | None = None,
                  trust_first_use: bool = False, index: str | os.PathLike | None = None) -> Start | None:
    """Return the best weights to start a network from that are on this machine; no server is asked for them.

    These are the model's own, else those of the model that it starts from, else those of an ImageNet network.

    Parameters
    ----------
    card : ModelCard
        Of the network that is to start.
    base, root, trust_first_use, index
        As in `find_start`.

    Returns
    -------
    Start or None
    """
    found = read_index(index)
    for model in dict.fromkeys(filter(None, (card.name, card.starts_from, card.base if base is None else base))):
        rows = [row for row in found.rows_of(model) if row.head and is_at_hand(row, root)]
        if rows:
            row, paths = fetch_best(rows[:1], root, trust_first_use=trust_first_use,
                                    towards=card.name if model != card.name else '')
            return Start(row, tuple(paths), card.prepared(_input_of(row, card)))
    return None


def load_start(net: Recognizer, start: Start, *, ignore_head: bool = False, ctx=None) -> None:
    """Load weights into a network, whose card is theirs then; what they do not bring stays as it is.

    Parameters
    ----------
    net : Recognizer
    start : Start
    ignore_head : bool
        Leave the head as it is, although the weights have one.
    ctx : mxnet.Context or list, optional
        Devices to move the parameters to; by default they stay where they are.

    Raises
    ------
    WeightsError
        When the files are of another network; nothing has been loaded then.
    """
    from .. import importers  # they know the networks, which are registered where this is asked for
    row, source, ignore_head = start.row, start.paths[0], ignore_head or start.body_only
    reading = reading_of(row, start.card)
    if row.kind == 'base':
        try:
            base = importers.convert_base(row.model, source, format=row.format, channels=row.channels)
            _load_base(net, base.arrays, source, ctx)
        except WeightsError as error:
            raise WeightsError(f'ImageNet weights {row.model}: {error}; {_WITHOUT_BASE}') from error
    elif row.format == 'params':
        arrays = read_parameters(source)
        if reading['classes'] and not ignore_head:
            importers.order_classes(source, arrays, net.head_prefixes, *reading['classes'])
        assign(net, arrays, source, ctx=ctx, ignore_head=ignore_head)
    else:
        conversion = importers.convert(source, net, ignore_head=ignore_head, **reading)
        assign(net, conversion.arrays, source, ctx=ctx, ignore_head=ignore_head)
    net.card, net.row, net.start = start.card, describe_row(row), start
    if not ignore_head:
        # Rows of the head are where the classes are here, unless they are of other classes.
        net.classes = start.card.labels() if reading['classes'] else row.class_names or start.card.labels()


def reading_of(row: Row, card) -> dict[str, Any]:
    """Return how `gluon_action.model_zoo.importers.convert` is to read the files of a row for a model.

    Parameters
    ----------
    row : Row
    card : ModelCard
        Of the network that takes them.

    Returns
    -------
    dict
        `format`, `channels` and `classes`: the names of the classes in the publisher's order and in the model's, where
        the row says that the order differs; None also where it names other classes than the model's.
    """
    ours, named = card.labels(), row.class_names
    theirs = named or [row.classes.get(str(number), name) for number, name in enumerate(ours or ())]
    others = named and sorted(map(letters_of, named)) != sorted(map(letters_of, ours or ()))
    differ = row.classes and ours and not others
    return {'format': row.format, 'channels': row.channels, 'classes': (theirs, ours) if differ else None}


def _load_base(net: Recognizer, arrays: dict, source: Path, ctx) -> None:
    arrays = net.from_base(arrays)
    body = {key for key in net._collect_params_with_prefix() if not key.startswith((*net.head_prefixes, OPTIONAL))}
    # What is left over is the head for ImageNet's 1000 classes.
    assign(net, {key: array for key, array in arrays.items() if key in body}, source, ctx=ctx, ignore_head=True,
           new=net.new_parameters)


def _start(card, model: str, tag: bool | str, index: Index, root: str | os.PathLike | None,
           trust_first_use: bool, way_out: str, replace_head: bool = True) -> Start:
    """Return the first of the rows that can be had."""
    rows = [row for row in index.rows_of(model) if row.head] if tag is True else \
        [row_by_tag(index, model, str(tag), 'actions' if model in (card.name, card.starts_from) else 'base')]
    if not rows:
        base = 'from ImageNet with pretrained_base=True, or ' if card.base else ''
        raise WeightsError(f'no weights of {model} can be downloaded; use pretrained=False and start {base}from a '
                           'file with load_weights (--resume-params), which gluon-action import-weights makes of the '
                           'weights of others')
    if not (rows[0].head or replace_head):
        raise WeightsError(f'{model} {rows[0].tag}: these weights have no head; start a new one: replace_head=True, or '
                           'train on another number of classes')
    try:
        row, paths = fetch_best(rows, root, trust_first_use=trust_first_use, way_out=way_out,
                                towards=card.name if model != card.name else '')
    except WeightsError as error:
        raise error from None  # its text says every cause
    return Start(row, tuple(paths), card.prepared(_input_of(row, card)))


def _input_of(row: Row, card) -> dict:
    """Return the preparation that a network takes over: of a network for images, how colours are normalised."""
    if row.kind == 'actions':
        return row.input
    colours = {name: value for name, value in row.input.items() if name in ('mean', 'std')}
    return colours if card.modality == 'rgb' and card.channels == 3 else {}
