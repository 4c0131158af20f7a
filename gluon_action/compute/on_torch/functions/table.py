"""The table of functions: an operator of MXNet's -> the function that computes it with tensors."""
from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

#: Settings of MXNet's operators that change no number, or that the other settings and the shapes say too.
_SAY_NOTHING = frozenset({'workspace', 'cudnn_off', 'cudnn_tune', 'no_bias', 'num_filter', 'num_hidden', 'num_args'})


@dataclass(frozen=True)
class Computed:
    """How an operator is computed.

    Attributes
    ----------
    function : callable
        Takes the inputs by place and the settings by MXNet's names.
    settings : frozenset of str
        Those that it takes.
    trains : bool
        Whether it has to know if the network trains: it takes `training` then.
    shares : bool
        Whether it computes statistics that processes may share: it takes `shared` then.
    """

    function: Callable
    settings: frozenset[str]
    trains: bool
    shares: bool = False


#: MXNet's name -> how it is computed.
FUNCTIONS: dict[str, Computed] = {}


def computes(*kinds: str) -> Callable[[Callable], Callable]:
    """Enter a function in the table under the names of the operators that it computes."""
    def enter(function: Callable) -> Callable:
        settings = frozenset(parameter.name for parameter in inspect.signature(function).parameters.values()
                             if parameter.kind == parameter.KEYWORD_ONLY or parameter.default is not parameter.empty)
        for kind in kinds:
            FUNCTIONS[kind] = Computed(function, settings - {'training', 'shared'}, 'training' in settings,
                                       'shared' in settings)
        return function
    return enter


def enter_plain(functions: Mapping[str, Callable]) -> None:
    """Enter functions of inputs alone, such as PyTorch's own, by the names of their operators."""
    FUNCTIONS.update((kind, Computed(function, frozenset(), False)) for kind, function in functions.items())


def settings_of(kind: str, settings: dict) -> dict:
    """Return the settings of an operator that its function takes.

    Raises
    ------
    NotImplementedError
        For an operator without a function, and for a setting that its function does not know.
    """
    if kind not in FUNCTIONS:
        raise NotImplementedError(f'the operator {kind}, which has no function in compute/on_torch/functions')
    known = FUNCTIONS[kind].settings
    taken = {}
    for name, value in settings.items():
        if name in known:
            taken[name] = value
        elif not name.startswith('__') and name not in _SAY_NOTHING:
            raise NotImplementedError(f'{kind} with {name} {value}')
    return taken


def only(kind: str, name: str, value, *values) -> None:
    """Refuse values of a setting that PyTorch has no counterpart of."""
    if value not in values:
        raise NotImplementedError(f'{kind} with {name} {value}')


# Names of mxnet.nd that are other names of operators.
_ALIASES = {'cast': 'Cast', 'concat': 'Concat', 'flatten': 'Flatten', 'reshape': 'Reshape', 'pad': 'Pad',
            'split': 'SliceChannel', 'stop_gradient': 'BlockGrad', 'identity': '_copy'}


class _Functions:
    """Has the functions of the table that need not know whether a network trains, by the names of ``mxnet.nd``."""

    def __getattr__(self, name: str) -> Callable:
        computed = FUNCTIONS.get(_ALIASES.get(name, name))
        if computed is None or computed.trains:
            raise AttributeError(f'there is no function {name} of tensors; add one to compute/on_torch/functions')
        return computed.function


#: Stands where ``mxnet.nd`` does: what hybrid code of Gluon, such as a loss, computes of tensors with.
F = _Functions()
