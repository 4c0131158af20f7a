"""What shows each flag of predict and of test-video-action-classifier."""
import importlib.util
import json
import re

import numpy as np
from bundles import CLIPS, make_bundle
from epic_models import write_epic_model
from flags_world import NO_PYTORCH, changes, import_row, seen, traceback_row, without_pytorch
from PIL import Image
from videos import write_frames, write_guessed, write_video

from gluon_action.cli import predict, test_video_action_classifier
from gluon_action.cli.command import run
from gluon_action.data.preprocess import Preprocess


def prepared(world):
    """A bundle, a video of 30 frames, a folder of 30."""
    if 'predicted' not in world.made:
        world.made['predicted'] = folder = world.folder / 'predicted'
        make_bundle(folder / 'bundle')
        world.paths.update(bundle=str(folder / 'bundle'), video=str(write_video(folder / 'a.mp4', 30)),
                           frames=str(write_frames(folder / 'frames')), three_names=str(folder / 'names.txt'))
        (folder / 'names.txt').write_text('x\ny\nz\n')
    return world.made['predicted']


def told(world, output, *flags, code=0):
    """What is printed for a video."""
    prepared(world)
    output.readouterr()
    argv = ['{bundle}', *([] if flags and not flags[0].startswith('-') else ['{video}']), *flags]
    assert run(predict.parse_args, predict.main, [str(item).format(**world.paths) for item in argv]) == code
    return output.readouterr()


def answered(world, *flags):
    """The JSON that a prediction leaves."""
    prepared(world)
    path = world.new_folder() / 'all.json'
    argv = ['{bundle}', '{video}', '--json', str(path), *flags]
    assert run(predict.parse_args, predict.main, [str(item).format(**world.paths) for item in argv]) == 0
    return json.loads(path.read_text())['videos'][0]


def protocol(name):
    return lambda world, *flags: world.once(answered, *flags)['protocol'][name]


@seen('bundle')
def the_named_model_predicts(world, output, *flags):
    folder = prepared(world)
    other = make_bundle(folder / 'other', labels=['x', 'y', 'z'])
    assert run(predict.parse_args, predict.main, [str(other), world.paths['video']]) == 0
    assert output.readouterr().out.split()[1] in 'xyz'


@seen('videos')
def every_named_video_is_predicted(world, output, *flags):
    prepared(world)
    found = told(world, output, '{video}', '{frames}', '/nowhere.mp4', code=1)
    assert '[1/3]' in found.out and '[2/3]' in found.out
    assert '/nowhere.mp4' in found.err and '1 of 3 videos failed' in found.err


@seen('--overlay', '{tmp}/seen.mp4')
def an_overlay_is_written(world, output, *flags):
    told(world, output, *flags)
    assert (world.folder / 'seen.mp4').stat().st_size > 1000


@seen('--timeline', '{tmp}/seen.png')
def a_timeline_is_written(world, output, *flags):
    told(world, output, *flags)
    assert Image.open(world.folder / 'seen.png').size[0] > 500


@seen('--json', '{tmp}/seen.json')
def everything_is_written(world, output, *flags):
    told(world, output, *flags)
    found = json.loads((world.folder / 'seen.json').read_text())
    assert found['labels'] == ['rest', 'wave', 'jump'] and found['videos'][0]['path'] == world.paths['video']


@seen('--csv', '{tmp}/seen.csv')
def a_row_a_video_is_written(world, output, *flags):
    told(world, output, '{video}', '{frames}', *flags)
    rows = (world.folder / 'seen.csv').read_text().splitlines()
    assert [row.split(',')[0] for row in rows] == ['video', world.paths['video'], world.paths['frames']]


@seen('--segments', '{tmp}/seen.txt')
def segments_are_written(world, output, *flags):
    told(world, output, *flags)
    assert (world.folder / 'seen.txt').read_text().startswith(f'{world.paths["video"]}\n  0:00:00.00 - ')


@seen('--threshold', '1')
def what_is_unlikely_is_none_of_these(world, output, *flags):
    assert 'none of these' not in told(world, output).out and 'none of these' in told(world, output, *flags).out


def listed(world, name, text, encoding='utf-8'):
    folder = prepared(world)
    (folder / 'lists').mkdir(exist_ok=True)
    (folder / 'lists' / name).write_text(text, encoding)
    return str(folder / 'lists' / name)


@seen('--data-dir', '{predicted}')
def lists_start_there(world, output, *flags):
    path = listed(world, 'paths.txt', 'a.mp4\n')
    world.paths['predicted'] = str(prepared(world))
    assert '--data-dir' in told(world, output, path, code=1).err
    assert 'a.mp4: ' in told(world, output, path, *flags).out


@seen('--list-format', 'gluoncv')
def lists_are_read_as_that(world, output, *flags):
    path = listed(world, 'format.txt', f'{prepared(world) / "a.mp4"} 3\n')
    assert told(world, output, path, *flags).out and 'format' in told(
        world, output, path, '--list-format', 'hmdb51', code=1).err


@seen('--list-encoding', 'utf-16-le')
def lists_are_decoded_so(world, output, *flags):
    path = listed(world, 'encoding.txt', f'{prepared(world) / "a.mp4"}\n', 'utf-16-le')
    assert 'a.mp4: ' in told(world, output, path, *flags).out
    assert '--list-encoding' in told(world, output, path, code=1).err


@seen('--overwrite')
def files_are_replaced(world, output, *flags):
    target = ('--json', '{tmp}/twice.json')
    told(world, output, *target)
    assert '--overwrite' in told(world, output, *target, code=2).err
    told(world, output, *target, *flags)


@seen('--top-k', '2')
def so_many_classes_are_printed(world, output, *flags):
    assert len(told(world, output).out.splitlines()) == len(told(world, output, *flags).out.splitlines()) + 1


@seen('--model', 'tiny_ucf101')
def parameters_need_the_name_of_their_network(world, output, *flags):
    prepared(world)
    argv = [world.paths['weights'], world.paths['video']]
    assert run(predict.parse_args, predict.main, argv) == 2 and '--model' in output.readouterr().err
    assert run(predict.parse_args, predict.main, [*argv, *flags]) == 0


@seen('--use-pretrained')
def published_weights_are_taken(world, output, *flags):
    prepared(world)
    argv = ['tiny_ucf101', world.paths['video']]
    assert run(predict.parse_args, predict.main, argv) == 2 and '--use-pretrained' in output.readouterr().err
    assert run(predict.parse_args, predict.main, [*argv, *flags]) == 0


def of_the_zoo(world, *flags):
    """The best score of a network with published weights."""
    prepared(world)
    path = world.new_folder() / 'all.json'
    argv = ['tiny_ucf101', '{video}', '--use-pretrained', '--json', str(path), *flags]
    assert run(predict.parse_args, predict.main, [item.format(**world.paths) for item in argv]) == 0
    return json.loads(path.read_text())['videos'][0]['score']


@seen('--fps', '5')
def folders_have_that_rate(world, output, *flags):
    prepared(world)
    times = []
    for extra in ((), flags):
        path = world.new_folder() / 'all.json'
        told(world, output, '{frames}', '--json', str(path), *extra)
        times.append(json.loads(path.read_text())['videos'][0]['windows'][-1]['end'])
    assert np.isclose(times[1], 5 * times[0])


@seen('--flow-method', 'farneback')
def flow_is_computed_so(world, output, *flags):
    folder = prepared(world)
    if not (folder / 'flow').exists():
        look = Preprocess(layout='NCTHW', modality='flow', offsets=(0, 1), stride=14, crop=(8, 8), mean=(.5, .5),
                          std=(.5, .5), flow_bound=20., resize={'short_side': 16})
        make_bundle(folder / 'flow', look, weights=np.eye(3, 2, dtype='float32'))
    world.paths['flow'] = str(folder / 'flow')
    ways = []
    for extra in ((), flags):
        path = world.new_folder() / 'all.json'
        argv = [world.paths['flow'], world.paths['video'], '--json', str(path), *extra]
        assert run(predict.parse_args, predict.main, argv) == 0
        ways.append(json.loads(path.read_text())['videos'][0])
    assert [way['protocol']['flow_method'] for way in ways] == ['tvl1', 'farneback']
    assert ways[0]['probabilities'] != ways[1]['probabilities']


@seen('--on-damage', 'raise')
def damaged_frames_are_taken_left_out_or_refused(world, output, *flags):
    prepared(world)
    world.paths['guessed'] = str(write_guessed(world.new_folder() / 'a.wmv'))
    assert '  frames 20 to' in told(world, output, '{guessed}').out
    assert ' were skipped' not in told(world, output, '{guessed}', '--on-damage', 'accept').out
    assert '--on-damage skip leaves out what is damaged' in told(world, output, '{guessed}', *flags, code=1).err


@seen('--threads', '1')
def so_many_threads_compute(world, output, *flags):
    from gluon_action.deploy.predict import predictor
    prepared(world)
    made, model = [], predictor.OnnxModel
    predictor.OnnxModel = lambda path, threads=None: made.append(threads) or model(path, threads=threads)
    try:
        told(world, output)
        told(world, output, *flags)
    finally:
        predictor.OnnxModel = model
    assert made == [None, 1]


@seen('--engine', 'torch')
def the_other_engine_predicts(world, output, *flags):
    assert '--engine: ' in told(world, output, *flags, code=2).err
    argv = ['tiny_ucf101', world.paths['video'], '--use-pretrained', *flags]
    with without_pytorch():
        assert run(predict.parse_args, predict.main, argv) == 2
    assert re.search(NO_PYTORCH, output.readouterr().err)
    if importlib.util.find_spec('torch'):
        assert np.isclose(of_the_zoo(world, *flags), of_the_zoo(world), atol=1e-5)


@seen('--num-gpus', '99')
def gpus_that_are_not_there_do_not_predict(world, output, *flags):
    assert '--num-gpus: ' in told(world, output, *flags, code=2).err
    argv = ['tiny_ucf101', world.paths['video'], '--use-pretrained', *flags]
    assert run(predict.parse_args, predict.main, argv) == 1 and '--num-gpus 99' in output.readouterr().err


@seen('--batch-size', '3')
def so_many_windows_are_computed_together(world, output, *flags):
    from gluon_action.deploy.onnx.model import OnnxModel
    prepared(world)
    sizes, compute = [], OnnxModel.run
    OnnxModel.run = lambda self, input: sizes.append(len(input)) or compute(self, input)
    try:
        told(world, output)
        told(world, output, *flags)
    finally:
        OnnxModel.run = compute
    assert sizes == [8, 3, 3, 2]


assert (CLIPS.span, CLIPS.stride) == (3, 4)

# The script of fran6co/epic_kitchens.


def classified(world, output, *flags, code=0):
    """What the script prints."""
    prepared(world)
    output.readouterr()
    given = {'--video_path': '{video}', '--onnx': '{bundle}/model.onnx', **dict(zip(flags[::2], flags[1::2]))}
    argv = [str(item).format(**world.paths) for pair in given.items() for item in pair if item is not None]
    found = run(test_video_action_classifier.parse_args, test_video_action_classifier.main, [*argv, *QUIET])
    assert found == code
    return output.readouterr()


QUIET = ('--no-overlay',)


def drawn(world, name, *flags, code=0):
    """The files that the script leaves."""
    prepared(world)
    base = world.folder / name
    argv = ['--video_path', '{video}', '--onnx', '{bundle}/model.onnx', '--output', str(base), *flags]
    argv = [item.format(**world.paths) for item in argv]
    assert run(test_video_action_classifier.parse_args, test_video_action_classifier.main, argv) == code
    return sorted(path.name for path in world.folder.glob(f'{name}*'))


@seen('--video_path', '{frames}')
def that_video_is_classified(world, output, *flags):
    assert classified(world, output, *flags).out.startswith(f'{world.paths["frames"]}: ')


@seen('--onnx', '{other}')
def that_model_classifies(world, output, *flags):
    prepared(world)
    path = write_epic_model(world.folder / 'epic.onnx')
    assert 'epic_kitchens' in classified(world, output, '--onnx', str(path)).out


@seen('--class_names_path', '{tmp}/names.json')
def classes_are_named_so(world, output, *flags):
    (world.folder / 'names.json').write_text('{"one": 0, "two": 1, "three": 2}')
    assert 'wave (' in classified(world, output).out and 'two (' in classified(world, output, *flags).out


@seen('--output')
def overlays_are_written_there(world, output, *flags):
    assert drawn(world, 'drawn_here') == ['drawn_here.gif', 'drawn_here.mp4']


@seen('--no-overlay')
def nothing_is_drawn(world, output, *flags):
    folder = world.new_folder()
    video = write_video(folder / 'v.mp4', 5)
    given = ['--video_path', str(video), '--onnx', prepared(world) / 'bundle' / 'model.onnx']
    for extra, count in ((flags, 1), ((), 3)):
        argv = list(map(str, [*given, *extra]))
        assert run(test_video_action_classifier.parse_args, test_video_action_classifier.main, argv) == 0
        assert len(list(folder.iterdir())) == count


@seen('--overwrite')
def overlays_are_replaced(world, output, *flags):
    drawn(world, 'drawn_twice')
    drawn(world, 'drawn_twice', code=2)
    assert 'exists' in output.readouterr().err
    drawn(world, 'drawn_twice', *flags)


@seen('--vote', 'majority')
def windows_may_vote(world, output, *flags):
    assert classified(world, output).out != classified(world, output, *flags).out


def asked_for(name, *flags, to):
    """The `Predictor` has it."""
    @seen(*flags)
    def row(world, output, *flags):
        prepared(world)
        argv = ['--video_path', world.paths['video'], '--onnx', world.paths['bundle']]
        before, after = (test_video_action_classifier.open_classifier(test_video_action_classifier.parse_args(
            [*argv, *extra])) for extra in ((), flags))
        assert name(before) != to and name(after) == to
    return row


@seen('--fps', '5')
def frames_have_that_rate(world, output, *flags):
    import av
    lengths = []
    for name, extra in (('fast', ()), ('slow', flags)):
        base = world.folder / f'drawn_{name}'
        argv = ['--video_path', '{frames}', '--onnx', '{bundle}', '--output', str(base), *extra]
        prepared(world)
        argv = [item.format(**world.paths) for item in argv]
        assert run(test_video_action_classifier.parse_args, test_video_action_classifier.main, argv) == 0
        with av.open(f'{base}.mp4') as container:
            lengths.append(container.duration)
    assert np.isclose(lengths[1], 5 * lengths[0], rtol=0.1)


CLASSIFIER_ROWS = {
    '--debug': traceback_row(lambda world: [test_video_action_classifier, '--video_path', '/nowhere', '--onnx', '/x']),
    '--video_path': that_video_is_classified,
    '--onnx': that_model_classifies,
    '--class_names_path': classes_are_named_so,
    '--output': overlays_are_written_there,
    '--no-overlay': nothing_is_drawn,
    '--overwrite': overlays_are_replaced,
    '--vote': windows_may_vote,
    '--stride': asked_for(lambda made: made.plan.stride, '--stride', '2', to=2),
    '--rolling': asked_for(lambda made: made.rolling, '--rolling', '7', to=7),
    '--fps': frames_have_that_rate,
    '--threads': asked_for(lambda made: made.model.threads, '--threads', '3', to=3),
}

PREDICT_ROWS = {'predict': {
    'bundle': the_named_model_predicts,
    'videos': every_named_video_is_predicted,
    '--debug': traceback_row(lambda world: [predict, '/nowhere/x', '/nowhere/y']),
    '--import': import_row(lambda world: [predict, '/nowhere/x', '/nowhere/y']),
    '--class-names': changes(lambda world, *flags: world.once(answered, *flags)['top'][0]['label'], '--class-names',
                             '{three_names}'),
    '--model': parameters_need_the_name_of_their_network,
    '--use-pretrained': published_weights_are_taken,
    '--hashtag': changes(of_the_zoo, '--hashtag', '{tag}'),
    '--index': changes(of_the_zoo, '--index', '{own_index}'),
    '--trust-first-use': changes(of_the_zoo, '--trust-first-use', given=('--index', '{open_predict}')),
    '--overlay': an_overlay_is_written,
    '--timeline': a_timeline_is_written,
    '--json': everything_is_written,
    '--csv': a_row_a_video_is_written,
    '--segments': segments_are_written,
    '--threshold': what_is_unlikely_is_none_of_these,
    '--data-dir': lists_start_there,
    '--list-format': lists_are_read_as_that,
    '--list-encoding': lists_are_decoded_so,
    '--top-k': so_many_classes_are_printed,
    '--overwrite': files_are_replaced,
    '--stride': changes(protocol('stride'), '--stride', '2', to=2),
    '--vote': changes(lambda world, *flags: round(8 * world.once(answered, *flags)['score'], 4), '--vote', 'majority',
                      to=6.0),
    '--rolling': changes(protocol('rolling_seconds'), '--rolling', '0.5', to=0.5),
    '--fps': folders_have_that_rate,
    '--flow-method': flow_is_computed_so,
    '--on-damage': damaged_frames_are_taken_left_out_or_refused,
    '--threads': so_many_threads_compute,
    '--batch-size': so_many_windows_are_computed_together,
    '--engine': the_other_engine_predicts,
    '--num-gpus': gpus_that_are_not_there_do_not_predict,
}, 'test-video-action-classifier': CLASSIFIER_ROWS}
