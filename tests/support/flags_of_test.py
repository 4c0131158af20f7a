"""What shows each flag of the test command."""
import importlib.util
import json
import logging
import os
import re
from pathlib import Path
from unittest import mock

import mxnet as mx
import numpy as np
import pytest
from flags_world import (
    NAME,
    NO_PYTORCH,
    RESNET,
    changes,
    damaged_video,
    each,
    import_row,
    layers,
    named_otherwise,
    refused,
    same,
    seen,
    traceback_row,
    without_pytorch,
)
from structure import structure_only

from gluon_action import model_zoo
from gluon_action.cli import test_recognizer
from gluon_action.cli.command import run
from gluon_action.deploy.bundle.format import read_bundle
from gluon_action.errors import DamagedVideoError, DeviceError, UsageError, VideoReadError
from gluon_action.evaluate import recognizer as tester

# What a test command makes of its flags.


def configured_test(world, *flags):
    config = test_recognizer.config_from(test_recognizer.parse_args(world.test_argv(*flags)))
    tester.check_test(config)
    return config


def run_test(world, *flags):
    return run(test_recognizer.parse_args, test_recognizer.main, world.test_argv(*flags))


def videos(world, *flags):
    return tester.open_test_set(configured_test(world, *flags))


def video_paths(world, *flags):
    return [sample.path for sample in videos(world, *flags).samples]


def network(world, *flags):
    config = configured_test(world, *flags)
    return tester.build_network(config, None, tester.engine_of(config).contexts())


def finished(world, *flags):
    """The folder that a test leaves."""
    folder = world.new_folder()
    code = run_test(world, *flags, '--save-dir', str(folder))
    (folder / 'code').write_text(str(code))
    return folder


def result(world, *flags):
    return json.loads((world.once(finished, *flags) / 'results.json').read_text())


def scores(world, *flags):
    return np.load(world.once(finished, *flags) / 'scores.npz')['scores'].round(4)


def protocol(name, *others):
    def look(world, *flags):
        found = result(world, *flags)['protocol']
        return [found[key] for key in (name, *others)] if others else found[name]
    return look


def log_of_test(world, *flags):
    folder = world.once(finished, *flags)
    return {path.name: path.read_text() for path in folder.glob('*.log')}


NATIVE = ('--new-height', '0', '--new-width', '0')
NO_WEIGHTS = ('--resume-params', '')
CALIBRATE = ('--calibration', '--num-calib-batches', '1', '--batch-size', '4')


def calibrated(world, *flags):
    """Name, number of weights' bits and type between layers of the int8 bundle that a calibration leaves."""
    folder = world.new_folder()
    assert run_test(world, *CALIBRATE, *flags, '--save-dir', str(folder)) == 0
    bundle, = folder.iterdir()
    return bundle.name, read_bundle(bundle).manifest['int8']['calibration']


def int8_bundle(world):
    """An int8 bundle of the network of `test_argv`."""
    if 'int8_bundle' not in world.paths:
        folder = world.new_folder()
        assert run_test(world, *CALIBRATE, '--save-dir', str(folder)) == 0
        world.paths['int8_bundle'] = str(next(folder.iterdir()))
    return world.paths['int8_bundle']


def exported(world):
    """Prefix of a network that was exported, with other weights than those of `test_argv`."""
    if 'exported' not in world.made:
        net = model_zoo.get_model(NAME, nclass=8, pretrained_base=False, input_size=32)
        net.load_parameters(world.paths['other'])
        net.hybridize()
        net(mx.nd.zeros((1, 3, 32, 32)))
        net.export(str(world.folder / 'exported'))
        world.made['exported'] = world.paths['exported'] = str(world.folder / 'exported')


@seen('--val-data-dir', '{elsewhere}')
def videos_are_looked_for_there(world, output, *flags):
    for path in video_paths(world, *flags, '--data-dir', '/nowhere'):
        assert path.startswith(world.paths['elsewhere']) and os.path.exists(path)


@seen('--train-list', '{two}')
def calibration_reads_the_training_list(world, output, *flags):
    output.logs.set_level(logging.INFO)
    calibrated(world, *flags)
    assert f'Calibrating on 2 views of {world.paths["two"]}' in output.logs.text
    with pytest.raises(UsageError, match='--train-list: testing scores --val-list'):
        configured_test(world, *flags)


@seen('--num-calib-batches', '2')
def as_many_views_are_calibrated_on(world, output, *flags):
    output.logs.set_level(logging.INFO)
    calibrated(world)
    calibrated(world, *flags)
    assert re.findall(r'Calibrating on (\d+) views', output.logs.text) == ['4', '8']


@seen('--calibration')
def an_int8_bundle_is_made_and_nothing_scored(world, output, *flags):
    folder = world.new_folder()
    assert run_test(world, *flags, '--num-calib-batches', '1', '--save-dir', str(folder)) == 0
    assert os.listdir(folder) == [f'{NAME}-quantized-naive']


@seen('--quantized')
def an_int8_bundle_is_scored(world, output, *flags):
    found = scores(world, *NO_WEIGHTS, *flags, '--model-prefix', int8_bundle(world))
    spread = scores(world).std()
    assert 0 < np.abs(found - scores(world)).max() < 0.3 * spread
    assert run_test(world, *NO_WEIGHTS, *flags) == 2
    assert 'make them with --calibration' in output.readouterr().err


@seen('--deploy')
def the_exported_network_is_scored(world, output, *flags):
    exported(world)
    given = (*NO_WEIGHTS, *flags, '--model-prefix', '{exported}')
    np.testing.assert_allclose(scores(world, *given), scores(world, '--resume-params', '{other}'), atol=1e-3)


@seen('--benchmark')
def speed_is_told_and_nothing_written(world, output, *flags):
    output.logs.set_level(logging.INFO)
    assert run_test(world, *flags, '--num-iterations', '2', '--batch-size', '3') == 0
    assert 'With batch size 3 , 2 batches, throughput is' in output.logs.text
    assert not (world.folder / 'never').exists()


@seen('--num-iterations', '3')
def as_many_batches_are_timed(world, output, *flags):
    output.logs.set_level(logging.INFO)
    assert run_test(world, '--benchmark', '--batch-size', '1', *flags) == 0
    assert ' 3 batches, ' in output.logs.text


@seen('--failure-limit', '0.2')
def a_failed_video_is_borne(world, output, *flags):
    bad = ('--val-list', '{bad}', '--data-dir', '{elsewhere}')
    codes = [(world.once(finished, *bad, *extra) / 'code').read_text() for extra in ((), flags)]
    assert codes == ['1', '0']


def without_training(given):
    """These flags without --train-list, which a test refuses."""
    place = given.index('--train-list')
    return (*given[:place], *given[place + 2:])


@seen('--name-pattern', 'f_%d.png')
def pictures_of_that_name_are_tested(world, output, *flags):
    with pytest.raises(VideoReadError, match='such as f_1.png; --name-pattern'):
        videos(world, *without_training(named_otherwise(world))).load_frames(0)
    assert len(videos(world, *without_training(named_otherwise(world)), *flags).load_frames(0)) == 1


@seen('--on-damage', 'raise')
def a_test_stops_at_a_damaged_video(world, output, *flags):
    given = (*without_training(damaged_video(world)), '--num-segments', '8')
    assert len(videos(world, *given).load_frames(0)) == 8
    with pytest.raises(DamagedVideoError, match='a.wmv: frame.* damaged'):
        videos(world, *given, *flags).load_frames(0)
    with pytest.raises(VideoReadError, match='damaged'):
        videos(world, *given, '--on-damage', 'skip').load_frames(0)


@seen('--overwrite')
def results_are_replaced(world, output, *flags):
    again = ('--save-dir', str(world.once(finished)), '--log-interval', '0')
    assert [run_test(world, *again, *extra) for extra in ((), flags)] == [2, 0]


@seen('--save-dir', '{tmp}/results')
def results_are_in_save_dir(world, output, *flags):
    assert run_test(world, *flags) == 0
    assert {'results.json', 'scores.npz', 'test.log'} <= set(os.listdir(world.folder / 'results'))


@seen('--print-config')
def choices_of_a_test_are_printed_as_json(world, output, *flags):
    assert run_test(world, '--num-segments', '7', *flags) == 0
    assert json.loads(output.readouterr().out)['num_segments'] == 7


@seen('--prefetch-ratio', '3')
def videos_are_read_ahead(world, output, *flags):
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tester.views, '_in_order', lambda *args: asked.append(args[2:4]) or iter(()))
        finished(world, '-j', '2')
        finished(world, '-j', '2', *flags)
    assert asked == [(2, 4), (2, 6)]


@seen('--num-data-workers', '2')
def workers_read_the_videos(world, output, *flags):
    pools = []
    with pytest.MonkeyPatch.context() as patch:
        pool = tester.views.WorkerPool
        patch.setattr(tester.views, 'WorkerPool', lambda *a, **k: pools.append(a[1]) or pool(*a, **k))
        assert same(scores(world, *flags), scores(world)) and pools == [2]


@seen('--num-gpus', '99')
def gpus_of_a_test_that_are_not_there_are_an_error(world, output, *flags):
    with pytest.raises(DeviceError, match='--num-gpus 99'):
        network(world, *flags)


@seen('--engine', 'torch')
def the_other_engine_scores(world, output, *flags):
    with without_pytorch(), pytest.raises(UsageError, match=NO_PYTORCH):
        network(world, *flags)
    assert type(network(world).scorer).__name__ == 'GluonScorer'
    if importlib.util.find_spec('torch'):
        assert type(network(world, *flags).scorer).__name__ == 'TorchScorer'


def training(flag):
    """A flag of training is refused by name."""
    default = test_recognizer.TRAINING_FLAGS[flag]
    value = () if isinstance(default, bool) else ('x',) if default in (None, '') or isinstance(default, str) else ('7',)
    return refused(flag, *value, because='is about training', config=configured_test)


def refused_in_test(*flags, because, error=UsageError, config=configured_test):
    return refused(*flags, because=because, error=error, config=config)


RANDOM = ('--resume-params', '', '--benchmark')


def network_layers(world, *flags):
    """Kinds of the layers of the network, which is built without values."""
    found = []
    with structure_only(), mock.patch('gluon_action.evaluate.network.parameters_sha256', lambda net: 'of nothing'):
        network(world, *flags).block.apply(lambda block: found.append(type(block).__name__))
    return found


def network_body(world, *flags):
    parameters = network(world, *flags).block.collect_params()
    return next(parameters[name].data().asnumpy() for name in parameters if 'conv' in name and 'weight' in name)


@seen('--batch-norm')
def vgg_is_tested_with_batch_normalisation(world, output, *flags):
    vgg = ('--model', 'vgg16_ucf101')
    assert 'BatchNorm' not in layers(world, *vgg)
    assert 'BatchNorm' in network_layers(world, *vgg, *RANDOM, *flags)


def opened_by_test(world, *flags):
    from gluon_action.data.reading.video_reader import VideoReader
    found = videos(world, *flags)
    with VideoReader(found.samples[0].path, **found.reading) as reader:
        return reader.decoder


def logged(pattern):
    return lambda *a: re.findall(pattern, '\n'.join(log_of_test(*a).values()))


def adds_up(*a):
    return bool(np.allclose(scores(*a).sum(axis=1), 1, atol=1e-3))


@seen('run')
def a_run_is_named_by_its_folder(world, output, *flags):
    folder = world.new_folder()
    (folder / 'best.params').write_bytes(Path(world.paths['weights']).read_bytes())
    given = world.test_argv('--resume-params', '')
    said = {'model': NAME, 'dataset': 'custom', 'data_dir': world.paths['videos'], 'val_list': world.paths['two']}
    (folder / 'config.json').write_text(json.dumps({'config': said}))
    argv = [str(folder), '--input-size', '32', '-j', '0', '--save-dir', str(folder / 'out')]
    assert run(test_recognizer.parse_args, test_recognizer.main, given) == 2
    assert 'no weights to test' in output.readouterr().err
    assert run(test_recognizer.parse_args, test_recognizer.main, argv) == 0
    assert json.loads((folder / 'out' / 'results.json').read_text())['n_expected'] == 2


@seen('videos')
def other_videos_than_the_runs_are_named_behind_it(world, output, *flags):
    given = world.test_argv()
    place = given[given.index('--resume-params') + 1]
    for videos in (world.paths['two'], str(world.videos)):
        argv = [place, videos, '--model', NAME, '--print-config']
        assert run(test_recognizer.parse_args, test_recognizer.main, argv) == 0
        said = json.loads(output.readouterr().out)
        assert (said['val_list'], said['val_data_dir']) == (os.path.abspath(videos), str(
            world.videos if videos != world.paths['two'] else Path(videos).parent))
    assert run(test_recognizer.parse_args, test_recognizer.main, [place, '/nowhere', '--model', NAME]) == 2
    assert 'there is no such list' in output.readouterr().err


@seen('--json', '{tmp}/tested.json')
def results_are_written_as_json(world, output, *flags):
    folder = world.new_folder()
    assert run_test(world, *(flag.format(**world.paths) for flag in flags), '--save-dir', str(folder)) == 0
    found = json.loads((world.folder / 'tested.json').read_text())
    assert found.pop('files')['results'] == str(folder / 'results.json')
    assert found == json.loads((folder / 'results.json').read_text())
    assert run_test(world, '--json', str(world.folder / 'tested.json'), '--save-dir', str(world.new_folder())) == 2
    assert 'exists; pass --overwrite' in output.readouterr().err
    assert run_test(world, '--json', '-', '--save-dir', str(world.new_folder())) == 0
    assert json.loads(output.readouterr().out)['top1'] == found['top1']
    assert run_test(world, '--benchmark', '--json', '-') == 2 and '--benchmark have none' in output.readouterr().err


TEST_ROWS = {flag: training(flag) for flag in test_recognizer.TRAINING_FLAGS} | {
    'run': a_run_is_named_by_its_folder,
    'videos': other_videos_than_the_runs_are_named_behind_it,
    '--debug': traceback_row(lambda world: [test_recognizer, *world.test_argv('--model', 'none')]),
    '--import': import_row(lambda world: [test_recognizer, *world.test_argv('--print-config')]),
    '--json': results_are_written_as_json,
    # model
    '--model': changes(network_layers, *RESNET, given=RANDOM),
    '--use-tsn': changes(protocol('num_segments'), '--use-tsn', to=25),
    '--use-pretrained': changes(network_body, '--use-pretrained', '--resume-params', ''),
    '--hashtag': changes(network_body, '--hashtag', '{tag}', given=(*NO_WEIGHTS, '--use-pretrained')),
    '--index': changes(network_body, '--index', '{own_index}', given=(*NO_WEIGHTS, '--use-pretrained')),
    '--trust-first-use': changes(network_body, '--trust-first-use',
                                 given=(*NO_WEIGHTS, '--use-pretrained', '--index', '{open_test}')),
    '--resume-params': changes(scores, '--resume-params', '{other}'),
    '--mode': changes(lambda *a: network(*a).block._active, '--mode', 'imperative', to=False),
    '--dtype': refused_in_test('--dtype', 'float16', because='needs --num-gpus'),
    '--use_se': refused_in_test('--use_se', because='no squeeze-and-excitation'),
    '--use-gn': changes(lambda *a: 'BatchNorm' in network_layers(*a), '--use-gn', given=(*RESNET, *RANDOM), to=False),
    '--batch-norm': vgg_is_tested_with_batch_normalisation,
    '--input-5d': refused_in_test('--input-5d', because='takes frames (N, C, H, W), not clips'),
    '--consensus': changes(scores, '--consensus', 'max', given=('--num-segments', '3')),
    # data
    '--dataset': changes(lambda *a: videos(*a).num_classes, '--dataset', 'ucf101', to=101),
    '--data-dir': changes(video_paths, '--data-dir', '{elsewhere}'),
    '--val-data-dir': videos_are_looked_for_there,
    '--val-list': changes(lambda *a: result(*a)['n_expected'], '--val-list', '{two}', to=2),
    '--train-list': calibration_reads_the_training_list,
    '--list-format': changes(lambda *a: videos(*a).samples[7].label, '--list-format', 'multi_label_frames',
                             given=('--multi-label', '--list-format', 'multi_label', '--val-list', '{multi}'), to=(7,)),
    '--list-encoding': changes(lambda *a: videos(*a).samples[0].key, '--list-encoding', 'cp1252',
                               given=('--val-list', '{accents}'), to='Ã©.mp4'),
    '--class-names': changes(lambda *a: videos(*a).classes, '--class-names', '{names}',
                             to=[f'class{number}' for number in range(8)]),
    '--label-base': changes(lambda *a: videos(*a).samples[0].label, '--label-base', '1',
                            given=('--val-list', '{from1}'), to=0),
    '--multi-label': changes(lambda *a: 'mean_average_precision' in result(*a), '--multi-label',
                             given=('--list-format', 'gluoncv'), to=True),
    '--num-classes': changes(lambda *a: network(*a).block.num_classes, '--num-classes', '11', given=RANDOM, to=11),
    '--num-segments': changes(lambda *a: scores(*a), '--num-segments', '3'),
    '--new-length': refused_in_test('--new-length', '8', because='takes one frame a segment'),
    '--new-step': changes(scores, '--new-step', '4'),
    '--clip-sampling': each(
        changes(lambda *a: videos(*a).plan.indices(41, None), '--clip-sampling', 'spread',
                given=('--model', 'i3d_rgb_custom', '--new-length', '4'), to=[5, 15, 25, 35]),
        changes(lambda *a: videos(*a).plan.indices(41, None), '--clip-sampling', 'dense',
                given=('--model', 'i3d_rgb_custom', '--new-length', '4', '--num-segments', '3'),
                to=[0, 1, 2, 3, 18, 19, 20, 21, 37, 38, 39, 40])),
    '--new-height': changes(scores, '--new-height', '40'),
    '--new-width': changes(scores, '--new-width', '90'),
    '--input-size': changes(scores, '--input-size', '24'),
    '--data-aug': changes(protocol('resize'), '--data-aug', 'v2', to='native size, short side 48'),
    '--video-loader': changes(lambda *a: os.path.basename(video_paths(*a)[0]), '--video-loader', to='v.mp4',
                              given=('--data-dir', '{both_dir}', '--val-list', '{both}')),
    '--use-decord': changes(opened_by_test, '--use-decord', to='decord'),
    '--decoder': changes(opened_by_test, '--decoder', 'decord', to='decord'),
    '--on-damage': a_test_stops_at_a_damaged_video,
    '--name-pattern': pictures_of_that_name_are_tested,
    '--frame-tables': changes(lambda *a: os.path.basename(videos(*a).reading.get('tables', '')), '--frame-tables',
                              to='val.txt.frames'),
    '--decode-timeout': changes(lambda *a: videos(*a).timeout, '--decode-timeout', '7', to=7),
    '--num-data-workers': workers_read_the_videos,
    '--prefetch-ratio': videos_are_read_ahead,
    '--slowfast': refused_in_test('--slowfast', because='no slow and fast pathway'),
    '--slow-temporal-stride': refused_in_test('--slow-temporal-stride', '8', because='with --slowfast only'),
    '--fast-temporal-stride': refused_in_test('--fast-temporal-stride', '4', because='with --slowfast only'),
    # views
    '--ten-crop': changes(protocol('views'), '--ten-crop', to='1x10'),
    '--three-crop': changes(protocol('views', 'resize'), '--three-crop', to=['1x3', '64x48, short side 32']),
    '--num-crop': changes(scores, '--num-crop', '10'),
    '--crop-ratio': changes(scores, '--crop-ratio', '0.5', given=NATIVE),
    '--average': each(changes(adds_up, '--average', 'probabilities', to=True),
                      changes(protocol('average'), '--average', 'features', to='features')),
    '--use-softmax': changes(adds_up, '--use-softmax', to=True),
    '--batch-size': changes(logged(r'batch size is set to (\d+)'), '--batch-size', '5', to=['5']),
    # devices
    '--engine': the_other_engine_scores,
    '--num-gpus': gpus_of_a_test_that_are_not_there_are_an_error,
    '--num-cpus': changes(logged(r'batch size is set to (\d+) on (\d+) CPUs'), '--num-cpus', '2', to=[('64', '2')]),
    # results
    '--save-dir': results_are_in_save_dir,
    '--overwrite': results_are_replaced,
    '--failure-limit': a_failed_video_is_borne,
    '--logging-file': changes(lambda *a: list(log_of_test(*a)), '--logging-file', 'other.log', to=['other.log']),
    '--log-interval': changes(lambda *a: len(logged('is done')(*a)), '--log-interval', '4', to=2),
    '--no-report': changes(lambda world, *flags: (world.once(finished, *flags) / 'report.html').exists(), '--no-report',
                           to=False),
    '--print-config': choices_of_a_test_are_printed_as_json,
    # exported and int8 networks, speed
    '--deploy': the_exported_network_is_scored,
    '--model-prefix': refused_in_test('--model-prefix', '/nowhere/net', *NO_WEIGHTS, '--deploy',
                                      because='/nowhere/net-symbol.json does not exist', config=network),
    '--quantized': an_int8_bundle_is_scored,
    '--benchmark': speed_is_told_and_nothing_written,
    '--num-iterations': as_many_batches_are_timed,
    '--calibration': an_int8_bundle_is_made_and_nothing_scored,
    '--num-calib-batches': as_many_views_are_calibrated_on,
    '--quantized-dtype': changes(lambda *a: calibrated(*a)[1]['activations'], '--quantized-dtype', 'int8', to='int8'),
    '--calib-mode': changes(lambda *a: calibrated(*a)[0], '--calib-mode', 'entropy', to=f'{NAME}-quantized-entropy'),
}
