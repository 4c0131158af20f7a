#!/usr/bin/env python3
"""Check Something-Something and write its lists; ``--help`` lists the flags."""
import sys

from gluon_action.cli import prepare_something_something
from gluon_action.cli.command import run

if __name__ == '__main__':
    sys.exit(run(prepare_something_something.parse_args, prepare_something_something.main))
