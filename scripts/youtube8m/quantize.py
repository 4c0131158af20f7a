#!/usr/bin/env python3
"""Make a stored model smaller: 8 bits a weight; ``--help`` lists the flags."""
import sys

from gluon_action.cli.command import run
from gluon_action.cli.youtube8m import quantize

if __name__ == '__main__':
    sys.exit(run(quantize.parse_args, quantize.main))
