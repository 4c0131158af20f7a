"""A Gluon network's parameters by their keys in a parameter file: which ones are trained, and putting values back."""
from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

import mxnet as mx
import numpy as np

from ... import engine
from ...errors import CheckpointError, UsageError
from ...model_zoo.loading.fit import few
from ...model_zoo.recognizer import Recognizer
from ...nn import batch_norms


def unique_parameters(net: mx.gluon.Block) -> dict[str, mx.gluon.Parameter]:
    """Parameters by their key in a parameter file, each once. Gluon's own names carry counters of the process."""
    names: dict[mx.gluon.Parameter, str] = {}
    for name, param in net._collect_params_with_prefix().items():
        names.setdefault(param, name)
    return {name: param for param, name in names.items()}


def arrays_of(net: mx.gluon.Block) -> dict[str, np.ndarray]:
    """Return copies of what a parameter file of the network holds, under every key, as on the first device."""
    return {name: param.list_data()[0].asnumpy() for name, param in net._collect_params_with_prefix().items()}


def parameters_sha256(net: mx.gluon.Block) -> str:
    """SHA-256 of the names and values of all parameters, in hex."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays_of(net).items()):
        digest.update(name.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def restore_parameter(name: str, param: mx.gluon.Parameter, array: np.ndarray) -> None:
    """Give a parameter the value that a checkpoint has for it, on every device.

    Raises
    ------
    CheckpointError
        When it has another shape, or numbers of another type.
    """
    known = param.shape or ()
    if array.dtype != param.dtype:
        raise CheckpointError(f'the checkpoint is of another network: {name} is of {array.dtype} there and of '
                              f'{np.dtype(param.dtype)} here')
    if len(known) != array.ndim or any(ours not in (0, -1, theirs) for ours, theirs in zip(known, array.shape)):
        raise CheckpointError(f'the checkpoint is of another network: {name} has shape {array.shape} there and '
                              f'{param.shape} here')
    engine.make_writable(param)
    param.set_data(mx.nd.array(array, dtype=array.dtype))
    param._finish_deferred_init()


def trainable(net: Recognizer, which: str = 'all', *, update_statistics: bool = False) -> list[str]:
    """Choose what is trained; no gradients are computed for anything else from now on.

    Parameters
    ----------
    net : Recognizer
    which : str
        ``'all'``, ``'body'``, ``'head'``, or a regular expression searched for in the keys of a parameter file.
    update_statistics : bool
        Let the batch normalisations of what is not trained still learn their statistics. MXNet updates them on the
        way back, which therefore takes its time although nothing else changes there. Otherwise they may change or not,
        as the way back goes through them or not, until `freeze_statistics` makes sure that they do not.

    Returns
    -------
    list of str
        The keys, what a learner takes as ``params``.

    Raises
    ------
    UsageError
        When `which` names nothing that can be trained.
    """
    names = set(chosen_keys(net, which))
    passed = {param for layer in batch_norms(net) for param in layer.params.values()} if update_statistics else set()
    chosen = []
    for key, param in unique_parameters(net).items():
        if param.grad_req == 'null':
            continue
        if key in names:
            chosen.append(key)
        elif param not in passed:
            param.grad_req = 'null'
    if not chosen:
        raise UsageError(f'{which!r} names nothing that can be trained')
    _forget_graphs(net)
    return chosen


def freeze_statistics(net: Recognizer, keep: Iterable[str] = ()) -> int:
    """Let batch normalisations apply their running statistics, which stay as they are, unless they are trained.

    Parameters
    ----------
    net : Recognizer
    keep : iterable of str
        What is trained, as from `trainable`: a layer that has a part in it keeps using the statistics of each batch.

    Returns
    -------
    int
        Layers that were frozen.
    """
    params = unique_parameters(net)
    kept = {params[key] for key in keep}
    frozen = [layer for layer in batch_norms(net) if not kept & set(layer.params.values())]
    for layer in frozen:
        layer._kwargs['use_global_stats'] = True
    _forget_graphs(net)
    return len(frozen)


def kept_statistics(net: mx.gluon.Block) -> list[float]:
    """Share of its running statistics that each batch normalisation keeps at a step, of those that still learn them."""
    return [layer._kwargs['momentum'] for layer in batch_norms(net) if not layer._kwargs['use_global_stats']]


def chosen_keys(net: Recognizer, which: str) -> list[str]:
    """Return the keys in a parameter file that ``'all'``, ``'body'``, ``'head'`` or a regular expression stands for.

    Raises
    ------
    UsageError
        When it is no regular expression, or no key fits.
    """
    keys = list(unique_parameters(net))
    named = {'all': lambda key: True, 'head': lambda key: key.startswith(net.head_prefixes),
             'body': lambda key: not key.startswith(net.head_prefixes)}
    try:
        fits = named.get(which) or re.compile(which).search
    except re.error as error:
        raise UsageError(f'{which!r} is neither all, body or head nor a regular expression: {error}') from None
    found = [key for key in keys if fits(key)]
    if not found:
        raise UsageError(f'{which!r} fits no parameter of the network; they are {few(keys)}')
    return found


def _forget_graphs(net: mx.gluon.HybridBlock) -> None:
    # A compiled graph keeps what its layers and parameters were like when it was traced.
    net.apply(lambda block: block._clear_cached_op() if isinstance(block, mx.gluon.HybridBlock) else None)
