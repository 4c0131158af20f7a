"""Which rows of a batch each device gets."""
from __future__ import annotations

import itertools

import numpy as np

from ...errors import UsageError


def shard_bounds(size: int, num_shards: int, *, multiplier: int = 1, even: bool = False) -> list[tuple[int, int]]:
    """Cut rows into shards whose sizes differ by at most `multiplier`.

    Parameters
    ----------
    size : int
        Rows, a multiple of `multiplier`.
    num_shards : int
        Shards wanted; fewer come out when there is not one `multiplier` for each.
    multiplier : int
        Rows that belong together (the segments and crops of a video) and stay in one shard.
    even : bool
        Raise when shards cannot be equal.

    Returns
    -------
    list of (int, int)
        Where each begins and ends.

    Raises
    ------
    UsageError
        When the size does not allow it.
    """
    units, rest = divmod(size, multiplier)
    if rest:
        raise UsageError(f'a batch of {size} rows is not a multiple of {multiplier} rows (segments x crops) a sample')
    if even and units % num_shards:
        raise UsageError(f'{units} samples cannot be split evenly over {num_shards} devices; use a batch size that is '
                         f'a multiple of {num_shards}, or even_split=False')
    share, extra = divmod(units, num_shards)
    ends = np.cumsum([0] + [(share + (i < extra)) * multiplier for i in range(num_shards)]).tolist()
    return [(begin, end) for begin, end in itertools.pairwise(ends) if begin < end]
