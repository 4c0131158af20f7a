"""Every operator of the table at least once, in small symbols that engines and exporters are compared on."""
import mxnet as mx
import numpy as np

from gluon_action.compute.graph import read_graph

S = mx.sym
X = (2, 4, 6, 7)
SHORT = (2, 3, 2, 3, 4)


def running(x, weight, start):
    """A recurrent layer, its last state, and a weight that is read in the loop and behind it."""
    first = S.broadcast_add(S.zeros_like(S.squeeze(S.slice_axis(x, axis=0, begin=0, end=1), axis=0)), start)

    turned = S.transpose(weight)  # nobody else reads it

    def step(frame, states):
        new = S.tanh(frame + S.dot(states[0], turned) * 0.5)
        return new, [new]
    outputs, ends = S.contrib.foreach(step, x, [first])
    return S.broadcast_add(outputs, S.expand_dims(S.dot(ends[0], weight), axis=0))


def summing(x, weights):
    """A loop of two inputs and two states, one of which it gives back as it came in."""
    def step(frame, states):
        (x, weight), (total, same) = frame, states
        return total, [total + S.broadcast_mul(x, weight), same * 1]
    start = S.squeeze(S.slice_axis(x, axis=0, begin=0, end=1), axis=0)
    outputs, ends = S.contrib.foreach(step, [x, weights], [start * 2, start * 3])
    return S.broadcast_add(outputs, S.expand_dims(ends[0] - ends[1], axis=0))


# Shapes of what goes in -> what is computed of it; the first is the input, the others are weights.
CASES = [
    ([X, (4, 2, 3, 3), (4,)], lambda x, w, b: S.Convolution(x, w, b, kernel=(3, 3), num_filter=4, num_group=2,
                                                            stride=(2, 1), pad=(1, 0), dilate=(1, 2))),
    ([(1, 2, 4, 5, 6), (3, 2, 1, 2, 3)],
     lambda x, w: S.Convolution(x, w, kernel=(1, 2, 3), num_filter=3, no_bias=True)),
    ([X, (5, 168), (5,)], lambda x, w, b: S.FullyConnected(x, w, b, num_hidden=5)),
    ([X, (5, 7)], lambda x, w: S.FullyConnected(x, w, num_hidden=5, flatten=False, no_bias=True)),
    ([(3, 7), (5, 7), (5,)], lambda x, w, b: S.FullyConnected(x, w, b, num_hidden=5, flatten=False)),
    ([X], lambda x: S.linalg_gemm2(x, x, transpose_b=True, alpha=0.3)),
    ([X], lambda x: S.linalg_gemm2(x, x, transpose_a=True)),
    ([(2, 3, 4)], lambda x: S.batch_dot(x, x, transpose_a=True)),
    ([(2, 3, 4)], lambda x: S.batch_dot(x, x, transpose_b=True)),
    ([(3, 4)], lambda x: S.dot(x, x, transpose_b=True)),
    ([X, (4,), (4,), (4,), (4,)], lambda x, g, b, m, v: S.BatchNorm(x, g, b, m, v, fix_gamma=False)),
    ([X, (4,), (4,), (4,), (4,)], lambda x, g, b, m, v: S.BatchNorm(x, g, b, m, v, eps=0.1)),
    ([X, (7,), (7,)], lambda x, g, b: S.LayerNorm(x, g, b, eps=0.1)),
    ([X, (4,), (4,)], lambda x, g, b: S.LayerNorm(x, g, b, axis=1)),
    *[([X], lambda x, kind=kind: S.Activation(x, act_type=kind))
      for kind in ('relu', 'sigmoid', 'tanh', 'softrelu', 'softsign')],
    *[([X], lambda x, kind=kind: S.LeakyReLU(x, act_type=kind, slope=0.2))
      for kind in ('leaky', 'elu', 'selu', 'gelu')],
    ([X], S.relu), ([X], S.sigmoid), ([X], S.tanh), ([X], S.exp), ([X], S.square), ([X], S.abs), ([X], S.negative),
    ([X], lambda x: S.log(S.abs(x) + 1)), ([X], lambda x: S.sqrt(S.abs(x) + 1)), ([X], lambda x: S.rsqrt(S.abs(x) + 1)),
    ([X], lambda x: S.reciprocal(S.abs(x) + 1)), ([X], lambda x: S.clip(x, -0.5, 0.25)),
    ([X], S.softmax), ([X], lambda x: S.softmax(x, axis=1, temperature=2)), ([X], lambda x: S.log_softmax(x, axis=2)),
    ([X], lambda x: S.Pooling(x, kernel=(3, 2), stride=(2, 2), pad=(1, 0), pool_type='max')),
    ([X], lambda x: S.Pooling(x, kernel=(3, 2), stride=(2, 2), pool_type='max', pooling_convention='full')),
    ([X], lambda x: S.Pooling(x, kernel=(3, 3), pad=(1, 1), pool_type='avg')),
    ([X], lambda x: S.Pooling(x, kernel=(3, 3), pad=(1, 1), pool_type='avg', count_include_pad=False)),
    # Clips of fewer frames than the window: it begins and ends in the padding.
    ([SHORT], lambda x: S.Pooling(x, kernel=(3, 3, 3), pad=(1, 1, 1), pool_type='avg')),
    ([SHORT], lambda x: S.Pooling(x, kernel=(3, 3, 3), pad=(1, 1, 1), pool_type='avg', count_include_pad=False)),
    ([X], lambda x: S.Pooling(x, global_pool=True, pool_type='avg')),
    ([X], lambda x: S.Pooling(x, global_pool=True, pool_type='max')),
    ([X], lambda x: S.mean(x, axis=(1, -1))), ([X], lambda x: S.mean(x, axis=2, keepdims=True)), ([X], S.mean),
    ([X], lambda x: S.mean(x, axis=(0, 1), exclude=True)), ([X], lambda x: S.mean(x, keepdims=True)),
    ([X], lambda x: S.sum(x, axis=(1, -1))), ([X], S.sum), ([X], lambda x: S.sum(x, axis=1, keepdims=True)),
    ([X], lambda x: S.max(x, axis=1)), ([X], lambda x: S.min(x, axis=1)), ([X], lambda x: S.prod(x, axis=3)),
    ([X, X], lambda x, y: x + y), ([X, X], lambda x, y: x - y), ([X, X], lambda x, y: x * y),
    ([X, X], lambda x, y: x / (S.abs(y) + 1)), ([X, X], lambda x, y: S.add_n(x, y, x)),
    ([X, (4, 1, 1)], lambda x, y: S.broadcast_add(x, S.expand_dims(y, axis=0))),
    ([X, (1, 4, 1, 1)], S.broadcast_sub), ([X, (1, 4, 1, 1)], S.broadcast_mul),
    ([X, (1, 4, 1, 1)], lambda x, y: S.broadcast_div(x, S.abs(y) + 1)),
    ([X, (1, 4, 1, 1)], lambda x, y: S.broadcast_power(S.abs(x) + 1, y)),
    ([X, (1, 4, 1, 1)], S.broadcast_maximum), ([X, (1, 4, 1, 1)], S.broadcast_minimum),
    ([X], lambda x: 3 - x - 0.25), ([X], lambda x: 3 / (S.abs(x) + 1) / 4), ([X], lambda x: 3 * x),
    ([X], lambda x: (S.abs(x) + 1) ** 1.5), ([X], lambda x: S.maximum(x, 0.1)), ([X], lambda x: S.minimum(x, 0.1)),
    ([X], lambda x: S.reshape(x, shape=(0, -1, 14))), ([X], lambda x: S.reshape(x, shape=(-1, 4, 0, 1, 7))),
    ([X, (2, 4, 42)], S.reshape_like),
    ([(2, 4, 42), X], lambda x, y: S.reshape_like(x, y, lhs_begin=2, lhs_end=None, rhs_begin=2, rhs_end=None)),
    ([X, (42, 9)], lambda x, y: S.reshape_like(x, y, lhs_begin=2, lhs_end=4, rhs_begin=0, rhs_end=1)),
    ([X, (3, 8, 2)], lambda x, y: S.reshape_like(x, y, lhs_begin=-4, lhs_end=-2, rhs_begin=1, rhs_end=-1)),
    ([X], lambda x: S.transpose(x, axes=(0, 3, 1, 2))), ([X], S.transpose), ([X], lambda x: S.expand_dims(x, axis=-1)),
    ([(2, 1, 3, 1)], S.squeeze), ([(2, 1, 3, 1)], lambda x: S.squeeze(x, axis=1)), ([X], S.flatten),
    ([X, (2, 4, 6, 7)], lambda x, y: S.concat(x, y, dim=2)), ([X, X], lambda x, y: S.stack(x, y, axis=-1)),
    ([X], lambda x: S.add_n(*S.split(x, num_outputs=2, axis=1))),
    ([X], lambda x: S.split(x, num_outputs=4, axis=1, squeeze_axis=True)[2]),
    ([X], lambda x: S.slice(x, begin=(None, 1, None, -3), end=(None, 3, 5, None))),
    ([X], lambda x: S.slice(x, begin=(0, 0), end=(2, 4), step=(1, 2))),
    ([X], lambda x: S.slice_axis(x, axis=2, begin=1, end=None)),
    ([X], lambda x: S.slice_axis(x, axis=-1, begin=0, end=-2)),
    ([(2, 1, 3)], lambda x: S.broadcast_axis(x, axis=1, size=4)),
    ([(2, 1, 1)], lambda x: S.broadcast_axis(x, axis=(1, 2), size=(4, 3))),
    ([(2, 1, 3)], lambda x: S.broadcast_to(x, shape=(0, 5, 0))),
    ([X], lambda x: S.reverse(x, axis=2)), ([X], lambda x: S.reverse(x, axis=(0, 3))),
    ([(5, 2, 3), (3, 3), (1, 3)], running), ([(5, 2, 3), (5, 2, 1)], summing),
    ([X], lambda x: S.pad(x, mode='constant', constant_value=0.5, pad_width=(0, 0, 0, 0, 1, 2, 3, 4))),
    ([X], lambda x: S.pad(x, mode='edge', pad_width=(0, 0, 0, 0, 1, 2, 3, 4))),
    ([X], lambda x: S.pad(x, mode='reflect', pad_width=(0, 0, 0, 0, 1, 2, 3, 4))),
    ([X], lambda x: S.Dropout(x, p=0.5) * 2), ([X], lambda x: S.identity(x) * 2),
    ([X], lambda x: S.stop_gradient(x) * 2),
    ([X], lambda x: S.zeros_like(x) + x), ([X], lambda x: S.ones_like(x) + x),
    ([X], lambda x: S.broadcast_add(x, S.zeros((1, 4, 1, 1)))),
    ([X], lambda x: S.broadcast_add(x, S.ones((1, 4, 1, 1)))),
    ([X], lambda x: S.sign(S.relu(x))), ([X], lambda x: S.floor(3 * x)),
    ([X, (1, 4, 1, 1)], S.broadcast_lesser),
    ([X], lambda x: S.contrib.arange_like(x, axis=1)), ([X], lambda x: S.contrib.arange_like(x, axis=-1)),
    ([(2, 5), (3, 7, 4)], lambda x, y: S.gather_nd(y, S.relu(S.floor(x)))),
    ([(2, 5, 2), (3, 7)], lambda x, y: S.gather_nd(y, S.relu(S.floor(x)))),
    ([X], S.argsort), ([X], lambda x: S.argsort(x, axis=1, is_ascend=False)),
]


def arrays_of(shapes):
    """Random arrays by name: the input ``x``, and the weights."""
    names = ['x', *(f'weight{number}' for number in range(1, len(shapes)))]
    rng = np.random.RandomState(0)
    arrays = {name: rng.normal(size=shape).astype('float32') for name, shape in zip(names, shapes)}
    if len(shapes) == 5:  # the last is a variance
        arrays['weight4'] = np.abs(arrays['weight4']) + 0.5
    return arrays


def network_of(shapes, compute):
    """The operators, the arrays by name, and what MXNet computes of them."""
    arrays = arrays_of(shapes)
    symbol = compute(*map(mx.sym.var, arrays))
    known = {name: mx.nd.array(array) for name, array in arrays.items()}
    executor = symbol.bind(mx.cpu(), {name: known[name] for name in symbol.list_arguments()},
                           aux_states={name: known[name] for name in symbol.list_auxiliary_states()})
    return read_graph(symbol, **dict(zip(arrays, shapes))), arrays, executor.forward()[0].asnumpy()
