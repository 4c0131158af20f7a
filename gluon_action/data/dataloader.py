"""GluonCV's names for batches: batchify functions for ``gluon.data.DataLoader``, and splitting over devices."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mxnet as mx
import numpy as np

from .loading.shards import shard_bounds


def tsn_mp_batchify_fn(data: Sequence) -> Any:
    """Batch samples (S, ...) as (B * S, ...), in memory that DataLoader's workers share with their parent.

    Parameters
    ----------
    data : list of NDArray, of tuple, or of number
        Tuples are batched element by element.
    """
    if isinstance(data[0], mx.nd.NDArray):
        shape = (sum(len(item) for item in data), *data[0].shape[1:])
        shared = mx.nd.empty(shape, ctx=mx.Context('cpu_shared', 0), dtype=data[0].dtype)
        return mx.nd.concat(*data, dim=0, out=shared)
    if isinstance(data[0], tuple):
        return [tsn_mp_batchify_fn(items) for items in zip(*data)]
    items = np.asarray(data)
    return mx.nd.array(items, dtype=items.dtype, ctx=mx.Context('cpu_shared', 0))


def tsn_batchify_fn(data: Sequence) -> Any:
    """Batch as `tsn_mp_batchify_fn` does, in ordinary memory: for a DataLoader without workers or with threads."""
    if isinstance(data[0], mx.nd.NDArray):
        return mx.nd.concat(*data, dim=0)
    if isinstance(data[0], tuple):
        return [tsn_batchify_fn(items) for items in zip(*data)]
    items = np.asarray(data)
    return mx.nd.array(items, dtype=items.dtype)


def split_data(data: mx.nd.NDArray, num_slice: int, batch_axis: int = 0, even_split: bool = True,
               multiplier: int = 1) -> list[mx.nd.NDArray]:
    """Cut a batch into slices whose sizes differ by at most `multiplier`.

    Parameters
    ----------
    data : NDArray
        Its size along `batch_axis` is a multiple of `multiplier`.
    num_slice : int
        Slices wanted; fewer come out when there is not one `multiplier` for each.
    batch_axis : int
    even_split : bool
        Raise when slices cannot be equal.
    multiplier : int
        Rows that belong together (the segments and crops of a video) and stay in one slice. GluonCV gives the whole
        remainder to the last slice.

    Returns
    -------
    list of NDArray

    Raises
    ------
    UsageError
        When the size does not allow it.
    """
    bounds = shard_bounds(data.shape[batch_axis], num_slice, multiplier=multiplier, even=even_split)
    return [mx.nd.slice_axis(data, axis=batch_axis, begin=begin, end=end) for begin, end in bounds]


def split_and_load(data: mx.nd.NDArray | np.ndarray, ctx_list: Sequence[mx.Context], batch_axis: int = 0,
                   even_split: bool = True, multiplier: int = 1) -> list[mx.nd.NDArray]:
    """Cut a batch into one slice a device (see `split_data`) and copy each there.

    With one device the batch is not checked, only copied when it is elsewhere.
    """
    if not isinstance(data, mx.nd.NDArray):
        data = mx.nd.array(data, ctx=ctx_list[0])
    if len(ctx_list) == 1:
        return [data.as_in_context(ctx_list[0])]
    slices = split_data(data, len(ctx_list), batch_axis, even_split, multiplier)
    return [part.as_in_context(ctx) for part, ctx in zip(slices, ctx_list)]
