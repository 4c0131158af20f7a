#!/usr/bin/env python3
"""Fine-tune a network of clips on actions cut out of Epic-Kitchens; ``--help`` lists the flags."""
import sys

from gluon_action.cli import video_action_classifier
from gluon_action.cli.command import run

if __name__ == '__main__':
    sys.exit(run(video_action_classifier.parse_args, video_action_classifier.main))
