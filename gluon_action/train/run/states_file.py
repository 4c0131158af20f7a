"""The state of an optimizer in a ``.states`` file, without pickle."""
from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import CheckpointError
from ...files import parse_json
from ...model_zoo.params_file import read_arrays, replace_arrays

_NUMBERS_KEY = '__numbers__'


def save_states(path: str | os.PathLike, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
    """Write what `Learner.optimizer_state` returned to one file, whole or not at all.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    text = np.frombuffer(json.dumps(numbers).encode(), dtype=np.uint8)
    replace_arrays(path, {**arrays, _NUMBERS_KEY: text})


def read_states(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return what was given to `save_states`.

    Raises
    ------
    CheckpointError
        When the file is missing, or is not such a file.
    """
    if not os.path.isfile(path):
        raise CheckpointError(f'{path}: no such file; leave out --resume-states to start with a fresh optimizer')
    try:
        arrays = read_arrays(path)
        return arrays, parse_json(arrays.pop(_NUMBERS_KEY).tobytes())
    except OSError as error:
        raise CheckpointError(f'{path}: cannot be read: {error.strerror or error}') from error
    except (KeyError, ValueError) as error:
        raise CheckpointError(f'{path} is not an optimizer state that this package wrote. GluonCV\'s .states files are '
                              f'pickles, which run code when they are loaded, and are not read; '
                              f'leave out --resume-states to start with a fresh optimizer') from error
