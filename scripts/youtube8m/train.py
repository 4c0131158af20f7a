#!/usr/bin/env python3
"""Train a network on YouTube-8M's features; ``--help`` lists the flags."""
import sys

from gluon_action.cli.command import run
from gluon_action.cli.youtube8m import train

if __name__ == '__main__':
    sys.exit(run(train.parse_args, train.main))
