"""Exported networks as the tests of recognisers take them."""
from __future__ import annotations

import os

from ...evaluate.exported import Exported
from ..onnx.model import OnnxModel
from .format import read_bundle


def open_exported(path: str | os.PathLike) -> Exported:
    """Open a bundle to score views with.

    Raises
    ------
    BundleError
        When it cannot be read.
    """
    bundle = read_bundle(path)
    return Exported(OnnxModel(bundle.model).run, bundle.model, bundle.manifest.get('precision', 'float32'),
                    bundle.preprocess, bundle.num_classes, bundle.labels)
