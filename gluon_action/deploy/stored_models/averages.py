"""The mean of the weights of several models of one network: of checkpoints of a training, or of stored models."""
from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...data.tfrecords.features.origin import common_origin
from ...errors import UsageError
from ...feature_architecture import Architecture
from ...files import new_folder
from ...model_zoo.frame_features.stored.prefix import NAME
from ...model_zoo.frame_features.stored.reading import read_stored
from ...model_zoo.frame_features.stored.writing import write_stored
from ...train.run.folder.checkpoint import read_checkpoint

_FLAG = '--models'


def average_models(models: Sequence[str | os.PathLike], save_folder: str | os.PathLike) -> Path:
    """Write the uniform mean of the parameters, running statistics included, of models of one network.

    Parameters
    ----------
    models : sequence of path
        1 or more: prefixes of stored models, train_dirs, or checkpoints of a training, as in
        ``TRAIN_DIR/checkpoints/step-00001000``.
    save_folder : path
        Folder of the new model, ``inference_model``; it must not exist.

    Returns
    -------
    Path
        The new model's prefix.

    Raises
    ------
    UsageError
        When the folder exists, a model is quantized or an ensemble, or networks differ, or what their
        features came through.
    WeightsError, CheckpointError
        When a model cannot be read.
    OutputError
        When the folder cannot be written.
    """
    folder = Path(save_folder).expanduser()
    if folder.exists() or folder.is_symlink():
        raise UsageError(f'--save_folder {folder}: exists; name another folder')
    if not models:
        raise UsageError(f'{_FLAG}: name one model or more')
    first, sums, origin = _read(models[0])
    origins = [(f'{_FLAG} {models[0]}', origin)]
    sums = {key: array.astype(np.float64) for key, array in sums.items()}
    for model in models[1:]:
        architecture, arrays, origin = _read(model)
        origins.append((f'{_FLAG} {model}', origin))
        _check_same(model, architecture, models[0], first)
        for key, total in sums.items():
            total += arrays[key]
    features = common_origin(origins)
    means = {key: (total / len(models)).astype(np.float32) for key, total in sums.items()}
    with new_folder(folder) as part:
        write_stored(part / NAME, [(first, means)], about={
            'mean_of': [str(model) for model in models], 'features': features})
        first.write(part)
    return folder / NAME


def _read(model: str | os.PathLike) -> tuple[Architecture, dict[str, np.ndarray], dict[str, Any]]:
    path = Path(model).expanduser()
    if path.name.startswith('step-') and path.is_dir():
        state = read_checkpoint(path)[1]
        return Architecture.read(path.parent.parent), state['params'], state.get('features') or {}
    stored = read_stored(path, _FLAG)
    member = stored.single(_FLAG)
    return member.architecture, member.arrays, stored.origin


def _check_same(model: str | os.PathLike, architecture: Architecture, other: str | os.PathLike,
                first: Architecture) -> None:
    here, there = architecture.to_json(), first.to_json()
    wrong = [f'{name}={value!r} and not {there[name]!r}' for name, value in here.items() if value != there[name]]
    if wrong:
        raise UsageError(f'{_FLAG} {model}: is another network than {other}: it has {", ".join(wrong)}; the mean of '
                         'weights makes sense for one network only, graph_ensemble adds up what networks say')
