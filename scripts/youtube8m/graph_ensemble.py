#!/usr/bin/env python3
"""Combine stored models into one; ``--help`` lists the flags."""
import sys

from gluon_action.cli.command import run
from gluon_action.cli.youtube8m import graph_ensemble

if __name__ == '__main__':
    sys.exit(run(graph_ensemble.parse_args, graph_ensemble.main))
