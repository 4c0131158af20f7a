"""Tests of a network of no time: started in this process, and what they leave."""
import json
import logging
from pathlib import Path

import tiny

from gluon_action.cli import test_recognizer as command
from gluon_action.cli.command import run


def start(*argv):
    """The command; returns its exit code."""
    return run(command.parse_args, command.main, [str(item) for item in argv])


def results_of(folder):
    """Its results, which are UTF-8."""
    return json.loads((Path(folder) / 'results.json').read_bytes().decode('utf-8'))


def warnings_of(caplog):
    """Lines of the log that are warnings."""
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def small(folder, weights, out):
    """Flags of a test of a folder of class folders."""
    return ['--model', tiny.NAME, '--dataset', 'custom', '--data-dir', folder, '--val-list', folder, '--resume-params',
            weights, '--input-size', 32, '--new-height', 48, '--new-width', 64, '-j', 0, '--failure-limit', 1,
            '--save-dir', out]
