"""Read the ``config.json`` that a training run leaves beside its parameters."""
from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from .errors import UsageError
from .files import open_file


def read_run_config(path: str | os.PathLike) -> dict[str, Any] | None:
    """Read the ``config.json`` of the run that `path` belongs to.

    Parameters
    ----------
    path : path
        A file of parameters in a run's folder or in its ``checkpoints``, or a folder inside a run (``--save-dir``
        itself, ``checkpoints`` or one of those). Links are followed, as ``best.params`` is one and may be linked to
        from elsewhere.

    Returns
    -------
    dict or None
        With ``classes`` (list of str, or None), ``num_classes`` and ``clip_stride`` (int, or None), ``config``,
        ``model``, ``lists`` and ``versions`` as the run wrote them. The first three are checked, the others are as
        found. None when nothing is there, it cannot be read, or it is something else of that name.
    """
    run = next(filter(None, map(_run_in, _folders(path))), None)
    return run and {**run, 'classes': _names(run.get('classes')),
                    **{name: _count(run.get(name)) for name in ('num_classes', 'clip_stride')}}


def folder_of_run(path: str | os.PathLike) -> Path | None:
    """Return the folder of the run that `path` belongs to, whose ``config.json`` `read_run_config` reads."""
    return next(filter(_run_in, _folders(path)), None)


def refuse_checkpoint(path: str | os.PathLike) -> None:
    """Refuse the folder of a checkpoint where a run is wanted.

    Raises
    ------
    UsageError
        It holds the state that a training is resumed from: optimizers and averages are files of parameters there too.
    """
    path = Path(path).expanduser()
    if path.is_dir() and (path / 'loop.json').exists() and (path / 'params.params').exists():
        run = folder_of_run(path.parent)
        raise UsageError(f'{path}: is a checkpoint, which --resume continues from; name the folder of the run'
                         + (f', {run}' if run else ''))


def _folders(path: str | os.PathLike) -> list[Path]:
    """Return the folders that may be that of the run."""
    place = Path(path).expanduser()
    try:
        place = place.resolve()
        # A checkpoint lies two folders below the run's, and has a file of this name that is a part of its state.
        folders = [place, *place.parents][:3] if place.is_dir() else [place.parent]
        if place.is_file() and place.parent.name == 'checkpoints':
            folders.append(place.parent.parent)
    except (OSError, RuntimeError):  # RuntimeError: links in a circle
        return []
    return folders


def _run_in(folder: Path) -> dict[str, Any] | None:
    try:
        with open_file(folder / 'config.json') as file:
            run = json.loads(file.read(), parse_float=_finite, parse_constant=_finite)
    except (OSError, ValueError, RecursionError):
        return None
    return run if isinstance(run, dict) and isinstance(run.get('config'), dict) else None


def _finite(text: str) -> float:
    """The number that a text is; no run writes one that is not finite."""
    if not math.isfinite(float(text)):
        raise ValueError(text)
    return float(text)


def _names(value: Any) -> list[str] | None:
    return value if isinstance(value, list) and value and all(isinstance(name, str) for name in value) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
