"""The Gluon trainer of a learner: in what precision parameters learn, and who adds up their gradients."""
from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import mxnet as mx
from mxnet.contrib import amp as mixed_precision

from ... import engine
from ...errors import UsageError
from ..optimizers import OPTIMIZERS, check_limits
from ..trained import multipliers_of

KVSTORES = ('local', 'device', 'dist_sync', 'dist_sync_device')
DTYPES = ('float32', 'float64', 'float16')
_PIECE = 1 << 18


def make_trainer(params: Iterable[mx.gluon.Parameter], optimizer: str, optimizer_params: Mapping[str, Any], *,
                 kvstore: str | mx.kv.KVStore | None, clip_grad: float, clip_norm: float = 0,
                 dtype: str, no_wd: bool = False) -> tuple[mx.gluon.Trainer, int]:
    """Return a trainer that updates on the devices, and the number of machines that train together.

    The learning rate is given with every update. The parameters stay as they are: with `no_wd` it is the optimizer
    that spares beta, gamma and bias.

    Raises
    ------
    UsageError
        For a key-value store that is not one of `KVSTORES`, or a negative limit.
    """
    kind = kvstore.type if isinstance(kvstore, mx.kv.KVStore) else kvstore or 'device'
    if kind not in KVSTORES:
        reason = '; asynchronous ones keep the optimizer to themselves, so that its state cannot be saved' \
            if 'async' in kind else ''
        raise UsageError(f'--kvstore {kind!r} is not one of {", ".join(KVSTORES)}{reason}')
    check_limits(clip_grad=clip_grad, clip_norm=clip_norm)
    optimizer_params = {**optimizer_params, 'multi_precision': dtype == 'float16'}
    if clip_grad:
        optimizer_params['clip_gradient'] = clip_grad
    # Given the name of a local store, Gluon leaves it out where there is one device only and nothing to add up.
    store = kvstore if isinstance(kvstore, mx.kv.KVStore) else mx.kv.create(kind) if 'dist' in kind else kind
    made = OPTIMIZERS[optimizer].make(**optimizer_params) if optimizer in OPTIMIZERS else \
        mx.optimizer.create(optimizer, **optimizer_params)
    trainer = mx.gluon.Trainer(list(params), made, kvstore=store, update_on_kvstore=False)
    # Gluon lets the optimizer ask the parameters, which are the user's and may be trained otherwise later.
    made.param_dict = {index: multipliers_of(param, no_wd) for index, param in made.param_dict.items()}
    return trainer, 1 if isinstance(store, str) else store.num_workers


def open_store(kind: str | None) -> mx.kv.KVStore | str | None:
    """Return the key-value store that several machines share; what needs none is returned as it is.

    Raises
    ------
    UsageError
        Where MXNet's launcher has not said who the machines are.
    """
    if not (kind or '').startswith('dist'):
        return kind
    if 'DMLC_NUM_WORKER' not in os.environ:
        raise UsageError(f"--kvstore {kind} needs to be told who the machines are, by DMLC_NUM_WORKER and its like: "
                         "docs/distributed.md shows them, MXNet's tools/launch.py sets them; on one machine pass "
                         '--kvstore device')
    return mx.kv.create(kind)


def machines(store: mx.kv.KVStore | str | None) -> tuple[int, int]:
    """Return how many machines train together, and which of them this is, from 0."""
    return (store.num_workers, store.rank) if isinstance(store, mx.kv.KVStore) else (1, 0)


def take_step(trainer: mx.gluon.Trainer, samples: float, clip_norm: float = 0, clip_each: float = 0) -> None:
    """Add up the devices' gradients, divide them by `samples`, and update.

    Parameters
    ----------
    trainer : mxnet.gluon.Trainer
    samples : float
        That the gradients are sums over, on all devices and machines.
    clip_norm : float
        A gradient whose norm over all parameters is larger is scaled to it; 0 for no limit.
    clip_each : float
        The gradient of a parameter whose own norm is larger is scaled to it; 0 for no limit.
    """
    if not (clip_norm or clip_each):
        trainer.step(samples)
        return
    trainer.allreduce_grads()
    if clip_each:
        _clip_each(trainer, samples, clip_each)
    if not clip_norm:
        trainer.update(samples)
        return
    squares = sums_of_squares([param.list_grad()[0] for param in trainer._params])
    norm = float(mx.nd.sqrt(squares.sum()).asscalar()) * trainer._scale / samples
    # A gradient of no size is left to the loss, which says so, and to mixed precision, which passes over it.
    trainer.update(samples * max(1., norm / clip_norm) if math.isfinite(norm) else samples)


def _clip_each(trainer: mx.gluon.Trainer, samples: float, limit: float) -> None:
    """Scale down the gradients of single parameters, on every device, without waiting for one."""
    for device in range(len(trainer._contexts)):
        gradients = [param.list_grad()[device] for param in trainer._params]
        norms = mx.nd.sqrt(sums_of_squares(gradients)) * (trainer._scale / samples)
        factors = limit / mx.nd.maximum(norms, limit)
        for gradient, factor in zip(gradients, factors):
            mx.nd.broadcast_mul(gradient, factor.reshape((1,) * gradient.ndim), out=gradient)


def sums_of_squares(arrays: Sequence[mx.nd.NDArray]) -> mx.nd.NDArray:
    """Return the sum of squares of each array.

    A sum of float32 that grows number by number stops growing at 2**24 times its addends: MXNet's own multi_sum_sq
    finds 32 for 60 million squares that make 60. So they are added up in pieces.
    """
    sums = []
    for array in arrays:
        flat = array.reshape((-1,))
        pieces = [flat[begin:begin + _PIECE] for begin in range(0, flat.size, _PIECE)]
        sums.append(mx.nd.concat(*[mx.nd.dot(piece, piece) for piece in pieces], dim=0).sum())
    return mx.nd.concat(*sums, dim=0)


def add_l2(trainer: mx.gluon.Trainer, factors: Sequence[float]) -> None:
    """Add ``factor * w``, the gradient of ``factor / 2 * sum(w ** 2)``, to those that wait, once however many devices.

    Parameters
    ----------
    trainer : mxnet.gluon.Trainer
    factors : sequence of float
        One for each of its parameters.
    """
    for param, factor in zip(trainer._params, factors):
        if factor:
            gradient = param.list_grad()[0]
            # Gradient descent with gradient and weight in each other's place: one pass, no array in between.
            mx.nd.sgd_update(gradient, param.list_data()[0], lr=-factor, wd=0., out=gradient)


def add_l1(trainer: mx.gluon.Trainer, strength: float) -> None:
    """Add the gradient of ``strength * sum(abs(w))`` to those that wait for an update, once however many devices.

    Parameters that the weight decay spares are spared.
    """
    for index, param in enumerate(trainer._params) if strength else ():
        share = trainer.optimizer.param_dict[index].wd_mult
        if share:
            gradient, weight = param.list_grad()[0], param.list_data()[0]
            # The update of signSGD with gradient and weight in each other's place: one pass, no array in between.
            mx.nd.signsgd_update(gradient, weight, lr=-strength * share, out=gradient)


def start_store(trainer: mx.gluon.Trainer) -> None:
    """Give every machine the parameters of the first one, before the first gradients are exchanged.

    Gluon does it within the first step, without waiting. MXNet may then answer a machine that asks for a parameter
    with the gradient that another has sent under the same key, and the two continue from different parameters.
    """
    if not trainer._kv_initialized:
        trainer._init_kvstore()
        trainer._init_params()
        mx.nd.waitall()
        trainer._kvstore._barrier()


def set_precision(nets: Sequence[mx.gluon.HybridBlock], contexts: Sequence[mx.Context], dtype: str, amp: bool) -> None:
    """Make networks compute in `dtype`, or in mixed precision.

    Mixed precision is float16 on GPUs and bfloat16 on CPUs. MXNet turns it on for the whole process.

    Raises
    ------
    UsageError
        For a `dtype` that is not one of `DTYPES`, and for types that the devices have no layers for.
    """
    on_gpu = all(context.device_type == 'gpu' for context in contexts)
    if dtype not in DTYPES:
        raise UsageError(f'--dtype {dtype!r} is not one of {", ".join(DTYPES)}')
    if dtype == 'float16' and not on_gpu:
        raise UsageError('--dtype float16 needs --num-gpus: MXNet has no float16 layers on a CPU')
    if amp and dtype != 'float32':
        raise UsageError(f'--use-amp keeps float32 parameters and chooses the rest; leave out --dtype {dtype}')
    if amp and not on_gpu and not engine.has_bfloat16():
        raise UsageError(f'--use-amp: {engine.NO_BFLOAT16}')
    if amp:
        mixed_precision.init(target_dtype='float16' if on_gpu else 'bfloat16')
    for net in nets:
        if amp:
            net._clear_cached_op()  # a graph that was traced before would stay in float32
        if dtype != 'float32':
            net.cast(dtype)
