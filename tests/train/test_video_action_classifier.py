"""Fine-tuning on clips of Epic-Kitchens: what a run leaves, what it starts from, how it is resumed, and its test."""
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, redirect_stdout
from io import StringIO
from pathlib import Path

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from epic import ACTIONS, make_epic
from events import scalars_of
from flags_of_classifier import NAME, forget_tiny, register_tiny
from released_timesformer import released, values_of
from torch_file_writer import write_torch_file

from gluon_action.cli import video_action_classifier as command
from gluon_action.cli.command import run
from gluon_action.data.loading.loader import VideoLoader
from gluon_action.deploy.bundle.format import read_bundle, verify
from gluon_action.deploy.bundle.what_is_exported import open_source
from gluon_action.deploy.onnx.model import OnnxModel
from gluon_action.errors import UsageError
from gluon_action.model_zoo import get_model, model_card
from gluon_action.model_zoo.loading.params_file import read_parameters
from gluon_action.train.loop import Loop
from gluon_action.train.recipes.config import TrainConfig
from gluon_action.train.recipes.epic.classifier import ClassifierRecipe, train_in_versions
from gluon_action.train.recipes.epic.first_batches import FirstBatches
from gluon_action.train.recipes.epic.versions import LightningRun
from gluon_action.train.recipes.parts import build_recipe
from gluon_action.train.run.folder.run_folder import check_same_data

ROOT = Path(__file__).parents[2]
TINY = ('--model', NAME, '--num_workers', '0', '--gpus', '0')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """The data set, in a folder ``data``, and the folder that it is in; the tiny network is known meanwhile."""
    folder = tmp_path_factory.mktemp('kitchen')
    make_epic(folder / 'data', num_train=3, num_val=2, num_frames=8)
    register_tiny()
    yield folder
    forget_tiny()


def start_weights(path, model, classes=1059, **options):
    """A file as TimeSformer's authors release them, for videos of other classes; returns its values by our keys."""
    theirs, ours = values_of(get_model(model, nclass=classes, pretrained_base=False, **options))
    write_torch_file(path, released(theirs))
    return ours


def train(place, *flags):
    """The command in `place`; returns its exit code."""
    before = os.getcwd()
    os.chdir(place)
    try:
        return run(command.parse_args, command.main, ['--data_path=data', *map(str, flags)])
    finally:
        os.chdir(before)


def result_of(place, *flags):
    """The run alone, without export."""
    args = command.parse_args([f'--data_path={place / "data"}', '--default_root_dir', str(place), *map(str, flags)])
    return train_in_versions(command.config_from(args), command.run_from(args))


def arrays(path):
    return read_parameters(path)


def same(a, b):
    return a.keys() == b.keys() and all((a[key] == b[key]).all() for key in a)


def epochs(folder):
    records = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
    return [record for record in records if record['kind'] == 'epoch']


@pytest.fixture(scope='module')
def trained(data):
    """``version_0`` of a run from released weights, what it printed, and what it started from."""
    start = start_weights(data / 'start.pyth', NAME, input_size=16)
    out = StringIO()
    handler, logger = logging.StreamHandler(out), logging.getLogger('gluon_action')
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel('INFO')
    with redirect_stdout(out):
        code = train(data, *TINY, '--batch_size=2', '--max_epochs=3', '--log_every_n_steps=2', '--num_classes=2',
                     '--checkpoint=start.pyth', '--learning_rate=1e-3')
    logger.removeHandler(handler)
    logger.setLevel(level)
    assert code == 0
    return data / 'lightning_logs' / 'version_0', out.getvalue(), start


def test_the_best_epoch_is_kept_tested_and_exported(trained):
    folder, printed, _ = trained
    found = epochs(folder)
    best = max(found, key=lambda record: (record['val_top1'], -record['val_loss'], -record['epoch']))
    name = f'epoch={best["epoch"]}-step={3 * best["epoch"] + 2}'
    left = {path.name for path in (folder / 'checkpoints').iterdir()}
    assert left == {f'{name}.params', f'{name}.onnx', name, 'step-00000006', 'step-00000009'}
    assert (folder / 'best.params').read_bytes() == (folder / 'checkpoints' / f'{name}.params').read_bytes()
    test = json.loads((folder / 'test.json').read_text())
    assert test['test_acc'] == best['val_top1'] and test['test_loss'] == pytest.approx(best['val_loss'], rel=1e-5)
    assert (test['epoch'], test['count'], test['expected']) == (best['epoch'], 4, 4)
    assert f'test_acc={test["test_acc"]:.4f}' in printed and f'checkpoints/{name}.onnx' in printed


def test_scores_have_lightnings_names_in_log_and_tensorboard(trained):
    folder, found = trained[0], epochs(trained[0])
    lines = [line for line in (folder / 'train.log').read_text().splitlines() if line.startswith('epoch=')]
    assert re.fullmatch(r'epoch=0-step=2: train_loss=\S+  train_acc=\S+  valid_loss=\S+  valid_acc=\S+  .*best',
                        lines[0]) and len(lines) == 3
    scalars = {}
    for tag, step, value in scalars_of(folder):
        scalars.setdefault(tag, []).append((step, value))
    assert [step for step, _ in scalars['train_loss']] == [1, 3, 5, 7]
    for tag, key in (('train_acc', 'accuracy'), ('valid_acc', 'val_top1'), ('valid_loss', 'val_loss')):
        assert scalars[tag] == [(record['step'] - 1, pytest.approx(record[key], rel=1e-6)) for record in found]


def test_the_exported_model_is_verified_names_its_classes_and_scores_as_the_network_does(trained):
    model, = (trained[0] / 'checkpoints').glob('*.onnx')
    folder, bare = read_bundle(model.with_suffix('')), read_bundle(model)
    assert folder.labels == bare.labels == list(ACTIONS)
    # 8 frames of an action, spread over 4 parts: 2 apart.
    assert folder.preprocess == bare.preprocess and folder.preprocess.offsets == (0, 2, 4, 6)
    run, best = open_source(trained[0]), open_source(trained[0] / 'best.params')
    assert run.preprocess == best.preprocess == folder.preprocess and run.labels == best.labels == folder.labels
    assert open_source(model.with_suffix('.params')).preprocess == folder.preprocess
    assert folder.preprocess.crop == (16, 16) and folder.preprocess.resize == {'short_side': 18}
    assert verify(model.with_suffix('')).top1_equal
    net = get_model(NAME, nclass=2, pretrained_base=False)
    net.load_parameters(str(trained[0] / 'best.params'))
    clips = np.random.default_rng(0).normal(size=(2, 3, 4, 16, 16)).astype('float32')
    expected = net(mx.nd.array(clips)).asnumpy()
    assert np.abs(OnnxModel(model).run(clips) - expected).max() < 1e-4 * np.abs(expected).max()


def test_the_second_command_names_the_action_of_a_video(trained, data, tmp_path, capsys):
    from gluon_action.cli import test_video_action_classifier as tester
    model, = (trained[0] / 'checkpoints').glob('*.onnx')
    video = next((data / 'data' / 'val').glob('*/*'))
    flags = [f'--video_path={video}', f'--onnx={model}', f'--class_names_path={data}/data/class_names.json',
             f'--output={tmp_path}/drawn']
    assert run(tester.parse_args, tester.main, flags) == 0
    label, score = re.search(rf'{video}: (.+) \((0\.\d\d|1\.00)\)', capsys.readouterr().out).groups()
    assert label in ACTIONS and 0.5 <= float(score) <= 1 and (tmp_path / 'drawn.mp4').stat().st_size > 1000


def test_released_weights_are_taken_and_the_head_for_other_classes_is_named(trained):
    _, printed, start = trained
    assert 'The head of start.pyth is for other classes: a new one starts at random.' in printed
    assert re.search(r'model\.head\.weight +1059x16 +\(unused\) +the head is left out', printed)
    assert len(re.findall(r'^model\.\S+ +\S+ +[a-z]', printed, re.MULTILINE)) == len(start) - 2


def test_training_starts_at_the_released_weights(trained, data):
    """With a rate of 0 they are what a run ends with."""
    result = result_of(data, *TINY, '--learning_rate=0', '--max_epochs=1', '--checkpoint', data / 'start.pyth')
    ended, start = arrays(result.best), trained[2]
    assert same({key: ended[key] for key in start if 'head' not in key},
                {key: start[key] for key in start if 'head' not in key})
    assert ended['head.weight'].shape == (2, 16)


def test_the_next_run_has_the_next_version_and_the_first_stays(trained, data):
    before = {path: path.stat().st_mtime_ns for path in trained[0].rglob('*')}
    result = result_of(data, *TINY, '--max_epochs=1', '--checkpoint', trained[0])
    assert result.save_dir.name == f'version_{max(map(version, (data / "lightning_logs").iterdir()))}'
    assert result.save_dir != trained[0]
    assert {path: path.stat().st_mtime_ns for path in trained[0].rglob('*')} == before


def version(path):
    return int(path.name.rpartition('_')[2])


@pytest.mark.parametrize('flag', ['--freeze_layers', '--freeze_layers=true'])
def test_frozen_layers_stay_as_they_are_and_the_optimizer_knows_the_head_alone(trained, data, flag):
    result = result_of(data, *TINY, flag, '--learning_rate=0.1', '--max_epochs=1', '--checkpoint', trained[0],
                       '--weight_decay=0.1', '--optimizer=adamw')
    before, after = arrays(trained[0] / 'best.params'), arrays(result.best)
    assert {key for key in before if not (before[key] == after[key]).all()} == {'head.weight', 'head.bias'}
    state, = (result.save_dir / 'checkpoints').glob('step-*')
    assert {key.split('#')[0] for key in mx.nd.load(str(state / 'optimizer.params'))} == {'head.weight', 'head.bias'}


def test_what_is_not_said_is_as_the_help_tells_it():
    """Every choice that the command makes by itself; what is not named here is the default of training."""
    expected = TrainConfig(
        model='timesformer_divst_8x32_custom', dataset='epic_kitchens', list_format='epic', num_classes=None,
        data_dir='train', train_list='train_action_classes.csv', val_data_dir='val', val_list='val_action_classes.csv',
        new_length=8, clip_sampling='spread', input_size=224, data_aug='v3', new_height=256, new_width=320,
        flip_prob=0.5, color_jitter=0., num_workers=4, on_error='raise', pretrained_base=False, train_params='all',
        optimizer='adam', lr=1e-4, lr_mode='constant', wd=0., batch_size=1, num_epochs=50, accumulate=1, clip_norm=0.,
        clip_grad=0, num_gpus=0, seed=1234, log_interval=50)
    assert command.config_from(command.parse_args([])) == expected
    assert command.run_from(command.parse_args([])) == LightningRun('.', '', '', 1., 1., 0)


@pytest.mark.parametrize('size, low, high', [(224, 256, 320), (448, 512, 640), (100, 114, 143), (16, 18, 23)])
def test_short_sides_are_from_256_to_320_of_224_of_the_input(size, low, high):
    config = command.config_from(command.parse_args(['--input_size', str(size)]))
    assert (config.input_size, config.new_height, config.new_width) == (size, low, high)


@pytest.mark.parametrize('optimizer, decay, momentum', [('adam', 0., 0.), ('adamw', 0.01, 0.), ('sgd', 0., 0.9)])
def test_the_weights_decay_by_default_as_in_pytorch(data, optimizer, decay, momentum):
    def learnt(*flags):
        config = command.config_from(command.parse_args([f'--data_path={data / "data"}', *TINY, *flags, '--optimizer',
                                                         optimizer, '--learning_rate', '0.1']))
        with ExitStack() as cleanup:
            recipe = build_recipe(config, model_card(NAME), [mx.cpu()], cleanup)
            batch = next(recipe.train_loader.epoch(0))
            for _ in range(2):
                recipe.loop.step(batch)
            assert getattr(recipe.loop.learner.trainer.optimizer, 'momentum', 0.) == momentum
            return recipe.loop.learner.parameters()
    assert same(learnt(), learnt('--weight_decay', str(decay)))
    assert not same(learnt(), learnt('--weight_decay', str(decay + 0.01)))


def test_false_freezes_nothing():
    assert command.parse_args(['--freeze_layers', 'false']).freeze_layers is False
    with pytest.raises(SystemExit):
        command.parse_args(['--freeze_layers', 'perhaps'])


def test_validation_is_the_same_each_time_and_frames_are_in_order(data):
    """Of 8 frames of an action 4 are taken, the middles of the parts, here from the second action of a video."""
    args = command.parse_args([f'--data_path={data / "data"}', *TINY])
    from gluon_action.model_zoo import model_card
    from gluon_action.train.recipes.parts import open_datasets
    train_set, val_set = open_datasets(command.config_from(args), model_card(NAME))
    assert (val_set.load(1, epoch=0)[0] == val_set.load(1, epoch=5)[0]).all()
    assert (train_set.load(1, epoch=0)[0] != train_set.load(1, epoch=5)[0]).any()
    import cv2
    sample = val_set.samples[1]
    pictures = [cv2.imread(f'{sample.path}/frame_{sample.first + place:010d}.jpg')[..., ::-1] for place in (1, 3, 4, 6)]
    assert (val_set.load_frames(1) == np.stack(pictures)).all()


def test_a_run_that_does_not_begin_leaves_no_version(tmp_path, data, capsys):
    shutil.copytree(data / 'data', tmp_path / 'data')
    (tmp_path / 'data' / 'val_action_classes.csv').unlink()
    assert train(tmp_path, *TINY) == 1 and 'val_action_classes.csv' in capsys.readouterr().err
    assert not list((tmp_path / 'lightning_logs').iterdir())
    (tmp_path / 'weights.pyth').write_bytes(b'no weights')
    shutil.copy(data / 'data' / 'val_action_classes.csv', tmp_path / 'data')
    assert train(tmp_path, *TINY, '--checkpoint=weights.pyth') == 1
    assert 'weights.pyth' in capsys.readouterr().err and not list((tmp_path / 'lightning_logs').iterdir())


@pytest.mark.parametrize('model', ['resnet50_v1b_custom', 'slowfast_4x16_resnet50_custom'])
def test_networks_of_other_input_are_refused(data, model, capsys):
    assert train(data, '--model', model, '--gpus=0') == 2
    assert f'--model {model}: is no network for clips of pictures' in capsys.readouterr().err


def test_epochs_can_end_early():
    class Loader:
        dataset, read = None, []

        def __len__(self):
            return 10

        def epoch(self, epoch, start_batch=0, end_batch=None):
            for batch in range(start_batch, end_batch):
                self.read.append(batch)
                yield batch
    for limit, start, expected in ((4, 0, [0, 1, 2, 3]), (0.25, 0, [0, 1]), (4, 3, [3]), (4, 4, []), (99, 8, [8, 9])):
        Loader.read.clear()
        assert list(FirstBatches(Loader(), limit).epoch(0, start)) == Loader.read == expected
    with pytest.raises(Exception, match='leaves none'):
        FirstBatches(Loader(), 0.05)


def test_workers_are_kept_when_epochs_end_early():
    class Samples:
        def __len__(self):
            return 20

        def load(self, index, *, epoch=0):
            return np.full((1, 2), index, np.float32), epoch

    with VideoLoader(Samples(), 2, num_workers=2, prefetch=2) as loader:
        pids, limited = list(loader._pool.pids), FirstBatches(loader, 3)
        for epoch in range(3):
            for start in (0, 2, 3):
                batches = list(limited.epoch(epoch, start))
                assert [batch.indices for batch in batches] == [[0, 1], [2, 3], [4, 5]][start:]
                assert all((batch.label == epoch).all() for batch in batches)
        assert loader._pool is not None and loader._pool.pids == pids


def test_an_interrupted_run_goes_on_as_if_never_stopped(data, tmp_path, monkeypatch, caplog):
    def run_in(place, *flags):
        return result_of(tmp_path / place, f'--data_path={data / "data"}', *TINY, '--batch_size=2', '--max_epochs=3',
                         *flags)
    whole, step, steps = run_in('whole'), Loop.step, []

    def interrupted(loop, batch):
        steps.append(batch)
        if len(steps) == 5:
            raise KeyboardInterrupt
        return step(loop, batch)
    monkeypatch.setattr(Loop, 'step', interrupted)
    caplog.set_level('INFO')
    with pytest.raises(KeyboardInterrupt):
        run_in('stopped')
    monkeypatch.undo()
    folder = tmp_path / 'stopped' / 'lightning_logs' / 'version_0'
    goes_on = f'--resume_from_checkpoint={folder}'
    assert f'The same command with --resume_from_checkpoint {folder} resumes it.' in caplog.text
    with pytest.raises(UsageError, match='--learning_rate was 0.0001 and is 1.0'):
        run_in('stopped', goes_on, '--learning_rate=1')
    result = run_in('stopped', goes_on)
    assert result.save_dir == folder and result.scores == whole.scores
    for name in ('best.params', 'checkpoints/step-00000009/params.params',
                 'checkpoints/step-00000009/optimizer.params'):
        assert (folder / name).read_bytes() == (whole.save_dir / name).read_bytes()


# Killed: processes of their own, on the small network of the zoo.

SMALL = ('--model', 'timesformer_small_custom', '--input_size', '16', '--num_workers', '0', '--gpus', '0',
         '--batch_size', '2', '--optimizer', 'adamw', '--max_epochs', '3', '--log_every_n_steps', '1')


def process(place, *flags):
    return subprocess.Popen([sys.executable, str(ROOT / 'scripts' / 'video_action_classifier.py'), '--data_path=data',
                             *SMALL, *flags], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            start_new_session=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})


def finish(place, *flags):
    started = process(place, *flags)
    output = started.communicate(timeout=200)[0]
    assert started.returncode == 0, output
    return output


def stop(place, how, line, *flags):
    """Send a signal once the log of ``version_0`` has this line."""
    started, log, deadline = process(place, *flags), place / 'lightning_logs/version_0/train.log', time.monotonic() + 99
    while not (log.exists() and line in log.read_text()):
        assert started.poll() is None and time.monotonic() < deadline, started.communicate()[0]
        time.sleep(0.01)
    os.killpg(started.pid, how)
    return started.communicate(timeout=60)[0]


@pytest.mark.parametrize('now, told', [
    ({'lists': {'train': 'b'}, 'classes': ['x']}, '--resume_from_checkpoint: the content of the train list of --data'),
    ({'lists': {'train': 'a'}, 'classes': ['x', 'y']}, "the classes were ['x'] and are ['x', 'y']")])
def test_a_run_with_other_data_is_refused_in_the_flags_of_this_command(now, told):
    before = {'lists': {'train': 'a'}, 'classes': ['x']}
    with pytest.raises(UsageError, match=re.escape(told)) as refusal:
        check_same_data(before, now, ClassifierRecipe.messages, 'version_0')
    assert set(re.findall(r'--\w[\w-]*', str(refusal.value))) <= set(command.build_parser()._option_string_actions)


def test_no_message_about_the_folder_names_a_flag_of_another_command():
    messages = ClassifierRecipe.messages
    texts = [text for text in vars(messages).values() if isinstance(text, str)]
    assert messages.folder in texts
    assert set(re.findall(r'--\w[\w-]*', ' '.join(texts))) <= set(command.build_parser()._option_string_actions)


@pytest.mark.slow
def test_killed_and_resumed_is_as_if_never_stopped(data, tmp_path):
    for place in ('whole', 'killed'):
        (tmp_path / place).mkdir()
        os.symlink(data / 'data', tmp_path / place / 'data')
    finish(tmp_path / 'whole')
    killed = tmp_path / 'killed'
    stop(killed, signal.SIGKILL, 'epoch=0-step=2:')
    assert (killed / 'lightning_logs' / 'version_0').exists()
    output = stop(killed, signal.SIGINT, 'Epoch[001] Batch [0001]', '--resume_from_checkpoint=lightning_logs/version_0')
    assert 'The same command with --resume_from_checkpoint lightning_logs/version_0 resumes it.' in output
    refused = process(killed, '--learning_rate=1', '--resume_from_checkpoint=lightning_logs/version_0')
    assert '--learning_rate was 0.0001 and is 1.0' in refused.communicate(timeout=60)[0] and refused.returncode == 2
    finish(killed, '--resume_from_checkpoint=lightning_logs/version_0')
    first, second = (tmp_path / place / 'lightning_logs' / 'version_0' for place in ('whole', 'killed'))
    assert [path.name for path in (killed / 'lightning_logs').iterdir()] == ['version_0']
    names = [sorted(path.name for path in (folder / 'checkpoints').iterdir()) for folder in (first, second)]
    assert names[0] == names[1] and (first / 'best.params').read_bytes() == (second / 'best.params').read_bytes()
    for name in ('params.params', 'optimizer.params'):
        assert (first / 'checkpoints/step-00000009' / name).read_bytes() == (
            second / 'checkpoints/step-00000009' / name).read_bytes()
