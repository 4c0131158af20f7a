#!/usr/bin/env python3
"""Train a student on labels and a teacher's predictions; ``--help`` lists the flags."""
import sys

from gluon_action.cli.command import run
from gluon_action.cli.youtube8m import train_distill

if __name__ == '__main__':
    sys.exit(run(train_distill.parse_args, train_distill.main))
