#!/usr/bin/env python3
"""Train an action recogniser; ``--help`` lists the flags."""
import sys

from gluon_action.cli import train_recognizer
from gluon_action.cli.command import run

if __name__ == '__main__':
    sys.exit(run(train_recognizer.parse_args, train_recognizer.main))
