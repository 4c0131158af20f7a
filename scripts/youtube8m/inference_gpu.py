#!/usr/bin/env python3
"""Write the tags of videos as a CSV, on a GPU; ``--help`` lists the flags."""
import sys

from gluon_action.cli.command import run
from gluon_action.cli.youtube8m import inference_gpu

if __name__ == '__main__':
    sys.exit(run(inference_gpu.parse_args, inference_gpu.main))
