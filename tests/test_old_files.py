"""What earlier versions wrote still loads: a run with its checkpoint, parameters, and the bundle that was made of it.

``data/version_0_1.tar.xz`` was written by version 0.1 of November 2026: a small TimeSformer whose weights are all 0.01,
so that they take no room, trained for an epoch on demo_motion at a rate that changes nothing.
"""
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from gluon_action.cli.main import main
from gluon_action.data.demo.make import make_demo
from gluon_action.deploy.bundle.format import read_bundle, verify
from gluon_action.train.run.folder.checkpoint import read_checkpoint

TRAIN = ('train', '--dataset', 'demo_motion', '--data-dir', 'videos', '--model', 'timesformer_small_custom',
         '--no-pretrained-base', '--new-length', '2', '--input-size', '32', '--data-aug', 'v3', '--new-height', '32',
         '--new-width', '40', '--flip-prob', '0', '--batch-size', '4', '--lr', '1e-30', '--momentum', '0.9', '-j', '0',
         '--resume-params', 'start.params', '--save-dir', 'run', '--save-frequency', '1')


@pytest.fixture
def old(tmp_path, monkeypatch):
    with tarfile.open(Path(__file__).parent / 'data' / 'version_0_1.tar.xz') as archive:
        # Debian 12's Python 3.11.2 has no filters yet.
        archive.extractall(tmp_path, **({'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_old_bundle_is_read_and_gives_its_scores(old):
    bundle = read_bundle('bundle')
    assert bundle.labels == ['ScrollDownFast', 'ScrollDownSlow', 'ScrollUpFast', 'ScrollUpSlow']
    assert bundle.preprocess.layout == 'NCTHW' and bundle.preprocess.crop == (32, 32)
    assert verify('bundle').ok


def test_an_old_checkpoint_is_read(old):
    step, state = read_checkpoint('run/checkpoints/step-00000002')
    assert step == 2 and all((np.asarray(value.asnumpy() if hasattr(value, 'asnumpy') else value) == np.float32(0.01))
                             .all() for value in state['params'].values())


def test_an_old_run_is_resumed_tested_and_exported(old, capsys):
    make_demo('demo_motion', old / 'videos', train_per_class=2, val_per_class=1, size=48, num_frames=8)
    resumed = [*(word for word in TRAIN if word not in ('--resume-params', 'start.params')), '--num-epochs', '2',
               '--resume', 'auto']
    assert main(resumed) == 0
    epochs = [record['epoch'] for record in map(json.loads, open('run/metrics.jsonl')) if record.get('kind') == 'epoch']
    assert epochs == [0, 1]
    assert json.loads(Path('run/config.json').read_text())['config']['schedule_rule'] == 'gluoncv'  # as it began
    assert main(['export', 'run', '--out', 'new']) == 0 and verify('new').ok
    assert read_bundle('new').preprocess == read_bundle('bundle').preprocess
