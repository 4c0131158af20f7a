"""The commands of training and evaluation that the winners of 2018 print run as they stand, on small networks."""
import json
import logging

import pytest
from by_engine import BY_ENGINE
from feature_runs import state_of
from printed_commands import FURTHER, README, words_of

from gluon_action.cli import main as commands
from gluon_action.data.demo.frame_features import make_feature_records
from gluon_action.model_zoo.frame_features.stored.reading import read_stored
from gluon_action.train.recipes.frame_features.log import TagStyle

#: What makes the first training small; the others find it in what is stored.
SMALL = ['--netvlad_cluster_size', '4', '--netvlad_hidden_size', '8', '--iterations', '6', '--num_classes', '10',
         '--max_frames', '8', '--num_epochs', '1']


@pytest.fixture(scope='module')
def records(tmp_path_factory):
    """Folder of 12 videos with features of the printed sizes."""
    folder = tmp_path_factory.mktemp('train')
    make_feature_records(folder, videos=12, sizes=(('rgb', 1024), ('audio', 128)), lengths=(1, 11))
    return str(folder)


@pytest.fixture
def run(records, tmp_path, monkeypatch, caplog):
    """Runs a command of the printed ones, by its place, with more words; gives what it warned of."""
    monkeypatch.setattr(TagStyle, 'plot', lambda *_: None)
    steps = words_of(README, {'SAVEPATH': str(tmp_path / 'trained_models'), 'RECORDPAT': records,
                              'RECORDPATVAL': records})

    def one(number, *more):
        caplog.clear()
        script, words = steps[number]
        with caplog.at_level(logging.INFO):
            assert commands.main(['youtube8m', script, *words, *more]) == 0
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        # So few steps do not settle the statistics.
        return [warning for warning in warnings if 'batch normalisation' not in warning]
    return one


@pytest.mark.parametrize('engine', BY_ENGINE)
def test_they_run_in_a_row(engine, run, tmp_path, caplog):
    first, averaged = tmp_path / 'trained_models' / 'NetVLAD', tmp_path / 'trained_models' / 'NetVLAD_ema'
    assert run(0, *SMALL, *engine) == []
    assert run(1, *SMALL[:8]) == []
    assert '--base_learning_rate, --learning_rate_decay, --num_epochs: of another command, no effect here.' \
        in caplog.messages
    model = read_stored(first / 'inference_model').architecture
    assert (model.netvlad_cluster_size, model.video_level_classifier_model, model.sample_all) == (4, 'MoeModel', True)
    warning, = run(2, *engine)
    assert '--video_level_classifier_model LogisticModel (stored: MoeModel)' in warning
    assert '--loss_lambda: of another command, no effect here.' in caplog.messages
    state = state_of(averaged)
    assert state['config']['netvlad_cluster_size'] == 4 and state['config']['ema_halflife'] == 2000
    warning, = run(3)
    assert '--video_level_classifier_model LogisticModel (stored: MoeModel)' in warning
    stored = read_stored(averaged)
    assert stored.about['averaged'] and stored.architecture.sample_all and stored.architecture.gating
    assert all((array == state['averages'][key]).all() for key, array in stored.members[0].parameters())
    flags = json.loads((averaged / 'model_flags.json').read_text())
    assert flags['feature_names'] == 'rgb,audio' and flags['moe_prob_gating']


def test_sample_all_takes_all_frames_with_a_note(run, caplog):
    run(0, *SMALL, '--sample_all')
    assert '--sample_all draws each of the 8 frames, so --iterations 6 became 8.' in caplog.messages


#: What makes the further ones small.
SMALLER = ['--num_classes', '10', '--max_frames', '8', '--lstm_cells', '4', '--netvlad_cluster_size', '4',
           '--netvlad_hidden_size', '8', '--dbof_cluster_size', '8', '--dbof_hidden_size', '8', '--iterations', '6',
           '--max_steps', '1', '--num_readers', '0']


# The GRUs of the fourth are 1024 wide whatever is asked for.
@pytest.mark.parametrize('engine', BY_ENGINE)
@pytest.mark.parametrize('number', [pytest.param(number, marks=[pytest.mark.slow] * (number == 3))
                                    for number in range(FURTHER.count('python'))])
def test_further_networks_are_trained(number, engine, records, tmp_path, monkeypatch):
    """Two of them end with an error in the original: a mixture of experts behind an LSTM, and gated GRUs."""
    monkeypatch.setattr(TagStyle, 'plot', lambda *_: None)
    monkeypatch.chdir(tmp_path)
    script, words = words_of(FURTHER, {'SAVEPATH': str(tmp_path), 'RECORDPAT': records})[number]
    assert commands.main(['youtube8m', script, *words, *SMALLER, *engine]) == 0
    assert len(list(tmp_path.glob('*/checkpoints/step-00000001'))) == 1
