import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
import tiny
from inception import few_blocks

from gluon_action import model_zoo
from gluon_action.cli import test_recognizer as command
from gluon_action.cli.command import run
from gluon_action.data.preprocess import Preprocess
from gluon_action.deploy.bundle.exported import open_exported
from gluon_action.deploy.bundle.format import FILES, MANIFEST
from gluon_action.deploy.bundle.write import write_bundle
from gluon_action.errors import UsageError
from gluon_action.evaluate import recognizer
from gluon_action.evaluate.network import build_network
from gluon_action.evaluate.options.config import TestConfig, check_config

MODEL = tiny.NAME
SPREAD = ('--model', 'i3d_rgb_custom', '--new-length', '8', '--clip-sampling', 'spread')


@pytest.fixture(scope='module', autouse=True)
def network():
    tiny.register_tiny()
    yield
    tiny.forget(MODEL)


@pytest.fixture(scope='module')
def weights(tmp_path_factory, demo_appearance):
    """A network of 8 classes whose scores spread over them."""
    mx.random.seed(3)
    net = model_zoo.get_model(MODEL, nclass=len(demo_appearance.classes), pretrained_base=False, input_size=32)
    net.output.initialize(mx.init.Normal(0.5), force_reinit=True)
    path = tmp_path_factory.mktemp('weights') / 'net.params'
    net.save_parameters(str(path))
    return path


@pytest.fixture(scope='module')
def val_list(tmp_path_factory, demo_appearance):
    """One video of each class."""
    path = tmp_path_factory.mktemp('lists') / 'val.txt'
    path.write_text(''.join(line for line in demo_appearance.val_list.open() if '_c01.' in line))
    return path


@pytest.fixture
def flags(demo_appearance, val_list, weights, tmp_path):
    """The flags of a small test; later ones override earlier ones."""
    return [*small_test(demo_appearance, val_list, weights), '--save-dir', str(tmp_path / 'out')]


def small_test(demo, val_list, weights):
    return ['--model', MODEL, '--dataset', 'custom', '--data-dir', str(demo.video_dir), '--val-list',
            str(val_list), '--resume-params', str(weights), '--input-size', '32', '--new-height', '48',
            '--new-width', '64', '-j', '0']


def start(argv):
    return run(command.parse_args, command.main, [str(item) for item in argv])


def score(argv):
    """Run in this process; returns results.json, scores.npz and the folder."""
    assert start(argv) == 0
    folder = Path(argv[len(argv) - 1 - argv[::-1].index('--save-dir') + 1])
    return json.loads((folder / 'results.json').read_text()), np.load(folder / 'scores.npz'), folder


def test_results_carry_numbers_and_their_protocol(flags, val_list, weights, caplog):
    caplog.set_level(logging.INFO)
    results, scores, folder = score([*flags, '--num-segments', '3', '--ten-crop'])
    labels = [int(line.split()[2]) for line in val_list.read_text().splitlines()]
    assert scores['labels'].tolist() == labels
    assert results['top1'] == pytest.approx((scores['scores'].argmax(axis=1) == labels).mean())
    assert results['n_expected'] == results['n_scored'] == len(labels)
    protocol = results['protocol']
    assert (protocol['views'], protocol['resize'], protocol['average']) == ('3x10', '64x48', 'scores')
    assert protocol['sampling'] == '3 segment centres, 1 frames at stride 1 each'
    digest = subprocess.run(['sha256sum', weights, val_list], capture_output=True, text=True)
    sums = [line.split()[0] for line in digest.stdout.splitlines()]
    assert [protocol['weights']['sha256'], protocol['list_sha256']] == sums
    assert results['versions']['mxnet'] == mx.__version__
    assert TestConfig(**results['config']).protocol == '3x10'
    last = f'Test accuracy: acc-top1={100 * results["top1"]:.2f} acc-top5={100 * results["top5"]:.2f}'
    assert last in caplog.messages and last in (folder / 'test.log').read_text()
    assert any(message.startswith('Protocol: 3x10 views') for message in caplog.messages)


def test_scores_equal_those_of_the_segment_network_on_the_same_views(flags, weights):
    from gluoncv.data.transforms import video as oracle
    _, scores, _ = score([*flags, '--num-segments', '3'])
    net = model_zoo.get_model(MODEL, nclass=8, pretrained_base=False, num_segments=3, input_size=32)
    net.load_parameters(str(weights))
    dataset = recognizer.open_test_set(config_of([*flags, '--num-segments', '3']))
    transform = oracle.VideoGroupValTransform(32, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    for index in (0, 3, 7):
        clip = np.stack(transform(list(dataset.load_frames(index))))
        np.testing.assert_allclose(scores['scores'][index], net(mx.nd.array(clip)).asnumpy()[0], rtol=1e-4, atol=1e-4)


def test_no_values_are_drawn_for_a_network_that_a_file_fills(flags, monkeypatch):
    expected = score(flags)[1]['scores']
    for rule in ('Xavier', 'Normal'):
        monkeypatch.setattr(f'mxnet.initializer.{rule}._init_weight', lambda *args: 1 / 0)
    assert (score([*flags, '--overwrite'])[1]['scores'] == expected).all()
    with pytest.raises(ZeroDivisionError):
        model_zoo.get_model(MODEL, nclass=8, pretrained_base=False)


def config_of(argv):
    return command.config_from(command.parse_args(argv))


def test_three_crops_rescale_frames_that_they_would_not_cover(flags):
    results, _, _ = score([*flags, '--three-crop'])
    assert results['protocol']['resize'] == '64x48, short side 32'
    results, _, _ = score([*flags, '--three-crop', '--new-height', '32', '--overwrite'])
    assert results['protocol']['resize'] == '64x32'


def test_failed_videos_count_as_wrong_and_are_named(flags, plain, demo_appearance, val_list, tmp_path, capsys):
    lines = val_list.read_text().splitlines()
    (tmp_path / 'garbage.mp4').write_bytes(b'garbage' * 99)
    paths = [f'{demo_appearance.video_dir}/{line}' for line in lines]
    (tmp_path / 'list.txt').write_text('\n'.join([f'{tmp_path}/garbage.mp4 5 1', f'{tmp_path}/gone.mp4 5 2', *paths]))
    argv = [*flags, '--data-dir', '/', '--val-list', str(tmp_path / 'list.txt'), '--overwrite']
    assert start(argv) == 1
    assert f'2 of {len(lines) + 2} videos could not be scored' in capsys.readouterr().err
    assert len(lines) == 8 and start([*argv, '--failure-limit', '0.19']) == 1
    results, scores, folder = score([*argv, '--failure-limit', '0.2'])  # 2 of 10: at the limit, not beyond it
    assert (results['n_expected'], results['n_scored'], results['n_failed']) == (len(lines) + 2, len(lines), 2)
    assert results['top1'] == pytest.approx(plain[0]['top1'] * len(lines) / (len(lines) + 2))
    failures = [json.loads(line) for line in (folder / 'failures.jsonl').read_text().splitlines()]
    assert [failure['index'] for failure in failures] == [0, 1]
    assert 'list.txt' in failures[0]['message'] and failures[0]['key'].endswith('garbage.mp4')
    assert np.isnan(scores['scores'][:2]).all() and scores['scored'].tolist() == [False] * 2 + [True] * len(lines)


@pytest.mark.parametrize('failed, expected, limit', [(3, 10, 0.3), (2, 10, 0.2), (1, 10, 0.1), (29, 100, 0.29),
                                                     (0, 7, 0.)])
def test_a_share_is_the_number_that_a_limit_of_it_is_written_as(failed, expected, limit):
    results = {'n_scored': expected - failed, 'n_expected': expected}
    assert recognizer.TestResult(results, None, {}).failed_share == limit


def test_no_failure_at_all_is_within_a_limit_of_none(flags):
    results, _, _ = score([*flags, '--failure-limit', '0'])
    assert results['n_failed'] == 0


def test_a_list_without_one_readable_video_gives_zero_and_fails(flags, tmp_path):
    (tmp_path / 'list.txt').write_text('a.mp4 5 0\nb.mp4 5 1\n')
    assert start([*flags, '--val-list', tmp_path / 'list.txt']) == 1
    results = json.loads((tmp_path / 'out' / 'results.json').read_text())
    assert (results['top1'], results['n_expected'], results['n_scored']) == (0, 2, 0)


@pytest.fixture
def folders(demo_appearance, val_list, tmp_path):
    """A folder for each class of the demo but the first."""
    for line in val_list.read_text().splitlines():
        path, _, label = line.split()
        if label != '0':
            folder = tmp_path / 'val' / demo_appearance.classes[int(label)]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / Path(path).name).symlink_to(f'{demo_appearance.video_dir}/{path}')
    return tmp_path / 'val'


def run_of(folder, weights, **about):
    """A run with these weights, and a link to them from elsewhere."""
    (folder / 'run').mkdir()
    (folder / 'run' / 'best.params').write_bytes(weights.read_bytes())
    (folder / 'run' / 'config.json').write_text(json.dumps({'config': {}, **about}))
    (folder / 'link.params').symlink_to(folder / 'run' / 'best.params')
    return str(folder / 'link.params')


def write_names(folder, names):
    (folder / 'names.txt').write_text('\n'.join(names))
    return folder / 'names.txt'


def test_a_validation_folder_that_lacks_a_class_is_numbered_as_in_training(flags, folders, weights, plain,
                                                                           demo_appearance, tmp_path):
    linked = run_of(tmp_path, weights, classes=list(demo_appearance.classes), num_classes=8)
    argv = [*flags, '--data-dir', str(folders), '--val-list', str(folders), '--resume-params', linked]
    results, scores, _ = score(argv)
    assert results['protocol']['list'] == str(folders)
    assert scores['classes'].tolist() == list(demo_appearance.classes)
    expected = dict(zip(plain[1]['labels'].tolist(), plain[1]['scores']))
    assert sorted(scores['labels']) == list(range(1, 8))
    for label, row in zip(scores['labels'].tolist(), scores['scores']):
        np.testing.assert_allclose(row, expected[label], rtol=1e-4, atol=1e-4)


def test_names_that_cannot_be_numbered_as_in_training_are_refused(flags, folders, weights, demo_appearance, tmp_path,
                                                                  capsys):
    argv = [*flags, '--data-dir', str(folders), '--val-list', str(folders)]
    assert start(argv) == 1
    error = capsys.readouterr().err
    assert 'names 7 classes and the network knows 8' in error and 'config.json' in error
    assert start([*argv, '--class-names', write_names(tmp_path, demo_appearance.classes)]) == 0
    others = run_of(tmp_path, weights, classes=[f'{name} or so' for name in demo_appearance.classes], num_classes=8)
    assert start([*argv, '--overwrite', '--resume-params', others]) == 1
    assert 'is not one of the 8 classes' in capsys.readouterr().err


def test_a_list_that_numbers_its_names_in_another_way_than_the_run_is_refused(flags, folders, weights, demo_appearance,
                                                                              tmp_path, capsys):
    backwards = list(demo_appearance.classes)[::-1]
    linked = run_of(tmp_path, weights, classes=list(demo_appearance.classes), num_classes=8)
    (tmp_path / 'val.csv').write_text(f'path,class_id,label\na,0,{backwards[0]}\n')
    assert start([*flags, '--val-list', tmp_path / 'val.csv', '--resume-params', linked]) == 1
    assert f'class 0 is {backwards[0]!r} by its own names, and {backwards[-1]!r} by' in capsys.readouterr().err
    assert start([*flags, '--val-list', tmp_path / 'val.csv', '--class-names', write_names(tmp_path, backwards),
                  '--resume-params', linked]) == 1
    assert 'numbers its classes in another way than what lies beside' in capsys.readouterr().err


def test_existing_results_are_kept_unless_overwritten(flags, capsys):
    _, _, folder = score(flags)
    before = (folder / 'results.json').read_bytes()
    assert start([*flags, '--num-segments', '2']) == 2
    assert '--overwrite' in capsys.readouterr().err
    assert (folder / 'results.json').read_bytes() == before
    assert score([*flags, '--num-segments', '2', '--overwrite'])[0]['protocol']['views'] == '2x1'


def test_files_of_other_origin_are_kept_unless_overwritten(flags, tmp_path, capsys):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'failures.jsonl').write_text('{}')
    assert start(flags) == 2
    assert 'failures.jsonl exists; pass --overwrite' in capsys.readouterr().err
    assert (tmp_path / 'out' / 'failures.jsonl').read_text() == '{}'


@pytest.fixture(scope='module')
def plain(demo_appearance, val_list, weights, tmp_path_factory):
    """What the flags give as they are."""
    return score([*small_test(demo_appearance, val_list, weights), '--save-dir', str(tmp_path_factory.mktemp('plain'))])


def test_workers_devices_and_mode_do_not_change_the_scores(flags, plain):
    _, scores, folder = score([*flags, '-j', '2', '--num-cpus', '2', '--mode', 'imperative', '--batch-size', '3'])
    np.testing.assert_allclose(scores['scores'], plain[1]['scores'], rtol=1e-4, atol=1e-4)
    assert 'Total batch size is set to 6 on 2 CPUs' in (folder / 'test.log').read_text()


def test_use_tsn_stands_for_the_papers_25_segments(flags):
    results, scores, _ = score([*flags, '--use-tsn', '--use-softmax'])
    assert results['protocol']['views'] == '25x1' and results['protocol']['average'] == 'probabilities'
    np.testing.assert_allclose(scores['scores'].sum(axis=1), 1, rtol=1e-5)


def test_labels_that_start_at_1_and_several_labels_a_video(flags, val_list, tmp_path):
    lines = [line.split() for line in val_list.read_text().splitlines()]
    (tmp_path / 'from_1.txt').write_text('\n'.join(f'{path} {n} {int(label) + 1}' for path, n, label in lines))
    shifted, scores, _ = score([*flags, '--val-list', str(tmp_path / 'from_1.txt'), '--label-base', '1'])
    assert scores['labels'].tolist() == [int(label) for _, _, label in lines]
    (tmp_path / 'multi.txt').write_text('\n'.join(f'{path} {label} 7' for path, n, label in lines))
    results, scores, folder = score([*flags, '--val-list', str(tmp_path / 'multi.txt'), '--multi-label', '--overwrite',
                                     '--list-format', 'multi_label'])
    assert scores['labels'].shape == scores['scores'].shape and (scores['labels'][:, 7] == 1).all()
    assert 0 < results['mean_average_precision'] <= 1 and 'top1' not in results
    assert not (folder / 'confusion_matrix.png').exists()


def test_options_of_reading_reach_the_data_set(flags, demo_appearance, tmp_path):
    config = config_of([*flags, '--decode-timeout', '7', '--video-loader', '--val-data-dir',
                                str(demo_appearance.video_dir), '--data-dir', '/nowhere'])
    dataset = recognizer.open_test_set(config)
    assert dataset.timeout == 7 and dataset.root == str(demo_appearance.video_dir)
    assert recognizer.open_test_set(config_of([*flags, '--decode-timeout', '0'])).timeout is None


def test_prefetch_ratio_times_workers_is_what_is_read_ahead(flags, monkeypatch):
    asked = {}

    def stop(*args, **kwargs):
        asked.update(kwargs)
        raise UsageError('seen enough')

    monkeypatch.setattr(recognizer.views, 'score_videos', stop)
    assert start([*flags, '-j', '3', '--prefetch-ratio', '4']) == 2
    assert asked['prefetch'] == 12 and asked['num_workers'] == 3


@pytest.mark.parametrize('flag', command.TRAINING_FLAGS)
def test_training_flags_are_refused_by_name_unless_left_at_their_default(flags, flag, capsys):
    default = command.TRAINING_FLAGS[flag]
    if isinstance(default, bool):
        assert start([*flags, flag]) == 2
    else:
        other = 'x' if default is None or isinstance(default, str) else default + 1
        assert start([*flags, flag, other]) == 2
        if default not in (None, ''):
            assert config_of([*flags, flag, str(default)]) == config_of(flags)
    assert f'{flag}' in capsys.readouterr().err


def test_every_flag_of_gluoncvs_test_script_is_known():
    known = {option for action in command.build_parser()._actions for option in action.option_strings}
    assert GLUONCV_FLAGS <= known


GLUONCV_FLAGS = set('''--dataset --data-dir --val-data-dir --train-list --val-list --batch-size --dtype --model-prefix
--deploy --quantized --num-iterations --num-gpus -j --num-data-workers --num-epochs --lr --momentum --wd --lr-mode
--lr-decay --lr-decay-period --lr-decay-epoch --warmup-lr --warmup-epochs --last-gamma --mode --model --input-size
--crop-ratio --use-pretrained --hashtag --use_se --mixup --mixup-alpha --mixup-off-epoch --label-smoothing --no-wd
--teacher --temperature --hard-weight --batch-norm --save-frequency --save-dir --resume-epoch --resume-params
--resume-states --log-interval --logging-file --use-gn --eval --num-segments --use-tsn --new-height --new-width
--new-length --new-step --num-classes --ten-crop --three-crop --use-amp --prefetch-ratio --input-5d --use-softmax
--video-loader --use-decord --slowfast --slow-temporal-stride --fast-temporal-stride --num-crop --data-aug --benchmark
--calibration --num-calib-batches --quantized-dtype --calib-mode'''.split())


@pytest.mark.parametrize('extra, code, told', [
    (['--model', 'resnet18_v1b_ucf11'], 2, 'did you mean resnet18_v1b_ucf101'),
    (['--resume-params', ''], 2, 'no weights to test'),
    (['--resume-params', '/gone.params'], 1, '/gone.params'),
    (['--use-pretrained'], 2, '--resume-params and --use-pretrained: contradict'),
    (['--hashtag', 'd6dc1bba'], 2, 'add --use-pretrained'),
    (['--num-classes', '101'], 1, '101'),
    (['--val-list', '/gone.txt'], 1, '/gone.txt'),
    (['--num-classes', '5'], 1, 'out of range'),
    (['--num-gpus', '8'], 1, '--num-gpus 8'),
    (['--save-dir', '/proc/results'], 1, '/proc/results'),
    (['--new-length', '8'], 2, 'use --num-segments for more frames'),
    (['--slowfast'], 2, 'no slow and fast pathway'),
    (['--fast-temporal-stride', '4'], 2, 'with --slowfast only'),
    (['--input-5d'], 2, 'takes frames (N, C, H, W)'),
    (['--batch-norm'], 2, 'no batch-normalised variant'),
    (['--use_se'], 2, 'no squeeze-and-excitation'),
    (['--dtype', 'float16'], 2, 'needs --num-gpus'),
    (['--resume-params', '', '--deploy'], 2, 'needs --model-prefix'),
    (['--model-prefix', 'x'], 2, 'add --deploy'),
    (['--resume-params', '', '--deploy', '--model-prefix', '/gone'], 2, '/gone-symbol.json does not exist'),
    (['--resume-params', '', '--quantized'], 2, '--calibration'),
    (['--ten-crop', '--three-crop'], 2, 'contradict each other'),
    (['--use-softmax', '--average', 'scores'], 2, 'contradicts --average scores'),
    (['--use-decord', '--decoder', 'pyav'], 2, 'contradicts --decoder pyav'),
    (['--input-size', '64'], 2, '--input-size: 64 does not fit'),
    (['--crop-ratio', '0.5'], 2, '--new-height 0 --new-width 0'),
    (['--new-height', '0'], 2, 'go together'),
    (['--consensus', 'max'], 2, 'needs --num-segments of 2'),
    (['--failure-limit', '2'], 2, '0..1'),
    (['--train-list', 'x'], 2, '--calibration only'),
    (['--calib-mode', 'entropy'], 2, 'with --calibration only'),
    (['--num-iterations', '7'], 2, 'with --benchmark only'),
    (['--calibration', '--num-gpus', '1'], 2, 'int8 runs on CPUs only'),
    (['--calibration', '--benchmark'], 2, 'contradicts --calibration'),
    (['--calibration', '--calib-mode', 'none'], 2, 'pass naive or entropy'),
    (['--resume-params', '', '--deploy', '--model-prefix', '/'], 1, 'holds no manifest.json'),
    (['--resume-params', '', '--quantized', '--model-prefix', '/gone'], 2, 'is no int8 bundle'),
    (['--clip-sampling', 'spread'], 2, 'takes one frame a segment; --num-segments spreads those'),
    (['--clip-sampling', 'dense'], 2, 'dense sampling is for networks of clips'),
    ([*SPREAD, '--num-segments', '2'], 2, 'takes one clip from the whole video, got --num-segments 2'),
    ([*SPREAD, '--new-step', '2'], 2, 'got --new-step 2; leave it out'),
    ([*SPREAD, '--model', 'slowfast_4x16_resnet50_kinetics400', '--slowfast'], 2, 'contradicts --slowfast'),
])
def test_what_cannot_be_is_refused_with_the_way_out(flags, capsys, extra, code, told):
    assert start([*flags, *extra]) == code
    error = capsys.readouterr().err
    assert told in error and 'Traceback' not in error


def test_weights_of_a_network_with_another_normalisation_are_refused(flags, tmp_path, capsys):
    resnet = ['--model', 'resnet18_v1b_ucf101', '--resume-params', str(tmp_path / 'resnet.params')]
    net = model_zoo.get_model(resnet[1], nclass=8, pretrained_base=False, input_size=32)
    net.save_parameters(resnet[3])
    assert start([*flags, *resnet, '--use-gn']) == 1
    assert 'resnet.params is not of a resnet18_v1b_ucf101' in (told := capsys.readouterr().err)
    assert 'running_mean' in told and 'Traceback' not in told


def test_a_weighted_consensus_asks_for_its_segments(flags, tmp_path, capsys):
    net = model_zoo.get_model(MODEL, nclass=8, pretrained_base=False, num_segments=3, consensus='weighted',
                              input_size=32)
    net.save_parameters(str(tmp_path / 'weighted.params'))
    argv = [*flags, '--resume-params', str(tmp_path / 'weighted.params')]
    assert start([*argv, '--num-segments', '5']) == 2
    assert '--consensus weighted --num-segments 3' in capsys.readouterr().err
    results, _, _ = score([*argv, '--consensus', 'weighted', '--num-segments', '3'])
    assert results['protocol']['consensus'] == 'weighted'


def test_a_run_with_the_maximum_for_consensus_is_scored_with_it(flags, weights, tmp_path, capsys):
    linked = run_of(tmp_path, weights, config={'consensus': 'max', 'num_segments': 3})
    argv = [*flags, '--resume-params', linked]
    assert start([*argv, '--consensus', 'avg']) == 2
    assert 'pass --consensus max' in capsys.readouterr().err
    results, _, _ = score(argv)
    assert (results['protocol']['consensus'], results['protocol']['num_segments']) == ('max', 3)
    score([*argv, '--overwrite', '--num-segments', '1', '--consensus', 'avg'])  # the maximum of one segment is that


def test_numbers_that_cannot_be_are_refused_by_argparse(flags, capsys):
    with pytest.raises(SystemExit) as stop:
        start([*flags, '--batch-size', '0'])
    assert stop.value.code == 2
    assert '--batch-size must be 1 or more' in capsys.readouterr().err


def test_default_folder_names_model_data_and_protocol():
    config = TestConfig(model=MODEL, resume_params='x', use_tsn=True, ten_crop=True)
    assert config.results_dir == f'results/{MODEL}-ucf101-25x10'
    check_config(config, model_zoo.model_card(MODEL))


def test_exported_network_scores_like_the_one_of_the_zoo(flags, weights, tmp_path):
    _, expected, _ = score([*flags, '--num-segments', '2'])
    for segments in (1, 2):
        net = model_zoo.get_model(MODEL, nclass=8, pretrained_base=False, num_segments=segments, input_size=32)
        net.load_parameters(str(weights))
        net.hybridize()
        net(mx.nd.zeros((segments, 3, 32, 32)))
        net.export(str(tmp_path / f'net{segments}'))
        results, found, _ = score([*flags, '--resume-params', '', '--num-segments', '2', '--deploy', '--model-prefix',
                                   str(tmp_path / f'net{segments}'), '--overwrite'])
        np.testing.assert_allclose(found['scores'], expected['scores'], atol=1e-4)
        assert results['protocol']['views_per_score'] == segments


@pytest.fixture
def small_networks():
    with few_blocks():
        yield


def test_an_exported_clip_network_scores_clips_of_its_own_size_only(flags, small_networks, tmp_path, capsys):
    net = model_zoo.get_model('i3d_rgb_custom', nclass=8, pretrained_base=False, clip_length=8, input_size=32)
    net.hybridize()
    net(mx.nd.zeros((1, 3, 8, 32, 32)))
    net(mx.nd.zeros((1, 3, 9, 32, 32)))
    net.export(str(tmp_path / 'net'))
    argv = [*flags, '--model', 'i3d_rgb_custom', '--resume-params', '', '--deploy', '--model-prefix',
            str(tmp_path / 'net')]
    results, _, _ = score([*argv, '--new-length', '9', '--clip-sampling', 'spread'])
    assert results['protocol']['sampling'] == '1 clip, the middle frames of 9 equal parts'
    results, _, _ = score([*argv, '--new-length', '9', '--clip-sampling', 'dense', '--num-segments', '2',
                           '--overwrite'])
    assert results['protocol']['sampling'] == '2 clips from the first to the last frame, 9 frames at stride 1 each'
    assert start([*argv, '--new-length', '8', '--overwrite']) == 2
    assert 'exported for clips of 9 frames of 32x32' in (told := capsys.readouterr().err) and '--new-length 9' in told


def test_a_torn_export_is_an_error_that_names_the_files(flags, tmp_path, capsys):
    (tmp_path / 'net-symbol.json').write_text('{"nodes": [')
    (tmp_path / 'net-0000.params').write_bytes(b'')
    assert start([*flags, '--resume-params', '', '--deploy', '--model-prefix', str(tmp_path / 'net')]) == 1
    assert 'net-symbol.json' in capsys.readouterr().err


@pytest.fixture(scope='module')
def float_bundle(weights, tmp_path_factory):
    """The network of the tests as a bundle."""
    net = model_zoo.get_model(MODEL, nclass=8, pretrained_base=False, input_size=32)
    net.load_parameters(str(weights))
    preprocess = Preprocess(layout='NCHW', offsets=(0,), crop=(32, 32), resize={'width': 64, 'height': 48},
                            mean=net.card.mean, std=net.card.std)
    return write_bundle(net, tmp_path_factory.mktemp('bundles') / 'float', preprocess=preprocess)


def test_a_bundle_scores_like_the_network_that_it_was_made_of(flags, plain, float_bundle):
    argv = [*flags, '--resume-params', '', '--model-prefix', str(float_bundle)]
    results, found, _ = score([*argv, '--deploy', '--batch-size', '3'])
    np.testing.assert_allclose(found['scores'], plain[1]['scores'], rtol=1e-3, atol=1e-3)
    digest = subprocess.run(['sha256sum', float_bundle / 'model.onnx'], capture_output=True, text=True).stdout
    assert results['protocol']['weights']['sha256'] == digest.split()[0]


def test_a_bundle_gets_the_values_that_it_takes(flags, plain, weights, tmp_path):
    """Pixels of -1..1 with another mean and deviation are the numbers that the network was trained on."""
    net = model_zoo.get_model(MODEL, nclass=8, pretrained_base=False, input_size=32)
    net.load_parameters(str(weights))
    preprocess = Preprocess(layout='NCHW', offsets=(0,), crop=(32, 32), resize={'width': 64, 'height': 48},
                            value_range=(-1., 1.), mean=tuple(2 * mean - 1 for mean in net.card.mean),
                            std=tuple(2 * std for std in net.card.std))
    bundle = write_bundle(net, tmp_path / 'signed', preprocess=preprocess)
    _, found, _ = score([*flags, '--resume-params', '', '--deploy', '--model-prefix', str(bundle)])
    np.testing.assert_allclose(found['scores'], plain[1]['scores'], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('extra, told', [
    (['--deploy', '--input-size', '24'], 'takes views of 32x32 pixels, not 24x24; pass --input-size 32'),
    (['--quantized'], 'is float32; score it with --deploy'),
    (['--deploy', '--new-length', '4', '--model', 'unknown'], 'takes views of 1 frames, not 4; pass --new-length 1')])
def test_a_bundle_that_does_not_fit_is_refused(flags, float_bundle, capsys, extra, told):
    assert start([*flags, '--resume-params', '', '--model-prefix', str(float_bundle), *extra]) == 2
    assert told in capsys.readouterr().err


def test_a_bundle_of_pictures_is_not_tested_on_flow(flags, float_bundle):
    config = config_of([*flags, '--resume-params', '', '--deploy', '--model-prefix', str(float_bundle), '--model',
                        'i3d_flow_custom'])
    with pytest.raises(UsageError, match='looks at rgb, and the test at flow; name its network with --model'):
        build_network(config, None, [mx.cpu()], open_exported)


def test_calibration_makes_an_int8_bundle_that_scores_alike(flags, plain, tmp_path, capsys):
    expected = plain[1]
    argv = [*flags, '--calibration', '--num-calib-batches', '2', '--batch-size', '8', '--overwrite']
    assert start(argv) == 0
    bundle = tmp_path / 'out' / f'{MODEL}-quantized-naive'
    told = capsys.readouterr().out
    assert f'--quantized --model-prefix {bundle}' in told and 'latency' in told
    results, found, _ = score([*flags, '--resume-params', '', '--quantized', '--model-prefix', str(bundle),
                               '--overwrite'])
    agree = (found['scores'].argmax(axis=1) == expected['scores'].argmax(axis=1)).mean()
    spread = expected['scores'].std()
    assert agree >= 0.8 and np.abs(found['scores'] - expected['scores']).mean() < 0.3 * spread
    assert results['protocol']['weights']['precision'] == 'int8'
    assert start(argv[:-1]) == 2  # the int8 bundle is there already
    assert sorted(os.listdir(bundle)) == sorted([*FILES, MANIFEST])


def test_benchmark_times_bundles_as_well(flags, float_bundle, caplog):
    caplog.set_level(logging.INFO)
    assert start([*flags, '--resume-params', '', '--deploy', '--model-prefix', float_bundle, '--benchmark',
                  '--num-iterations', '2', '--batch-size', '2']) == 0
    assert caplog.messages[-1].startswith('With batch size 2 , 2 batches, throughput is ')


@pytest.mark.slow
def test_networks_of_clips_are_calibrated_as_well(flags, tmp_path):
    net = model_zoo.get_model('i3d_rgb_custom', nclass=8, pretrained_base=False, clip_length=8, input_size=32)
    net.save_parameters(str(tmp_path / 'i3d.params'))
    argv = [*flags, '--model', 'i3d_rgb_custom', '--new-length', '8']
    _, expected, _ = score([*argv, '--resume-params', str(tmp_path / 'i3d.params')])
    assert start([*argv, '--resume-params', tmp_path / 'i3d.params', '--calibration', '--num-calib-batches', '1',
                  '--batch-size', '4', '--save-dir', tmp_path / 'int8']) == 0
    prefix = str(tmp_path / 'int8' / 'i3d_rgb_custom-quantized-naive')
    _, found, _ = score([*argv, '--resume-params', '', '--deploy', '--quantized', '--model-prefix', prefix,
                         '--overwrite'])
    assert np.abs(found['scores'] - expected['scores']).mean() < 0.3 * expected['scores'].std()


def test_benchmark_prints_gluoncvs_line_and_writes_nothing(flags, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    argv = [*flags, '--resume-params', '', '--benchmark', '--num-iterations', '2', '--batch-size', '2']
    assert start(argv) == 0
    assert caplog.messages[-1].startswith('With batch size 2 , 2 batches, throughput is ')
    assert not (tmp_path / 'out').exists()


def test_slowfast_is_timed_on_clips_of_both_pathways(caplog):
    caplog.set_level(logging.INFO)
    assert start(['--model', 'slowfast_4x16_resnet50_custom', '--slowfast', '--new-length', '16', '--benchmark',
                  '--num-classes', '2', '--num-iterations', '1', '--batch-size', '1', '--input-size', '32']) == 0
    assert caplog.messages[-1].startswith('With batch size 1 , 1 batches')


def test_print_config_is_json_of_every_choice(flags, capsys):
    assert start([*flags, '--num-segments', '25', '--print-config']) == 0
    assert json.loads(capsys.readouterr().out)['num_segments'] == 25


def test_help_of_the_script_is_instant_because_mxnet_is_not_loaded():
    script = Path(__file__).parents[2] / 'scripts' / 'test_recognizer.py'
    code = f'import runpy, sys; sys.argv = ["x", "--help"]\ntry: runpy.run_path({str(script)!r}, run_name="__main__")' \
           '\nexcept SystemExit as stop: print(stop.code, "mxnet" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith('0 False\n')
    assert '--ten-crop' in done.stdout
