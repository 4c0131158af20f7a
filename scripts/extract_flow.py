#!/usr/bin/env python3
"""Extract optical flow of videos; ``--help`` lists the flags."""
import sys

from gluon_action.cli import extract_flow
from gluon_action.cli.command import run

if __name__ == '__main__':
    sys.exit(run(extract_flow.parse_args, extract_flow.main))
