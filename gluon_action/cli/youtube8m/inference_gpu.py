"""``scripts/youtube8m/inference_gpu.py``: `inference` on a GPU, or on the CPU where there is none."""
from __future__ import annotations

import argparse

from . import inference
from .inference import build_parser, parse_args

__all__ = ['build_parser', 'main', 'parse_args']


def main(args: argparse.Namespace) -> None:
    """Write the CSV."""
    inference.main(args, gpu=True)
