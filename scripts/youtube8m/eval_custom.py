#!/usr/bin/env python3
"""Score a stored model; ``--help`` lists the flags."""
import sys

from gluon_action.cli.command import run
from gluon_action.cli.youtube8m import eval_custom

if __name__ == '__main__':
    sys.exit(run(eval_custom.parse_args, eval_custom.main))
