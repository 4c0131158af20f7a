"""What shows each flag of extract-features."""
import importlib.util
import json
import re

import numpy as np
from bundles import make_bundle
from flags_world import NO_PYTORCH, changes, import_row, seen, traceback_row, without_pytorch
from videos import write_frames, write_guessed, write_video

from gluon_action.cli import extract_features
from gluon_action.cli.command import run
from gluon_action.data.preprocess import Preprocess


def prepared(world):
    """A bundle, a video of 30 frames, and lists of it."""
    if 'feature_files' not in world.made:
        world.made['feature_files'] = folder = world.folder / 'feature_files'
        make_bundle(folder / 'small')
        videos = folder / 'classes' / 'rest'
        videos.mkdir(parents=True)
        write_video(videos / 'a.mp4', 30, size=(24, 20))
        (folder / 'own.txt').write_text('a.mp4 1\n')
        (folder / 'wide.txt').write_bytes('a.mp4 1\n'.encode('utf-16-le'))
        (folder / 'several.txt').write_text('a.mp4 0,2\n')
        world.paths.update(small=str(folder / 'small'), own=str(videos), classes=str(folder / 'classes'),
                           one=str(videos / 'a.mp4'), own_list=str(folder / 'own.txt'),
                           wide_list=str(folder / 'wide.txt'), several_list=str(folder / 'several.txt'))
    return world.made['feature_files']


def called(world, *argv):
    prepared(world)
    return run(extract_features.parse_args, extract_features.main, [str(item).format(**world.paths) for item in argv])


def index(world, *flags, of=('{small}', '{one}')):
    """The index that an extraction leaves."""
    out = world.new_folder()
    assert called(world, *of, '--out', out / 'x', *flags) in (0, 1)
    return json.loads((out / 'x' / 'index.json').read_text())


def of_video(name, of=('{small}', '{one}')):
    return lambda world, *flags: index(world, *flags, of=of)['videos'][0].get(name)


def of_settings(name, of=('{small}', '{one}')):
    return lambda world, *flags: index(world, *flags, of=of)['settings'][name]


WEIGHTS = ('{weights}', '{one}', '--model', 'tiny_ucf101')
ZOO = ('tiny_ucf101', '{one}', '--use-pretrained')


def layers(world, output, *flags):
    output.readouterr()
    assert called(world, *flags) == 0
    return output.readouterr().out


@seen('bundle')
def the_named_model_is_taken(world, output, *flags):
    other = make_bundle(prepared(world) / 'other', weights=np.eye(3, dtype='float32'))
    first, second = (index(world, of=(model, '{one}'))['videos'][0]['sha256'] for model in ('{small}', str(other)))
    assert first != second


@seen('videos')
def the_named_videos_are_taken(world, output, *flags):
    prepared(world)
    frames = write_frames(world.new_folder() / 'frames', range(1, 9), size=(24, 20))
    assert [video['name'] for video in index(world, of=('{small}', '{own}', str(frames)))['videos']] == ['a', 'frames']


@seen('--out')
def it_is_written_there(world, output, *flags):
    out = world.new_folder()
    assert called(world, '{small}', '{one}', '--out', out / 'deep' / 'down') == 0
    assert sorted(path.name for path in (out / 'deep' / 'down').iterdir() if path.name[0] != '.') == [
        'a.npz', 'index.csv', 'index.json']
    assert 'layer logits, one row a video' in output.readouterr().out


@seen('--list-layers')
def layers_are_listed(world, output, *flags):
    found = layers(world, output, '{weights}', '--model', 'tiny_ucf101', *flags)
    assert 'pooled    16\n' in found and 'layers.0  8 x 111 x 111\n' in found


@seen('--overwrite')
def features_of_other_settings_are_replaced(world, output, *flags):
    out = world.new_folder()
    for argv, code in (((), 0), (('--window', 'clip'), 2), (('--window', 'clip', *flags), 0)):
        assert called(world, '{small}', '{one}', '--out', out / 'x', *argv) == code
    assert np.load(out / 'x' / 'a.npz')['features'].ndim == 2


@seen('--shard', '2/2')
def a_share_is_done(world, output, *flags):
    out = world.new_folder()
    assert called(world, '{small}', '{one}', '--out', out / 'x', *flags) == 0
    assert '1 are left to other shards' in output.readouterr().out and not (out / 'x' / 'a.npz').exists()


@seen('--model', 'tiny_ucf101')
def parameters_need_the_name_of_their_network(world, output, *flags):
    assert called(world, '{weights}', '{one}', '--out', world.new_folder() / 'x') == 2
    assert '--model' in output.readouterr().err
    assert index(world, *flags, of=('{weights}', '{one}'))['videos'][0]['shape'] == [16]


@seen('--use-pretrained')
def published_weights_are_taken(world, output, *flags):
    assert called(world, 'tiny_ucf101', '{one}', '--out', world.new_folder() / 'x') == 2
    assert '--use-pretrained' in output.readouterr().err
    assert index(world, *flags, of=ZOO[:2])['videos'][0]['shape'] == [16]


@seen('--flow-method', 'farneback')
def flow_is_computed_so(world, output, *flags):
    folder = prepared(world)
    look = Preprocess(layout='NCTHW', modality='flow', offsets=(0, 1), stride=14, crop=(8, 8), mean=(.5, .5),
                      std=(.5, .5), flow_bound=20., resize={'short_side': 16})
    flow = make_bundle(folder / 'flow', look, weights=np.eye(3, 2, dtype='float32'))
    assert of_settings('flow_method', of=(str(flow), '{one}'))(world, *flags) == 'farneback'


@seen('--on-damage', 'raise')
def damaged_frames_are_taken_left_out_or_refused(world, output, *flags):
    prepared(world)
    path = str(write_guessed(world.new_folder() / 'a.wmv'))
    left, taken, refused = (index(world, *more, of=('{small}', path))['videos'][0]
                            for more in ((), ('--on-damage', 'accept'), flags))
    assert left['frames_skipped'] and not taken['frames_skipped'] and '--on-damage' in refused['error']


@seen('--threads', '1')
def so_many_threads_compute(world, output, *flags):
    from gluon_action.deploy.predict import predictor
    assert called(world, *WEIGHTS, '--out', world.new_folder() / 'x', *flags) == 2
    assert 'OMP_NUM_THREADS' in output.readouterr().err
    made, model = [], predictor.OnnxModel
    predictor.OnnxModel = lambda path, threads=None: made.append(model(path, threads=threads)) or made[-1]
    try:
        called(world, '{small}', '--list-layers', *flags)
    finally:
        predictor.OnnxModel = model
    assert made[0].threads == 1


def read_with(world, output, flags, which, refused, label):
    given = ('{small}', which, '--data-dir', '{own}')
    assert called(world, *given, '--out', world.new_folder() / 'x') != 0 and refused in output.readouterr().err
    assert index(world, *flags, of=given)['videos'][0]['label'] == label


@seen('--list-encoding', 'utf-16-le')
def list_is_read_so(world, output, *flags):
    read_with(world, output, flags, '{wide_list}', '--list-encoding', 1)


@seen('--multi-label')
def several_labels_are_read(world, output, *flags):
    read_with(world, output, flags, '{several_list}', '--multi-label', [0, 2])


@seen('--batch-size', '1')
def so_many_clips_are_computed_together(world, output, *flags):
    from gluon_action.deploy.onnx.model import OnnxModel
    sizes, compute = [], OnnxModel.run
    OnnxModel.run = lambda self, input, *more: (sizes.append(len(input)), compute(self, input, *more))[1]
    try:
        index(world)
        index(world, *flags)
    finally:
        OnnxModel.run = compute
    assert sizes == [8, *[1] * 8]


@seen('--engine', 'torch')
def the_other_engine_computes_them(world, output, *flags):
    assert called(world, '{small}', '{one}', '--out', world.new_folder() / 'x', *flags) == 2
    assert '--engine: ' in output.readouterr().err
    with without_pytorch():
        assert called(world, *ZOO, '--out', world.new_folder() / 'x', *flags) == 2
    assert re.search(NO_PYTORCH, output.readouterr().err)
    if importlib.util.find_spec('torch'):
        for layer in ('pooled', 'layers.0'):
            ours, theirs = world.new_folder(), world.new_folder()
            assert called(world, *ZOO, '--layer', layer, '--out', theirs / 'x') == 0
            assert called(world, *ZOO, '--layer', layer, '--out', ours / 'x', *flags) == 0
            found, expected = (np.load(folder / 'x' / 'a.npz')['features'] for folder in (ours, theirs))
            assert found.shape == expected.shape and np.allclose(found, expected, atol=1e-5)


@seen('--num-gpus', '99')
def gpus_that_are_not_there_compute_none(world, output, *flags):
    assert called(world, *ZOO, '--out', world.new_folder() / 'x', *flags) == 1
    assert '--num-gpus 99' in output.readouterr().err


FEATURE_FILE_ROWS = {
    '--debug': traceback_row(lambda world: [extract_features, '/nowhere/x', 'a.mp4', '--out', '/nowhere/y']),
    '--import': import_row(lambda world: [extract_features, '/nowhere/x', 'a.mp4', '--out', '/nowhere/y']),
    'bundle': the_named_model_is_taken,
    'videos': the_named_videos_are_taken,
    '--out': it_is_written_there,
    '--layer': changes(of_settings('layer', of=WEIGHTS), '--layer', 'layers.0', to='layers.0'),
    '--list-layers': layers_are_listed,
    '--pool': changes(of_video('shape', of=WEIGHTS), '--pool', 'none', given=('--layer', 'layers.0'),
                      to=[8, 111, 111]),
    '--window': changes(of_video('shape'), '--window', '0.4', to=[3, 3]),
    '--stride': changes(of_video('shape'), '--stride', '0.2', given=('--window', '0.4'), to=[5, 3]),
    '--clip-step': changes(of_video('clips'), '--clip-step', '9', to=4),
    '--format': changes(of_video('file'), '--format', 'npy', to='a.npy'),
    '--overwrite': features_of_other_settings_are_replaced,
    '--shard': a_share_is_done,
    '--model': parameters_need_the_name_of_their_network,
    '--use-pretrained': published_weights_are_taken,
    '--hashtag': changes(of_settings('weights_sha256', of=ZOO), '--hashtag', '{tag}'),
    '--index': changes(of_settings('weights_sha256', of=ZOO), '--index', '{own_index}'),
    '--trust-first-use': changes(of_settings('weights_sha256', of=ZOO), '--trust-first-use',
                                 given=('--index', '{open_features}')),
    '--flow-method': flow_is_computed_so,
    '--on-damage': damaged_frames_are_taken_left_out_or_refused,
    '--threads': so_many_threads_compute,
    '--batch-size': so_many_clips_are_computed_together,
    '--engine': the_other_engine_computes_them,
    '--num-gpus': gpus_that_are_not_there_compute_none,
    '--data-dir': changes(of_video('shape', of=('{small}', '{own_list}')), '--data-dir', '{own}', to=[3]),
    '--list-format': changes(of_video('label', of=('{small}', '{classes}')), '--list-format', 'folder', to=0),
    '--list-encoding': list_is_read_so,
    '--multi-label': several_labels_are_read,
    '--fps': changes(of_video('fps'), '--fps', '5', to=5.),
}
