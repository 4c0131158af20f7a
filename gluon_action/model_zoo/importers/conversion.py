"""How each variable of a weights file was used: loaded, converted, or left out and why."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

#: Says of a variable's name which key of the network it is for, None for none, and a note; returns None when it does
#: not know the name.
Place = Callable[[str], tuple[str | None, str] | None]

#: (name in the source, shape there, key of the network or None, note)
Row = tuple[str, tuple[int, ...], str | None, str]


@dataclass(frozen=True)
class Conversion:
    """Weights in the names and layout of a network of the zoo.

    Attributes
    ----------
    source : str
        The file, or what the files of the checkpoint begin with.
    format : str
        Whose names its variables have, in words.
    arrays : dict
        Key of the network -> float32 array of the parameter's shape.
    rows : list of tuple
        See `Row`. The name is empty for what the source does not have because it is a constant there. A variable that
        is for several parameters has a row for each.
    """

    source: str
    format: str
    arrays: dict[str, np.ndarray]
    rows: list[Row]

    def table(self) -> str:
        """Return the rows as text in columns, with a line that counts them."""
        lines = [('variable', 'shape', 'parameter', 'note')]
        lines += [(name or '(constant)', 'x'.join(map(str, shape)) or '-', key or '(unused)', note)
                  for name, shape, key, note in self.rows]
        widths = [max(map(len, column)) for column in zip(*lines)]
        text = ['  '.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
        used = len({name for name, _, key, _ in self.rows if key is not None and name})
        unused = sum(key is None for _, _, key, _ in self.rows)
        elements = sum(array.size for array in self.arrays.values())
        text.append(f'{self.source}: {self.format}; {used} variables used, {unused} unused; {len(self.arrays)} '
                    f'parameters, {elements:,} numbers')
        return '\n'.join(text)


@dataclass(frozen=True)
class Names:
    """The origin of the variable names of a file, and the parameters that they map to.

    Attributes
    ----------
    title : str
        The format in words.
    models : str
        Networks of the zoo that such files are for, in words, for messages.
    place : Place
    constants : dict
        Ending of keys -> value of the parameters that the format has as a constant instead of a variable.
    from_tensorflow : bool
        Whether axes have to be turned: filters (T, H, W, C, K) instead of (K, C, T, H, W).
    complete : callable, optional
        Called with the arrays by key, the network's parameters by key, and the rows so far: adds arrays that follow
        from others, and returns their rows.
    """

    title: str
    models: str
    place: Place
    constants: dict[str, float]
    from_tensorflow: bool
    complete: Callable[[dict, dict, list[Row]], list[Row]] | None = None

    def turned(self, key: str, array: np.ndarray) -> np.ndarray:
        """Return the variable of a parameter in the layout of the zoo's networks, as float32."""
        if not self.from_tensorflow:
            return np.asarray(array, np.float32)
        if not key.endswith('weight'):
            # Older versions of Sonnet keep what belongs to channels as (1, 1, 1, 1, C), newer ones as (C,).
            return np.asarray(array.reshape(-1), np.float32)
        if array.ndim == 5:
            array = array.transpose(4, 3, 0, 1, 2)
        return np.ascontiguousarray(array, np.float32)


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Return float32 for bfloat16, its upper half, given as uint16."""
    return np.asarray(bits.astype(np.uint32) << 16, np.uint32).view(np.float32)
