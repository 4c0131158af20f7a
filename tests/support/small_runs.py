"""Trainings of a network of no time: their flags, started in this process, and what they leave."""
import json

import tiny
from loops import arrays_of

from gluon_action.cli import train_recognizer as command
from gluon_action.cli.command import run
from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir


def flags_of_run(data):
    """The flags of a small run of 6 updates an epoch on `demo_appearance`; later ones override earlier ones."""
    return ['--model', tiny.OF_RUNS, '--dataset', 'custom', '--data-dir', data.video_dir,
            '--train-list', data.train_list, '--val-list', data.val_list,
            '--no-pretrained-base', '--use-tsn', '--num-segments', 3, '--input-size', 32, '--batch-size', 4,
            '--num-epochs', 2, '--lr', 0.01, '-j', 0, '--log-interval', 1]


def texts(flags):
    """Flags, and lists of them, as a flat list of texts."""
    return [str(item) for part in flags for item in (part if isinstance(part, list) else [part])]


def here(*flags):
    """The command in this process; returns its exit code."""
    return run(command.parse_args, command.main, texts(flags))


def slowly(pause, *flags):
    """The command, for a copy of this process that is stopped: it waits so many seconds before each batch."""
    tiny.pause_before_batches(pause)
    return here(*flags)


def arrays_of_run(folder):
    """All arrays of the newest checkpoint of a run, by part and key."""
    return arrays_of(CheckpointDir(folder / 'checkpoints').load_latest().state)


def lines_of_json(path):
    """The objects of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]
