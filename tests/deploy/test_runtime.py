"""Predicting where nothing but numpy, a decoder and ONNX Runtime is installed."""
import json
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from bundles import make_bundle
from videos import write_video

from gluon_action.deploy.predict.predictor import Predictor

ROOT = Path(__file__).parents[2]

#: Refuses to import whatever is neither Python's own nor allowed; ONNX Runtime may import what it needs itself.
BARE = """
import sys
ALLOWED = {'numpy', 'onnxruntime', 'av', 'gluon_action', *sys.stdlib_module_names}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ALLOWED:
            return None
        frame = sys._getframe(1)
        while frame:
            if frame.f_globals.get('__name__', '').split('.')[0] == 'onnxruntime':
                return None
            frame = frame.f_back
        raise ImportError(f'{name} is not installed here')

sys.meta_path.insert(0, Refuse())
"""


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runtime')
    frames = np.random.default_rng(0).integers(0, 256, (4, 10, 12, 3), 'uint8')  # of a size that is not resized
    make_bundle(folder / 'bundle', frames=frames)
    write_video(folder / 'a.mp4', 30)
    return folder


def bare(place, code):
    answer = subprocess.run([sys.executable, '-c', BARE + code], capture_output=True, text=True, cwd=ROOT,
                            env={'PATH': '/usr/bin', 'OMP_NUM_THREADS': '1', 'HOME': str(place)})
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_the_predictor_runs_on_numpy_a_decoder_and_onnx_runtime_alone(place):
    told = bare(place, f"""
from gluon_action.deploy.predict.predictor import Predictor
found = Predictor({str(place / 'bundle')!r})({str(place / 'a.mp4')!r})
import json
print(json.dumps([found.label, found.probabilities.tolist(), sorted(set(map(lambda name: name.split('.')[0],
      sys.modules)) & {{'mxnet', 'gluoncv', 'cv2', 'PIL', 'matplotlib', 'tqdm', 'onnx', 'scipy'}})]))
""")
    label, probabilities, loaded = json.loads(told)
    found = Predictor(place / 'bundle')(place / 'a.mp4')
    assert label == found.label and loaded == []
    assert probabilities == pytest.approx(found.probabilities.tolist(), abs=0.01)  # resized without OpenCV


def test_the_commands_run_there(place):
    told = bare(place, f"""
from gluon_action.cli.main import main
assert main(['verify', {str(place / 'bundle')!r}]) == 0
assert main(['predict', {str(place / 'bundle')!r}, {str(place / 'a.mp4')!r}, '--json', {str(place / 'o.json')!r}]) == 0
assert main(['predict', {str(place / 'bundle')!r}, {str(place / 'a.mp4')!r}, '--overlay',
             {str(place / 'o.mp4')!r}]) == 2
assert main(['extract-features', {str(place / 'bundle')!r}, {str(place / 'a.mp4')!r}, '--out',
             {str(place / 'features')!r}]) == 0
assert main(['predict', {str(place / 'bundle')!r}, {str(place / 'a.mp4')!r}, '--timeline',
             {str(place / 'o.png')!r}]) == 2
assert main(['predict', 'i3d_resnet50_v1_kinetics400', {str(place / 'a.mp4')!r}, '--use-pretrained']) == 2
""")
    assert 'OK' in told and '8 windows' in told
    assert json.loads((place / 'o.json').read_text())['videos'][0]['label']
    assert (place / 'features' / 'a.npz').is_file()


def test_what_is_missing_is_named_with_its_cure(place):
    told = bare(place, f"""
from gluon_action.errors import UsageError
from gluon_action.deploy.predicted.overlay import Overlay
from gluon_action.deploy.predicted.timeline import import_matplotlib
from gluon_action.deploy.predict.open_predictor import open_predictor
ALLOWED.discard('onnxruntime')
from gluon_action.deploy.predict.predictor import Predictor
for attempt in (lambda: Overlay(['o.mp4']), import_matplotlib, lambda: Predictor({str(place / 'bundle')!r}),
                lambda: open_predictor('i3d_resnet50_v1_kinetics400', use_pretrained=True)):
    try:
        attempt()
    except UsageError as error:
        print(error)
""")
    lines = told.splitlines()
    assert [line.split('pip install ')[1].split("'")[1] for line in lines] == [
        'gluon_action[pictures]', 'gluon_action[pictures]', 'gluon_action[runtime]', 'gluon_action[cpu]']


@pytest.mark.slow
def test_a_bare_environment_predicts(place, tmp_path, as_found):
    """``pip install .[runtime]`` into a new environment, as on a machine that only runs exported models."""
    venv.create(tmp_path / 'env', with_pip=True)
    python = tmp_path / 'env' / 'bin' / 'python'
    done = subprocess.run([python, '-m', 'pip', 'install', '-q', f'{ROOT}[runtime]'], env=as_found, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    listed = subprocess.run([python, '-m', 'pip', 'list', '--format', 'json'], capture_output=True, text=True)
    names = {entry['name'].lower() for entry in json.loads(listed.stdout)}
    assert {'numpy', 'av', 'onnxruntime', 'gluon_action'} <= {name.replace('-', '_') for name in names}
    assert not names & {'mxnet', 'gluoncv', 'opencv-python-headless', 'matplotlib', 'pillow', 'tqdm', 'onnx'}
    command = tmp_path / 'env' / 'bin' / 'gluon-action'
    for argv in (['verify', place / 'bundle'],
                 ['predict', place / 'bundle', place / 'a.mp4', '--json', tmp_path / 'o.json']):
        answer = subprocess.run([command, *map(str, argv)], capture_output=True, text=True, cwd=tmp_path)
        assert answer.returncode == 0, answer.stderr
    found = json.loads((tmp_path / 'o.json').read_text())['videos'][0]
    expected = Predictor(place / 'bundle')(place / 'a.mp4')
    assert found['label'] == expected.label
    assert found['probabilities'] == pytest.approx(expected.probabilities.tolist(), abs=0.01)
