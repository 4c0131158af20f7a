#!/usr/bin/env python3
"""Time models and count what they cost; ``--help`` lists the flags."""
import sys

from gluon_action.cli import benchmark_model
from gluon_action.cli.command import run

if __name__ == '__main__':
    sys.exit(run(benchmark_model.parse_args, benchmark_model.main))
