"""A file of parameters tells the classes of the run it comes from."""
from __future__ import annotations

import json

import pytest

from gluon_action.run_config import read_run_config

ABOUT = {'config': {'model': 'x'}, 'classes': ['run', 'swim'], 'num_classes': 2, 'clip_stride': None}


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / 'run'
    (folder / 'checkpoints' / 'step-3').mkdir(parents=True)
    (folder / 'config.json').write_text(json.dumps(ABOUT))
    (folder / 'checkpoints' / 'step-3' / 'config.json').write_text(json.dumps(ABOUT['config']))
    for place in (folder, folder / 'checkpoints'):
        (place / 'x-000.params').write_bytes(b'')
    return folder


def test_parameters_checkpoints_and_the_folder_itself_lead_to_the_run(run):
    inside = ('x-000.params', 'checkpoints/x-000.params', 'checkpoints/step-3', 'checkpoints')
    for path in (*(run / name for name in inside), run, str(run)):
        assert read_run_config(path) == ABOUT


def test_a_link_from_elsewhere_leads_to_the_run(run, tmp_path):
    (tmp_path / 'mine.params').symlink_to(run / 'x-000.params')
    assert read_run_config(tmp_path / 'mine.params') == ABOUT


def test_parameters_without_a_run_have_no_configuration(tmp_path):
    assert read_run_config(tmp_path / 'absent' / 'x.params') is None


@pytest.mark.parametrize('junk', [b'', b'\xff\xfe', b'[1]', b'{"a": 1}', b'{"config": 3}', b'[' * 100000])
def test_another_file_of_that_name_is_not_a_configuration(tmp_path, junk):
    (tmp_path / 'config.json').write_bytes(junk)
    assert read_run_config(tmp_path / 'x.params') is None


def test_classes_that_are_not_names_are_none(run):
    (run / 'config.json').write_text(json.dumps({**ABOUT, 'classes': [1], 'num_classes': True}))
    about = read_run_config(run / 'x-000.params')
    assert about['classes'] is None and about['num_classes'] is None


def test_links_in_a_circle_have_no_configuration(tmp_path):
    (tmp_path / 'a.params').symlink_to(tmp_path / 'a.params')
    assert read_run_config(tmp_path / 'a.params') is None
