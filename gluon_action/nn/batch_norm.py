"""Batch normalisation that also trains on clips, and freezing it."""
from __future__ import annotations

from collections.abc import Iterable

from mxnet import gluon

from .composed import Composed, Scored, in_training


class BatchNorm(Scored, gluon.nn.BatchNorm):
    """Batch normalisation over the channel axis (Ioffe and Szegedy 2015, arXiv:1502.03167).

    Parameters
    ----------
    ndim : {4, 5}
        Axes of the input: 4 for images (N, C, H, W), 5 for clips (N, C, T, H, W), whose H and W are folded into one
        axis around the operator. Images are not folded: it makes a ResNet-50 training step a third slower. Where a
        network is `only_scoring`, neither are clips, so that MXNet can join the operator to the convolution before it.
    **kwargs
        Those of :class:`mxnet.gluon.nn.BatchNorm`.

    Notes
    -----
    The backward pass of MXNet 1.9.1 on a CPU fails on 5-D input that comes from a convolution with
    ``ndarray.cc: Check failed: !is_view``: the operator reshapes the input to 4-D for oneDNN, and a view has no oneDNN
    layout. It is apache/mxnet#20858; what closed the same report of the forward pass, apache/mxnet#19150, left the
    gradient as it was.
    """

    def __init__(self, *, ndim: int = 4, **kwargs):
        super().__init__(**kwargs)
        if ndim not in (4, 5):
            raise ValueError(f'ndim is the number of axes of the input, 4 (images) or 5 (clips), got {ndim}')
        self._folds = ndim == 5

    def hybrid_forward(self, F, x, gamma, beta, running_mean, running_var):
        """Normalise `x`, of the shape that `ndim` says; the result has the same shape."""
        if not self._folds or self.only_scores:
            return super().hybrid_forward(F, x, gamma, beta, running_mean, running_var)
        # The codes 0 and -1 need no sizes, so that any size runs and exports; -3, which joins two axes, has no ONNX.
        folded = F.reshape(x, shape=(0, 0, 0, -1))
        folded = super().hybrid_forward(F, folded, gamma, beta, running_mean, running_var)
        return F.reshape_like(folded, x)


class RowBatchNorm(Composed, BatchNorm):
    """Batch normalisation of rows (M, C) that keeps the statistics which TensorFlow keeps, on a CPU and on a GPU.

    TensorFlow normalises by the variance of the batch, as MXNet does, but of rows its running variance takes the
    unbiased one, ``M / (M - 1)`` times as large (tensorflow/core/kernels/fused_batch_norm_op.cc).

    Parameters
    ----------
    channels : int
        C.
    unbiased : bool
        False keeps the biased variance, which TensorFlow does for inputs of three axes.
    epsilon, momentum : float
        By default those of slim.batch_norm.
    """

    def __init__(self, channels: int, *, unbiased: bool = True, epsilon: float = 1e-3, momentum: float = 0.999,
                 **kwargs):
        super().__init__(in_channels=channels, epsilon=epsilon, momentum=momentum, **kwargs)
        self._unbiased = unbiased

    def hybrid_forward(self, F, x, gamma, beta, running_mean, running_var):
        """Normalise rows."""
        if not self.composed or self._kwargs['use_global_stats']:
            return super().hybrid_forward(F, x, gamma, beta, running_mean, running_var)
        parameters = (gamma, beta, running_mean, running_var)
        settings = {**self._kwargs, 'momentum': 1.}  # this one changes no statistics
        out, mean, scale = F.BatchNorm(x, *parameters, output_mean_var=True, **settings)
        ones = F.ones_like(F.slice_axis(x, axis=1, begin=0, end=1))
        variance = F.relu(1 / F.square(scale) - self._kwargs['eps'])
        kept = self._keep(F, F.reshape(mean, shape=(1, -1)), F.reshape(variance, shape=(1, -1)),
                          F.dot(ones, ones, transpose_a=True), *parameters)
        return out + F.dot(ones, kept)

    def _keep(self, F, mean, variance, rows, *parameters):
        """Keep statistics (1, C) of `rows` (1, 1) rows in training; what is returned is 0, and must be made use of."""
        if self._unbiased:
            variance = F.broadcast_mul(variance, rows / F.maximum(rows - 1, 1))
        # Two rows of this mean and, biased, of this variance: what they are normalised to is thrown away, but their
        # statistics are kept. MXNet does that in the backward pass of rows, which a gradient has to reach.
        # On a GPU it would leave that to cuDNN, which keeps the unbiased variance, of two rows twice the biased one.
        deviation = F.sqrt(variance)
        two = F.BlockGrad(F.concat(mean - deviation, mean + deviation, dim=0))
        return 0 * F.slice_axis(F.BatchNorm(two, *parameters, cudnn_off=True, **self._kwargs), axis=0, begin=0, end=1)


class RowScaling(RowBatchNorm):
    """What batch normalisation of rows (M, C) multiplies columns by and adds to them, instead of the product.

    Who multiplies the rows by weights can scale the weights instead: rows of a network's input, which are wide and
    many, need not be written once more, and gradients are of few numbers. The rows themselves get none. Parameters are
    those of `RowBatchNorm`.
    """

    def hybrid_forward(self, F, x, gamma, beta, running_mean, running_var):
        """Rows (M, C) to their scale and shift, (1, C) each."""
        mean, variance = (F.BlockGrad(F.reshape(part, shape=(1, -1))) for part in (running_mean, running_var))
        kept = None
        if self.composed and not self._kwargs['use_global_stats']:
            ones = F.ones_like(F.slice_axis(x, axis=1, begin=0, end=1))
            rows = F.dot(ones, ones, transpose_a=True)
            now = F.broadcast_div(F.dot(ones, x, transpose_a=True), rows)
            spread = F.relu(F.broadcast_div(F.dot(ones, F.square(x), transpose_a=True), rows) - F.square(now))
            kept = self._keep(F, now, spread, rows, gamma, beta, running_mean, running_var)
            training = in_training(F, mean)
            mean = F.BlockGrad(training * now + (1 - training) * mean)
            variance = F.BlockGrad(training * spread + (1 - training) * variance)
        scale = F.reshape(gamma, shape=(1, -1)) * F.rsqrt(variance + self._kwargs['eps'])
        shift = F.reshape(beta, shape=(1, -1)) - mean * scale
        return scale, shift if kept is None else shift + kept


def batch_norms(block: gluon.Block) -> list[gluon.nn.BatchNorm]:
    """Return the batch normalisations inside `block`, each once, in the order they were built."""
    layers = []
    block.apply(lambda child: layers.append(child) if isinstance(child, gluon.nn.BatchNorm) else None)
    return list(dict.fromkeys(layers))


def fold_batch_norms(layers: Iterable[gluon.nn.BatchNorm]) -> None:
    """Make Gluon's own batch normalisations train on clips: each becomes a :class:`BatchNorm` of 5 axes where it is.

    For networks of others, which build their layers themselves. Names and parameters stay.
    """
    for layer in layers:
        layer.__class__ = BatchNorm
        layer._folds = True


def freeze_batch_norms(layers: Iterable[gluon.nn.BatchNorm]) -> None:
    """Stop batch normalisations from learning: they apply their running statistics, and gamma and beta stay.

    Call it before ``hybridize``: a compiled graph does not see the change.

    Parameters
    ----------
    layers : iterable of BatchNorm
        ``batch_norms(net)`` for all; ``batch_norms(net)[1:]`` for what the TSN paper calls partial BN.
    """
    for layer in layers:
        layer._kwargs['use_global_stats'] = True
        layer.gamma.grad_req = 'null'
        layer.beta.grad_req = 'null'
