#!/usr/bin/env python3
"""Make an int8 version of a bundle; ``--help`` lists the flags."""
import sys

from gluon_action.cli import quantize_model
from gluon_action.cli.command import run

if __name__ == '__main__':
    sys.exit(run(quantize_model.parse_args, quantize_model.main))
