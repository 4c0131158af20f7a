"""Convolution and pooling of clips with TensorFlow's SAME padding, for any size of input."""
from __future__ import annotations

import mxnet as mx
from mxnet import gluon

from ..errors import ModelError

#: Attribute of an exported graph's input: frames, height and width that the paddings inside are for.
SIZE_KEY = '__input_size__'

#: Frames, height and width.
Size = tuple[int, int, int]

# Each may hold the memory of a whole forward pass, so there are not many.
_KEPT_GRAPHS = 4
# Private attributes in which HybridBlock (mxnet/gluon/block.py, 1.9.1) keeps its one compiled graph.
_STATE = ('_cached_graph', '_cached_op', '_cached_op_args', '_in_format', '_out_format')


def same_padding(length: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """Return the output's length and the padding before and after an axis, as TensorFlow's SAME has them.

    Parameters
    ----------
    length, kernel, stride : int
        Of one axis, at least 1.

    Returns
    -------
    tuple of int
        ``ceil(length / stride)`` and the two paddings; the odd one goes after, so 2 and 3 for kernel 7, stride 2 and an
        even length.
    """
    output = -(-length // stride)
    total = max((output - 1) * stride + kernel - length, 0)
    return output, total // 2, total - total // 2


def lay_out(layer: gluon.Block, size: Size) -> Size:
    """Fit a layer to an input of `size` and return the size of its output.

    Layers that are no :class:`SizedBlock` have nothing to fit: Gluon's convolutions and poolings are asked how they
    are padded, all others keep the size.
    """
    if isinstance(layer, SizedBlock):
        return layer.lay_out(size)
    settings = getattr(layer, '_kwargs', {})
    if 'kernel' not in settings:
        return size
    frames, *space = settings['pad']
    padding = (frames + getattr(layer, 'frames_padded', 0), *space)
    return tuple((length + 2 * pad - kernel) // stride + 1 for length, pad, kernel, stride
                 in zip(size, padding, settings['kernel'], settings['stride']))


class SizedBlock(gluon.HybridBlock):
    """A block whose paddings depend on the size of the input.

    SAME padding depends on whether each axis is even or odd, layer after layer. Operators of MXNet 1.9.1 take paddings
    as constants, so they are set before each call: `lay_out` sets those of all layers inside, and one compiled graph
    is kept for each set of paddings that has occurred (the last few). Sizes that need the same paddings share a graph;
    parameters are shared by all.

    Notes
    -----
    A symbol has no size: it is traced for the size given to `plan_for`, or as the block around it was laid out.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._plan = self._graph_plan = self._graph_size = self._symbol_size = None
        self._graphs: dict[tuple, tuple] = {}

    @property
    def plan(self) -> tuple | None:
        """What the layers inside are set to, None before the first input; equal plans compute by the same graph."""
        return self._plan

    def plan_for(self, frames: int, height: int, width: int) -> None:
        """Trace symbols for clips of this size from now on."""
        self._symbol_size = (frames, height, width)

    def lay_out(self, size: Size) -> Size:
        """Set all paddings inside for an input of `size`, and return the size of the output."""
        output, self._plan = self._fit(tuple(size))
        return output

    def _fit(self, size: Size) -> tuple[Size, tuple]:
        """Set the paddings; return the size of the output and the plan. By default children follow each other."""
        for child in self._children.values():
            size = lay_out(child, size)
        return size, self._plans_inside()

    def _plans_inside(self) -> tuple:
        return tuple(child.plan for child in self._children.values() if isinstance(child, SizedBlock) and child.plan)

    def forward(self, x, *args):
        """Fit the block to `x`, (N, C, T, H, W), then compute."""
        if isinstance(x, mx.sym.Symbol):
            if self._symbol_size:
                self.lay_out(self._symbol_size)
            if self._plan is None:
                raise ModelError(f'{self.name}: a symbol has no size to pad for; call plan_for(frames, height, width) '
                                 'first')
        elif not self._active or self._cached_op is None or x.shape[2:] != self._graph_size:
            self.lay_out(x.shape[2:])
            if self._active:
                self._switch_graph(x.shape[2:])
        return super().forward(x, *args)

    def export(self, path: str, epoch: int = 0, remove_amp_cast: bool = True):
        """Export the graph of the last call as Gluon does; its input says what size it is padded for (`SIZE_KEY`)."""
        if self._cached_graph:
            self._cached_graph[0][0]._set_attr(**{SIZE_KEY: ','.join(map(str, self._graph_size))})
        return super().export(path, epoch, remove_amp_cast)

    def _switch_graph(self, size: Size) -> None:
        self._graph_size = size
        if self._plan == self._graph_plan:
            return
        if self._cached_op is not None:
            self._graphs[self._graph_plan] = tuple(getattr(self, name) for name in _STATE)
        graph = self._graphs.pop(self._plan, None)
        while len(self._graphs) >= _KEPT_GRAPHS:
            self._graphs.pop(next(iter(self._graphs)))
        if graph is None:
            super()._clear_cached_op()
        else:
            for name, value in zip(_STATE, graph):
                setattr(self, name, value)
        self._graph_plan = self._plan

    def _clear_cached_op(self):
        self._graphs = {}
        super()._clear_cached_op()


class SameConv3D(SizedBlock, gluon.nn.Conv3D):
    """Convolution of clips with SAME padding.

    Parameters
    ----------
    channels : int
        Channels of the output.
    kernel_size, strides : int or tuple of 3 int
        Along frames, height and width.
    **kwargs
        Others of :class:`mxnet.gluon.nn.Conv3D`; there is no ``padding``.
    """

    def __init__(self, channels: int, kernel_size: int | Size, strides: int | Size = 1, **kwargs):
        super().__init__(channels=channels, kernel_size=_three(kernel_size), strides=_three(strides), **kwargs)
        self._before, self._after = 0, (0, 0, 0)

    def _fit(self, size: Size) -> tuple[Size, tuple]:
        # The convolution pads both sides alike; what is missing after is put around its input.
        kernel, strides = self._kwargs['kernel'], self._kwargs['stride']
        padding = [same_padding(*axis) for axis in zip(size, kernel, strides)]
        pad = [before for _, before, _ in padding]
        after = [after - before for _, before, after in padding]
        self._before = 0
        if strides[0] > 1 and size[0] < kernel[0] + strides[0]:
            # Where frames are strided and about as few as the kernel's, oneDNN's gradient of the weights is
            # uninitialised memory, unless it sees padding along frames as frames: see `FramePaddedConv3D`.
            self._before, after[0], pad[0] = pad[0], padding[0][2], 0
        self._kwargs['pad'], self._after = tuple(pad), tuple(after)
        return tuple(output for output, _, _ in padding), (self._kwargs['pad'], self._before, self._after)

    def hybrid_forward(self, F, x, weight, bias=None):
        """Convolve `x`, (N, C, T, H, W)."""
        if self._before or any(self._after):
            frames, height, width = self._after
            x = F.pad(x, mode='constant', constant_value=0,
                      pad_width=(0, 0, 0, 0, self._before, frames, 0, height, 0, width))
        return super().hybrid_forward(F, x, weight, bias)


class SameMaxPool3D(SizedBlock, gluon.nn.MaxPool3D):
    """Max pooling of clips with SAME padding; padded places count as minus infinity.

    Parameters
    ----------
    pool_size, strides : int or tuple of 3 int
        Along frames, height and width. A stride is at most the window, and above 1 where the window is even.
    """

    def __init__(self, pool_size: int | Size, strides: int | Size, **kwargs):
        pool_size, strides = _three(pool_size), _three(strides)
        if any(stride > window or (stride == 1 and window % 2 == 0) for window, stride in zip(pool_size, strides)):
            raise ValueError(f'windows {pool_size} with strides {strides}: a stride is at most as large as the window, '
                             'and larger than 1 if the window is even')
        super().__init__(pool_size=pool_size, strides=strides, **kwargs)
        self.window = pool_size

    def _fit(self, size: Size) -> tuple[Size, tuple]:
        # MXNet pads both sides alike. Rounding the number of windows up ('full') is the same as one more line of
        # padding after. Windows larger than a padded axis are refused ('kernel size (3) exceeds input (1 padded to 1)',
        # src/operator/nn/pooling.cc): the only window of an axis covers all of it, so it shrinks to it.
        padding = [same_padding(*axis) for axis in zip(size, self.window, self._kwargs['stride'])]
        outputs = tuple(output for output, _, _ in padding)
        alone = [output == 1 for output in outputs]
        uneven = any(after > before and not only for (_, before, after), only in zip(padding, alone))
        self._kwargs |= {
            'kernel': tuple(length if only else window for length, window, only in zip(size, self.window, alone)),
            'pad': tuple(0 if only else before for (_, before, _), only in zip(padding, alone)),
            'pooling_convention': 'full' if uneven else 'valid'}
        return outputs, (self._kwargs['kernel'], self._kwargs['pad'], uneven)


def _three(value: int | Size) -> Size:
    return (value,) * 3 if isinstance(value, int) else tuple(value)
