"""Commands that others have printed, run as they are printed but for the paths: the i3d/s3dg guide, Epic-Kitchens."""
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from by_engine import BY_ENGINE
from checkpoint_names import slim
from clips import newest, write_clips
from epic import make_epic
from released_timesformer import released, values_of
from tf_checkpoint_writer import write_checkpoint
from torch_file_writer import write_torch_file

from gluon_action.cli import clip_estimator, test_video_action_classifier, video_action_classifier
from gluon_action.cli.command import run
from gluon_action.model_zoo import get_model
from gluon_action.train.recipes.clip_estimator import network as networks
from gluon_action.train.recipes.clip_estimator.data import open_loader

SCRIPT = Path(__file__).parents[2] / 'scripts' / 'i3d_estimator.py'
MODELS, SETS = 'C:/Users/Public/fra-gctd-project/Models', 'C:/Users/Public/fra-gctd-project/Data_Sets'
PRINTED = (
    f'--mode train_and_eval --model_dir {MODELS}/ramsey_nj/i3d-estimator-pretrained-init --checkpoint_path '
    f'{MODELS}/pre-trained/i3d_kinetics_600_rgb/model.ckpt --train_subset_dir_path {SETS}/ramsey_nj/20180419 '
    f'--eval_subset_dir_path {SETS}/ramsey_nj/20180420 --monitor_steps 532 --learning_rate 0.1 --batch_size 2 '
    '--variables_to_warm_start i3d_convs --variables_to_train i3d_logits',
    f'--mode train_and_eval --model_dir {MODELS}/ramsey_nj/i3d-estimator-coarsetuned-init --checkpoint_path '
    f'{MODELS}/ramsey_nj/i3d-estimator-pretrained-init --train_subset_dir_path {SETS}/ramsey_nj/20180419 '
    f'--eval_subset_dir_path {SETS}/ramsey_nj/20180420 --monitor_steps 1064 --learning_rate 0.001 --batch_size 1',
    f'--mode train_and_eval --model_dir {MODELS}/ramsey_nj/i3d-estimator-finetuned-init --checkpoint_path '
    f'{MODELS}/ramsey_nj/i3d-estimator-coarsetuned-init --train_subset_dir_path {SETS}/ramsey_nj/20180419 '
    f'--eval_subset_dir_path {SETS}/ramsey_nj/20180420 --monitor_steps 1064 --learning_rate 0.00001 --batch_size 1')


@pytest.fixture(scope='module')
def kinetics(tmp_path_factory):
    """A checkpoint of slim's I3D for 600 classes, and its values by our keys."""
    folder = tmp_path_factory.mktemp('pre-trained') / 'i3d_kinetics_600_rgb'
    folder.mkdir()
    rng, tensors, values = np.random.default_rng(0), {}, {}
    for name, (key, shape) in slim(600, gated=False, separable=False).items():
        tensors[name] = (rng.uniform(0.5, 1.5, shape) if len(shape) == 1 else
                         rng.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape)).astype(np.float32)
        values[key] = tensors[name].transpose(4, 3, 0, 1, 2) if len(shape) == 5 else tensors[name]
    write_checkpoint(folder / 'model.ckpt', tensors)
    return folder, values


def as_printed(line, kinetics, folder, data):
    line = line.replace(f'{MODELS}/pre-trained/i3d_kinetics_600_rgb', str(kinetics))
    return line.replace(f'{MODELS}/ramsey_nj', str(folder)).replace(f'{SETS}/ramsey_nj', str(data)).split()


#: Of each phase: learning rate, clips a step, steps between looks, what is taken over, what is trained.
PHASES = ((0.1, 2, 532, 'i3d_convs', 'i3d_logits'), (0.001, 1, 1064, None, None), (0.00001, 1, 1064, None, None))


def config_of(line, folder):
    argv = as_printed(line, folder / 'pre-trained', folder / 'runs', folder / 'data')
    return clip_estimator.config_from(clip_estimator.parse_i3d(argv))


@pytest.mark.parametrize('line, phase', zip(PRINTED, PHASES), ids=('pretrained', 'coarsetuned', 'finetuned'))
def test_a_printed_command_takes_steps_of_its_rate_down_the_gradient(line, phase, tmp_path):
    """On a thin network of the same loop; the gradient is computed without it."""
    config = config_of(line, tmp_path)
    rate, size, looks, taken, trained = phase
    assert (config.learning_rate, config.batch_size, config.monitor_steps) == (rate, size, looks)
    assert (config.variables_to_warm_start, config.variables_to_train) == (taken, trained)
    assert (config.mode, config.optimizer, config.momentum, config.weight_decay) == (
        'train_and_eval', 'momentum', 0.9, 1e-7)
    assert (config.num_classes, config.clip_length, config.frame_height, config.frame_width) == (204, 64, 224, 224)
    # Of a single clip as small as the others, batch normalisations see one value of a channel, and nothing learns.
    length, side = (8, 32) if size > 1 else (16, 64)
    write_clips(Path(config.train_subset_dir_path), 2, shape=(length, side, side, 3), classes=204)
    config = dataclasses.replace(
        config, network='s3dg', depth_multiplier=0.05, min_depth=2, clip_length=length, frame_height=side,
        frame_width=side, num_data_workers=0, dropout_rate=0., variables_to_train=trained and 's3dg_logits')
    net = networks.build_network(config, [mx.cpu()])
    loop = networks.build_loop(config, net, [mx.cpu()], networks.scoring_of(config, None))
    assert [loop.schedule(update) for update in (1, 1000, 100_000)] == [rate] * 3
    with open_loader(config, 'train') as loader:
        batch = next(loader.epoch(0))
    with mx.autograd.record():
        loss = mx.gluon.loss.SigmoidBinaryCrossEntropyLoss()(net(mx.nd.array(batch.data)),
                                                             mx.nd.array(batch.label)).mean()
    loss.backward()
    names = [name for name in loop.learner.names if name.startswith('Logits.')]
    before = loop.learner.parameters()
    gradients = {name: loop.learner._params[name].grad().asnumpy().copy() for name in loop.learner.names}
    loop.step(batch)
    after = loop.learner.parameters()
    assert len(names) == 2 and (set(loop.learner.names) == set(names)) == (trained is not None)
    assert max(abs(gradient).max() for gradient in gradients.values()) > 0.001
    # Convolutions learn, which is more than that they decay; a few of two channels give out nothing here.
    learn = [abs(gradients[name]).max() > 100 * config.weight_decay * (1 + abs(before[name]).max())
             for name in gradients if name.endswith('weight') and name not in names]
    assert sum(learn) > 0.9 * len(learn) if trained is None else not learn
    for name, gradient in gradients.items():
        # Weights are so much larger than a step at the last rate that they round it; these begin at 0.
        least = 1e-5 * rate if name.endswith(('bias', 'beta')) else 1e-7
        assert np.allclose(after[name] - before[name], -rate * gradient, rtol=1e-3, atol=least), name
    still = [name for name in before if name not in loop.learner.names and (trained or 'running' not in name)]
    assert all((after[name] == before[name]).all() for name in still)


@pytest.mark.slow
@pytest.mark.parametrize('engine', BY_ENGINE)
def test_the_three_commands_run_as_they_are_printed(engine, kinetics, tmp_path, monkeypatch, capsys):
    for day, count in (('20180419', 3), ('20180420', 2)):
        write_clips(tmp_path / 'data' / day, count, shape=(8, 32, 32, 3), classes=204, seed=count)
    given = clip_estimator.config_from

    def smaller(args):
        assert (args.clip_length, args.frame_height, args.train_steps) == (64, 224, None)
        return dataclasses.replace(given(args), clip_length=8, frame_height=32, frame_width=32, train_steps=2)

    monkeypatch.setattr(clip_estimator, 'config_from', smaller)
    states, looks = [], []
    for line in PRINTED:
        argv = as_printed(line, kinetics[0], tmp_path / 'runs', tmp_path / 'data')
        assert run(clip_estimator.parse_i3d, clip_estimator.main, [*argv, *engine]) == 0
        states.append(newest(Path(argv[3]))[1])
        looks.append([json.loads(text) for text in (Path(argv[3]) / 'metrics.jsonl').read_text().splitlines()])
    heads = {name for name in states[0] if name.startswith('Logits.')}
    for name in states[0].keys() - heads:
        if 'gamma' not in name:
            assert states[0][name] == np.ascontiguousarray(kinetics[1][name]).tobytes(), name
    assert all(states[0][name] != states[1][name] for name in states[0] if name.endswith(('weight', 'running_mean')))
    assert [record['lr'] for record in sum(looks, [])] == [rate for rate, *_ in PHASES]
    # At this rate two steps hardly move the parameters, and with momentum no further than three times the rate.
    moved = [abs(np.frombuffer(states[2][name], np.float32) - np.frombuffer(states[1][name], np.float32)).max()
             for name in states[1] if name.endswith('weight')]
    assert 0 < max(moved) < 1e-2
    about = json.loads((tmp_path / 'runs' / 'i3d-estimator-finetuned-init' / 'config.json').read_text())
    assert about['started_from'].endswith('i3d-estimator-coarsetuned-init/checkpoints/step-00000002')
    # Of running statistics, two steps at momentum 0.9 leave 0.81 of what phase 2 ended with; a reset would not.
    for name in (name for name in states[1] if name.endswith('Mixed_3b.Branch_0.Conv3d_0a_1x1.bn.running_mean')):
        two, three = (np.frombuffer(state[name], np.float32) for state in states[1:])
        assert np.corrcoef(two, three)[0, 1] > 0.9 and (two != three).all()


@pytest.mark.slow
def test_the_first_phase_runs_on_clips_of_their_full_size(kinetics, tmp_path):
    for day in ('20180419', '20180420'):
        write_clips(tmp_path / 'data' / day, 2, shape=(64, 224, 224, 3), classes=204)
    argv = as_printed(PRINTED[0], kinetics[0], tmp_path / 'runs', tmp_path / 'data')
    found = subprocess.run([sys.executable, str(SCRIPT), *argv, '--train_steps', '1'],
                           capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert 'Computing on the CPU' in found.stdout and re.search(r'step 1: evaluation: .*2 of 2 clips', found.stdout)


# The two commands of fran6co/epic_kitchens.

EPIC_TRAIN = ('--data_path=data --batch_size=1 --max_epochs=50 --log_every_n_steps=13 --num_classes=2 '
              '--checkpoint=TimeSformer_divST_8x32_224_HowTo100M.pyth')
EPIC_TEST = ('--video_path=data/val/P01/P01_11 --onnx=lightning_logs/version_0/checkpoints/epoch=17-step=233.onnx '
             '--class_names_path=data/class_names.json')


@pytest.mark.slow
@pytest.mark.parametrize('engine', BY_ENGINE)
def test_the_two_commands_of_epic_kitchens_run_as_they_are_printed(engine, tmp_path, monkeypatch, capsys):
    """Released weights of other videos are fine-tuned and the action in a video is named, on a smaller network."""
    small = {'model': 'timesformer_small_custom', 'input_size': 32}
    make_epic(tmp_path / 'data', num_train=7, num_val=4)
    theirs, _ = values_of(get_model(small['model'], nclass=1059, input_size=32, pretrained_base=False))
    write_torch_file(tmp_path / EPIC_TRAIN.rpartition('=')[2], released(theirs))
    given = video_action_classifier.config_from

    def smaller(args):
        assert (args.model, args.max_epochs, args.learning_rate) == ('timesformer_divst_8x32_custom', 50, 1e-4)
        assert given(args).input_size == 224 and given(args).new_length == 8
        for name, value in small.items():
            setattr(args, name, value)
        return dataclasses.replace(given(args), num_epochs=2, num_workers=0)

    monkeypatch.setattr(video_action_classifier, 'config_from', smaller)
    monkeypatch.chdir(tmp_path)
    assert run(video_action_classifier.parse_args, video_action_classifier.main, [*EPIC_TRAIN.split(), *engine]) == 0
    model, = (tmp_path / 'lightning_logs' / 'version_0' / 'checkpoints').glob('*.onnx')
    assert re.fullmatch(r'epoch=([01])-step=(13|27)\.onnx', model.name)
    video = next((tmp_path / 'data' / 'val').glob('*/*')).relative_to(tmp_path)
    line = EPIC_TEST.replace('data/val/P01/P01_11', str(video)).replace('epoch=17-step=233.onnx', model.name)
    capsys.readouterr()
    assert run(test_video_action_classifier.parse_args, test_video_action_classifier.main, line.split()) == 0
    assert re.search(rf'{video}: (open|take) bag \([01]\.\d\d\)', capsys.readouterr().out)
    assert Path(f'{video}.mp4').stat().st_size and Path(f'{video}.gif').stat().st_size
