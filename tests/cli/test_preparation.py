"""Whose weights run decides how their input is prepared, in every command."""
import contextlib
import dataclasses
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from tiny_clips import CARD, CLASSES, CUSTOM, NAME, ROW, TAG, TinyClips, published, write_index  # noqa: F401  (a fixture)

from gluon_action.cli import import_weights
from gluon_action.cli import main as commands
from gluon_action.cli import video_action_classifier as classifier
from gluon_action.data.preprocess import Preprocess
from gluon_action.data.reading.sampling import CLIP_SAMPLINGS
from gluon_action.deploy.bundle.what_is_exported import open_source
from gluon_action.deploy.predict.open_predictor import open_predictor
from gluon_action.deploy.speed.timing import open_subject
from gluon_action.errors import ModelError, UsageError, WeightsError
from gluon_action.evaluate.network import build_network, check_test
from gluon_action.evaluate.options.config import TestConfig
from gluon_action.evaluate.options.preparation import by_card
from gluon_action.evaluate.recognizer import open_test_set
from gluon_action.evaluate.recognizer import test_recognizer as run_test
from gluon_action.input_kind import FEATURES
from gluon_action.model_zoo import get_model, list_models, model_card
from gluon_action.model_zoo.loading.pretrained import load_weights
from gluon_action.model_zoo.publish import publish_run
from gluon_action.train.recipes.config import TrainConfig
from gluon_action.train.recipes.epic.classifier import ClassifierRecipe
from gluon_action.train.recipes.epic.versions import LightningRun
from gluon_action.train.recipes.lr_finder import RangeTest, find_for
from gluon_action.train.recipes.parts import build_network as build_trained
from gluon_action.train.recipes.parts import build_recipe, check_training
from gluon_action.train.recipes.recognizer import RecognizerRecipe, train_recognizer
from gluon_action.train.run.warm_start import warm_start
from gluon_action.weights import Row, WeightsFile, read_index
from gluon_action.weights.index import SAMPLINGS

HALF = {'mean': [0.5, 0.5, 0.5], 'std': [0.5, 0.5, 0.5]}
#: One card for each mean and deviation in the zoo, and one that weights have changed.
CARDS = {(card.mean, card.std): card for card in map(model_card, list_models()) if card.input != FEATURES}
CARDS['changed'] = model_card('resnet50_v1b_kinetics400').prepared({'mean': [.1, .2, .3], 'std': [.5, .6, .7]})


@pytest.mark.parametrize('data_aug', ['v1', 'v2', 'v3', 'v4'])
@pytest.mark.parametrize('card', CARDS.values(), ids=lambda card: f'{card.name}{"*" * bool(card.of)}')
def test_training_and_validation_make_the_same_numbers_of_a_colour(card, data_aug):
    config = TrainConfig(model=card.name, data_aug=data_aug, input_size=24, new_height=32, new_width=40, flip_prob=0)
    frames = np.broadcast_to(np.uint8([10, 100, 250])[:card.channels], (1, 36, 44, card.channels)).copy()
    trained = config.augmentation(card)(frames)
    validated = config.preprocess(card).transform(frames)
    np.testing.assert_allclose(np.unique(trained), np.unique(validated), atol=1e-6)
    expected = (frames[0, 0, 0] / 255 - np.array(card.mean)) / card.std
    np.testing.assert_allclose(np.asarray(trained)[0, :, 0, 0], expected, atol=1e-6)


def test_weights_change_a_card_and_the_card_knows_what():
    own = model_card('i3d_resnet50_v1_kinetics400')
    card = own.prepared({**HALF, 'clip_length': 8, 'clip_stride': 8, 'input_size': 224, 'unknown': 3})
    assert (card.mean, card.std, card.clip_length, card.clip_stride) == ((.5,) * 3, (.5,) * 3, 8, 8)
    assert card.preparation == {'mean': (.5,) * 3, 'std': (.5,) * 3, 'clip_length': 8, 'clip_stride': 8}
    assert (card.of, card.name, card.num_classes) == (own, own.name, own.num_classes)
    assert card.prepared({'clip_length': 16}).preparation == {'clip_length': 16}
    assert card.prepared({}) is own and own.preparation == {}
    with pytest.raises(ModelError, match='mean has 2 numbers and a frame 3 channels'):
        own.prepared({'mean': [.5, .5]})


# One run of each kind, from weights whose row wants everything otherwise than the card.

@pytest.fixture(scope='module')
def data(demo_appearance):
    return {'dataset': 'custom', 'data_dir': str(demo_appearance.video_dir), 'num_workers': 0,
            'train_list': str(demo_appearance.train_list), 'val_list': str(demo_appearance.val_list)}


@pytest.fixture(scope='module')
def tested(data):
    return {name: value for name, value in data.items() if name != 'train_list'}


def training(data, **more):
    options = {'model': NAME, 'use_pretrained': True, 'batch_size': 8, 'num_epochs': 1, 'lr': 0.01, **data, **more}
    return TrainConfig(**options)


@pytest.fixture(scope='module')
def run(published, data, tmp_path_factory):  # noqa: F811
    """A network that was fine-tuned from the published weights."""
    folder = tmp_path_factory.mktemp('run') / 'it'
    train_recognizer(training(data, save_dir=str(folder)))
    return folder


@pytest.fixture(scope='module')
def saved(published, tmp_path_factory):  # noqa: F811
    """Weights that a user saved somewhere."""
    path = tmp_path_factory.mktemp('saved') / 'mine.params'
    get_model(NAME, pretrained=TAG).save_parameters(str(path))
    return path


def of_dataset(dataset, plan):
    """How a data set prepares clips: black and white frames tell mean and deviation."""
    black, white = (dataset.transform(np.full((plan.frames_per_clip, 64, 64, 3), level, np.uint8))
                    for level in (0, 255))
    low, high = (np.asarray(clip).reshape(3, -1) if np.ndim(clip) == 4 else
                 np.moveaxis(np.asarray(clip), 1, 0).reshape(3, -1) for clip in (black, white))
    assert np.ptp(low, axis=1).max() == np.ptp(high, axis=1).max() == 0
    std = 1 / (high - low)[:, 0]
    return {'mean': tuple(-low[:, 0] * std), 'std': tuple(std), 'clip_length': plan.frames_per_clip,
            'clip_stride': plan.offsets[1] - plan.offsets[0], 'input_size': np.shape(black)[-1]}


def of_preprocess(preprocess):
    offsets = preprocess.offsets
    return {'mean': preprocess.mean, 'std': preprocess.std, 'clip_length': len(offsets),
            'clip_stride': offsets[1] - offsets[0], 'input_size': preprocess.crop[0]}


def of_config(folder):
    about = json.loads((folder / 'config.json').read_text())
    config = about['config']
    return {'mean': tuple(about['model']['mean']), 'std': tuple(about['model']['std']),
            'clip_length': config['new_length'], 'clip_stride': config['new_step'], 'input_size': config['input_size']}


def of_test(config):
    """What a test makes views by, and the report says."""
    prepared = check_test(config)
    network = build_network(prepared.config, None, [mx.cpu()], prepared=prepared)
    found = of_preprocess(network.preprocess)
    assert open_test_set(prepared.config).plan.offsets == network.preprocess.offsets
    return found


def of_report(config, folder):
    protocol = run_test(dataclasses.replace(config, save_dir=str(folder))).results['protocol']
    length, stride = (int(part) for part in re.search(r'(\d+) frames at stride (\d+)', protocol['sampling']).groups())
    return {'mean': tuple(protocol['mean']), 'std': tuple(protocol['std']), 'clip_length': length,
            'clip_stride': stride, 'input_size': protocol['crop_size']}


def trained_on(config):
    """How the training and the validation videos of a run are prepared."""
    recipe = RecognizerRecipe(config)
    recipe.check()
    recipe.prepare(None)
    with contextlib.ExitStack() as cleanup:
        data = recipe.open_data(cleanup)
        return [of_dataset(loader.dataset, loader.dataset.plan) for loader in (data.train, data.val)]


COMMANDS = {
    'training': lambda w: trained_on(training(w.data))[0],
    'validation': lambda w: trained_on(training(w.data))[1],
    'training of a model that starts from them': lambda w: trained_on(
        training(w.data, model=CUSTOM, use_pretrained=False))[0],
    'config.json': lambda w: of_config(w.run),
    'resuming the run': lambda w: resumed(w),
    'fine-tuning of the run': lambda w: trained_on(
        training(w.data, use_pretrained=False, resume_params=str(w.run / 'best.params'), new_head=True))[0],
    'fine-tuning of saved weights': lambda w: trained_on(
        training(w.data, use_pretrained=False, resume_params=str(w.saved), new_head=True))[0],
    'test of the run': lambda w: of_test(
        TestConfig(model=NAME, resume_params=str(w.run / 'best.params'), **w.tested)),
    'test of saved weights': lambda w: of_test(TestConfig(model=NAME, resume_params=str(w.saved), **w.tested)),
    'test of published weights': lambda w: of_test(TestConfig(model=NAME, use_pretrained=True, **w.tested)),
    'report of a test': lambda w: of_report(TestConfig(model=NAME, use_pretrained=True, **w.tested), w.tmp),
    'export of the run': lambda w: of_preprocess(open_source(w.run).preprocess),
    'export of saved weights': lambda w: of_preprocess(open_source(w.saved, model=NAME).preprocess),
    'export of published weights': lambda w: of_bundle(w),
    'predict': lambda w: of_preprocess(open_predictor(NAME, use_pretrained=True).preprocess),
    'predict by the run': lambda w: of_preprocess(open_predictor(w.run).preprocess),
    'import-weights': lambda w: imported(w),
}


@dataclasses.dataclass
class World:
    data: dict
    tested: dict
    run: Path
    saved: Path
    tmp: Path


@pytest.fixture
def world(data, tested, run, saved, tmp_path):
    return World(data, tested, run, saved, tmp_path)


def resumed(world):
    """The run in a copy of its folder, resumed where nothing is published any more."""
    folder = world.tmp / 'again'
    shutil.copytree(world.run, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('GLUON_ACTION_INDEX', os.devnull)
        patch.setenv('MXNET_HOME', str(world.tmp))
        train_recognizer(training(world.data, save_dir=str(folder), resume='auto', num_epochs=2))
    assert len((folder / 'metrics.jsonl').read_text().splitlines()) == 2
    return of_config(folder)


def of_bundle(world):
    folder = world.tmp / 'bundle'
    assert commands.main(['export', NAME, '--use-pretrained', '--out', str(folder)]) == 0
    told = (folder / 'model_card.md').read_text()
    assert f'{NAME} {TAG} of The Tiny Lab, published top-1 / top-5 71.5 % / 90.25 % (10x3)' in told
    assert 'CC-BY-NC-4.0' in told
    assert json.loads((folder / 'manifest.json').read_text())['published']['tag'] == TAG
    return of_preprocess(Preprocess.from_json(json.loads((folder / 'preprocess.json').read_text())))


def imported(world):
    """Saved weights brought into a new file: the note goes along."""
    out = world.tmp / 'out.params'
    assert commands.main(['import-weights', str(world.saved), '--model', NAME, '--out', str(out)]) == 0
    return of_preprocess(open_source(out, model=NAME).preprocess)


@pytest.mark.parametrize('command', COMMANDS)
def test_the_weights_decide_how_clips_are_prepared(world, command):
    found = COMMANDS[command](world)
    assert found.keys() == ROW.keys()
    for name, value in ROW.items():
        assert found[name] == pytest.approx(value, abs=1e-5), name
        assert found[name] != pytest.approx(CARD[name], abs=1e-5), name


def test_what_was_asked_for_comes_before_what_the_weights_want(published, data):  # noqa: F811
    given = {'new_length': 4, 'new_step': 1, 'input_size': 32}
    videos = trained_on(training(data, **given))[0]
    assert videos == {**ROW, 'clip_length': 4, 'clip_stride': 1, 'input_size': 32} | {
        name: pytest.approx(ROW[name], abs=1e-5) for name in ('mean', 'std')}


def test_frames_are_resized_in_proportion_to_the_size_that_the_weights_want(published, tested):  # noqa: F811
    config = check_test(TestConfig(model=NAME, use_pretrained=True, **tested)).config
    assert (config.new_height, config.new_width) == (round(256 * 24 / 224), round(340 * 24 / 224))
    config = check_test(TestConfig(model=NAME, use_pretrained=True, input_size=24, **tested)).config
    assert (config.new_height, config.new_width) == (256, 340)


def test_without_weights_sizes_are_gluoncvs():
    config = TrainConfig(model='resnet18_v1b_ucf101', pretrained_base=False)
    settled = check_training(config, model_card(config.model)).config
    assert (settled.new_length, settled.new_step, settled.input_size) == (1, 1, 224)
    with pytest.raises(UsageError, match='--new-length: i3d_rgb_custom takes clips; pass the frames of one'):
        check_training(TrainConfig(model='i3d_rgb_custom', pretrained_base=False), model_card('i3d_rgb_custom'))


def test_weights_of_frames_that_are_spread_over_a_video_are_given_such(published, data, tested, tmp_path,  # noqa: F811
                                                                       monkeypatch):
    assert SAMPLINGS == CLIP_SAMPLINGS
    monkeypatch.setenv('GLUON_ACTION_INDEX', str(write_index(
        tmp_path, input={**ROW, 'clip_stride': 7, 'clip_sampling': 'spread'})))
    saved, folder = tmp_path / 'mine.params', tmp_path / 'run'
    get_model(NAME, pretrained=TAG).save_parameters(str(saved))
    train_recognizer(training(data, save_dir=str(folder)))

    def tests_of(**weights):
        config = check_test(TestConfig(model=NAME, **weights, **tested)).config
        return config.clip_sampling, config.new_length, config.new_step

    for weights in ({'use_pretrained': True}, {'resume_params': str(saved)},
                    {'resume_params': str(folder / 'best.params')}):
        assert tests_of(**weights) == ('spread', 6, 1)
        assert tests_of(**weights, clip_sampling='consecutive')[:2] == ('consecutive', 6)
        with pytest.raises(UsageError, match='--num-segments 3; leave it out, or pass --clip-sampling consecutive'):
            tests_of(**weights, num_segments=3)
    stride = json.loads((folder / 'config.json').read_text())['clip_stride']
    assert open_source(saved, model=NAME).preprocess.offsets[1] == 7 != stride
    assert open_source(folder).preprocess.offsets[1] == stride


def test_a_resumed_run_with_another_size_is_refused(run, data):
    with pytest.raises(UsageError, match='--new-length was 6 and is 4'):
        train_recognizer(training(data, save_dir=str(run), resume='auto', new_length=4))


def test_a_rate_is_looked_for_on_clips_as_the_weights_want_them(published, data, tmp_path):  # noqa: F811
    seen = []

    def look(loop):
        step, loop.step = loop.step, lambda batch: seen.append(batch.data) or step(batch)

    find_for(training(data), RangeTest(steps=10), tmp_path, start=look)
    assert {batch.shape[-3:] for batch in seen} == {(6, 24, 24)}
    assert max(np.abs(batch).max() for batch in seen) <= 1  # of pixels in 0..1 that HALF makes -1..1 of


# What a published score averaged over views.

@pytest.mark.parametrize('given, averaged', [({}, 'probabilities'), ({'average': 'scores'}, 'scores')])
def test_a_test_averages_as_the_published_score_did(published, tested, tmp_path, given, averaged):  # noqa: F811
    config = TestConfig(model=NAME, use_pretrained=True, num_segments=2, save_dir=str(tmp_path), **given, **tested)
    result = run_test(config)
    assert result.results['protocol']['average'] == averaged
    summed = result.scores.scores.sum(axis=1)
    assert np.allclose(summed, 1, atol=1e-4) == (averaged == 'probabilities')
    assert result.results['protocol']['weights']['row']['publisher'] == 'The Tiny Lab'


def test_weights_of_a_run_are_averaged_as_always(run, tested):
    config = check_test(TestConfig(model=NAME, resume_params=str(run / 'best.params'), **tested)).config
    assert config.averaged == 'scores'


# What a run of other classes than the zoo's card says was published as.

def test_weights_of_other_classes_are_tested_exported_and_evaluated(published, data, tested, tmp_path,  # noqa: F811
                                                                    monkeypatch):
    folder, names = tmp_path / 'run', ['wave', 'clap', 'jump']
    folder.mkdir()
    net = TinyClips(len(names))
    net.initialize()
    net(mx.nd.zeros((1, 3, 6, 24, 24)))
    net.save_parameters(str(folder / 'best.params'))
    (folder / 'config.json').write_text(json.dumps({
        'config': {'model': NAME, 'new_length': 6, 'new_step': 1, 'input_size': 24, 'clip_sampling': 'spread'},
        'classes': names, 'model': NAME, 'clip_stride': 5}))
    made = publish_run(folder, tmp_path / 'out', tag='three')
    monkeypatch.setenv('GLUON_ACTION_INDEX', str(made.index))
    assert read_index().row(NAME, 'three').input == {'clip_length': 6, 'clip_stride': 5, 'clip_sampling': 'spread',
                                                     'input_size': 24}
    chosen = {'use_pretrained': True, 'hashtag': 'three'}
    prepared = check_test(TestConfig(model=NAME, **chosen, **tested))
    assert build_network(prepared.config, None, [mx.cpu()], prepared=prepared).classes == names
    assert open_source(NAME, **chosen).labels == names
    assert open_predictor(NAME, use_pretrained=True).labels == names
    # The file as it lies there says the same.
    alone = check_test(TestConfig(model=NAME, resume_params=str(made.parameters), **tested))
    assert (alone.config.new_length, alone.config.clip_sampling, alone.config.input_size) == (6, 'spread', 24)
    assert build_network(alone.config, None, [mx.cpu()], prepared=alone).classes == names
    assert open_source(made.parameters, model=NAME).preprocess == open_source(NAME, **chosen).preprocess
    assert open_source(made.parameters, model=NAME).labels == names
    loaded = get_model(NAME, nclass=3, pretrained_base=False)
    loaded.load_parameters(str(made.parameters))
    assert (loaded.classes, loaded.card, loaded.row['tag']) == (names, prepared.card, 'three')
    started = get_model(NAME, nclass=3, pretrained_base=False)
    load_weights(started, made.parameters, ignore_head=True)
    assert started.classes is None
    config = training(data, **chosen, eval=True)
    evaluated = build_trained(check_training(config, model_card(NAME)), len(names), [mx.cpu()])
    assert (evaluated.output.weight.data() == net.output.weight.data()).asnumpy().all()


def test_a_checkpoint_of_several_files_is_the_published_one_when_all_of_them_are(tmp_path):
    parts = {f'model.ckpt.{ending}': ending.encode() for ending in ('data-00000-of-00001', 'index')}
    row = Row(NAME, TAG, 'us', tuple(WeightsFile(f'i3d.{name}', ('https://x',),
                                                 f'sha256:{hashlib.sha256(content).hexdigest()}')
                                     for name, content in parts.items()), 'slim', 'MIT')
    for name, content in parts.items():
        (tmp_path / name).write_bytes(content)
    assert import_weights._is_published(tmp_path / 'model.ckpt', row) is True
    (tmp_path / 'model.ckpt.data-00000-of-00001').write_bytes(b'other')
    assert import_weights._is_published(tmp_path / 'model.ckpt.index', row) is False
    unknown = dataclasses.replace(row, files=tuple(dataclasses.replace(file, digest='') for file in row.files))
    assert import_weights._is_published(tmp_path / 'model.ckpt', unknown) is None


# A teacher that was trained on other numbers than its student sees.

def test_a_teacher_is_given_the_numbers_that_it_was_trained_on(published, data):  # noqa: F811
    config = training(data, use_pretrained=False, pretrained_base=False, teacher=NAME, new_length=6,
                      new_step=2, input_size=24, flip_prob=0.)
    with contextlib.ExitStack() as cleanup:
        learner = build_recipe(config, model_card(NAME), [mx.cpu()], cleanup).loop.learner
    pixels = np.random.default_rng(0).uniform(0, 1, (2, 3, 6, 24, 24)).astype(np.float32)
    as_student, as_teacher = (
        (pixels - np.float32(card['mean']).reshape(3, 1, 1, 1)) / np.float32(card['std']).reshape(3, 1, 1, 1)
        for card in (CARD, ROW))
    wanted = get_model(NAME, pretrained=True)(mx.nd.array(as_teacher)).asnumpy()
    np.testing.assert_allclose(learner.teacher(mx.nd.array(as_student)).asnumpy(), wanted, rtol=1e-4, atol=1e-5)
    assert np.abs(get_model(NAME, pretrained=True)(mx.nd.array(as_student)).asnumpy() - wanted).max() > 1e-3


def test_a_resumed_run_distils_from_the_weights_that_it_began_with(published, data, tmp_path, monkeypatch,  # noqa: F811
                                                                   caplog):
    options = {'use_pretrained': False, 'pretrained_base': False, 'teacher': NAME, 'save_dir': str(tmp_path / 'run'),
               'new_length': 6, 'new_step': 2, 'input_size': 24}
    train_recognizer(training(data, **options))
    index = json.loads(published.read_text())
    file = index['rows'][0]['files'][0]
    better = {**index['rows'][0], 'tag': 'better', 'files': [{**file, 'name': 'better.params'}]}
    (tmp_path / 'index.json').write_text(json.dumps({**index, 'rows': [better, *index['rows']]}))
    monkeypatch.setenv('GLUON_ACTION_INDEX', str(tmp_path / 'index.json'))
    with caplog.at_level('INFO'):
        train_recognizer(training(data, **options, resume='auto', num_epochs=2))
    assert f'Weights of {NAME}: {TAG}' in caplog.text and 'better' not in caplog.text
    assert json.loads((tmp_path / 'run' / 'config.json').read_text())['model']['teacher']['tag'] == TAG
    net, other = get_model(NAME, pretrained=TAG), tmp_path / 'other.params'
    net.output.bias.set_data(mx.nd.ones(CLASSES))
    net.save_parameters(str(other))
    file = {'name': other.name, 'urls': [other.as_uri()]}
    (tmp_path / 'index.json').write_text(json.dumps({**index, 'rows': [{**better, 'tag': TAG, 'files': [
        {**file, 'digest': f'sha256:{hashlib.sha256(other.read_bytes()).hexdigest()}'}]}]}))
    with pytest.raises(WeightsError, match='--teacher tinyclips: the run was started with other weights of the tag'):
        train_recognizer(training(data, **options, resume='auto', num_epochs=3))


# What has no way to prepare frames otherwise says so.

def test_clips_in_records_are_not_given_to_weights_that_want_other_numbers(saved):
    net = TinyClips(CLASSES)
    net.initialize()
    net.card = model_card(NAME)
    with pytest.raises(WeightsError, match='mean 0.5 0.5 0.5 instead of 0.485.*train_recognizer.py --resume-params'):
        warm_start(net, saved)


def test_an_exported_graph_is_tested_as_its_weights_want(saved, tested, tmp_path):
    net = get_model(NAME, pretrained=TAG)
    net.hybridize()
    net(mx.nd.zeros((1, 3, 6, 24, 24)))
    net.export(str(tmp_path / 'net'))
    found = of_test(TestConfig(model=NAME, deploy=True, model_prefix=str(tmp_path / 'net'), **tested))
    assert found == {**ROW, **{name: pytest.approx(ROW[name]) for name in ('mean', 'std')}}


def test_a_bundle_of_a_run_says_from_whose_weights_it_was_trained(run, saved):
    assert open_source(run).origin['trained_from']['licence'] == 'CC-BY-NC-4.0'
    assert open_source(saved, model=NAME).origin.keys() == {'trained_from'}
    assert open_source(NAME, use_pretrained=True).origin['published']['publisher'] == 'The Tiny Lab'


def test_clips_of_epic_kitchens_are_as_the_checkpoint_wants_them(saved, run):
    for source in (saved, run):
        config = classifier.config_from(classifier.parse_args(['--model', NAME, '--checkpoint', str(source)]))
        assert (config.new_length, config.input_size) == (ROW['clip_length'], ROW['input_size'])
        recipe = ClassifierRecipe(config, LightningRun(checkpoint=str(source)))
        recipe.prepare(None)
        assert (recipe.card.mean, recipe.card.std) == (ROW['mean'], ROW['std'])


def test_the_note_beside_a_file_comes_before_a_run_in_whose_folder_it_lies(saved, run, tested, tmp_path):
    about = json.loads((run / 'config.json').read_text())
    about['config'] |= {'new_length': 3, 'new_step': 1, 'input_size': 30}
    (tmp_path / 'config.json').write_text(json.dumps(about))
    for name in (saved.name, f'{saved.name}.json'):
        shutil.copyfile(saved.with_name(name), tmp_path / name)
    wanted = {**ROW, **{name: pytest.approx(ROW[name]) for name in ('mean', 'std')}}
    assert of_test(TestConfig(model=NAME, resume_params=str(tmp_path / saved.name), **tested)) == wanted
    assert of_preprocess(open_source(tmp_path / saved.name).preprocess) == wanted


def test_a_model_is_timed_on_clips_as_its_weights_want(run):
    assert open_subject(str(run)).row == (3, 6, 24, 24)


def test_slowfast_takes_the_strides_in_its_name_where_nothing_else_is_said():
    card = model_card('slowfast_8x8_resnet50_kinetics400')
    config = by_card(TrainConfig(model=card.name, slowfast=True), card)
    assert (config.new_length, config.slow_temporal_stride, config.fast_temporal_stride) == (64, 8, 2)
    assert config.frames_per_clip == card.clip_length == 8 + 32
    assert by_card(TrainConfig(model=card.name, slowfast=True, new_length=32), card).frames_per_clip == 4 + 16


def test_what_contradicts_itself_is_refused_before_weights_are_looked_for(published, data):  # noqa: F811
    config = training(data, new_step=2, clip_sampling='spread', hashtag='nobody knows it')
    with pytest.raises(UsageError, match='--new-step 2'):
        check_training(config, model_card(NAME))
    with pytest.raises(WeightsError, match='nobody knows it'):
        check_training(dataclasses.replace(config, new_step=None), model_card(NAME))
