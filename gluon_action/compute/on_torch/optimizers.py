"""MXNet's update rules in PyTorch: the same steps out of the same state, so that a run may change engines.

PyTorch's own optimizers are other rules: the momentum of ``torch.optim.SGD`` holds gradients and MXNet's the steps,
which are not the same where the learning rate changes.
"""
from __future__ import annotations

import abc
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from ..optimizer_state import check_state, state_array


class Rule(abc.ABC):
    """How parameters change by their gradients; each list has one tensor a parameter.

    Parameters
    ----------
    wd : float
        Weight decay.
    clip_gradient : float, optional
        Limit of each element of the gradient.

    Attributes
    ----------
    name : str
        What MXNet calls the optimizer, and checkpoints do.
    places : tuple of str
        Where MXNet keeps what it remembers of a parameter: the part of a checkpoint's keys behind ``#``.
    """

    name: ClassVar[str]
    places: tuple[str, ...] = ()

    def __init__(self, wd: float = 0., clip_gradient: float | None = None):
        self.wd, self.clip_gradient = wd, clip_gradient

    @abc.abstractmethod
    def step(self, weights: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor],
             states: Sequence[Sequence[torch.Tensor]], *, rate: float, decay: float, count: int) -> None:
        """Change weights and states in place; gradients may be overwritten.

        Parameters
        ----------
        weights, gradients : sequence of Tensor
        states : sequence of sequences of Tensor
            For each of `places` its tensors.
        rate, decay : float
            Learning rate and weight decay of these parameters.
        count : int
            Their updates, this one included.
        """

    def _limit(self, gradients: Sequence[torch.Tensor]) -> None:
        if self.clip_gradient is not None:
            torch._foreach_clamp_min_(gradients, -self.clip_gradient)
            torch._foreach_clamp_max_(gradients, self.clip_gradient)


class SGD(Rule):
    """Gradient descent. The momentum is a share of the last step, at the rate that it had."""

    name = 'SGD'

    def __init__(self, momentum: float = 0., **options):
        super().__init__(**options)
        self.momentum = momentum
        self.places = ('0',) if momentum else ()

    def step(self, weights, gradients, states, *, rate, decay, count):
        """Take a step; the gradient is limited before the weights decay."""
        self._limit(gradients)
        torch._foreach_add_(gradients, weights, alpha=decay)
        if not self.places:
            torch._foreach_add_(weights, gradients, alpha=-rate)
            return
        moved, = states
        torch._foreach_mul_(moved, self.momentum)
        self._move(weights, moved, gradients, rate, decay)

    def _move(self, weights, moved, gradients, rate: float, decay: float) -> None:
        """Change the weights and what is kept of the last step, a share of which `moved` is already."""
        torch._foreach_add_(moved, gradients, alpha=-rate)
        torch._foreach_add_(weights, moved)


class NAG(SGD):
    """The same with Nesterov's momentum, which looks a step ahead."""

    name = 'NAG'

    def _move(self, weights, moved, gradients, rate, decay):
        ahead = torch._foreach_mul(moved, self.momentum)
        torch._foreach_add_(ahead, gradients, alpha=-(1 + self.momentum) * rate)
        torch._foreach_add_(weights, ahead)
        # MXNet's operator has changed the weights when it comes to the momentum, whose decay is that of the new ones.
        torch._foreach_add_(gradients, ahead, alpha=decay)
        torch._foreach_add_(moved, gradients, alpha=-rate)


class Adam(Rule):
    """The Adam of `gluon_action.compute.on_mxnet.adam`, which says what its options are."""

    name = 'Adam'
    places = ('0.0', '0.1')

    def __init__(self, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, epsilon_hat: bool = False,
                 **options):
        super().__init__(**options)
        self.beta1, self.beta2, self.epsilon, self.epsilon_hat = beta1, beta2, epsilon, epsilon_hat

    def step(self, weights, gradients, states, *, rate, decay, count):
        """Take a step; the weights decay before the gradient is limited."""
        decay = self._decayed(weights, rate, decay)
        torch._foreach_add_(gradients, weights, alpha=decay)
        self._limit(gradients)
        means, squares = states
        torch._foreach_mul_(means, self.beta1)
        torch._foreach_add_(means, gradients, alpha=1 - self.beta1)
        torch._foreach_mul_(squares, self.beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - self.beta2)
        correction = math.sqrt(1 - self.beta2 ** count)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, self.epsilon if self.epsilon_hat else self.epsilon * correction)
        torch._foreach_addcdiv_(weights, means, roots, value=-rate * correction / (1 - self.beta1 ** count))

    def _decayed(self, weights, rate: float, decay: float) -> float:
        """Let the weights decay by themselves; returns the factor by which they do so within the gradient."""
        return decay


class AdamW(Adam):
    """Adam whose weights decay by ``rate * decay`` a step, whatever their gradient."""

    name = 'AdamW'

    def _decayed(self, weights, rate, decay):
        if rate * decay:
            torch._foreach_mul_(weights, 1 - rate * decay)
        return 0.


class Optimizer:
    """Applies a rule to named parameters, and remembers what it needs for that.

    Parameters
    ----------
    rule : Rule
    params : mapping of str to Tensor
        All on one device.
    factors : mapping of str to (float, float)
        Of learning rate and weight decay, for each parameter.
    """

    def __init__(self, rule: Rule, params: Mapping[str, torch.Tensor], factors: Mapping[str, tuple[float, float]]):
        self.rule, self.params, self.factors = rule, dict(params), dict(factors)
        self.counts: dict[str, int] = {}
        self._states: dict[str, list[torch.Tensor]] = {}
        self._num_update = 0

    @torch.no_grad()
    def step(self, gradients: Mapping[str, torch.Tensor], rate: float) -> None:
        """Change the parameters that have a gradient, which may be overwritten."""
        alike: defaultdict[tuple, list[str]] = defaultdict(list)
        for name in gradients:
            if name not in self._states:
                self._states[name] = [torch.zeros_like(self.params[name]) for _ in self.rule.places]
            self.counts[name] = self.counts.get(name, 0) + 1
            alike[*self.factors[name], self.counts[name]].append(name)
        for (of_rate, of_decay, count), names in alike.items():
            self.rule.step([self.params[name] for name in names], [gradients[name] for name in names],
                           list(zip(*(self._states[name] for name in names))),
                           rate=rate * of_rate, decay=self.rule.wd * of_decay, count=count)
            self._num_update = max(self._num_update, count)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return what it remembers, as MXNet's trainer would: see `trainer_state`. Arrays are copies."""
        arrays = {f'{name}#{place}': tensor.cpu().numpy().copy() for name in self.params if name in self._states
                  for place, tensor in zip(self.rule.places, self._states[name])}
        counts = {name: self.counts[name] for name in self.params if name in self.counts}
        return arrays, {'optimizer': self.rule.name, 'num_update': self._num_update, 'counts': counts, 'moving': {}}

    def load(self, arrays: Mapping[str, np.ndarray], numbers: dict[str, Any]) -> None:
        """Put back what `state`, or MXNet's trainer, returned.

        Raises
        ------
        CheckpointError
            When it is of another optimizer, of other parameters, or of other shapes.
        """
        check_state(arrays, numbers, list(self.params), self.rule.name)
        states = {}
        for name in numbers['counts']:
            like = self.params[name]
            states[name] = [torch.tensor(state_array(arrays, name, place, tuple(like.shape), np.float32),
                                         device=like.device) for place in self.rule.places]
        self._states, self.counts, self._num_update = states, dict(numbers['counts']), numbers['num_update']
