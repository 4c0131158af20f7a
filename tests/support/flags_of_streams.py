"""What shows each flag of the commands for two streams: fuse-scores and evaluate-sample."""
import functools
import json
import os
import shutil

import numpy as np
import pytest
from flags_world import changes, same, seen, traceback_row
from inception import Thin

from gluon_action import model_zoo
from gluon_action.cli import evaluate_sample, fuse_scores
from gluon_action.cli.command import run
from gluon_action.evaluate.reports import write_report
from gluon_action.model_zoo import registry
from gluon_action.model_zoo.i3d import I3D

# Fusing scores.

LABELS = np.arange(12) % 3
REPORTS = {'rgb': 0, 'flow': 1, 'rgb_val': 2, 'flow_val': 3}


def reports(world):
    """Folders of tests with random logits, made once; their names stand for them in flags."""
    if 'rgb_report' not in world.paths:
        for name, seed in REPORTS.items():
            folder = world.new_folder()
            rng = np.random.default_rng(seed)
            write_report(folder, {'protocol': {'average': 'scores'}}, keys=[f'{n}.mp4' for n in range(12)],
                         labels=LABELS, scores=2 * np.eye(3)[LABELS] + rng.normal(size=(12, 3)) * (1 + seed % 2),
                         scored=np.ones(12, bool), failures=[], classes=list('abc'), meter=None)
            world.paths[f'{name}_report'] = str(folder)


def fuse(world, *flags, given=('{rgb_report}', '{flow_report}')):
    reports(world)
    return run(fuse_scores.parse_args, fuse_scores.main, [item.format(**world.paths) for item in (*given, *flags)])


def fusion(world, *flags):
    """The folder that a fusion leaves."""
    folder = world.new_folder()
    assert fuse(world, *flags, '--save-dir', str(folder)) == 0
    return folder


def fused(world, *flags):
    return np.load(world.once(fusion, *flags) / 'scores.npz')['scores'].round(4)


def fused_by(world, *flags):
    return json.loads((world.once(fusion, *flags) / 'results.json').read_text())['protocol']['weights_from']


@seen('{rgb_val_report}')
def a_third_report_is_added(world, output, *flags):
    one, three = (fused(world, *extra) for extra in ((), flags))
    added = np.load(os.path.join(world.paths['rgb_val_report'], 'scores.npz'))['scores']
    np.testing.assert_allclose(three, one + added, atol=1e-3)


@seen('--save-dir', '{tmp}/fused')
def the_fusion_is_in_save_dir(world, output, *flags):
    assert fuse(world, *flags) == 0
    assert {'results.json', 'scores.npz'} <= set(os.listdir(world.folder / 'fused'))


@seen('--overwrite')
def a_fusion_is_replaced(world, output, *flags):
    again = ('--save-dir', str(world.once(fusion)), '--weights', '1', '1')
    assert [fuse(world, *again, *extra) for extra in ((), flags)] == [2, 0]


FUSE_ROWS = {
    '--debug': traceback_row(lambda world: [fuse_scores, '/nowhere', '/nowhere']),
    'reports': a_third_report_is_added,
    '--weights': changes(fused, '--weights', '1', '2'),
    '--fit': changes(fused_by, '--fit', '{rgb_val_report}', '{flow_val_report}', to='fitted'),
    '--scores': changes(lambda *a: bool(np.allclose(fused(*a).sum(axis=1), 1, atol=1e-3)), '--scores', 'probabilities',
                        to=True),
    '--save-dir': the_fusion_is_in_save_dir,
    '--overwrite': a_fusion_is_replaced,
}

# A sample.

MODELS = {'rgb_imagenet': 'i3d_rgb_kinetics400', 'rgb_scratch': 'i3d_rgb_kinetics400',
          'flow_imagenet': 'i3d_flow_kinetics400', 'rgb_scratch_kin600': 'i3d_rgb_kinetics600'}


def make_thin(world):
    """Put few channels into the networks that score a sample."""
    patch = world.cleanup.enter_context(pytest.MonkeyPatch.context())

    def build(channels, nclass, *, tsn, consensus, **options):
        return I3D(nclass, channels=channels, parts=Thin(), **options)

    for model in MODELS.values():
        patch.setitem(registry._BUILDERS, model, functools.partial(build, model_zoo.model_card(model).channels))


def sample(world):
    """Random weights, arrays and a label map, made once."""
    if 'checkpoints' in world.paths:
        return
    make_thin(world)
    folder = world.folder / 'i3d'
    for name, model in MODELS.items():
        (folder / 'checkpoints').mkdir(parents=True, exist_ok=True)
        net = model_zoo.get_model(model, pretrained_base=False)
        net.save_parameters(str(folder / 'checkpoints' / f'{name}.params'))
    (folder / 'others').mkdir()
    shutil.copy(folder / 'checkpoints' / 'rgb_scratch.params', folder / 'others' / 'rgb_imagenet.params')
    for seed, name in enumerate(('rgb', 'flow', 'other_rgb', 'other_flow')):
        clip = np.random.default_rng(seed).uniform(-1, 1, (1, 2, 16, 16, 2 if 'flow' in name else 3))
        np.save(folder / f'{name}.npy', clip.astype(np.float32))
        world.paths[name] = str(folder / f'{name}.npy')
    (folder / 'names.txt').write_text(''.join(f'action {k}\n' for k in range(400)))
    world.paths |= {'checkpoints': str(folder / 'checkpoints'), 'other_checkpoints': str(folder / 'others'),
                    'names': str(folder / 'names.txt'), 'video': str(world.videos / world.train[0][0])}


def evaluate(world, *flags):
    sample(world)
    base = ('--eval_type', 'rgb', '--checkpoint_dir', '{checkpoints}', '--rgb', '{rgb}', '--flow', '{flow}')
    return run(evaluate_sample.parse_args, evaluate_sample.main,
               [item.format(**world.paths) for item in (*base, *flags)])


def evaluated(world, *flags):
    """What --json holds."""
    path = world.new_folder() / 'result.json'
    assert evaluate(world, *flags, '--json', str(path)) == 0
    return json.loads(path.read_text())


def logits(world, *flags):
    return np.array(world.once(evaluated, *flags)['logits']).round(4)


def clip_shapes(world, *flags):
    return world.once(evaluated, *flags)['clips']


@seen('--json', '{tmp}/sample.json')
def everything_is_written_as_json(world, output, *flags):
    assert evaluate(world, *flags) == 0
    assert json.loads((world.folder / 'sample.json').read_text())['eval_type'] == 'rgb'


@seen('--plot', '{tmp}/sample.png')
def the_best_classes_are_drawn(world, output, *flags):
    assert evaluate(world, *flags) == 0
    assert (world.folder / 'sample.png').read_bytes().startswith(b'\x89PNG')


@seen('--overwrite')
def files_of_a_sample_are_replaced(world, output, *flags):
    (world.folder / 'there.json').write_text('{}')
    again = ('--json', str(world.folder / 'there.json'))
    assert [evaluate(world, *again, *extra) for extra in ((), flags)] == [2, 0]


@seen('--compute-flow', 'farneback')
def flow_is_computed(world, output, *flags):
    video = ('--eval_type', 'flow', '--flow', '{video}', '--num-frames', '2', '--input-size', '16')
    assert evaluate(world, *video) == 2 and '--compute-flow' in output.readouterr().err
    assert clip_shapes(world, *video, *flags) == {'flow': [2, 2, 16, 16]}


@seen('--imagenet_pretrained', 'false')
def false_means_false(world, output, *flags):
    true, false = (logits(world, '--imagenet_pretrained', value) for value in ('true', flags[1]))
    assert same(true, logits(world)) and not same(true, false)


VIDEO = ('--rgb', '{video}', '--num-frames', '2', '--input-size', '16')

SAMPLE_ROWS = {
    '--debug': traceback_row(lambda world: [evaluate_sample, '--checkpoint_dir', '/nowhere']),
    '--eval_type': changes(logits, '--eval_type', 'joint'),
    '--imagenet_pretrained': false_means_false,
    '--checkpoint_dir': changes(logits, '--checkpoint_dir', '{other_checkpoints}'),
    '--rgb': changes(logits, '--rgb', '{other_rgb}'),
    '--flow': changes(logits, '--flow', '{other_flow}', given=('--eval_type', 'flow')),
    '--compute-flow': flow_is_computed,
    '--num-frames': changes(clip_shapes, '--num-frames', '3', given=VIDEO, to={'rgb': [3, 3, 16, 16]}),
    '--input-size': changes(clip_shapes, '--input-size', '24', given=VIDEO, to={'rgb': [3, 2, 24, 24]}),
    '--label_map': changes(lambda *a: a[0].once(evaluated, *a[1:])['classes'][7], '--label_map', '{names}',
                           to='action 7'),
    '--json': everything_is_written_as_json,
    '--plot': the_best_classes_are_drawn,
    '--overwrite': files_of_a_sample_are_replaced,
}

STREAM_ROWS = {'fuse-scores': FUSE_ROWS, 'evaluate-sample': SAMPLE_ROWS}
