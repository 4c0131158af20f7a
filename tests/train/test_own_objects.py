"""``train_recognizer(config, net=, train_set=, val_set=, hooks=)``, and the contract of registered models."""
import dataclasses
import json
import shlex
import sys
from types import SimpleNamespace

import mxnet as mx
import numpy as np
import pytest
import tiny
from mxnet import gluon

from gluon_action.cli import own_modules
from gluon_action.cli import train_recognizer as command
from gluon_action.errors import ModelError, UsageError
from gluon_action.model_zoo import ModelCard, Recognizer, get_model, list_models, model_card, register_model, registry
from gluon_action.train import TrainConfig, train_recognizer
from gluon_action.train.hook import Hook
from gluon_action.train.recipes.recognizer import RecognizerRecipe


class Colours:
    """Frames whose colour is their class, without a file."""

    classes, num_classes, multi_label, setting, list_sha256 = ['red', 'green', 'blue'], 3, False, 'made up', '0' * 64

    def __init__(self, count):
        self.samples = [SimpleNamespace(label=n % 3, key=str(n), path=f'/made/{count}/{n}', num_frames=1, first=None,
                                        last=None) for n in range(count)]

    def __len__(self):
        return len(self.samples)

    def load(self, index, *, epoch=0, view=0):
        rng = np.random.default_rng([len(self), epoch, index, view])
        frame = rng.normal(0, 0.1, (1, 3, 16, 16)).astype(np.float32)
        frame[:, index % 3] += 1
        return frame, index % 3


class Steps(Hook):
    def __init__(self):
        self.count = 0

    def on_step(self, loop, result):
        self.count += 1


def own_net(classes=3):
    net = tiny.Tiny(classes, dropout_ratio=0., init_std=0.1)
    net.card = ModelCard.of_2d('my_own', family='Own', dataset='custom', dropout_ratio=0., init_std=0.1)
    return net


def config(folder, **more):
    return TrainConfig(input_size=16, batch_size=6, num_epochs=4, lr=0.1, num_workers=0, decode_timeout=0,
                       save_dir=str(folder), **more)


def test_a_network_data_and_a_hook_of_ones_own_are_trained(tmp_path):
    hook = Steps()
    result = train_recognizer(config(tmp_path), net=own_net(), train_set=Colours(24), val_set=Colours(9), hooks=[hook])
    assert result.best_score == 1. and hook.count == 16
    about = json.loads((tmp_path / 'config.json').read_text())
    assert about['model']['name'] == about['config']['model'] == 'my_own' and about['classes'] == Colours.classes
    assert len(list(tmp_path.glob('*-custom-my_own-*-best.params'))) == 1
    longer = TrainConfig(**{**about['config'], 'num_epochs': 5, 'resume': 'auto'})
    again = train_recognizer(longer, net=own_net(), train_set=Colours(24), val_set=Colours(9))
    assert [record['epoch'] for record in again.history] == list(range(5))


def test_what_a_network_has_learnt_stays(tmp_path):
    net = own_net()
    train_recognizer(config(tmp_path / 'a'), net=net, train_set=Colours(24), val_set=Colours(9))
    result = train_recognizer(config(tmp_path / 'b', score_start=True), net=net, train_set=Colours(24),
                              val_set=Colours(9))
    assert result.start['val_top1'] == 1.


@pytest.mark.parametrize('given, told', [
    ({'net': tiny.Tiny(3, init_std=0.1)}, 'net: is a gluon_action.model_zoo.Recognizer with a card'),
    ({'net': 'resnet'}, 'got str, which is none'), ({'net': own_net(5)}, 'net: scores 5 classes, and the data have 3'),
    ({'net': own_net(), 'val_set': None}, 'val_set: give the data set to validate on')])
def test_what_cannot_be_trained_is_told(tmp_path, given, told):
    given = {'train_set': Colours(6), 'val_set': Colours(3), **given}
    with pytest.raises(UsageError, match=told):
        train_recognizer(config(tmp_path), **given)


@pytest.mark.parametrize('sync_bn, processes, few', [(False, 4, True), (True, 4, False), (True, 1, True)])
def test_shared_statistics_are_cautioned_of_as_those_of_all_processes(tmp_path, sync_bn, processes, few):
    """Of batches of 2 videos in 3 segments."""
    warned, data = [], SimpleNamespace(train=SimpleNamespace(dataset=Colours(6)), val=None, processes=processes,
                                       multi_label=False, num_classes=3)
    asked = dataclasses.replace(config(tmp_path, model='resnet18_v1b_custom', num_segments=3, sync_bn=sync_bn,
                                       engine='torch'), batch_size=2)
    loop = SimpleNamespace(learner=SimpleNamespace(net=own_net()), progress=SimpleNamespace(update=1000))
    cautions = RecognizerRecipe(asked).cautions(SimpleNamespace(warn=warned.append), loop, data)
    cautions.on_epoch(loop, {'loss': 0.1, 'val_loss': 50.})
    assert ('learns its running statistics from 6 samples at a time' in warned[0]) == few
    assert ('running statistics' in warned[0]) == few


def test_an_evaluation_takes_none_of_them(tmp_path):
    with pytest.raises(UsageError, match='eval: scores what the configuration names'):
        train_recognizer(config(tmp_path, eval=True, model='resnet18_v1b_custom'), hooks=[Steps()])


CARD = ModelCard.of_2d('contract', family='Own', dataset='custom', dropout_ratio=0., init_std=0.1)


def misnamed(nclass, *, segments, **options):
    raise AssertionError


def without_options(nclass, *, tsn, num_segments, num_crop, consensus):
    raise AssertionError


@pytest.mark.parametrize('card, build, told', [
    ('resnet', misnamed, 'register_model takes a ModelCard, got str'),
    (ModelCard('a name', 'F', 'custom', 3), misnamed, 'its name is of letters'),
    (ModelCard('a', 'F', 'custom', 0), misnamed, 'num_classes is a whole number from 1'),
    (ModelCard('a', 'F', 'custom', 3, input='frames'), misnamed, 'input is FRAMES or CLIPS'),
    (ModelCard('a', 'F', 'custom', 3, channels=2), misnamed, 'a number for each of its 2 channels'),
    (CARD, None, 'is called to build the network'),
    (CARD, misnamed, "consensus=, [*][*]options[)], and cannot be: missing a required.* 'segments'"),
    (CARD, without_options, "unexpected keyword argument '(dropout_ratio|init_std)'")])
def test_the_contract_of_a_model_is_checked_when_it_is_registered(card, build, told):
    with pytest.raises(ModelError, match=told):
        register_model(card)(build)
    assert 'contract' not in list_models()


def test_a_constructor_that_builds_something_else_is_told():
    register_model(CARD)(lambda nclass, **options: object())
    try:
        with pytest.raises(ModelError, match='returned object, which is no gluon_action.model_zoo.Recognizer'):
            get_model('contract', pretrained_base=False)
    finally:
        del registry._CARDS['contract'], registry._BUILDERS['contract']


@pytest.fixture
def registered():
    """Registers a constructor under the name on `CARD`, or on another card, for one test."""
    added = []

    def register(build, card=CARD):
        register_model(card)(build)
        added.append(card.name)
    yield register
    for name in added:
        del registry._CARDS[name], registry._BUILDERS[name]


class PerFrame(Recognizer):
    """Scores of single frames, which knows nothing of segments; its head has a name of its own."""

    head_prefixes = ('score.',)

    def __init__(self, nclass, rows=1, **kwargs):
        super().__init__(**kwargs)
        self.num_classes, self.num_segments = nclass, rows
        self.score = gluon.nn.Dense(nclass, in_units=3)

    def hybrid_forward(self, F, x):
        return self.score(F.mean(x, axis=(2, 3)))


def test_segments_are_put_around_a_network_that_takes_single_frames(registered):
    registered(lambda nclass, *, tsn, num_segments, num_crop, consensus, **options: PerFrame(nclass))
    nets = [get_model('contract', nclass=4, pretrained_base=False, tsn=True, num_segments=3, consensus=consensus)
            for consensus in ('avg', 'max')]
    assert nets[0].head_prefixes == ('score.',) and nets[0].num_segments == 3
    frames = mx.nd.random.uniform(shape=(6, 3, 8, 8))
    for net, combined in zip(nets, (np.mean, np.max), strict=True):
        alone = net.basenet(frames).asnumpy().reshape(2, 3, 4)
        np.testing.assert_allclose(net(frames).asnumpy(), combined(alone, axis=1), rtol=1e-5)
    assert isinstance(get_model('contract', nclass=4, pretrained_base=False), PerFrame)


def test_a_network_that_averages_its_segments_and_does_not_say_so_is_left_as_it_is(registered):
    class Averaging(PerFrame):
        def hybrid_forward(self, F, x):
            return F.mean(F.reshape(super().hybrid_forward(F, x), shape=(-1, 3, 4)), axis=1)

    registered(lambda nclass, **options: Averaging(nclass))
    net = get_model('contract', nclass=4, pretrained_base=False, tsn=True, num_segments=3)
    assert isinstance(net, Averaging) and net.num_segments == 3
    for videos in (1, 2, 3):
        assert net(mx.nd.zeros((3 * videos, 3, 8, 8))).shape == (videos, 4)


def test_a_network_that_takes_other_rows_than_was_asked_for_is_told(registered):
    registered(lambda nclass, **options: PerFrame(nclass, rows=2))
    with pytest.raises(ModelError, match='was asked for 3 segments x 1 crops and returned a network of 2 x 1'):
        get_model('contract', pretrained_base=False, tsn=True, num_segments=3)


BUILDS = """def build(nclass, **options):
    raise AssertionError('not built here')
"""
REGISTERS = """import functools
from gluon_action.model_zoo import ModelCard, register_model
from gluon_action.model_zoo.vgg import vgg16
from builds import build
register_model(ModelCard.of_2d('outside', family='Own', dataset='custom', dropout_ratio=0., init_std=0.1))({build})
"""


@pytest.mark.parametrize('given, registers, build', [
    ('{tmp}/registers.py', 'registers.py', 'build'), ('registers', 'registers.py', 'build'),
    ('{tmp}/registers.py', 'registers.py', 'functools.partial(build)'),
    ('{tmp}/registers.py', 'registers.py', 'lambda nclass, **options: build(nclass)'),
    ('{tmp}/registers.py', 'registers.py', 'vgg16'),
    ('own_networks', 'own_networks/__init__.py', 'build'), ('own_networks.mine', 'own_networks/mine.py', 'build')])
def test_the_command_of_a_run_imports_what_registers_its_network(tmp_path, monkeypatch, given, registers, build):
    (tmp_path / 'own_networks').mkdir()
    for name, text in (('builds.py', BUILDS), ('own_networks/__init__.py', ''), (registers, REGISTERS)):
        (tmp_path / name).write_text(text.replace('{build}', build))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    mine = {'registers', 'builds', 'own_networks', 'own_networks.mine'}
    try:
        own_modules.import_modules([given.format(tmp=tmp_path)])
        printed = RecognizerRecipe(config(tmp_path, model='outside')).about_command()['command']
        for name in mine:  # as it is when the command is given once more
            sys.modules.pop(name, None)
        del registry._CARDS['outside'], registry._BUILDERS['outside']
        args = command.parse_args(shlex.split(printed)[2:])
        own_modules.import_modules(args.imports)
        assert model_card(args.model).name == 'outside' and len(args.imports) == 1
    finally:
        registry._CARDS.pop('outside', None), registry._BUILDERS.pop('outside', None)
        for name in mine:
            sys.modules.pop(name, None)


def test_a_network_of_the_zoo_needs_no_import(tmp_path):
    asked = config(tmp_path, model='resnet18_v1b_custom')
    assert '--import' not in RecognizerRecipe(asked).about_command()['command']


@pytest.mark.parametrize('typed, first, starred', [
    ('resnet50', 'resnet50_v1b_custom*', 'resnet50_v1b_kinetics400*'), ('i3d', 'i3d_', ''),
    ('slowfast', 'slowfast_4x16_resnet50_custom', ''), ('TimeSformer', 'timesformer_', '*'),
    ('ResNet-50', 'resnet50_v1b_custom*', '')])
def test_a_family_is_answered_with_the_models_that_there_are(typed, first, starred):
    with pytest.raises(ModelError) as caught:
        model_card(typed)
    told = str(caught.value)
    assert told.startswith(f'the zoo has no model {typed!r}; it has {first}') and starred in told
    assert told.count(',') <= 8 and ('*' not in told or 'with published weights' in told)
