"""Loops over frames."""
from __future__ import annotations

from ..graph import Operator
from .row import Nodes, Row


def _foreach(op: Operator, to: Nodes) -> None:
    data, states, others = (op.settings[name] for name in ('in_data_locs', 'in_state_locs', 'remain_locs'))
    variables, results = list(op.body.variables), op.settings['num_out_data']
    before = len(data) + len(states)
    # Scan has states first, MXNet what comes frame by frame.
    around = {variables[place]: name for place, name in zip(others, op.inputs[before:])}
    body = to.body(op.body, [variables[place] for place in (*states, *data)],
                   [*op.body.outputs[results:], *op.body.outputs[:results]], around)
    to.add('Scan', *op.inputs[len(data):before], *op.inputs[:len(data)], body=body, num_scan_inputs=len(data),
           output=[*op.outputs[results:], *op.outputs[:results]])


def _foreach_macs(op: Operator) -> int:
    from . import OPERATORS  # a step may have any of them
    step = (OPERATORS[inner.kind].macs(inner) for inner in op.body.operators
            if inner.kind in OPERATORS and OPERATORS[inner.kind].macs)
    return op.input_shapes[0][0] * sum(step)


ROWS = {
    '_foreach': Row(_foreach, macs=_foreach_macs),
}
