"""Start from what was learnt elsewhere: which values a network takes over, and what stays as it is."""
from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...compute.on_mxnet.parameters import chosen_keys, unique_parameters
from ...errors import WeightsError
from ...files import file_sha256
from ...model_zoo.importers import convert
from ...model_zoo.importers.formats.tensorflow import find_prefix
from ...model_zoo.loading.fit import assign, few
from ...model_zoo.loading.params_file import read_parameters
from ...model_zoo.loading.preparation import Preparation, prepared_for, read_preparation, said
from ...model_zoo.recognizer import Recognizer
from .folder.checkpoint import read_checkpoint
from .folder.checkpoint_dir import CheckpointDir

log = logging.getLogger(__name__)

_UNDERSTOOD = ('the folder of a run (its newest checkpoint), one of its checkpoints, a .params file such as its '
               'best.params, or a checkpoint of TensorFlow (FOLDER/model.ckpt, without .index)')
_WITHOUT_HEAD = ('take over the convolutions alone and start a new head (--variables_to_warm_start i3d_convs or '
                 's3dg_convs)')


@dataclass(frozen=True)
class WarmStart:
    """What a network has taken over.

    Attributes
    ----------
    source : Path
        The file or checkpoint that was read, as found from what was asked for.
    sha256 : str
        Of the file, or of the checkpoint's file of parameters.
    loaded, left : list of str
        Keys in a parameter file of what was taken, and of what the network keeps as it was.
    """

    source: Path
    sha256: str
    loaded: list[str]
    left: list[str]

    def __str__(self) -> str:
        rest = f', {len(self.left)} start as they are ({few(self.left)})' if self.left else ''
        return f'{len(self.loaded)} parameters taken from {self.source}{rest}'


def warm_start(net: Recognizer, source: str | os.PathLike, which: str = 'all', *, ctx=None) -> WarmStart:
    """Take values over, running statistics of batch normalisation with the layers they belong to.

    Parameters
    ----------
    net : Recognizer
        A network of the zoo, initialised.
    source : path
        The folder of a run (its newest checkpoint that is whole), one of its checkpoints, a ``.params`` file such as
        its ``best.params``, a checkpoint of TensorFlow, or another file that can be imported.
    which : str
        ``'all'``, ``'body'`` for all but the head, ``'head'``, or a regular expression searched for in the keys.
    ctx : mxnet.Context or list, optional
        Devices for the values; by default where the network is.

    Raises
    ------
    WeightsError
        When there is nothing to read, it is of another network, the head is wanted and has other classes, or the
        weights want other numbers of pixels than the network's card says.
    UsageError
        When `which` names nothing.
    """
    found = find_source(source)
    wanted = set(chosen_keys(net, which))
    _check_preparation(net, found)
    arrays, file = _read(net, found, with_head=any(key.startswith(net.head_prefixes) for key in wanted))
    taken = {key: array for key, array in arrays.items() if key in wanted}
    _check_head(net, taken, found)
    missing = sorted(wanted - taken.keys())
    known = net._collect_params_with_prefix()  # some parameters by several keys, of which files may hold each
    strange = sorted(key for key in arrays if key not in known and not key.startswith(net.head_prefixes))
    if missing or strange:
        parts = [f'{len(keys)} {what} ({few(keys)})' for keys, what in (
            (missing, 'are missing there'), (strange, 'are not in the network')) if keys]
        raise WeightsError(f'{found} is of another network: {" and ".join(parts)}')
    assign(net, taken, found, ctx=ctx, allow_missing=True)
    left = [key for key in unique_parameters(net) if key not in taken]
    return WarmStart(found, file_sha256(file), sorted(taken), left)


def find_source(source: str | os.PathLike) -> Path:
    """Return what is to be read: a checkpoint of ours, a file, or the prefix of a checkpoint of TensorFlow.

    Raises
    ------
    WeightsError
        When there is nothing that is understood.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        for place in (path / 'checkpoints', path):
            newest = CheckpointDir(place).load_latest() if place.is_dir() else None
            if newest is not None:
                return newest.path
        if (path / 'manifest.json').is_file():
            return path
        if (path / 'best.params').is_file():
            return path / 'best.params'
        if any(path.glob('*.index')):
            return find_prefix(path)
    elif path.is_file() or path.with_name(f'{path.name}.index').is_file():
        return path
    state = 'holds no parameters' if path.is_dir() else 'does not exist'
    raise WeightsError(f'{path} {state}; give {_UNDERSTOOD}')


def _read(net: Recognizer, found: Path, *, with_head: bool) -> tuple[dict[str, np.ndarray], Path]:
    """Return the values by key, and the file that holds them."""
    if found.is_dir():
        return read_checkpoint(found)[1]['params'], found / 'params.params'
    if found.suffix == '.params':
        return read_parameters(found), found
    try:
        arrays = convert(found, net, ignore_head=not with_head).arrays
    except WeightsError as error:
        if with_head:
            convert(found, net, ignore_head=True)  # raises unless it is the head alone that does not fit
            raise WeightsError(f'{error}. Or: {_WITHOUT_HEAD}') from error
        raise
    return arrays, found if found.is_file() else found.with_name(f'{found.name}.index')


def _check_preparation(net: Recognizer, found: Path) -> None:
    if net.card is None:
        return
    wanted = prepared_for(net.card, read_preparation(found) or Preparation({}), found)
    if (wanted.mean, wanted.std) != (net.card.mean, net.card.std):
        raise WeightsError(f'{found}: these weights were trained on {said(wanted, net.card)}, and clips in records are '
                           'stored as the network takes them; train_recognizer.py --resume-params prepares videos for '
                           'such weights')


def _check_head(net: Recognizer, arrays: dict[str, np.ndarray], found: Path) -> None:
    params = unique_parameters(net)
    for key, array in arrays.items():
        here = params[key].shape
        if key.startswith(net.head_prefixes) and here[0] != array.shape[0] and here[1:] == array.shape[1:]:
            raise WeightsError(f'{found} knows {array.shape[0]} classes and this network has {here[0]}; '
                               f'{_WITHOUT_HEAD}, or build the network for {array.shape[0]} '
                               f'(--num_classes {array.shape[0]})')
