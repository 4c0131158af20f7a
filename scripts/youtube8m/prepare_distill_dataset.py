#!/usr/bin/env python3
"""Write a set with a teacher's predictions, to train a student on; ``--help`` lists the flags."""
import sys

from gluon_action.cli.command import run
from gluon_action.cli.youtube8m import prepare_distill_dataset

if __name__ == '__main__':
    sys.exit(run(prepare_distill_dataset.parse_args, prepare_distill_dataset.main))
