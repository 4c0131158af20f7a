"""Models that other packages bring by entry points."""
import sys

import pytest

from gluon_action.cli import check_data
from gluon_action.cli.command import run
from gluon_action.errors import ModelError
from gluon_action.model_zoo import installed_models, list_models, model_card, registry

MODULE = """
from gluon_action.model_zoo import ModelCard, list_models, register_model

assert list_models('s3dg*')         # which looks for installed models, as this one is

@register_model(ModelCard.of_2d('{name}', family='Outside', dataset='custom', dropout_ratio=0., init_std=0.1))
def build(nclass, *, tsn, num_segments, num_crop, consensus, **options):
    raise AssertionError('not built here')
"""


def install(folder, package, *, content=MODULE, name='outside_custom', point='models'):
    """What pip leaves of a package that declares an entry point."""
    module = package.replace('-', '_')
    about = folder / f'{module}-1.2.dist-info'
    about.mkdir(parents=True)
    (about / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n')
    (about / 'entry_points.txt').write_text(f'[{installed_models.GROUP}]\n{point} = {module}\n')
    (folder / f'{module}.py').write_text(content.replace('{name}', name))


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that packages are installed to, with nothing left of them afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(installed_models, '_imported', set())
    monkeypatch.setattr(registry, '_CARDS', dict(registry._CARDS))
    monkeypatch.setattr(registry, '_BUILDERS', dict(registry._BUILDERS))
    before = set(sys.modules)
    yield tmp_path
    for module in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[module], '__file__', '')):
            del sys.modules[module]


def test_a_name_that_the_zoo_lacks_is_looked_for_in_installed_packages(site):
    install(site, 'outside-models')
    assert model_card('resnet50_v1b_custom').name and 'outside_models' not in sys.modules
    assert model_card('Outside_Custom').family == 'Outside'
    assert list_models('outside*') == ['outside_custom']


def test_one_that_fails_is_told_in_a_line_and_stops_no_other(site, caplog):
    install(site, 'broken-models', content='raise RuntimeError("of\\ntwo lines")')
    install(site, 'ending-models', content='import sys\nsys.exit(1)', point='others')
    install(site, 'outside-models')
    install(site, 'twice-models', name='resnet50_v1b_custom', point='again')
    for _ in range(2):
        assert 'outside_custom' in list_models()
    with pytest.raises(ModelError, match="the zoo has no model 'no_such_thing'"):
        model_card('no_such_thing')
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 3 and not any('\n' in line for line in told)
    broken = next(line for line in told if line.startswith('broken-models 1.2: its models are left out'))
    assert 'broken_models (entry point models of gluon_action.models) fails with RuntimeError: of' in broken
    assert any('ending_models' in line and 'SystemExit' in line for line in told)
    assert any('two models are named resnet50_v1b_custom' in line for line in told)
    assert model_card('resnet50_v1b_custom').family != 'Outside'


def test_own_code_brings_models_to_whatever_looks_at_videos(site, tmp_path, capsys):
    (tmp_path / 'mine.py').write_text(MODULE.replace('{name}', 'mine_custom'))
    argv = [str(tmp_path / 'nothing.csv'), '--model', 'mine_custom']
    assert run(check_data.parse_args, check_data.main, argv) == 2
    assert "the zoo has no model 'mine_custom'" in capsys.readouterr().err
    run(check_data.parse_args, check_data.main, [*argv, '--import', str(tmp_path / 'mine.py')])
    assert 'nothing.csv' in capsys.readouterr().err
