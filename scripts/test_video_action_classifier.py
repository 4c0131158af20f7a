#!/usr/bin/env python3
"""Run an exported classifier over a video; ``--help`` lists the flags."""
import sys

from gluon_action.cli import test_video_action_classifier
from gluon_action.cli.command import run

if __name__ == '__main__':
    sys.exit(run(test_video_action_classifier.parse_args, test_video_action_classifier.main))
