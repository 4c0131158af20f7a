"""The network whose weights are in the package: it works on a fresh machine without a network connection."""
import fnmatch
import hashlib
import re
import socket
import tomllib
from pathlib import Path

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import numpy as np
import pytest

from gluon_action.cli.main import main
from gluon_action.compute.on_mxnet.tracing import run
from gluon_action.data.demo.make import make_demo, render_motion
from gluon_action.deploy.bundle.what_is_exported import open_source
from gluon_action.errors import WeightsError
from gluon_action.model_zoo import get_model, model_card
from gluon_action.weights import fetch, read_index

ROOT = Path(__file__).parents[2]
NAME = 's3dg_small_demo_motion'
SEED = 77  # of no video that it was trained or tested on


@pytest.fixture
def fresh_machine(tmp_path, monkeypatch):
    """An empty home, and no way out."""
    def refused(self, address):
        raise AssertionError(f'a connection to {address}')

    monkeypatch.setattr(socket.socket, 'connect', refused)
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    for name in ('MXNET_HOME', 'GLUON_ACTION_INDEX', 'GLUON_ACTION_REPO', 'GLUON_ACTION_OFFLINE'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_names_the_direction_and_the_speed_of_clips_that_are_one_set_of_pictures(fresh_machine):
    net = get_model(NAME, pretrained=True)
    preprocess = open_source(NAME, use_pretrained=True).preprocess
    frames, answers, backwards = len(preprocess.offsets), [], []
    for clip in range(6):
        for label in range(4):
            video = render_motion(np.random.default_rng((SEED, clip)), label, 24, 128, 96)
            answers.append(run(net, preprocess.apply(video[:frames])).argmax() == label)
            turned = {name: number for number, name in enumerate(net.classes)}[
                re.sub('Down|Up', lambda word: {'Down': 'Up', 'Up': 'Down'}[word[0]], net.classes[label])]
            backwards.append(run(net, preprocess.apply(video[:frames][::-1])).argmax() == turned)
    assert np.mean(answers) >= 0.95 and np.mean(backwards) >= 0.95
    assert not (fresh_machine / 'home').exists(), 'nothing is copied out of the package'


def test_its_file_is_told_to_be_in_the_package_and_refused_where_it_is_damaged(fresh_machine, capsys, caplog,
                                                                               monkeypatch):
    row, = read_index().rows_of(NAME)
    assert main(['models', 'info', NAME]) == 0 and 'in the package)' in capsys.readouterr().out
    with caplog.at_level('INFO'):
        assert main(['models', 'download', NAME]) == 0
    assert Path(capsys.readouterr().out.splitlines()[-1]).parent == fetch.PACKAGED
    assert 'from the package;' in caplog.text
    monkeypatch.setattr(fetch, 'PACKAGED', fresh_machine)
    with pytest.raises(WeightsError, match='is not the file that belongs there .*; install the package again'):
        fetch.fetch(row)


def test_predict_names_the_class_of_a_video(fresh_machine, capsys):
    demo = make_demo('demo_motion', 'demo', seed=SEED, train_per_class=1, val_per_class=1)
    videos = [str(demo.video_dir / name / f'v_{name}_g01_c01.mp4') for name in demo.classes]
    assert main(['predict', NAME, *videos, '--use-pretrained']) == 0
    said = re.findall(r'(\w+)\.mp4: (\w+) \(', capsys.readouterr().out)
    assert said == [(f'v_{name}_g01_c01', name) for name in demo.classes]


def test_the_lines_of_the_readme_run(fresh_machine, capsys):
    blocks = re.findall(r'^```python\n(.*?)^```', (ROOT / 'README.md').read_text(), re.MULTILINE | re.DOTALL)
    lines = next(block for block in blocks if NAME in block)
    exec(compile(lines, 'README.md', 'exec'), {})
    assert 'ScrollUpFast' in capsys.readouterr().out


def test_its_file_is_small_and_its_row_whole():
    row, = read_index().rows_of(NAME)
    file, = row.files
    path = ROOT / 'gluon_action' / 'weights' / 'files' / file.name
    content = path.read_bytes()
    assert len(content) == file.bytes < 3e6
    assert file.digest == f'sha256:{hashlib.sha256(content).hexdigest()}'
    assert row.licence == 'Apache-2.0' and row.top1 >= 95
    assert model_card(NAME).labels() == sorted(model_card(NAME).labels()) and len(model_card(NAME).labels()) == 4


def test_its_classes_are_those_of_the_generated_videos(demo_motion):
    assert model_card(NAME).labels() == list(demo_motion.classes)


def test_every_file_that_an_address_names_goes_into_the_wheel():
    project = tomllib.loads((ROOT / 'pyproject.toml').read_text())
    patterns = project['tool']['setuptools']['package-data']['gluon_action']
    named = [url.removeprefix('package://') for row in read_index().rows for file in row.files for url in file.urls
             if url.startswith('package://')]
    assert named
    for name in named:
        assert (ROOT / 'gluon_action' / 'weights' / 'files' / name).is_file()
        assert any(fnmatch.fnmatch(f'weights/files/{name}', pattern) for pattern in patterns)
