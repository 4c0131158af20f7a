"""Damaged files of runs, of tests and of bundles: they are read or refused with our own errors."""
import hashlib
import json

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import numpy as np
from bundles import make_bundle, make_model
from fuzzing import amounts, check
from mutations import damaged, damaged_archive, json_text, other_json, rng_of
from report_runs import write_training
from small_runs import lines_of_json

from gluon_action.deploy.bundle import format as bundle_format
from gluon_action.deploy.bundle.format import read_bundle, read_reference
from gluon_action.evaluate.options.config import TestConfig
from gluon_action.evaluate.options.preparation import prepare
from gluon_action.evaluate.report.page import write_report
from gluon_action.evaluate.reports import write_scores
from gluon_action.evaluate.scores.files import match_videos, read_scores
from gluon_action.files import describe
from gluon_action.model_zoo import model_card
from gluon_action.train.progress import Progress
from gluon_action.train.run.folder.checkpoint import Checkpoint, read_checkpoint, understood
from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir
from gluon_action.train.run.history.log import drop_later

STATE = {'params': {'w': np.ones((2, 3), np.float32)}, 'optimizer': {'w#0': np.zeros((2, 3), np.float32)},
         'loop': {'seed': 0, 'optimizer': {'optimizer': 'SGD', 'num_update': 2, 'counts': {'w': 2}, 'moving': {}},
                  'progress': {'epoch': 1, 'batch': 0, 'step': 2, 'update': 2, 'loss_sum': 0.5, 'correct': 1,
                               'count': 4, 'failed': 0, 'best': 0.25, 'best_epoch': 0,
                               'history': [{'epoch': 0, 'loss': 1.5}]}},
         'config': {'model': 'resnet18_v1b_ucf101', 'lr': 0.1}, 'lists': {'train': 'ab' * 32}, 'classes': ['a', 'b']}


def reseal(folder, manifest):
    """Write the manifest of a checkpoint with checksums that fit."""
    text = json.dumps(manifest, sort_keys=True)
    (folder / 'manifest.json').write_text(json.dumps(
        {'manifest': manifest, 'sha256': hashlib.sha256(text.encode()).hexdigest()}))


@amounts(400)
def test_checkpoints_that_are_sealed_again(tmp_path, cases):
    folder = CheckpointDir(tmp_path).save(2, STATE)
    manifest = json.loads((folder / 'manifest.json').read_text())['manifest']
    files = {name: (folder / name).read_bytes() for name in manifest['files']}

    def read(number):
        rng = rng_of('checkpoint', number)
        name = rng.choice(sorted(files))
        if number % 4:
            content = json_text(json.loads(files[name]), rng) if name.endswith('.json') else damaged(files[name], rng)
            (folder / name).write_bytes(content)
            reseal(folder, {**manifest, 'files': describe(folder, files)})
        else:
            reseal(folder, other_json(manifest, rng))
        try:
            step, state = read_checkpoint(folder)
            with understood(Checkpoint(step, state, folder)):
                Progress.from_json(state['loop']['progress'])
        finally:
            (folder / name).write_bytes(files[name])
    check(read, cases)


@amounts(500)
def test_configurations_of_runs(tmp_path, cases):
    about = {'config': {'model': 'resnet18_v1b_custom', 'new_length': 1, 'new_step': 1, 'input_size': 112,
                        'num_segments': 3, 'consensus': 'avg', 'clip_sampling': 'center', 'slowfast': False},
             'num_classes': 2, 'classes': ['a', 'b'], 'clip_stride': 2,
             'model': {'name': 'resnet18_v1b_custom', 'mean': [0.5, 0.4, 0.3], 'std': [0.2, 0.2, 0.2], 'row': None}}
    (tmp_path / 'best.params').touch()
    card = model_card('resnet18_v1b_custom')

    def read(number):
        (tmp_path / 'config.json').write_bytes(json_text(about, rng_of('config', number)))
        prepare(TestConfig(model=card.name, resume_params=str(tmp_path / 'best.params')), card)
    check(read, cases)


@amounts(300)
def test_records_of_training(tmp_path, cases):
    lines = [{'kind': 'batch', 'split': 'train', 'epoch': 0, 'step': 1, 'loss': 1.5},
             {'kind': 'epoch', 'split': 'train', 'epoch': 0, 'step': 2, 'loss': 1.25},
             {'kind': 'batch', 'split': 'val', 'epoch': 0, 'step': 2, 'top1': 0.5}]
    whole = '\n'.join(map(json.dumps, lines)).encode() + b'\n'

    def read(number):
        rng = rng_of('metrics', number)
        (tmp_path / 'metrics.jsonl').write_bytes(damaged(whole, rng) if number % 2 else b'\n'.join(
            json_text(line, rng) for line in lines))
        drop_later(tmp_path / 'metrics.jsonl', 1, 1)
    check(read, cases)


@amounts(250)
def test_scores(tmp_path, cases):
    keys, classes = ['a.mp4', 'b.mp4', 'c.mp4'], ['rest', 'wave']
    write_scores(tmp_path / 'scores.npz', keys, np.array([0, 1, 0]), np.eye(3, 2), np.ones(3, bool), classes)
    whole, about = (tmp_path / 'scores.npz').read_bytes(), {'protocol': {'average': 'scores', 'views': 1}, 'top1': 1.0}
    (tmp_path / 'good').mkdir()
    (tmp_path / 'good' / 'scores.npz').write_bytes(whole)
    good = read_scores(tmp_path / 'good')

    def read(number):
        rng = rng_of('scores', number)
        (tmp_path / 'scores.npz').write_bytes(damaged_archive(whole, rng) if number % 4 else whole)
        (tmp_path / 'results.json').write_bytes(json_text(about, rng))
        match_videos([good, read_scores(tmp_path)])
    check(read, cases)


@amounts(200)
def test_what_a_page_is_made_of(tmp_path, cases):
    write_training(tmp_path, labels=np.arange(6) % 3, scores=np.eye(3, dtype=np.float32)[np.arange(6) % 3])
    about, lines = json.loads((tmp_path / 'config.json').read_bytes()), lines_of_json(tmp_path / 'metrics.jsonl')
    scores = (tmp_path / 'validation_scores.npz').read_bytes()

    def read(number):
        rng = rng_of('page', number)
        (tmp_path / 'config.json').write_bytes(json_text(about, rng))
        (tmp_path / 'metrics.jsonl').write_bytes(b'\n'.join(json_text(line, rng) for line in lines))
        (tmp_path / 'validation_scores.npz').write_bytes(damaged_archive(scores, rng) if number % 4 else scores)
        write_report(tmp_path)
    check(read, cases)


@amounts(200)
def test_bundles_that_are_sealed_again(tmp_path, cases):
    folder = make_bundle(tmp_path / 'bundle')
    manifest = json.loads((folder / 'manifest.json').read_text())
    files = {name: (folder / name).read_bytes() for name in bundle_format.FILES}

    def read(number):
        rng = rng_of('bundle', number)
        name = rng.choice(('preprocess.json', 'labels.json', 'reference.npz', 'model.onnx'))
        if number % 4:
            damage = json_text if name.endswith('.json') else damaged_archive if name.endswith('.npz') else damaged
            given = json.loads(files[name]) if name.endswith('.json') else files[name]
            (folder / name).write_bytes(damage(given, rng))
            changed = {**manifest, 'files': describe(folder, files)}
        else:
            changed = other_json(manifest, rng)
        changed = changed if isinstance(changed, dict) else {}
        changed.pop('sha256', None)
        try:
            (folder / 'manifest.json').write_text(bundle_format.seal(changed))
        except UnicodeEncodeError:  # halves of letters cannot be sealed
            return
        try:
            bundle = read_bundle(folder)
            assert bundle.num_classes == len(bundle.labels or [None] * bundle.num_classes)
            read_reference(bundle)
        finally:
            (folder / name).write_bytes(files[name])
    check(read, cases)


@amounts(600)
def test_models_alone(tmp_path, cases):
    whole = make_model(tmp_path / 'model.onnx').read_bytes()

    def read(number):
        (tmp_path / 'model.onnx').write_bytes(damaged(whole, rng_of('onnx', number)))
        read_bundle(tmp_path / 'model.onnx')
    check(read, cases)
