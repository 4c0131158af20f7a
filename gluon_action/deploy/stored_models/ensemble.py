"""Several stored models as one: their probabilities added up by weights that sum to one, in one pair of files."""
from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...data.tfrecords.features.origin import common_origin
from ...errors import UsageError
from ...files import new_folder
from ...model_zoo.frame_features.stored.prefix import NAME, files_of
from ...model_zoo.frame_features.stored.reading import read_stored
from ...model_zoo.frame_features.stored.writing import check_common, check_weights, write_stored


@dataclass(frozen=True)
class Part:
    """What a model contributes to an ensemble, and costs.

    Attributes
    ----------
    prefix : Path
    model : str
        Name of its network; of several, how many there are.
    weight : float
    parameters, nbytes : int
        Numbers, and bytes of the file that they take.
    """

    prefix: Path
    model: str
    weight: float
    parameters: int
    nbytes: int

    @property
    def bits(self) -> float:
        """Bits of a number in the mean."""
        return 8 * self.nbytes / self.parameters if self.parameters else 0.0


def combine(models: Sequence[str | os.PathLike], save_folder: str | os.PathLike,
            weights: Sequence[float] | None = None, *, max_model_bytes: int | None = None) -> list[Part]:
    """Write stored models as one.

    Quantized ones stay so. A model that is an ensemble itself is taken apart, with its weights times its own.

    Parameters
    ----------
    models : sequence of path
        Prefixes or train_dirs, 2 or more.
    save_folder : path
        Folder of the new model, ``inference_model``; it must not exist.
    weights : sequence of float, optional
        One for each model, which sum to one; equal ones by default.
    max_model_bytes : int, optional
        Bytes that the file of parameters may have at most.

    Returns
    -------
    list of Part
        One for each model.

    Raises
    ------
    UsageError
        When there is one model only, weights are not as many or do not sum to one, models take other inputs or score
        other classes, the result is too large, or the folder exists.
    WeightsError
        When a model cannot be read.
    OutputError
        When the folder cannot be written.
    """
    if len(models) < 2:
        raise UsageError(f'--models: name two or more, got {len(models)}')
    weights = check_weights(weights, len(models))
    folder = Path(save_folder).expanduser()
    if folder.exists() or folder.is_symlink():
        raise UsageError(f'--save_folder {folder}: exists; name another folder')
    stored = [read_stored(model, '--models') for model in models]
    check_common(stored[0].architecture, [model.architecture for model in stored],
                 [f'--models {model.prefix}' for model in stored])
    features = common_origin((f'--models {model.prefix}', model.origin) for model in stored)
    parts = [Part(model.prefix, model.members[0].architecture.model if len(model.members) == 1 else
                  f'{len(model.members)} networks', weight, sum(member.count for member in model.members),
                  sum(member.nbytes for member in model.members)) for model, weight in zip(stored, weights)]
    members = [(member, weight * member.weight) for model, weight in zip(stored, weights) for member in model.members]
    with new_folder(folder) as part:
        prefix = write_stored(
            part / NAME, [(member.architecture, member.arrays) for member, _ in members],
            [weight for _, weight in members],
            about={'features': features, 'from': [{
                'prefix': str(model.prefix), 'sha256': model.sha256, 'weight': weight, **(
                {'quantized': model.about.get('quantized', True)} if model.quantized else {})}
                for model, weight in zip(stored, weights)]})
        size = files_of(prefix)[0].stat().st_size
        if max_model_bytes is not None and size > max_model_bytes:
            raise UsageError(f'--max_model_bytes: together the models have {size:,} bytes, {size - max_model_bytes:,} '
                             f'more than the {max_model_bytes:,} allowed; leave one out, or quantize what is not:\n'
                             + costs(parts))
        stored[-1].architecture.write(part)
    return parts


def costs(parts: Sequence[Part]) -> str:
    """Return a table of what each part costs, and all together."""
    total = Part(Path('together'), '', sum(part.weight for part in parts), sum(part.parameters for part in parts),
                 sum(part.nbytes for part in parts))
    rows = [('weight', 'parameters', 'bits', 'bytes', 'share', 'model')]
    rows += [(f'{part.weight:.4f}', f'{part.parameters:,}', f'{part.bits:.1f}', f'{part.nbytes:,}',
              f'{part.nbytes / max(1, total.nbytes):.1%}', f'{part.model} {part.prefix}'.strip())
             for part in [*parts, total]]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return '\n'.join('  '.join([*(cell.rjust(width) for cell, width in zip(row[:-1], widths)), row[-1]])
                     for row in rows)
