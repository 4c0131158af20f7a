"""Pooling, and sums, means and extremes along axes."""
from __future__ import annotations

from collections.abc import Callable

from ..graph import Operator
from .row import Nodes, Row, axes_of, only, window


def _pooling(op: Operator, to: Nodes) -> None:
    kinds = {'max': 'MaxPool', 'avg': 'AveragePool'}
    only(op, 'layout', None, 'NCW', 'NCHW', 'NCDHW')
    only(op, 'pool_type', *kinds, default='max')
    pool_type = op.settings.get('pool_type', 'max')
    if op.settings.get('global_pool'):
        to.add(f'Global{kinds[pool_type]}', *op.inputs, output=op.name)
        return
    only(op, 'pooling_convention', 'valid', 'full', default='valid')
    # MXNet's 'full' keeps a window that begins behind the input, which ONNX Runtime leaves out (microsoft/onnxruntime
    # #16752), and before mid 2026 that counted what lies behind the padding in averages of opset 13 (#16203, #29629).
    # No network of the zoo has either; of others the comparison that follows an export refuses the file.
    settings = {'ceil_mode': int(op.settings.get('pooling_convention') == 'full')}
    if pool_type == 'avg':
        settings['count_include_pad'] = int(op.settings.get('count_include_pad') in (None, True))
    to.add(kinds[pool_type], *op.inputs, output=op.name, **settings, **window(op))


def _reduction(kind: str) -> Callable:
    def write(op: Operator, to: Nodes) -> None:
        axes, ndim, keep = axes_of(op), len(op.input_shapes[0]), bool(op.settings.get('keepdims'))
        if op.settings.get('exclude') and axes:
            axes = tuple(set(range(ndim)) - {axis % ndim for axis in axes})
        inputs, settings = list(op.inputs), {'keepdims': int(keep)}
        if axes and kind == 'ReduceSum':  # the only one whose axes opset 13 has as an input
            inputs.append(to.constant(axes))
        elif axes:
            settings['axes'] = axes
        if axes or keep:
            to.add(kind, *inputs, output=op.name, **settings)
        else:  # MXNet has no arrays without axes
            to.add('Reshape', to.add(kind, *inputs, **settings), to.constant([1]), output=op.name)
    return write


ROWS = {
    'Pooling': Row(_pooling, passing=('MaxPool', 'AveragePool', 'GlobalAveragePool')),
    'mean': Row(_reduction('ReduceMean')),
    'sum': Row(_reduction('ReduceSum')),
    'max': Row(_reduction('ReduceMax')),
    'min': Row(_reduction('ReduceMin')),
    'prod': Row(_reduction('ReduceProd')),
}
