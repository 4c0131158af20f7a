"""Commands on a run whose network is one of its owner's: they need ``--import``, and say of what."""
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from gluon_action.cli import (
    benchmark_model,
    export,
    extract_features,
    models,
    own_modules,
    predict,
    report,
    test_recognizer,
    train_recognizer,
)
from gluon_action.cli.command import run
from gluon_action.model_zoo import registry
from gluon_action.train import TrainConfig
from gluon_action.train import train_recognizer as train

NETWORKS = """from tiny import Tiny
from gluon_action.model_zoo import ModelCard, register_model
register_model(ModelCard.of_2d('mine_custom', family='Own', dataset='custom', dropout_ratio=0., init_std=0.1))(
    lambda nclass, *, tsn, num_segments, num_crop, consensus, **options: Tiny(nclass, channels=(2, 3), **options))
"""


class Grey:
    """Two classes of grey frames, without a file."""

    classes, num_classes, multi_label, setting, list_sha256 = ['dark', 'light'], 2, False, 'made up', '0' * 64
    samples = [SimpleNamespace(label=n % 2, key=str(n), path=f'/made/{n}', num_frames=1, first=None, last=None)
               for n in range(4)]

    def __len__(self):
        return len(self.samples)

    def load(self, index, *, epoch=0, view=0):
        return np.full((1, 3, 16, 16), index % 2, np.float32), index % 2


def forget():
    for known in (registry._CARDS, registry._BUILDERS):
        known.pop('mine_custom', None)
    sys.modules.pop('my_networks', None)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A run, and the module that registers its network, which nothing has imported."""
    folder = tmp_path_factory.mktemp('own')
    module = folder / 'my_networks.py'
    module.write_text(NETWORKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'path', list(sys.path))
        own_modules.import_modules([str(module)])
        train(TrainConfig(model='mine_custom', input_size=16, batch_size=4, num_epochs=1, num_workers=0,
                          decode_timeout=0, save_dir=str(folder / 'run')), train_set=Grey(), val_set=Grey())
    forget()
    yield folder / 'run', module
    forget()


COMMANDS = {
    'test': (test_recognizer, '{run}'), 'test of a file': (test_recognizer, '{run}/best.params'),
    'predict': (predict, '{run}', '{tmp}/a.mp4'), 'export': (export, '{run}', '--out', '{tmp}/bundle'),
    'extract-features': (extract_features, '{run}', '{tmp}/a.mp4', '--out', '{tmp}/features'),
    'benchmark-model': (benchmark_model, '{run}'), 'publish': (models, 'publish', '{run}', '--out', '{tmp}/published'),
    'train --resume': (train_recognizer, '--resume', '{run}'),
    'train --dry-run': (train_recognizer, '--resume', '{run}', '--dry-run'),
    'train --eval': (train_recognizer, '--resume-params', '{run}/best.params', '--model', 'mine_custom', '--eval')}


@pytest.mark.parametrize('named', COMMANDS)
def test_the_error_names_the_module_to_import(trained, tmp_path, monkeypatch, capsys, named):
    folder, module = trained
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.chdir(tmp_path)
    command, *argv = COMMANDS[named]
    argv = [str(item).format(run=folder, tmp=tmp_path) for item in argv]
    told = f"the zoo has no model 'mine_custom', which is a network of your own; add --import {module}, as config.json"
    assert run(command.parse_args, command.main, argv) == 2
    assert told in capsys.readouterr().err and 'mine_custom' not in registry._CARDS
    try:
        run(command.parse_args, command.main, [*argv, '--import', str(module)])  # or fails for what else is missing
        assert 'the zoo has no model' not in capsys.readouterr().err
    finally:
        forget()


def test_the_page_of_the_run_says_so_too(trained, capsys):
    folder, module = trained
    assert run(report.parse_args, report.main, [str(folder)]) == 0
    assert 'so there are no frames: the zoo has no model' in (told := capsys.readouterr().err)
    assert f'add --import {module}' in told


def test_the_run_is_exported_with_its_module(trained, tmp_path, monkeypatch, capsys):
    pytest.importorskip('onnx')
    folder, module = trained
    monkeypatch.setattr(sys, 'path', list(sys.path))
    try:
        assert run(export.parse_args, export.main, [
            str(folder), '--out', str(tmp_path / 'bundle'), '--import', str(module)]) == 0, capsys.readouterr().err
    finally:
        forget()
    assert (tmp_path / 'bundle').is_dir()


@pytest.mark.parametrize('said', [
    {'name': 'other', 'import': '/x.py'}, {'name': 'mine_custom', 'import': 3}, 'x', None])
def test_a_configuration_that_says_something_else_brings_no_hint(trained, tmp_path, capsys, said):
    about = json.loads((trained[0] / 'config.json').read_text())
    (tmp_path / 'config.json').write_text(json.dumps({**about, 'model': said}))
    (tmp_path / 'best.params').write_bytes((trained[0] / 'best.params').read_bytes())
    assert run(test_recognizer.parse_args, test_recognizer.main, [str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "the zoo has no model 'mine_custom'" in told and '--import' not in told
