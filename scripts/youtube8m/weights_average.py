#!/usr/bin/env python3
"""Average the weights of models of one network; ``--help`` lists the flags."""
import sys

from gluon_action.cli.command import run
from gluon_action.cli.youtube8m import weights_average

if __name__ == '__main__':
    sys.exit(run(weights_average.parse_args, weights_average.main))
