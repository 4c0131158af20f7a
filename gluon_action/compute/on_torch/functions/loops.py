"""Loops over frames."""
from __future__ import annotations

import torch

from .table import computes


@computes('_foreach')
def foreach(*inputs, step, in_data_locs, in_state_locs, remain_locs, num_outputs, num_out_data,
            in_state_index=None):
    """Let `step` compute one frame after the other.

    Parameters
    ----------
    *inputs
        Data (T, ...), states, and what every step reads.
    step : callable
        The inputs of one frame, in the order that the settings count in, to outputs and new states.
    """
    data = inputs[:len(in_data_locs)]
    states = inputs[len(in_data_locs):len(in_data_locs) + len(in_state_locs)]
    others = inputs[len(in_data_locs) + len(in_state_locs):]
    given = [None] * len(inputs)
    for place, value in zip(remain_locs, others):
        given[place] = value
    made = []
    for frame in range(data[0].shape[0]):
        for place, value in zip((*in_data_locs, *in_state_locs), (*(array[frame] for array in data), *states)):
            given[place] = value
        results = step(*given)
        made.append(results[:num_out_data])
        states = results[num_out_data:]
    return (*(torch.stack(outputs) for outputs in zip(*made)), *states)
