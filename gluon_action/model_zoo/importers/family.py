"""A family of weights: whose names they have, as a table of rules, and what is done to a few of the values."""
from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .conversion import Place, Row

#: What PyTorch calls the tensors of a layer, as far as this package has them.
_PARTS = ('weight', 'bias', 'running_mean', 'running_var')
_OF_NORMALISATION = {'weight': 'gamma', 'bias': 'beta'}
_STEPS = 'num_batches_tracked'

_THEIR_FIELD = re.compile(r'\{(\w+)(?::([^}]*))?\}')
_OUR_FIELD = re.compile(r'\{(\w+?)([+-]\d+)?\}')
_ANYTHING = {'': r'\d+', '*': r'[^.]+', '**': '.*'}


class Rule:
    """Which layer of the network a layer of others is.

    Parameters
    ----------
    theirs : str
        Name of a layer, or of a whole tensor. ``{n}`` stands for digits, ``{n:*}`` for anything without a dot,
        ``{n:**}`` for anything, ``{n:a|b}`` for a or b, and ``{n:a=x|b}`` for a, which is x here, or b.
    ours : str, tuple of str, or None
        The same layer or tensor here, with what stood for the fields: ``{n}``, or ``{n-1}`` for a number less one. Of
        several the first that the network has. None for what is left out.
    note : str
        What to say of it; of what is left out, why.
    """

    def __init__(self, theirs: str, ours: str | tuple[str, ...] | None, note: str = ''):
        self.ours = (ours,) if isinstance(ours, str) else ours
        self.note = note
        self._meanings: dict[str, dict[str, str]] = {}
        pattern, end = '', 0
        for place in _THEIR_FIELD.finditer(theirs):
            name, choices = place.groups(default='')
            pattern += re.escape(theirs[end:place.start()]) + f'(?P<{name}>{self._choices(name, choices)})'
            end = place.end()
        self._pattern = re.compile(pattern + re.escape(theirs[end:]))

    def _choices(self, name: str, choices: str) -> str:
        if choices in _ANYTHING:
            return _ANYTHING[choices]
        meanings = {choice.partition('=')[0]: choice.partition('=')[2] if '=' in choice else choice
                    for choice in choices.split('|')}
        self._meanings[name] = meanings
        return '|'.join(map(re.escape, meanings))

    def match(self, name: str) -> list[str] | None:
        """Return the names here, none for what is left out; None when the rule is not for `name`."""
        match = self._pattern.fullmatch(name)
        if match is None:
            return None
        values = {name: self._meanings.get(name, {}).get(value, value) for name, value in match.groupdict().items()}

        def filled(place: re.Match) -> str:
            return str(int(values[place[1]]) + int(place[2])) if place[2] else values[place[1]]
        return [_OUR_FIELD.sub(filled, template) for template in self.ours or ()]


@dataclass(frozen=True)
class Family:
    """Weights whose names follow the same rules.

    Attributes
    ----------
    name : str
        What the index of weights calls the format.
    title, models : str
        The format in words; networks of the zoo that such files are for, for messages.
    signature : tuple of str
        As in `Rule`, whole names: a file in which each of them is found is of this family.
    rules : tuple of tuple
        Arguments of `Rule`. The first that is for a name holds. Whether a layer's ``weight`` and ``bias`` are a
        normalisation's gamma and beta follows from the network.
    fits : callable
        Told the tensors and the network's parameters, both by name: whether this family is meant, where another one has
        the same names.
    prefix : str
        What may stand in front of every name.
    from_tensorflow : bool
        Names are paths with slashes, which rules write as dots, and filters are (T, H, W, C, K) instead of
        (K, C, T, H, W).
    constants : dict
        Ending of keys -> value of the parameters that the format has as a constant instead of a tensor.
    changes : tuple of (str, callable, str)
        Regular expression for the end of a key, what is done to its array, and a note on it.
    refine : callable, optional
        Called with what says where a name belongs, the tensors and the parameters; returns what is asked instead.
    objection : callable, optional
        Called with the tensors; returns why such a file cannot be imported although its names are known, or nothing.
    complete : callable, optional
        Called with the arrays by key, the network's parameters by key, and the rows so far: adds arrays that follow
        from others, and returns their rows.
    """

    name: str
    title: str
    models: str
    signature: tuple[str, ...]
    rules: tuple[tuple, ...]
    fits: Callable[[Mapping, Mapping], bool] = lambda variables, params: True
    prefix: str = ''
    from_tensorflow: bool = False
    constants: Mapping[str, float] = field(default_factory=dict)
    changes: tuple[tuple[str, Callable[[np.ndarray], np.ndarray], str], ...] = ()
    refine: Callable[[Place, Mapping, Mapping], Place] | None = None
    objection: Callable[[Mapping], str] | None = None
    complete: Callable[[dict, dict, list[Row]], list[Row]] | None = None

    @cached_property
    def _rules(self) -> tuple[Rule, ...]:
        return tuple(Rule(*rule) for rule in self.rules)

    def recognises(self, variables: Mapping[str, np.ndarray], params: Mapping) -> bool:
        """Return whether tensors have the names of this family."""
        names = [self._plain(name) for name in variables]
        return all(any(rule.match(name) is not None for name in names)
                   for rule in (Rule(pattern, None) for pattern in self.signature)) and self.fits(variables, params)

    def place(self, variables: Mapping[str, np.ndarray], params: Mapping) -> Place:
        """Return what says which parameter a tensor is for; `Place` tells how."""
        def place(name: str) -> tuple[str | None, str] | None:
            plain = self._plain(name)
            layer, _, part = plain.rpartition('.')
            if part == _STEPS:
                return None, 'counter of steps'
            for rule in self._rules:
                keys = rule.match(layer) if part in _PARTS else None
                if keys is not None:
                    keys = [f'{key}.{_part(key, part, name, variables, params)}' for key in keys]
                else:
                    keys = rule.match(plain)
                if keys is not None:
                    return next((key for key in keys if key in params), keys[0] if keys else None), rule.note
            return None
        return self.refine(place, variables, params) if self.refine else place

    def turned(self, key: str, array: np.ndarray) -> np.ndarray:
        """Return the tensor of a parameter in the layout of the zoo's networks, as float32."""
        if self.from_tensorflow and not key.endswith('weight'):
            # Older versions of Sonnet keep what belongs to channels as (1, 1, 1, 1, C), newer ones as (C,).
            array = array.reshape(-1)
        elif self.from_tensorflow and array.ndim == 5:
            array = np.ascontiguousarray(array.transpose(4, 3, 0, 1, 2))
        return np.asarray(array, np.float32)

    def _plain(self, name: str) -> str:
        return (name.replace('/', '.') if self.from_tensorflow else name).removeprefix(self.prefix)


def _part(layer: str, part: str, name: str, variables: Mapping[str, np.ndarray], params: Mapping) -> str:
    """Return what the network calls a layer's tensor; of a layer that it has not, a weight of one axis is a gamma."""
    ours = _OF_NORMALISATION.get(part)
    if not ours or f'{layer}.{part}' in params:
        return part
    weight = variables.get(f'{name.rpartition(".")[0]}.weight')
    return ours if f'{layer}.{ours}' in params or (weight is not None and weight.ndim == 1) else part
