"""A Gluon network computed by PyTorch."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import fx

from ...errors import CheckpointError, UsageError
from ...nn import SizedBlock
from ..on_mxnet.parameters import unique_parameters
from ..on_mxnet.tracing import trace
from .compilation import compiled
from .translation import Translation, translate


class TorchNetwork:
    """A Gluon network computed by PyTorch; its parameters lie under the keys of a parameter file.

    Parameters
    ----------
    net : mxnet.gluon.HybridBlock
        Initialised, and all shapes known; values are copied from it. It stays the plan of the network: what its layers
        are like is read when a graph is made.
    device : torch.device or str
    shared : bool
        In training, take the statistics of batch normalisation over the batches of all processes that train together.
        Each of them then has to compute the same networks in the same order.

    Attributes
    ----------
    device : torch.device
    params : dict of str to torch.nn.Parameter
        What can be trained, each once; gradients are computed where the Gluon network wants them.
    statistics : dict of str to torch.Tensor
        What cannot: running means and variances, and the gamma of batch normalisations that have none.
    compiled_for : tuple of int, optional
        The shape of inputs for which it is compiled in training, see `compiled`; others are computed without.

    Raises
    ------
    UsageError
        When called, and the network has an operator that PyTorch does not compute here.
    ModelError
        When called, and the network does not take an input of this shape.

    Notes
    -----
    There is a graph for each plan of the network (see `SizedBlock`), in training and otherwise; all share the
    parameters. PyTorch writes a graph's Python code once, and nothing is interpreted later. The numbers are MXNet's on
    a CPU up to rounding, running variances included, which PyTorch's own layers would keep otherwise.
    """

    def __init__(self, net, device: torch.device | str = 'cpu', *, shared: bool = False):
        self.net, self.device, self.shared, self.compiled_for = net, torch.device(device), shared, None
        self.params: dict[str, torch.nn.Parameter] = {}
        self.statistics: dict[str, torch.Tensor] = {}
        unique = unique_parameters(net)
        self._variables = {param.name: key for key, param in unique.items()}
        # Some blocks are known under several names.
        self._keys = {key: self._variables[param.name] for key, param in net._collect_params_with_prefix().items()}
        for key, param in unique.items():
            value = torch.tensor(param.list_data()[0].asnumpy(), device=self.device)
            if param._differentiable:
                self.params[key] = torch.nn.Parameter(value, requires_grad=param.grad_req != 'null')
            else:
                self.statistics[key] = value
        self.forget_graphs()

    def __call__(self, x: torch.Tensor, training: bool = False) -> torch.Tensor:
        """Compute logits (N, K) of the rows of an input.

        Parameters
        ----------
        x : Tensor
            On the network's device, of the type of its parameters.
        training : bool
            Whether dropout drops, and batch normalisations take the statistics of the batch and learn from it.
            Gradients are recorded wherever PyTorch records them.
        """
        module = self.graph(tuple(x.shape), training)
        if training and self.compiled_for == tuple(x.shape):
            if module not in self._compiled:
                self._compiled[module] = compiled(module)
            module = self._compiled[module]
        # Layers of frames keep the layout that they are given. Gradients gain nothing by it.
        if not training and x.ndim == 4 and x.device.type == 'cpu':
            x = x.contiguous(memory_format=torch.channels_last)
        return module(x)

    def graph(self, shape: tuple[int, ...], training: bool = False) -> fx.GraphModule:
        """Return the module that computes inputs of a shape; its parameters are the network's."""
        if shape not in self._plans:
            check = getattr(self.net, 'check_input', None)
            if check is not None:
                check(shape)
            self._plans[shape] = self._plan(shape)
        place = self._plans[shape], training
        if place not in self._modules:
            if place not in self._translations:
                self._translations[place] = self._translate(shape, training)
            self._modules[place] = self._translations[place].module({**self.params, **self.statistics})
        return self._modules[place]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return copies of what a parameter file of the network holds, under every key."""
        tensors = {**self.params, **self.statistics}
        return {key: tensors[unique].detach().cpu().numpy().copy() for key, unique in self._keys.items()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Put values in place of those that there are.

        Parameters
        ----------
        arrays : mapping
            Key of `params` or `statistics` -> value; others stay as they are.

        Raises
        ------
        CheckpointError
            When a key, a shape or a type of numbers is another network's.
        """
        tensors = {**self.params, **self.statistics}
        with torch.no_grad():
            for key, array in arrays.items():
                if key not in tensors:
                    raise CheckpointError(f'the checkpoint is of another network, which has {key}')
                tensor, value = tensors[key], torch.from_numpy(np.array(array))
                for what, theirs, ours in (('of shape', tuple(value.shape), tuple(tensor.shape)),
                                           ('of', _type(value), _type(tensor))):
                    if theirs != ours:
                        raise CheckpointError(f'the checkpoint is of another network: {key} is {what} {theirs} there '
                                              f'and {ours} here')
                tensor.copy_(value)

    def replica(self, device: torch.device | str) -> TorchNetwork:
        """Return the same network on another device, with parameters and statistics of its own."""
        copy = object.__new__(TorchNetwork)
        copy.net, copy.device, copy.shared, copy.compiled_for = self.net, torch.device(device), self.shared, None
        copy._variables, copy._keys = self._variables, self._keys
        copy.params = {key: torch.nn.Parameter(param.detach().to(copy.device, copy=True), param.requires_grad)
                       for key, param in self.params.items()}
        copy.statistics = {key: value.to(copy.device, copy=True) for key, value in self.statistics.items()}
        copy._plans, copy._translations, copy._modules = self._plans, self._translations, {}
        copy._compiled = {}
        return copy

    def with_graphs_of_its_own(self) -> TorchNetwork:
        """Return a network that shares all parameters with this one, and reads anew what its layers are like."""
        other = object.__new__(TorchNetwork)
        vars(other).update(vars(self))
        other.forget_graphs()
        return other

    def forget_graphs(self) -> None:
        """Read anew what the Gluon network's layers and parameters are like: after some of them have been frozen, say.

        Replicas have graphs of their own to forget.
        """
        for key, param in unique_parameters(self.net).items():
            if key in self.params:
                self.params[key].requires_grad_(param.grad_req != 'null')
        self._plans: dict[tuple[int, ...], tuple | None] = {}
        self._translations: dict[tuple, Translation] = {}
        self._modules: dict[tuple, fx.GraphModule] = {}
        self._compiled: dict[fx.GraphModule, torch.nn.Module] = {}

    def _plan(self, shape: tuple[int, ...]) -> tuple | None:
        """Return what the network's layers are set to for an input, None where they do not depend on it."""
        if not isinstance(self.net, SizedBlock):
            return None
        self.net.lay_out(shape[2:])
        return self.net.plan

    def _translate(self, shape: tuple[int, ...], training: bool) -> Translation:
        try:
            return translate(trace(self.net, shape, training=training), self._variables, training=training,
                             shared=self.shared and training)
        except NotImplementedError as error:
            raise UsageError(f'PyTorch cannot compute {self._called()}: it has {error}; --engine mxnet can') from error

    def _called(self) -> str:
        card = getattr(self.net, 'card', None)
        return card.name if card else type(self.net).__name__


def _type(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix('torch.')
