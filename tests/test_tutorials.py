"""What a tutorial says that it shows is true of what it computes, and every one has pictures."""
import os
import runpy
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from gluon_action.model_zoo import registry

DOCS = Path(__file__).parents[1] / 'docs'
sys.path.insert(0, str(DOCS / 'ext'))


def taught(page):
    assert max(page['accuracies']) >= 0.9 and 'rising' in str(page['video'])


def exported(page):
    assert page['video'].parent.name in page['answer'] and page['by_onnx'].label == page['video'].parent.name
    assert page['difference'] < 1e-4


def scored(page):
    assert page['usual']['top1'] == 1 and page['usual']['n_scored'] == 32
    assert 0.3 < page['slow']['top1'] < 0.8
    assert page['views']['protocol']['views'] == '3x3'


def wrong(page):
    assert page['wrong'].sum() > 6 and page['shares']['direction'] == 1 and page['shares']['speed'] < 0.8
    assert page['sure'][page['wrong']].mean() > 0.8


def segmented(page):
    assert [segment[2] for segment in page['segments']] == page['happens']
    assert page['right'] > 0.75 * len(page['windows'])


def two_streams(page):
    top1 = page['top1']
    assert max(top1['rgb'], top1['flow']) <= 0.65 and top1['both'] >= 0.9


def featured(page):
    assert page['accuracy'] > 0.6


def transformed(page):
    assert max(page['accuracies']) >= 0.9


CHECKS = {'own_folder': taught, 'export_without_mxnet': exported, 'test_and_report': scored, 'what_is_wrong': wrong,
          'predict_segments': segmented, 'two_streams': two_streams, 'features_and_a_classifier': featured,
          'timesformer_clips': transformed}


@pytest.fixture
def zoo_as_it_was():
    cards, builders = dict(registry._CARDS), dict(registry._BUILDERS)
    yield
    registry._CARDS.clear()
    registry._CARDS.update(cards)
    registry._BUILDERS.clear()
    registry._BUILDERS.update(builders)


@pytest.mark.slow
@pytest.mark.parametrize('name', CHECKS)
def test_a_tutorial_shows_what_it_says(name, tmp_path, monkeypatch, zoo_as_it_was):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    plt.close('all')
    page = runpy.run_path(str(DOCS / 'tutorials' / f'{name}.py'))
    CHECKS[name](page)
    assert plt.get_fignums() or page.get('pictures')
    assert all(os.path.getsize(picture) for picture in page.get('pictures', ()))
    plt.close('all')


def test_every_tutorial_has_a_place_in_the_gallery():
    text = (DOCS / 'ext' / 'gallery.py').read_text()
    found = {path.stem for path in (DOCS / 'tutorials').glob('*.py')}
    assert all(f"'{name}'" in text for name in found)
    assert len(found) >= 8
