#!/usr/bin/env python3
"""Score an action recogniser; ``--help`` lists the flags."""
import sys

from gluon_action.cli import test_recognizer
from gluon_action.cli.command import run

if __name__ == '__main__':
    sys.exit(run(test_recognizer.parse_args, test_recognizer.main))
