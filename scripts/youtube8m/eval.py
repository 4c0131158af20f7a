#!/usr/bin/env python3
"""Write the model of a YouTube-8M run, and score it; ``--help`` lists the flags."""
import sys

from gluon_action.cli.command import run
from gluon_action.cli.youtube8m import eval

if __name__ == '__main__':
    sys.exit(run(eval.parse_args, eval.main))
