"""Adam and AdamW with the numbers of their papers: MXNet's Adam scales epsilon with the step, and it has no AdamW."""
from __future__ import annotations

import math

import mxnet as mx


class Adam(mx.optimizer.Optimizer):
    """Steps by the mean of the gradient over the root of its mean square, both corrected for their start at zero.

    Parameters
    ----------
    learning_rate : float
    beta1, beta2 : float
        Shares of the two means that a step keeps, in 0..1.
    epsilon : float
        Added to the corrected root.
    epsilon_hat : bool
        Add it to the root before this is corrected, as the paper says at the end of its section 2 and TensorFlow does.
    **kwargs
        Of `mxnet.optimizer.Optimizer`; ``wd`` adds ``wd * w`` to the gradient, before `clip_gradient`.

    References
    ----------
    Kingma and Ba 2015, arXiv:1412.6980, algorithm 1. (MXNet has the variant that the paper names at the end of its
    section 2, whose epsilon is the larger the younger the run.)
    """

    def __init__(self, learning_rate: float = 0.001, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8,
                 epsilon_hat: bool = False, **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta1, self.beta2, self.epsilon, self.epsilon_hat = beta1, beta2, epsilon, epsilon_hat

    def create_state(self, index, weight):
        """Return the two means, zeros."""
        return tuple(mx.nd.zeros(weight.shape, weight.context, dtype=weight.dtype) for _ in range(2))

    def update(self, index, weight, grad, state):
        """Take one step of one parameter."""
        self._update_count(index)
        lr, wd, step = self._get_lr(index), self._get_wd(index), self._index_update_count[index]
        mean, square = state
        correction = math.sqrt(1 - self.beta2 ** step)
        # The operator divides by root + epsilon; both times the correction, the quotient is the paper's.
        epsilon = self.epsilon if self.epsilon_hat else self.epsilon * correction
        mx.nd.adam_update(weight, grad, mean, square, out=weight, beta1=self.beta1, beta2=self.beta2,
                          lr=lr * correction / (1 - self.beta1 ** step), epsilon=epsilon,
                          wd=self._decay(weight, lr, wd), rescale_grad=self.rescale_grad,
                          clip_gradient=-1 if self.clip_gradient is None else self.clip_gradient)

    def _decay(self, weight, lr: float, wd: float) -> float:
        """Return the factor of the weights in the gradient."""
        return wd


class AdamW(Adam):
    """Adam whose weights decay by ``lr * wd`` a step, whatever their gradient.

    References
    ----------
    Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2, with the learning rate in place of the schedule's
    multiplier as in PyTorch.
    """

    def _decay(self, weight, lr, wd):
        if lr * wd:
            weight *= 1 - lr * wd
        return 0.
