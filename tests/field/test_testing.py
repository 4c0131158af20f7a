"""What people ran into when they tested, exported and predicted: each situation on one small input."""
import dataclasses
import json
import logging
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from clips import CLASSES, write_clips
from small_tests import results_of, start, warnings_of

from gluon_action import model_zoo
from gluon_action.cli import clip_estimator as estimator_command
from gluon_action.deploy.bundle.what_is_exported import open_source
from gluon_action.deploy.feature_extraction.backbone import Backbone
from gluon_action.deploy.predict.open_predictor import open_predictor
from gluon_action.errors import UsageError, WeightsError
from gluon_action.evaluate.options.config import TestConfig
from gluon_action.evaluate.options.run_options import differences, with_run
from gluon_action.train.recipes.clip_estimator import estimator as estimator_recipe
from gluon_action.train.recipes.clip_estimator.config import EstimatorConfig
from gluon_action.train.recipes.clip_estimator.defaults import as_stored
from gluon_action.train.recipes.config import TrainConfig
from gluon_action.train.recipes.recognizer import RecognizerRecipe, dry_run, train_recognizer

MODEL = tiny.NAME


pytestmark = pytest.mark.usefixtures('tiny_network')


# ---------------------------------------------------------------- what a test takes from the run

@pytest.fixture(scope='module')
def trained(tmp_path_factory, demo_appearance):
    """The folder of a run with options of its own, and its configuration."""
    folder = tmp_path_factory.mktemp('runs') / 'mine'
    config = TrainConfig(
        model=MODEL, dataset='custom', data_dir=str(demo_appearance.video_dir),
        train_list=str(demo_appearance.train_list), val_list=str(demo_appearance.val_list), pretrained_base=False,
        num_segments=3, use_tsn=True, input_size=32, new_height=40, new_width=72, batch_size=8, num_epochs=2, lr=0.02,
        lr_mode='constant', num_workers=0, save_dir=str(folder), log_interval=0)
    train_recognizer(config)
    return folder, config


def best_of(folder):
    records = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
    return [record for record in records if record['kind'] == 'epoch' and record['best']][-1]


def test_the_folder_of_a_run_alone_is_tested_as_it_was_validated(trained, tmp_path, caplog):
    folder, config = trained
    assert start(folder, '-j', 0, '--save-dir', tmp_path / 'out') == 0
    results, best = results_of(tmp_path / 'out'), best_of(folder)
    assert (results['top1'], results['top5']) == pytest.approx((best['val_top1'], best['val_top5']))
    assert results['loss'] == pytest.approx(best['val_loss'], rel=1e-3)
    protocol = results['protocol']
    assert (protocol['views'], protocol['resize'], protocol['crop_size']) == ('3x1', '72x40', 32)
    assert (protocol['model'], protocol['list']) == (MODEL, config.val_list)
    assert warnings_of(caplog) == []


def test_what_is_taken_is_said(trained, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with_run(TestConfig(resume_params=str(trained[0])))
    said = next(line for line in caplog.messages if line.startswith('From config.json of the run'))
    assert all(part in said for part in (f'--model {MODEL}', '--num-segments 3', '--new-height 40', '--dataset custom',
                                         '--val-list ', '--data-dir '))
    assert '--data-aug' not in said  # which is as it would be anyway


def test_parameters_in_a_run_are_tested_with_the_list_that_is_given(trained, demo_appearance, tmp_path, caplog):
    folder, config = trained
    (tmp_path / 'two.txt').write_text('\n'.join(demo_appearance.val_list.read_text().splitlines()[:2]))
    assert start('--resume-params', folder / 'best.params', '--val-list', tmp_path / 'two.txt', '-j', 0, '--save-dir',
                 tmp_path / 'out') == 0
    assert results_of(tmp_path / 'out')['n_expected'] == 2 and warnings_of(caplog) == []


@pytest.mark.parametrize('write', ['numbers', 'names', 'folder', 'elsewhere'])
def test_other_videos_are_tested_by_naming_them_behind_the_run(trained, demo_appearance, tmp_path, caplog, write):
    _, config = trained
    folder = shutil.copytree(trained[0], tmp_path / 'run', symlinks=True)
    rows = [line.split() for line in demo_appearance.val_list.read_text().splitlines()[:4]]
    names, place = list(demo_appearance.classes), tmp_path / 'l.txt'
    about = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps({**about, 'classes': names}))
    if write == 'numbers':
        place.write_text('\n'.join(f'{path} {label}' for path, _, label in rows))
    elif write == 'names':
        place = tmp_path / 'l.csv'
        place.write_text('path,label\n' + '\n'.join(f'{path},{names[int(label)]}' for path, _, label in rows))
    else:  # folders of classes, of which some have no videos here; or a list beside videos of its own
        place = place if write == 'elsewhere' else tmp_path / 'mine'
        for path, _, label in rows:
            there = tmp_path / 'mine' / names[int(label)]
            there.mkdir(parents=True, exist_ok=True)
            (there / Path(path).name).symlink_to(demo_appearance.video_dir / path)
        if write == 'elsewhere':
            place.write_text('\n'.join(f'mine/{names[int(label)]}/{Path(path).name} {label}'
                                       for path, _, label in rows))
    assert start(folder, place, '-j', 0, '--save-dir', tmp_path / 'out') == 0
    results = results_of(tmp_path / 'out')
    assert results['n_scored'] == 4 and results['n_failed'] == 0 and warnings_of(caplog) == []
    assert start(folder, config.val_list, '-j', 0, '--save-dir', tmp_path / 'all') == 0
    whole = np.load(tmp_path / 'all' / 'scores.npz')
    some = np.load(tmp_path / 'out' / 'scores.npz')
    keys = {Path(str(key)).name: score for key, score in zip(whole['keys'], whole['scores'])}
    for key, label, score in zip(some['keys'], some['labels'], some['scores']):
        np.testing.assert_allclose(score, keys[Path(str(key)).name], rtol=1e-4)
        assert label == {Path(path).name: int(label) for path, _, label in rows}[Path(str(key)).name]


def test_results_of_other_videos_lie_beside_and_replace_nothing(trained, demo_appearance, tmp_path, caplog,
                                                                monkeypatch):
    folder = shutil.copytree(trained[0], tmp_path / 'run', symlinks=True)
    caplog.set_level(logging.INFO)
    monkeypatch.chdir(tmp_path)
    for place, count in (('other.txt', 2), ('new/other.txt', 3)):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(''.join(demo_appearance.val_list.read_text().splitlines(True)[:count]))
    base = tmp_path / 'run' / 'test-3x1'
    assert start(folder, '-j', 0, '--no-report') == 0
    for place, count, made in (('other.txt', 2, f'{base}-other'), ('new/other.txt', 3, f'{base}-other-2')):
        assert start(folder, place, '-j', 0, '--no-report') == 0
        results = results_of(made)
        assert results['n_expected'] == count and f'--save-dir {made}' in results['command']
        assert f'Results of {tmp_path / place} go to {made}' in caplog.text
    assert results_of(base)['n_expected'] == len(demo_appearance.val_list.read_text().splitlines())
    assert start(folder, 'other.txt', '-j', 0, '--no-report') == 2  # of the same list they would be replaced
    assert start(folder, 'other.txt', '-j', 0, '--no-report', '--save-dir', 'mine') == 0 and results_of('mine')


@pytest.mark.parametrize('named, made', [
    ('run', 'run/test-3x1'), ('run/best.params', 'run/test-3x1'), ('linked.params', 'run/test-3x1'),
    ('run/{best}', 'run/test-3x1'), ('run/last one.params', 'run/test-3x1-last_one'),
    ('run/checkpoints/kept.params', 'run/test-3x1-checkpoints_kept'),
    ('alone.params', f'results/{MODEL}-custom-3x1')])
def test_results_go_into_the_run_of_the_weights_and_of_others_to_a_folder_named_after_them(
        trained, tmp_path, monkeypatch, named, made):
    folder = shutil.copytree(trained[0], tmp_path / 'run', symlinks=True)
    best = (folder / 'best.params').resolve()
    for place in (folder / 'last one.params', folder / 'checkpoints' / 'kept.params', tmp_path / 'alone.params'):
        shutil.copy(best, place)
    (tmp_path / 'linked.params').symlink_to(folder / 'best.params')
    monkeypatch.chdir(tmp_path)
    flags = () if 'run' in named or 'linked' in named else (
        '--model', MODEL, '--dataset', 'custom', '--data-dir', trained[1].data_dir, '--val-list', trained[1].val_list,
        '--num-segments', 3, '--input-size', 32, '--new-height', 40, '--new-width', 72)
    assert start(named.format(best=best.name), *flags, '-j', 0, '--no-report') == 0
    assert [path.parent for path in Path().glob('**/results.json')] == [Path(made)]
    assert start('run', '-j', 0, '--no-report') == (2 if made == 'run/test-3x1' else 0)  # they are the same


@pytest.mark.parametrize('named', ['run', f'run/custom-{MODEL}-001.params'])
def test_a_link_in_a_run_to_what_is_no_more_is_no_file_of_parameters(trained, tmp_path, monkeypatch, named):
    folder = shutil.copytree(trained[0], tmp_path / 'run', symlinks=True)
    (folder / 'best.params').unlink()
    (folder / 'gone.params').symlink_to('nowhere')
    monkeypatch.chdir(tmp_path)
    assert start(named, '-j', 0, '--no-report') == 0


@pytest.mark.parametrize('named', ['run', 'run/best.params'])
def test_results_of_a_run_that_may_not_be_written_go_elsewhere(trained, tmp_path, monkeypatch, named):
    folder = shutil.copytree(trained[0], tmp_path / 'run', symlinks=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, 'access', lambda path, mode, given=os.access: (
        (Path(path).resolve() != folder or mode != os.W_OK) and given(path, mode)))  # which root may always
    before = sorted(folder.rglob('*'))
    assert start(named, '-j', 0, '--no-report') == 0
    assert results_of(f'results/{MODEL}-custom-3x1') and sorted(folder.rglob('*')) == before


def test_results_go_with_the_run_that_overwrite_deletes_and_nothing_else_does(trained, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    run, other = (shutil.copytree(trained[0], tmp_path / name, symlinks=True) for name in ('run', 'other'))
    for argv in ((run,), (run / f'custom-{MODEL}-001.params',),
                 (run, '--save-dir', run / 'mine', '--logging-file', tmp_path / 'notes.txt'),
                 (run, '--save-dir', run / 'log', '--logging-file', 'own.log'), (other, '--save-dir', run / 'of_other'),
                 (other, '--save-dir', run / 'test-1x1-of_other'),
                 (run, '--save-dir', tmp_path / 'outside')):
        assert start(*argv, '-j', 0) == 0
    for name in ('test-1x1', 'test-x', 'test-2x1', 'test-3x3'):
        (run / name).mkdir()
    (run / 'test-1x1' / 'scores.unfinished').write_text('{"job": ""}\n')
    (run / 'test-2x1' / 'results.json').write_text('[]')
    (run / 'test-x' / 'results.json').write_text('{"protocol": {}, "config": {"resume_params": 3, "logging_file": 1}}')
    shutil.copytree(run / 'test-3x1', tmp_path / 'linked')
    (run / 'test-4x1').symlink_to(tmp_path / 'linked')
    (run / 'mine' / 'notes.txt').write_text('mine')
    kept = {path: path.stat().st_mtime_ns for place in ('run/of_other', 'run/test-1x1-of_other', 'outside', 'linked')
            for path in (tmp_path / place).iterdir()}
    again = dataclasses.replace(trained[1], save_dir=str(run), num_epochs=1)
    with pytest.raises(UsageError, match='holds a run already'):
        train_recognizer(again)
    assert (run / 'test-3x1' / 'results.json').exists()
    train_recognizer(dataclasses.replace(again, overwrite=True))
    assert {path.name for path in run.iterdir() if path.is_dir()} == {
        'checkpoints', 'mine', 'of_other', 'test-1x1-of_other', 'test-2x1', 'test-3x3', 'test-4x1', 'test-x'}
    assert os.listdir(run / 'mine') == ['notes.txt'] and {path: path.stat().st_mtime_ns for path in kept} == kept
    assert f'{run}: removed the results of tests of the run that is deleted: log, mine, test-1x1, test-3x1, ' \
           f'test-3x1-custom-{MODEL}-001' in caplog.text


def test_videos_that_cannot_be_tested_are_refused(trained, tmp_path, capsys):
    folder, config = trained
    (tmp_path / 'a.mp4').write_bytes(b'x')
    for argv, told in (((tmp_path / 'a.mp4',), 'is a video, and nobody says what it shows'),
                       ((tmp_path / 'none.csv',), 'there is no such list or folder'),
                       ((config.val_list, '--val-list', config.val_list), 'name the videos once')):
        assert start(folder, *argv) == 2 and told in capsys.readouterr().err


@pytest.mark.parametrize('given, told', [
    (dict(input_size=24), ['--input-size 24, and the run had --input-size 32']),
    (dict(new_height=64, new_width=96), ['--new-height, --new-width: frames are 96x64 before the crop of 32, and in '
                                         'the validation of the run they were 72x40']),
    (dict(new_step=2, consensus='max'), ['--consensus max, and the run had --consensus avg',
                                         '--new-step 2, and the run had --new-step 1']),
    (dict(multi_label=True), ['--multi-label, and the run had no --multi-label']),
    (dict(model='resnet18_v1b_ucf101'), ['--model resnet18_v1b_ucf101, and the run had --model tiny_ucf101']),
    # The same again, other views of the same look, and who reads is no difference.
    (dict(input_size=32, num_segments=25, ten_crop=True, new_height=40, new_width=72, num_workers=3), [])])
def test_every_difference_that_changes_what_the_network_sees_is_a_warning_of_one_line(trained, caplog, given, told):
    with_run(TestConfig(resume_params=str(trained[0]), **given))
    warned = warnings_of(caplog)
    assert len(warned) == len(told) and all('\n' not in line for line in warned)
    for line, part in zip(warned, told):
        assert part in line and 'leave it out to test what was trained' in line


def test_another_list_or_data_set_is_not_read_as_the_runs_was(trained):
    given = dict(resume_params=str(trained[0]))
    run_of = {**dataclasses.asdict(trained[1]), 'label_base': 1, 'list_format': 'gluoncv', 'val_data_dir': '/val'}
    (trained[0].parent / 'other').mkdir(exist_ok=True)
    (trained[0].parent / 'other' / 'config.json').write_text(json.dumps({'config': run_of}))
    (trained[0].parent / 'other' / 'best.params').write_bytes((trained[0] / 'best.params').read_bytes())
    given['resume_params'] = str(trained[0].parent / 'other')
    alone, listed = with_run(TestConfig(**given)), with_run(TestConfig(**given, val_list='mine.csv'))
    placed, other = with_run(TestConfig(**given, data_dir='/mine')), with_run(TestConfig(**given, dataset='ucf101'))
    assert (alone.list_format, alone.label_base, alone.val_data_dir) == ('gluoncv', 1, '/val')
    assert (listed.list_format, listed.val_list) == (None, 'mine.csv')
    assert (listed.label_base, listed.val_data_dir) == (1, '/val')
    assert (placed.data_dir, placed.val_data_dir) == ('/mine', None)
    assert (other.data_dir, other.val_list, other.label_base, other.num_segments) == (None, None, None, 3)


def test_the_papers_segments_come_before_the_runs(trained):
    assert with_run(TestConfig(resume_params=str(trained[0]), use_tsn=True)).segments == 25
    assert with_run(TestConfig(resume_params=str(trained[0]), num_segments=7)).segments == 7


@pytest.mark.parametrize('name, value', [
    ('num_segments', {'a': 1}), ('num_segments', 0), ('num_segments', 2 ** 40), ('num_segments', True),
    ('num_segments', 1e300), ('crop_ratio', 7), ('crop_ratio', 'x'), ('data_aug', 'v9'),
    ('multi_label', 'yes'), ('model', 7), ('val_list', ['a']), ('num_crop', 2), ('dataset', 'elsewhere')])
def test_what_others_wrote_into_config_json_is_taken_only_where_it_can_be(tmp_path, name, value):
    (tmp_path / 'config.json').write_text(json.dumps({'config': {name: value}}))
    (tmp_path / 'best.params').write_bytes(b'')
    assert with_run(TestConfig(resume_params=str(tmp_path))) == TestConfig(resume_params=str(tmp_path / 'best.params'))


@pytest.mark.parametrize('open_it', [
    lambda folder: with_run(TestConfig(resume_params=str(folder))), open_predictor, open_source])
def test_a_checkpoint_is_no_run(tmp_path, open_it):
    (tmp_path / 'config.json').write_text(json.dumps({'config': {'model': MODEL}}))
    folder = tmp_path / 'checkpoints' / 'step-00000004'
    folder.mkdir(parents=True)
    for name in ('loop.json', 'config.json', 'manifest.json', 'params.params', 'optimizer.params'):
        (folder / name).write_bytes(b'{}')
    with pytest.raises(UsageError, match=f'is a checkpoint, .* name the folder of the run, {tmp_path}$'):
        open_it(folder)


def test_a_training_starts_from_the_best_parameters_of_a_run(trained, tmp_path):
    folder, config = trained
    again = dataclasses.replace(config, resume_params=str(folder), save_dir=str(tmp_path / 'again'))
    assert RecognizerRecipe(again).config.resume_params == str(folder / 'best.params')
    loss = re.search(r'loss (\S+)', dry_run(again)).group(1)
    assert loss == re.search(r'loss (\S+)', dry_run(dataclasses.replace(
        again, resume_params=str(folder / 'best.params')))).group(1)
    with pytest.raises(UsageError, match='is a checkpoint'):
        dry_run(dataclasses.replace(again, resume_params=str(next((folder / 'checkpoints').iterdir()))))


def test_folders_that_are_no_runs_are_refused_with_the_way_out(tmp_path, capsys):
    assert start(tmp_path) == 1
    assert 'holds no config.json of a training run' in capsys.readouterr().err
    (tmp_path / 'config.json').write_text(json.dumps({'config': {'model': MODEL}}))
    with pytest.raises(WeightsError, match='has no parameters yet'):
        with_run(TestConfig(resume_params=str(tmp_path)))
    (tmp_path / 'best.params').write_bytes(b'')
    (tmp_path / 'config.json').write_text(json.dumps({'config': {'network': 's3dg'}}))
    with pytest.raises(UsageError, match='the run of an estimator.*--mode eval'):
        with_run(TestConfig(resume_params=str(tmp_path)))
    assert start(tmp_path, '--resume-params', 'x.params') == 2
    assert 'name the parameters once' in capsys.readouterr().err
    assert start('/nowhere/run') == 2
    assert '/nowhere/run: does not exist' in capsys.readouterr().err
    (tmp_path / 'config.json').unlink()
    assert start('--resume-params', tmp_path / 'best.params') == 2
    assert 'gluon-action test RUN_DIR' in capsys.readouterr().err


def test_differences_need_something_to_differ_from():
    assert differences(TestConfig(input_size=8, new_height=3, slowfast=True), {}) == []


def test_an_export_says_where_it_differs_from_its_run(trained, caplog):
    source = open_source(trained[0], input_size=24, short_side=40, multi_label=True)
    assert source.preprocess.crop == (24, 24)
    told = warnings_of(caplog)
    assert [re.search(r'(--[a-z-]+)( \d+)? is not what the run was validated with', line)[1] for line in told] == [
        '--input-size', '--multi-label']
    caplog.clear()
    assert open_source(trained[0], input_size=32, crops=3).preprocess.resize == {'width': 57, 'height': 32}
    assert warnings_of(caplog) == []


def test_a_dry_run_for_gpus_can_be_made_where_there_are_none(trained, demo_appearance):
    told = dry_run(dataclasses.replace(trained[1], num_gpus=2, batch_size=2, save_dir='/nowhere/run'))
    assert 'batches of 4' in told and 'on cpu(0), cpu(1)' in told
    assert re.search('tried on as many parts of the CPU, since here the run itself would fail: .*--num-gpus 2', told)


# ---------------------------------------------------------------- estimators

@pytest.fixture
def records(tmp_path):
    """Clips of 8 frames of 32x32 with 3 classes, as make-clip-records leaves them: a manifest above the splits."""
    write_clips(tmp_path / 'clips' / 'train', 4, seed=1, names=CLASSES)
    write_clips(tmp_path / 'clips' / 'eval', 4, seed=2, names=CLASSES)
    (tmp_path / 'clips' / 'manifest.json').write_text(json.dumps(
        {'format': 'clip records 1', 'settings': {'clip_length': 8, 'cut': {'height': 32, 'width': 32}}}))
    return tmp_path / 'clips'


def estimator(records, tmp_path, **options):
    return EstimatorConfig(**{**dict(
        network='s3dg', mode='train_and_eval', model_dir=str(tmp_path / 'run'), batch_size=2, depth_multiplier=0.05,
        min_depth=2, num_data_workers=0, monitor_steps=2, train_steps=2, learning_rate=0.01, num_gpus=0,
        train_subset_dir_path=str(records / 'train'), eval_subset_dir_path=str(records / 'eval')), **options})


def test_classes_and_clips_of_an_estimator_are_those_of_its_records(records, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    found = as_stored(estimator(records, tmp_path))
    assert (found.num_classes, found.clip_length, found.frame_height, found.frame_width) == (3, 8, 32, 32)
    assert '--num_classes 3 --clip_length 8 --frame_height 32 --frame_width 32' in caplog.text
    given = as_stored(estimator(records, tmp_path, clip_length=4, num_classes=7))
    assert (given.num_classes, given.clip_length, given.frame_height) == (7, 4, 224)
    (records / 'manifest.json').write_text('{"settings": {"clip_length": "8", "cut": []}}')
    (records / 'train' / 'classes.txt').write_bytes(b'\xff')
    assert as_stored(estimator(records, tmp_path)) == estimator(records, tmp_path)
    (records / 'manifest.json').write_text('[' * 100_000)
    (records / 'train' / 'classes.txt').unlink()
    os.mkfifo(records / 'train' / 'classes.txt')
    assert as_stored(estimator(records, tmp_path)) == estimator(records, tmp_path)


def test_a_flag_that_is_given_is_obeyed_though_it_is_the_default(records, tmp_path):
    flags = ['--mode', 'train', '--model_dir', str(tmp_path), '--train_subset_dir_path', str(records / 'train')]
    for more, said in (([], (3, 8, 32)), (['--clip_length', '64'], (3, 64, 224)), (['--num_classes=6'], (6, 8, 32))):
        args = estimator_command.parse_s3dg([*flags, *more])
        found = as_stored(estimator_command.config_from(args), args.given)
        assert (found.num_classes, found.clip_length, found.frame_height) == said


def test_records_of_other_classes_than_the_run_are_named(records, tmp_path):
    (tmp_path / 'run').mkdir()
    config = dataclasses.asdict(estimator(records, tmp_path, num_classes=5))
    (tmp_path / 'run' / 'config.json').write_text(json.dumps({'config': config}))
    with pytest.raises(UsageError, match='eval: classes.txt beside the records names 3 classes, but the run has 5'):
        as_stored(estimator(records, tmp_path, mode='eval'))
    (records / 'eval' / 'classes.txt').unlink()
    assert as_stored(estimator(records, tmp_path, mode='eval')).num_classes == 5


def test_a_run_of_an_estimator_is_evaluated_as_it_was_trained(records, tmp_path):
    assert estimator_recipe.train(estimator(records, tmp_path)).step == 2
    (records / 'manifest.json').unlink()
    (records / 'eval' / 'classes.txt').unlink()
    config = EstimatorConfig(network='s3dg', mode='eval', model_dir=str(tmp_path / 'run'), batch_size=2,
                             num_data_workers=0, num_gpus=0, eval_subset_dir_path=str(records / 'eval'))
    found = estimator_recipe.evaluate(config)
    assert found['metrics']['count'] == 4 and len(found['classes']) == 3
    assert found['protocol']['clip']['frames'] == 8


def test_features_are_extracted_by_the_variant_that_the_run_trained(tmp_path, caplog):
    name = 'resnet18_v1b_ucf101'
    net = model_zoo.get_model(name, nclass=4, pretrained_base=False, use_gn=True, input_size=32)
    net.save_parameters(str(tmp_path / 'best.params'))
    (tmp_path / 'config.json').write_text(json.dumps({'config': {
        'model': 'resnet18_v1b_custom', 'use_gn': True, 'input_size': 32}}))
    backbone = Backbone(name, params=str(tmp_path / 'best.params'))
    assert backbone(np.zeros((1, 32, 32, 3), np.uint8)).shape == (1, backbone.width)
    assert [line for line in warnings_of(caplog) if 'trained resnet18_v1b_custom' in line]
