"""Models that the project fran6co/epic_kitchens exported: frames of OpenCV in, probabilities out."""
from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...data.preprocess import Preprocess
from ...errors import BundleError
from ...input_kind import CLIPS
from ..bundle.format import check_labels
from ..onnx.header import OnnxHeader, read_header
from ..onnx.model import OnnxModel

_INPUT, _OUTPUT = 'images', 'scores'
_MEAN, _STD = (0.45,) * 3, (0.225,) * 3


@dataclass(frozen=True)
class EpicModel:
    """Such a model, and how its project's test script used it, for `Predictor`.

    Its input is (N, T, H, W, 3), blue first. Frames are resized without a crop, and a window is the last T frames.

    Attributes
    ----------
    path : Path
    preprocess : Preprocess
    labels : list of str or None
    """

    path: Path
    preprocess: Preprocess
    labels: list[str] | None
    session: OnnxModel

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.stem

    def run(self, input: np.ndarray) -> np.ndarray:
        """Compute the logarithms of the probabilities (N, K) for RGB (N, 3, T, H, W)."""
        probabilities = self.session.run(np.ascontiguousarray(input[:, ::-1].transpose(0, 2, 3, 4, 1)))
        return np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))


def is_epic_model(path: str | os.PathLike) -> bool:
    """Whether an ONNX file is such a model, by its input: ``images`` with channels last.

    Raises
    ------
    BundleError
        When it is no ONNX file.
    """
    return _axes(read_header(path)) is not None


def open_epic_model(path: str | os.PathLike, labels: list[str] | None = None, *,
                    threads: int | None = None) -> EpicModel:
    """Open such a model.

    Parameters
    ----------
    path : path
    labels : list of str, optional
        Names of the classes; the file knows none.
    threads : int, optional
        As in `OnnxModel`.

    Raises
    ------
    BundleError
        When it cannot be used, or has another number of classes.
    """
    header = read_header(path)
    length, height, width, _ = _axes(header)
    classes = header.outputs.get(_OUTPUT, [None])[-1]
    labels = check_labels(labels, classes if isinstance(classes, int) else None, 'the file of class names')
    look = Preprocess(layout=CLIPS.layout, offsets=tuple(range(length)), crop=(height, width),
                      resize={'width': width, 'height': height}, mean=_MEAN, std=_STD)
    return EpicModel(Path(path), look, labels, OnnxModel(path, threads=threads, output=_OUTPUT))


def _axes(header: OnnxHeader) -> tuple[int, int, int, int] | None:
    """T, H, W, 3 of the input, or None."""
    axes = header.inputs.get(_INPUT, [])
    if len(header.inputs) != 1 or len(axes) != 5 or axes[4] != 3:
        return None
    if not all(isinstance(length, int) and length > 0 for length in axes[1:]):
        raise BundleError(f'the input {_INPUT} must have fixed lengths but for the first, it has {axes}')
    return tuple(axes[1:])
