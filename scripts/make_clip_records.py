#!/usr/bin/env python3
"""Make TFRecords of clips from annotated videos; ``--help`` lists the flags."""
import sys

from gluon_action.cli import make_clip_records
from gluon_action.cli.command import run

if __name__ == '__main__':
    sys.exit(run(make_clip_records.parse_args, make_clip_records.main))
