#!/usr/bin/env python3
"""Turn your own videos into records of features; ``--help`` lists the flags."""
import sys

from gluon_action.cli.command import run
from gluon_action.cli.youtube8m import extract_features

if __name__ == '__main__':
    sys.exit(run(extract_features.parse_args, extract_features.main))
