#!/usr/bin/env python3
"""Score one video by I3D's streams; ``--help`` lists the flags."""
import sys

from gluon_action.cli import evaluate_sample
from gluon_action.cli.command import run

if __name__ == '__main__':
    sys.exit(run(evaluate_sample.parse_args, evaluate_sample.main))
