"""The examples of the README run as they are printed, and leave what it says."""
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gluon_action.cli.main import main

ROOT = Path(__file__).parents[1]
EXAMPLES = (ROOT / 'README.md').read_text().split('## Five examples\n')[1].split('\n## ')[0]


@pytest.fixture(scope='module')
def ran(tmp_path_factory):
    """The folder in which all commands ran, and what they printed."""
    folder = tmp_path_factory.mktemp('readme')
    commands = [line for block in re.findall(r'^```sh\n(.*?)^```', EXAMPLES, re.MULTILINE | re.DOTALL)
                for line in block.replace('\\\n', ' ').splitlines()]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv('MXNET_HOME', str(folder / 'home'))
        for command in commands:
            program, *argv = shlex.split(command)
            assert program == 'gluon-action' and main(argv) == 0, command
    return folder, commands


def test_there_are_five_examples():
    assert len(re.findall(r'^```(?:sh|python)$', EXAMPLES, re.MULTILINE)) == 5


@pytest.mark.parametrize('target', ['setup', 'demo'])
def test_make_installs_what_the_readme_does_and_its_examples_need(target):
    printed = subprocess.run(['make', '-n', '-B', target, 'VENV=none', f'PYTHON={sys.executable}'], cwd=ROOT,
                             capture_output=True, text=True, check=True).stdout
    made, = set(re.findall(r"-e '.\[([\w,]+)\]'", printed))
    told = re.search(r"pip install .*-e '.\[([\w,]+)\]'", (ROOT / 'README.md').read_text())[1]
    assert made == told and {'cpu', 'onnx'} <= {*made.split(',')}


@pytest.mark.parametrize('name', [
    'labelled.mp4', 'timeline.png', 'seen.json', 'runs/mine/history.png', 'runs/mine/best.params',
    'runs/mine/config.json', 'runs/mine/checkpoints', 'runs/mine/test/results.json',
    'runs/mine/test/confusion_matrix.png', 'bundles/mine/model.onnx'])
def test_the_commands_run_and_leave_what_the_text_says(ran, name):
    path = ran[0] / name
    assert path.is_dir() or path.stat().st_size


@pytest.mark.parametrize('target', re.findall(r'\]\(([^)#]+)', (ROOT / 'README.md').read_text()))
def test_what_the_readme_links_to_is_there(target):
    assert (ROOT / target).exists()
