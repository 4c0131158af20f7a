#!/usr/bin/env python3
"""Write the tags of videos as a CSV; ``--help`` lists the flags."""
import sys

from gluon_action.cli.command import run
from gluon_action.cli.youtube8m import inference

if __name__ == '__main__':
    sys.exit(run(inference.parse_args, inference.main))
