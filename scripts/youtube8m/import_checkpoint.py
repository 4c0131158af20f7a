#!/usr/bin/env python3
"""Make a train_dir of a TensorFlow checkpoint of YouTube-8M; ``--help`` lists the flags."""
import sys

from gluon_action.cli.command import run
from gluon_action.cli.youtube8m import import_checkpoint

if __name__ == '__main__':
    sys.exit(run(import_checkpoint.parse_args, import_checkpoint.main))
