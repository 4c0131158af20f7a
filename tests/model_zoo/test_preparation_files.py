"""How weights want their input prepared goes where their file goes."""
import json
import logging

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import pytest
from tiny import Tiny

from gluon_action.errors import WeightsError
from gluon_action.model_zoo import ModelCard, load_weights
from gluon_action.model_zoo.importers import load_any
from gluon_action.model_zoo.loading.preparation import file_beside

CARD = ModelCard.of_2d('tiny', family='Tiny', dataset='ucf101', dropout_ratio=0.5, init_std=0.1)
HALF = {'mean': (.5, .5, .5), 'std': (.5, .5, .5), 'input_size': 112}
ROW = {'model': 'tiny', 'tag': 'half', 'input': {'mean': [.5, .5, .5]}}
LOADERS = {'load_parameters': lambda net, path: net.load_parameters(str(path)), 'load_weights': load_weights,
           'load_any': load_any}


def network(card=CARD):
    net = Tiny(3, init_std=0.5)
    net.initialize(mx.init.Xavier())
    net(mx.nd.zeros((1, 3, 32, 32)))
    net.card = card
    return net


@pytest.fixture
def half(tmp_path):
    """A file of parameters that want HALF."""
    net, path = network(CARD.prepared(HALF)), tmp_path / 'half.params'
    net.row = ROW
    net.save_parameters(str(path))
    return path


@pytest.mark.parametrize('load', LOADERS.values(), ids=LOADERS)
def test_a_network_takes_over_how_the_weights_of_a_file_want_frames(half, load, caplog):
    net = network()
    load(net, half)
    assert net.card == CARD.prepared(HALF) and net.card.preparation == HALF and net.row == ROW
    warned, = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert warned.startswith(f'{half}: ') and '\n' not in warned
    assert 'mean 0.5 0.5 0.5 instead of 0.485 0.456 0.406' in warned and 'input size 112 instead of 224' in warned
    caplog.clear()
    load(net, half)
    assert not caplog.records


def test_parameters_saved_over_others_do_not_keep_their_preparation(half, tmp_path):
    assert json.loads(file_beside(half).read_text())['model'] == 'tiny'
    network().save_parameters(str(half))
    assert not file_beside(half).exists()
    net = network(CARD.prepared(HALF))
    load_weights(net, half)
    assert net.card is CARD and net.row is None


def test_weights_of_a_run_are_prepared_as_its_config_says(tmp_path):
    about = {'config': {}, 'model': {'name': 'other', 'mean': [.1, .2, .3], 'std': [.5, .5, .5],
                                     'row': {**ROW, 'input': {'mean': [.7] * 3, 'input_size': 96}}}}
    (tmp_path / 'config.json').write_text(json.dumps(about))
    network().save_parameters(str(tmp_path / 'best.params'))
    net = network()
    load_weights(net, tmp_path / 'best.params')
    assert net.card.preparation == {'mean': (.1, .2, .3), 'std': (.5, .5, .5), 'input_size': 96}


def test_a_run_wants_clips_as_it_was_trained_on_them_whatever_it_started_from(tmp_path):
    card = ModelCard.of_clips('tiny', family='Tiny', dataset='ucf101', clip_length=8, dropout_ratio=0., input_size=56)
    row, look = {**ROW, 'input': {'clip_length': 4, 'clip_stride': 8}}, {'mean': [.1, .2, .3], 'std': [.5, .5, .5]}
    network().save_parameters(str(tmp_path / 'best.params'))

    def found(stride=None, **config):
        about = {'config': {'new_length': 16, 'new_step': 3, 'input_size': 64, **config}, 'clip_stride': stride,
                 'model': {'name': 'tiny', 'row': row, **look}}
        (tmp_path / 'config.json').write_text(json.dumps(about))
        net = network(card)
        load_weights(net, tmp_path / 'best.params')
        return net.card.clip_length, net.card.clip_stride, net.card.input_size

    assert found() == (16, 3, 64)
    assert found(5, new_step=1, clip_sampling='spread') == (16, 5, 64)
    assert found(None, new_step=1, clip_sampling='spread') == (16, 8, 64)
    assert found(slowfast=True) == (4, 8, 64)  # its --new-length is not the frames of a clip
    with pytest.raises(WeightsError, match='config.json of the run of .*: clip_length cannot be -1'):
        found(new_length=-1)


def test_a_file_of_published_weights_keeps_whose_they_are_where_the_card_says_the_same(tmp_path):
    path, net = tmp_path / 'same.params', network()
    net.row = {**ROW, 'input': {}, 'options': {'sub_sample': True}}
    net.save_parameters(str(path))
    again = network()
    again.options = {'sub_sample': True}
    load_weights(again, path)
    assert again.row == net.row and again.card is CARD
    with pytest.raises(WeightsError, match='of a tiny with sub_sample=True'):
        load_weights(network(), path)


@pytest.mark.parametrize('junk', ['', '[1]', '{"preparation": 3}', '{"preparation": {"std": [0.5, 0, 1]}}',
                                  '{"preparation": {"mean": ["a"]}}', '{"preparation": {"input_size": -3}}',
                                  '[' * 9999])
def test_a_note_that_cannot_be_understood_is_an_error_that_names_it(half, junk):
    file_beside(half).write_text(junk)
    with pytest.raises(WeightsError, match=rf'{half}\.json: '):
        load_weights(network(), half)


def test_weights_for_other_channels_are_refused(half):
    file_beside(half).write_text('{"preparation": {"mean": [0.5, 0.5]}}')
    with pytest.raises(WeightsError, match='lies beside it is of another network: tiny: mean has 2 numbers'):
        load_weights(network(), half)


def test_weights_of_a_network_with_other_options_are_refused(half):
    net = network(CARD.prepared(HALF))
    net.row = {**ROW, 'options': {'sub_sample': True}}
    net.save_parameters(str(half))
    with pytest.raises(WeightsError, match='of a tiny with sub_sample=True, which this network was built without'):
        load_weights(network(), half)
    fit = network()
    fit.options = {'sub_sample': True}
    load_weights(fit, half)
    assert fit.card.preparation == HALF
