import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import mxnet as mx
import numpy as np
import pytest
from checkpoint_names import BLOCKS, deepmind, expected, random_values
from inception import KEPT, few_blocks
from PIL import Image
from tf_checkpoint_writer import write_checkpoint
from videos import write_video

from gluon_action.cli import evaluate_sample as command
from gluon_action.cli.command import run
from gluon_action.data.flow.methods import compute_flow, quantize, to_gray
from gluon_action.data.reading.single_clip import flow_clip, rgb_clip, steady_frames
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.errors import UsageError, VideoReadError, WeightsError
from gluon_action.evaluate.sample import SampleConfig, SampleResult, class_names, evaluate_sample, find_weights
from gluon_action.model_zoo import get_model, model_card

SCRIPTS = Path(__file__).parents[2] / 'scripts'


@pytest.fixture(scope='module')
def small_world(tmp_path_factory):
    folder = tmp_path_factory.mktemp('kinetics-i3d')
    with few_blocks():
        make_world(folder, [name.removeprefix('Mixed_') for name in KEPT])
    yield folder
    shutil.rmtree(folder)  # tens of megabytes


@pytest.fixture
def world(small_world):
    """What `make_world` makes, for networks of few blocks, which those are that the test builds."""
    with few_blocks():
        yield small_world


def make_world(folder, blocks=tuple(BLOCKS)):
    """Random weights under the published names, one of them as they were published, and a sample of 5 frames."""
    published = deepmind('RGB/inception_i3d/', 3, 400, blocks=blocks)
    checkpoints = folder / 'data' / 'checkpoints'
    checkpoints.mkdir(parents=True)
    for seed, (model, *names) in enumerate((('i3d_rgb_kinetics400', 'rgb_imagenet'),
                                            ('i3d_flow_kinetics400', 'flow_imagenet', 'flow_scratch'),
                                            ('i3d_rgb_kinetics600', 'rgb_scratch_kin600'))):
        mx.random.seed(seed)
        net = get_model(model, pretrained_base=False)
        for name in names:
            net.Logits.Conv3d_0c_1x1.bias.set_data(mx.nd.random.normal(shape=net.num_classes))
            net.save_parameters(str(checkpoints / f'{name}.params'))
    values = random_values(published)
    write_checkpoint(checkpoints / 'rgb_scratch' / 'model.ckpt', values)
    arrays = {key: mx.nd.array(array) for key, array in expected(published, values).items()}
    mx.nd.save(str(checkpoints / 'rgb_scratch' / 'converted.params'), arrays)
    rng = np.random.default_rng(0)
    for stream, channels in (('rgb', 3), ('flow', 2)):
        np.save(folder / f'{stream}.npy', rng.uniform(-1, 1, (1, 5, 24, 24, channels)).astype(np.float32))


def config(world, eval_type, **kwargs):
    return SampleConfig(**{'eval_type': eval_type, 'checkpoint_dir': str(world / 'data' / 'checkpoints'),
                           'rgb': str(world / 'rgb.npy'), 'flow': str(world / 'flow.npy'), **kwargs})


def flags(world, *given):
    return ['--checkpoint_dir', str(world / 'data' / 'checkpoints'), '--rgb', str(world / 'rgb.npy'),
            '--flow', str(world / 'flow.npy'), *given]


@functools.cache
def network(name):
    return get_model(name, pretrained_base=False)


def logits_of(world, stream, name, dataset='kinetics400'):
    """What a network with these weights says of the sample."""
    net = network(f'i3d_{stream}_{dataset}')
    path = world / 'data' / 'checkpoints' / f'{name}.params'
    net.load_parameters(str(path if path.exists() else path.with_suffix('') / 'converted.params'), allow_missing=True)
    return net(mx.nd.array(np.load(world / f'{stream}.npy').transpose(0, 4, 1, 2, 3))).asnumpy()[0]


@pytest.mark.parametrize('pretrained, suffix', [(None, 'imagenet'), (False, 'scratch')])
def test_joint_adds_the_logits_of_the_streams_with_the_asked_weights(world, pretrained, suffix):
    result = evaluate_sample(config(world, 'joint', imagenet_pretrained=pretrained))
    wanted = logits_of(world, 'rgb', f'rgb_{suffix}') + logits_of(world, 'flow', f'flow_{suffix}')
    np.testing.assert_allclose(result.logits, wanted, rtol=1e-4, atol=1e-5)
    e = np.exp(wanted.astype(np.float64) - wanted.max())
    np.testing.assert_allclose(result.probabilities, e / e.sum(), rtol=1e-3)
    assert [re.search('/((rgb|flow)_[a-z]+)', path)[1] for path in result.weights.values()] == [
        f'rgb_{suffix}', f'flow_{suffix}']


def test_rgb600_is_from_scratch_and_says_numbers_without_a_label_map(world):
    result = evaluate_sample(config(world, 'rgb600'))
    expected = logits_of(world, 'rgb', 'rgb_scratch_kin600', 'kinetics600')
    np.testing.assert_allclose(result.logits, expected, rtol=1e-4, atol=1e-5)
    assert not result.named and result.top()[0][2] == str(expected.argmax())


def shown(logits, classes):
    return SampleResult(np.array(logits, np.float32), classes, True, {'m': 'x/rgb_imagenet/model.ckpt'}, {},
                        SampleConfig()).text()


def test_the_text_is_that_of_the_published_script():
    text = shown([41.8137, 21.494, -3, 20.1341], ['playing cricket', 'hurling (sport)', 'yoga', 'catching'])
    assert re.fullmatch(r'Norm of logits: 51\.2324\d\d\n\nTop classes and probabilities\n'
                        r'1\.0 41\.8137 playing cricket\n1\.4971\de-09 21\.494 hurling \(sport\)\n'
                        r'3\.84\d+e-10 20\.1341 catching\n3\.\d+e-20 -3\.0 yoga', text), text


def test_twenty_classes_are_shown():
    assert len(shown(np.arange(400), [str(k) for k in range(400)]).splitlines()) == 23


def test_classes_are_spelt_as_in_the_published_label_map():
    names = class_names(model_card('i3d_rgb_kinetics400'), SampleConfig(checkpoint_dir='/nowhere/x'))
    assert len(names) == 400 and names[0] == 'abseiling' and names[-1] == 'zumba'
    assert {'playing cricket', 'hurling (sport)', 'passing American football (not in game)'} < set(names)


def test_the_label_map_beside_the_checkpoints_names_the_classes(tmp_path):
    (tmp_path / 'label_map_600.txt').write_text(''.join(f'action {k}\n' for k in range(600)))
    card, beside = model_card('i3d_rgb_kinetics600'), SampleConfig(checkpoint_dir=str(tmp_path / 'checkpoints'))
    assert class_names(card, beside)[599] == 'action 599'
    with pytest.raises(UsageError, match='has 600 lines, i3d_rgb_kinetics400 has 400 classes'):
        class_names(model_card('i3d_rgb_kinetics400'), SampleConfig(label_map=str(tmp_path / 'label_map_600.txt')))
    with pytest.raises(UsageError, match='cannot be read'):
        class_names(card, SampleConfig(label_map=str(tmp_path / 'none.txt')))


def test_published_checkpoints_are_found_in_their_folders(tmp_path):
    (tmp_path / 'flow_scratch').mkdir()
    (tmp_path / 'flow_scratch' / 'model.ckpt.index').touch()
    found = find_weights('i3d_flow_kinetics400', SampleConfig(imagenet_pretrained=False, checkpoint_dir=str(tmp_path)))
    assert found == str(tmp_path / 'flow_scratch' / 'model.ckpt')
    (tmp_path / 'rgb_imagenet.params').touch()
    for pretrained in (None, True):
        config = SampleConfig(imagenet_pretrained=pretrained, checkpoint_dir=str(tmp_path))
        assert find_weights('i3d_rgb_kinetics400', config) == str(tmp_path / 'rgb_imagenet.params')


def test_missing_weights_say_where_they_were_looked_for_and_how_to_get_them(tmp_path):
    with pytest.raises(WeightsError) as caught:
        find_weights('i3d_rgb_kinetics400', SampleConfig(checkpoint_dir=str(tmp_path)))
    for part in (f'{tmp_path}/rgb_imagenet/model.ckpt.index', f'{tmp_path}/rgb_imagenet.params', 'kinetics-i3d',
                 'gluon-action import-weights', '--checkpoint_dir'):
        assert part in str(caught.value)


@pytest.mark.parametrize('kwargs, complaint', [
    (dict(eval_type='rgb600', imagenet_pretrained=True), 'leave the flag out or pass false'),
    (dict(eval_type='both'), 'not one of rgb, rgb600, flow, joint'),
    (dict(eval_type='rgb', compute_flow='tvl1'), '--compute-flow: means nothing'),
    (dict(eval_type='rgb', rgb='/nowhere.npy'), r'--rgb /nowhere.npy: does not exist.*\(1, T, H, W, 3\)'),
    (dict(eval_type='flow', flow='/nowhere.npy'), r'--flow /nowhere.npy.*\(1, T, H, W, 2\)')])
def test_what_cannot_be_evaluated_is_refused(world, kwargs, complaint):
    with pytest.raises(UsageError, match=complaint):
        evaluate_sample(config(world, **kwargs))


def test_weights_that_want_other_numbers_than_the_sample_has_are_refused(tmp_path):
    folder = tmp_path / 'checkpoints'
    folder.mkdir()
    (folder / 'rgb_imagenet.params').touch()
    (folder / 'rgb_imagenet.params.json').write_text('{"preparation": {"std": [0.2, 0.2, 0.2]}}')
    with pytest.raises(WeightsError, match='trained on std 0.2 0.2 0.2 instead of 0.5.*gluon-action predict'):
        evaluate_sample(SampleConfig(eval_type='rgb', checkpoint_dir=str(folder)))


# The command.

@pytest.mark.draws
def test_the_command_prints_draws_and_writes(world, tmp_path, capsys):
    argv = flags(world, '--eval_type', 'flow', '--json', str(tmp_path / 'x.json'), '--plot', str(tmp_path / 'x.png'))
    assert run(command.parse_args, command.main, argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r'Norm of logits: \d+\.\d{6}', lines[0]) and lines[1:3] == ['', 'Top classes and probabilities']
    assert len(lines) == 23 and all(re.fullmatch(r'[\d.e-]+ -?[\d.e-]+ \D+', line) for line in lines[3:])
    stored = json.loads((tmp_path / 'x.json').read_text())
    assert len(stored['logits']) == 400 and stored['top'][0]['class'] == lines[3].split(' ', 2)[2]
    assert stored['clips'] == {'flow': [2, 5, 24, 24]}
    assert (tmp_path / 'x.png').read_bytes()[:8] == b'\x89PNG\r\n\x1a\n'
    assert run(command.parse_args, command.main, argv) == 2 and '--overwrite' in capsys.readouterr().err


@pytest.mark.parametrize('value', ['maybe', '0', ''])
def test_imagenet_pretrained_is_true_or_false_and_nothing_else(capsys, value):
    with pytest.raises(SystemExit) as stop:
        command.parse_args(['--imagenet_pretrained', value])
    assert stop.value.code == 2 and "choose from 'true', 'false'" in capsys.readouterr().err


def test_exit_codes_tell_bad_usage_from_failure(world, tmp_path, capsys):
    assert run(command.parse_args, command.main, ['--eval_type', 'rgb600', '--imagenet_pretrained', 'TRUE']) == 2
    assert run(command.parse_args, command.main, ['--checkpoint_dir', str(tmp_path)]) == 1
    assert 'import-weights' in capsys.readouterr().err
    assert run(command.parse_args, command.main, ['--json', str(tmp_path / 'nowhere/x.json')]) == 2
    assert 'nowhere to write it to' in capsys.readouterr().err


@pytest.mark.slow
def test_multi_evaluate_runs_every_combination(tmp_path):
    make_world(tmp_path / 'world')
    done = subprocess.run(['bash', str(SCRIPTS / 'multi_evaluate.sh'), *flags(tmp_path / 'world')], cwd=tmp_path,
                          text=True, capture_output=True, env={**os.environ, 'PYTHON': sys.executable})
    assert done.returncode == 0, done.stderr
    texts = {path.stem: path.read_text() for path in (tmp_path / 'out').iterdir()}
    assert set(texts) == {f'{start}_{stream}' for start in ('imagenet', 'no_imagenet')
                          for stream in ('joint', 'flow', 'rgb')} | {'no_imagenet_rgb600'}
    assert len(set(texts.values())) == 7 and all(len(text.splitlines()) == 23 for text in texts.values())


def test_multi_evaluate_stops_at_what_fails_and_leaves_no_half_file(tmp_path, capsys):
    python = tmp_path / 'python'  # notes what it is called with, and fails after a line
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >> "$0.argv"; echo half; echo failed >&2; exit 1\n')
    python.chmod(0o755)
    done = subprocess.run(['bash', str(SCRIPTS / 'multi_evaluate.sh'), '--checkpoint_dir', str(tmp_path)],
                          cwd=tmp_path, text=True, capture_output=True, env={**os.environ, 'PYTHON': str(python)})
    assert (done.returncode, done.stderr) == (1, 'failed\n') and not os.listdir(tmp_path / 'out')
    script, *argv = (tmp_path / 'python.argv').read_text().splitlines()
    assert Path(script) == SCRIPTS / 'evaluate_sample.py' and run(command.parse_args, command.main, argv) == 1
    assert 'no weights rgb_imagenet' in capsys.readouterr().err


# What clips are made of.

@pytest.mark.parametrize('length, fps, wanted, expected', [
    (5, None, 79, [0, 1, 2, 3, 4]), (10, None, 4, [3, 4, 5, 6]), (10, 50, 79, [0, 2, 4, 6, 8]),
    (4, 12.5, 79, [0, 1, 1, 2, 2, 3, 3]), (1, 30, 79, [0]), (100, 25, 2, [49, 50]),
    (10, None, 5, [2, 3, 4, 5, 6]), (9, 50, 79, [0, 2, 4, 6, 8]), (9, 50, 2, [2, 4])])
def test_frames_are_25_a_second_from_the_middle(length, fps, wanted, expected):
    assert steady_frames(length, fps, wanted) == expected


def decoded(path):
    with VideoReader(path) as reader:
        return reader.read(range(len(reader)))


def test_a_video_is_resized_cropped_and_scaled(tmp_path):
    path = write_video(tmp_path / 'v.mp4', 6, size=(96, 64))
    clip = rgb_clip(path, size=28, num_frames=4)
    frames = [cv2.resize(frame, (48, 32))[2:30, 10:38] for frame in decoded(path)[1:5]]
    np.testing.assert_allclose(clip, np.stack(frames).transpose(3, 0, 1, 2)[None] / 127.5 - 1, atol=1e-6)
    assert clip.dtype == np.float32


def write_gif(path, frames):
    pictures = [Image.fromarray(frame) for frame in frames]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    return path


def test_a_gif_of_the_size_is_taken_as_it_is_frame_by_frame(tmp_path):
    frames = np.repeat(np.arange(0, 250, 50, np.uint8)[:, None, None, None], 16, 1).repeat(16, 2).repeat(3, 3)
    clip = rgb_clip(write_gif(tmp_path / 'x.gif', frames), size=16)
    np.testing.assert_allclose(clip[0].transpose(1, 2, 3, 0), frames / 127.5 - 1, atol=0.02)


def test_flow_shown_as_a_gif_is_read_back(tmp_path):
    """kinetics-i3d shows flow with a third channel of 0, and 0.5 added to all."""
    across = np.linspace(-0.4, 0.4, 12)
    flow = np.stack([np.stack(np.meshgrid(across, -across), axis=-1) * scale for scale in (0.5, 1.)])
    shown = np.concatenate([flow, np.zeros_like(flow[..., :1])], axis=-1) + 0.5
    path = write_gif(tmp_path / 'flow.gif', np.uint8(255 * shown))
    np.testing.assert_allclose(flow_clip(path, size=12)[0].transpose(1, 2, 3, 0), flow, atol=0.03)


@pytest.mark.parametrize('suffix', ['png', 'npz'])
def test_stored_flow_is_read(tmp_path, suffix):
    flow = np.random.default_rng(0).uniform(-20, 20, (3, 16, 18, 2))
    stored = quantize(flow)
    if suffix == 'npz':
        np.savez_compressed(tmp_path / 'flow.npz', flow=stored)
    for number, picture in enumerate(stored if suffix == 'png' else (), 1):
        for axis, values in zip('xy', picture.transpose(2, 0, 1)):
            Image.fromarray(values).save(tmp_path / f'flow_{axis}_{number:05d}.png')
    clip = flow_clip(tmp_path, size=14)
    assert clip.shape == (1, 2, 3, 14, 14)
    np.testing.assert_allclose(clip[0].transpose(1, 2, 3, 0), flow[:, 1:15, 2:16] / 20, atol=1 / 250)


def test_flow_stored_with_another_bound_means_the_same(tmp_path):
    flow = np.random.default_rng(0).uniform(-5, 5, (3, 16, 18, 2))
    np.savez_compressed(tmp_path / 'flow.npz', flow=quantize(flow, 5))
    (tmp_path / 'flow.json').write_text('{"num_flows": 3, "bound": 5.0}')
    np.testing.assert_allclose(flow_clip(tmp_path, size=14)[0].transpose(1, 2, 3, 0), flow[:, 1:15, 2:16] / 20,
                               atol=1 / 900)


def test_flow_is_computed_between_the_resized_frames(tmp_path):
    path = write_video(tmp_path / 'v.mp4', 4, size=(96, 64))
    clip = flow_clip(path, size=56, compute='farneback')
    gray = [to_gray(frame) for frame in decoded(path)]
    expected = np.stack([compute_flow(*pair, 'farneback') for pair in zip(gray, gray[1:])])[:, 4:60, 20:76]
    np.testing.assert_allclose(clip[0].transpose(1, 2, 3, 0), expected.clip(-20, 20) / 20, atol=1e-6)


def test_joint_computes_the_flow_of_the_rgb_video(world, tmp_path):
    path = write_video(tmp_path / 'v.mp4', 4, size=(96, 64))
    result = evaluate_sample(config(world, 'joint', rgb=str(path), flow=None, compute_flow='farneback', num_frames=2,
                                    input_size=32))
    assert result.clips == {'rgb': (3, 2, 32, 32), 'flow': (2, 2, 32, 32)}


@pytest.mark.parametrize('array, complaint', [
    (np.zeros((1, 4, 8, 8, 3), np.float32), r'needed is float \(1, T, H, W, 2\)'),
    (np.zeros((2, 4, 8, 8, 2), np.float32), r'holds float32 \(2, 4, 8, 8, 2\)'),
    (np.zeros((1, 4, 8, 8, 2), np.uint8), 'holds uint8'), (np.zeros((1, 0, 8, 8, 2), np.float32), 'holds float32'),
    (np.full((1, 4, 8, 8, 2), 127, np.float32), 'values up to 127'),
    (np.full((1, 4, 8, 8, 2), np.nan, np.float32), 'values up to nan'), (np.array({}), 'no array')])
def test_arrays_of_another_kind_are_refused(tmp_path, array, complaint):
    np.save(tmp_path / 'x.npy', array, allow_pickle=True)
    with pytest.raises(VideoReadError, match=complaint):
        flow_clip(tmp_path / 'x.npy')


def test_a_video_is_not_taken_for_its_flow_nor_flow_for_a_video(tmp_path):
    path = write_video(tmp_path / 'v.mp4', 4)
    with pytest.raises(UsageError, match='pass --compute-flow tvl1'):
        flow_clip(path, size=32)
    np.save(tmp_path / 'x.npy', np.zeros((1, 4, 8, 8, 2), np.float32))
    with pytest.raises(UsageError, match='is flow already; leave out --compute-flow farneback'):
        flow_clip(tmp_path / 'x.npy', compute='farneback')
    one = write_video(tmp_path / 'one.mp4', 1)
    with pytest.raises(VideoReadError, match='flow needs two'):
        flow_clip(one, size=32, compute='farneback')
    assert rgb_clip(one, size=32).shape == (1, 3, 1, 32, 32)
