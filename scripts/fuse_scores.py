#!/usr/bin/env python3
"""Fuse the scores of several tests; ``--help`` lists the flags."""
import sys

from gluon_action.cli import fuse_scores
from gluon_action.cli.command import run

if __name__ == '__main__':
    sys.exit(run(fuse_scores.parse_args, fuse_scores.main))
