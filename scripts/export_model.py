#!/usr/bin/env python3
"""Export a network as an ONNX bundle; ``--help`` lists the flags."""
import sys

from gluon_action.cli import export
from gluon_action.cli.command import run

if __name__ == '__main__':
    sys.exit(run(export.parse_args, export.main))
