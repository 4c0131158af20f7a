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
        Key of the network -> float32 array of the parameter's shape; one array for all keys of a parameter.
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
        arrays = {id(array): array for array in self.arrays.values()}.values()  # some are known by several keys
        text.append(f'{self.source}: {self.format}; {used} variables used, {unused} unused; {len(arrays)} '
                    f'parameters, {sum(array.size for array in arrays):,} numbers')
        return '\n'.join(text)


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Return float32 for bfloat16, its upper half, given as uint16."""
    return np.asarray(bits.astype(np.uint32) << 16, np.uint32).view(np.float32)
