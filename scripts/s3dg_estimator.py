#!/usr/bin/env python3
"""Train, evaluate, apply and export S3D-G on clips in TFRecords; ``--help`` lists the flags."""
import sys

from gluon_action.cli import clip_estimator
from gluon_action.cli.command import run

if __name__ == '__main__':
    sys.exit(run(clip_estimator.parse_s3dg, clip_estimator.main))
