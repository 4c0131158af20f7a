"""Exported networks as the tests of recognisers take them."""
from __future__ import annotations

import os

from ...evaluate.network import Exported
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
    p = bundle.preprocess
    return Exported(OnnxModel(bundle.model).run, bundle.model, bundle.manifest.get('precision', 'float32'),
                    len(p.offsets), p.crop, p.rows, p.layout == 'NCTHW', p.mean, p.std, p.value_range,
                    bundle.num_classes, bundle.labels)
