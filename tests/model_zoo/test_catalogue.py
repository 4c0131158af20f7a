"""model_zoo.md and its pictures: made of cards, index and costs, and not stale."""
import re
import shlex
from pathlib import Path
from unittest import mock

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import pytest

from gluon_action.cli import test_recognizer as command
from gluon_action.cli import train_recognizer
from gluon_action.cli.youtube8m import train as feature_command
from gluon_action.deploy.speed import zoo
from gluon_action.deploy.speed.cost import network_cost
from gluon_action.errors import ModelError
from gluon_action.evaluate.options.config import check_config
from gluon_action.model_zoo import get_model, list_models, model_card
from gluon_action.model_zoo.catalogue.costs import ModelCost, ZooCosts, read_costs, write_costs
from gluon_action.model_zoo.catalogue.tables import (
    LEAST_POINTS,
    Point,
    flags,
    living,
    markdown,
    picture,
    points,
    views_of,
)
from gluon_action.model_zoo.catalogue.trainings import training_flags, trainings_of
from gluon_action.train.recipes import config as train_config
from gluon_action.train.recipes.frame_features.config import check_config as check_features
from gluon_action.train.schedules import make_schedule
from gluon_action.weights import read_index

ROOT = Path(__file__).parents[2]
INDEX, COSTS = read_index(), read_costs()
#: Millions of learnt numbers that publishers give of their files (weights.md of pytorchvideo and torchvision).
PUBLISHED_MILLIONS = {'slowfast_4x16_resnet50_kinetics400': 34.48, 'slowfast_8x8_resnet50_kinetics400': 34.57,
                      'slowfast_8x8_resnet101_kinetics400': 62.83, 'slowfast_16x8_resnet101_50_50_kinetics400': 53.77,
                      's3d_kinetics400': 8.32, 'r2plus1d_resnet18_kinetics400': 31.51}


def test_the_page_is_not_stale():
    assert (ROOT / 'model_zoo.md').read_text() == markdown(), 'run: gluon-action list-models --markdown > model_zoo.md'


@pytest.mark.parametrize('dataset', sorted({model_card(name).dataset for name in list_models()}))
def test_pictures_are_of_the_points_there_are(dataset):
    found, path = points(dataset), ROOT / picture(dataset)
    assert path.exists() == (len(found) >= LEAST_POINTS)
    if path.exists():
        assert zoo.digest(found) in path.read_text(), f'run: gluon-action list-models --pictures {path.parent}'


def test_every_view_of_every_model_has_its_cost():
    wanted = [(name, view) for name in list_models() for view in views_of(name)]
    costs = [COSTS.of(name, view.shape, view.options) for name, view in wanted]
    assert None not in costs, 'run: python benchmarks/zoo_costs.py'
    assert all(cost.latency_ms for cost, (_, view) in zip(costs, wanted) if view.used), \
        'run: python benchmarks/zoo_costs.py'
    assert len(COSTS.models) == len(wanted), 'what is left over is of models or weights that are gone'
    assert {'date', 'processor', 'threads', 'runtime'} <= set(COSTS.measured)


@pytest.mark.parametrize('name', ['resnet18_v1b_custom', 'i3d_resnet50_v1_kinetics400', 's3dg_small_demo_motion',
                                  'timesformer_small_custom', 'NetVLADModelLF'])
def test_costs_are_those_of_the_networks(name):
    for view in views_of(name):
        clip = {'clip_length': view.shape[1]} if len(view.shape) == 4 else {}
        size = {'input_size': view.shape[-1]} if len(view.shape) > 2 else {}
        with mock.patch('gluon_action.model_zoo.registry.initialize_rest'):  # shapes are enough
            net = get_model(name, pretrained_base=False, **size, **clip, **view.options)
        counted, cost = network_cost(net, (1, *view.shape)), COSTS.of(name, view.shape, view.options)
        assert (cost.parameters, cost.macs) == (counted.parameters, counted.macs)


@pytest.mark.parametrize('name', PUBLISHED_MILLIONS)
def test_parameters_are_as_many_as_the_publishers_say(name):
    view = model_card(name).input_shape()[1:]
    assert COSTS.of(name, view).parameters / 1e6 == pytest.approx(PUBLISHED_MILLIONS[name], abs=0.006)


def test_slowfast_costs_what_its_publisher_says():
    # 65.7 billions of SlowFast 8x8 for crops of 256 pixels.
    cost = COSTS.of('slowfast_8x8_resnet50_kinetics400', (3, 40, 256, 256))
    assert cost.macs / 1e9 == pytest.approx(65.7, rel=1e-3)


@pytest.mark.parametrize('row', [row for row in INDEX.rows if row.protocol and row.model in list_models()],
                         ids=lambda row: f'{row.model}-{row.tag}')
def test_the_flags_of_a_row_are_understood_and_go_together(row):
    card = model_card(row.model)
    given = flags(card, row)
    if given is None:
        return
    dataset = 'custom --data-dir videos --val-list val.txt' if card.dataset == 'kinetics600' else card.dataset
    config = command.config_from(command.parse_args(shlex.split(
        f'--dataset {dataset} --model {card.name} --use-pretrained --hashtag {row.tag} {given}'))).settled()
    check_config(config, card)
    clips, crops = map(int, row.protocol.split('x'))
    assert (config.segments, config.crops) == (clips, crops)
    scored = card.prepared({**row.input, **row.measured})
    assert (config.frames_per_clip, config.input_size) == (scored.clip_length, scored.input_size)
    assert [config.new_height, config.new_width] == row.measured.get('resize', [0, 0])
    of_clips = card.input.takes('clip_length')
    assert (config.clip_sampling == 'dense') == (of_clips and clips > 1)
    if of_clips and not config.slowfast:
        assert scored.clip_stride == config.new_step or config.clip_sampling == 'spread'


def test_every_model_has_a_training_whose_flags_are_understood_and_go_together():
    page, seen = markdown(), set()
    cards = [card for card in map(model_card, list_models()) if card.input.takes('input_size')]
    for card in cards:
        known = card.dataset in ('kinetics600', 'custom')
        where = '--dataset custom --data-dir videos --train-list train.txt --val-list val.txt' if known else \
            f'--dataset {card.dataset}'
        for training in trainings_of(card):
            flags = training_flags(card, training)
            words = shlex.split(f'{where} --model {card.name} {flags}')
            config = train_recognizer.config_from(train_recognizer.parse_args(words))
            train_config.check_config(config, card)
            make_schedule(config.lr_mode, config.lr, config.num_epochs, 10, decay=config.decay,
                          factor=config.lr_decay, warmup_epochs=config.warmup_epochs, warmup_lr=config.warmup_lr)
            assert (config.frames_per_clip, config.settled().input_size) == (card.clip_length, card.input_size), flags
            assert f'| `{card.name}` | ' in page and f'`{flags}` |' in page
            seen.add((card.name, training.whose))
    assert {name for name, whose in seen if whose == 'GluonCV'} >= {
        'vgg16_ucf101', 'inceptionv3_ucf101', 'i3d_resnet50_v1_kinetics400', 'slowfast_4x16_resnet50_kinetics400'}
    assert {card.family for card in cards} == {model_card(name).family for name, _ in seen}


@pytest.mark.parametrize('flags, kind', [
    ('--frame_features --feature_names rgb,audio --feature_sizes 1024,128', 'frames'),
    ('--feature_names mean_rgb,mean_audio --feature_sizes 1024,128', 'videos')])
def test_the_command_for_networks_of_features_trains_each(flags, kind):
    block = re.search(r'```sh\n(python scripts/youtube8m/train.py [^`]*)```', markdown())[1].replace('\\\n', ' ')
    printed = shlex.split(block.replace('--frame_features --feature_names rgb,audio --feature_sizes 1024,128', flags))
    for card in (model_card(name) for name in list_models()):
        if card.dataset == 'youtube8m' and (card.clip_length > 1) == (kind == 'frames'):
            words = [word.replace('MODEL', card.name) for word in printed[2:]]
            check_features(feature_command.config_from(feature_command.parse_args(words)))


def test_what_only_the_old_bucket_has_is_marked():
    page = markdown()
    for row in INDEX.rows:
        line, = [line for line in page.splitlines()
                 if line.startswith(f'| `{row.model}` |') and f'`{row.tag}`' in line] or ['']
        assert line if row.model in list_models() or row.kind == 'base' else not line
        if line:
            assert ('old bucket only' in line) == (not living(row)), line
            assert row.licence in line


def test_a_point_is_of_the_best_weights_that_can_be_had():
    found = {point.name: point for point in points('kinetics400')}
    # GluonCV's 74.0 is in the bucket only.
    assert (found['i3d_resnet50_v1'].top1, found['i3d_resnet50_v1'].living) == (73.77, True)
    assert found['i3d_resnet101_v1'].living is False
    assert found['i3d_resnet101_v1'].gmacs == pytest.approx(30 * 51.7, rel=2e-3)
    assert found['slowfast_8x8_resnet50'].gmacs == pytest.approx(30 * 65.7, rel=2e-3)  # crops of 256 pixels


def test_a_picture_says_which_points_it_is_of(tmp_path):
    some = [Point(f'net{number}', 'A' if number % 2 else 'B', 10. ** number, 50 + number, number > 1)
            for number in range(4)]
    zoo.plot(some, tmp_path / 'a.svg', 'title')
    zoo.plot(some, tmp_path / 'b.svg', 'title')
    assert (tmp_path / 'a.svg').read_bytes() == (tmp_path / 'b.svg').read_bytes()
    assert zoo.digest(some) in (tmp_path / 'a.svg').read_text()
    assert zoo.digest(some[1:]) != zoo.digest(some)


def test_costs_are_read_as_they_were_written(tmp_path):
    timed, counted = ModelCost('a', (3, 8, 56, 56), {}, 10, 20, 1.5, 3, 'b'), ModelCost('c', (3, 4, 4), {'k': 2}, 1, 2)
    costs = ZooCosts({'threads': 1}, (timed, counted))
    write_costs(costs, tmp_path / 'costs.json')
    assert read_costs(tmp_path / 'costs.json') == costs
    (tmp_path / 'costs.json').write_text('{"models": [{"model": "a"}]}')
    with pytest.raises(ModelError, match='costs.json: is no file of costs .*zoo_costs.py'):
        read_costs(tmp_path / 'costs.json')
