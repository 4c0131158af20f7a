"""What both commands say to input that cannot be: what is wrong, where, what was got, what to do; never a traceback."""
import importlib
import json
import os
import pickle
import re
import shutil
import time

import mxnet as mx
import pytest
import tiny
from videos import BROKEN, make_broken, write_frames, write_video

from gluon_action import engine, model_zoo
from gluon_action.cli.command import run

MODEL = tiny.OF_RUNS
pytestmark = pytest.mark.usefixtures('network_of_runs')
COMMANDS = ('train', 'test')

#: What cannot be read -> what is said of it.
UNREADABLE = {
    'missing.mp4': 'does not exist',
    'empty.mp4': r'is empty \(0 bytes\)',
    'garbage.mp4': 'not a video',
    'moov_missing.mp4': 'cut short|truncated|index',
    'data_cut.mp4': 'frame',
    'audio_only.mp4': 'no picture|no video|audio',
    'zero_frames.mp4': 'no frame',
    'gaps': 'frames are missing between its 8: img_00005.jpg, img_00006.jpg',
}


@pytest.fixture(scope='module')
def media(tmp_path_factory):
    """Good and bad videos."""
    folder = tmp_path_factory.mktemp('media')
    for number in range(4):
        write_video(folder / f'good{number}.mp4', 12, size=(64, 48))
    write_video(folder / 'one.mp4', 1, size=(64, 48))
    write_video(folder / 'two.mp4', 2, size=(64, 48))
    for kind in BROKEN:
        make_broken(kind, folder)
    write_frames(folder / 'gaps', [1, 2, 3, 4, 7, 8, 9, 10], size=(64, 48))
    return folder


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Parameters of a network of 2 classes."""
    net = model_zoo.get_model(MODEL, nclass=2, pretrained_base=False, input_size=32)
    path = tmp_path_factory.mktemp('weights') / 'two.params'
    net.save_parameters(str(path))
    return path


@pytest.fixture
def listed(tmp_path):
    """A maker of lists."""
    def write(*lines, name='videos.txt'):
        path = tmp_path / name
        path.write_text(''.join(f'{line}\n' for line in lines))
        return path
    return write


@pytest.fixture
def call(media, weights, tmp_path, capsys):
    """Run a command on a list in this process; returns exit code and what it said on standard error."""
    def call(command, videos, *flags, debug=False, validate=False):
        argv = ['--model', MODEL, '--dataset', 'custom', '--data-dir', media, '--val-list', videos, '--num-segments', 3,
                '--input-size', 32, '-j', 0, '--log-interval', 0, '--save-dir', tmp_path / 'out']
        if command == 'train':
            argv += ['--train-list', videos, '--no-pretrained-base', '--use-tsn', '--batch-size', 4, '--num-epochs', 1,
                     '--lr', 0.01, '--save-frequency', 0, *([] if validate else ['--train-only'])]
        else:
            argv += ['--resume-params', weights, '--new-height', 48, '--new-width', 64]
        module = importlib.import_module(f'gluon_action.cli.{command}_recognizer')
        try:
            code = run(module.parse_args, module.main, [str(item) for item in (*argv, *flags)])
        except SystemExit as stop:  # how argparse ends
            code = stop.code
        said = capsys.readouterr().err
        assert ('Traceback' in said) == debug, said
        return code, said
    yield call
    shutil.rmtree(tmp_path / 'out', ignore_errors=True)


@pytest.mark.parametrize('name', UNREADABLE)
def test_training_stops_at_a_video_that_cannot_be_read(call, listed, media, name):
    videos = listed('good0.mp4 0', f'{name} 1')
    code, said = call('train', videos)
    assert code == 1
    assert f'{media / name}: cannot be read by ' in said
    assert f'({videos} line 2)' in said
    assert re.search(UNREADABLE[name], said), said
    assert '--on-error skip' in said and 'the same command starts anew' in said


def test_training_leaves_them_out_and_lists_them(call, listed, tmp_path):
    bad = list(UNREADABLE)
    videos = listed(*(f'{name} 1' for name in bad), 'good0.mp4 0', 'good1.mp4 1')
    code, said = call('train', videos, '--on-error', 'skip', '--max-skip-share', 0.8, '--batch-size', 5)
    assert (code, said) == (0, '')
    failures = [json.loads(line) for line in (tmp_path / 'out' / 'failures.jsonl').open()]
    assert sorted(failure['key'] for failure in failures) == sorted(bad)
    for failure in failures:
        assert f'({videos} line {bad.index(failure["key"]) + 1})' in failure['message']
        assert re.search(UNREADABLE[failure['key']], failure['message'])
    assert json.loads((tmp_path / 'out' / 'metrics.jsonl').read_text())['failed'] == len(bad)


def test_training_stops_when_too_many_are_left_out(call, listed, media):
    videos = listed('empty.mp4 1', 'garbage.mp4 1', *(f'good{number}.mp4 {number % 2}' for number in range(4)))
    code, said = call('train', videos, '--on-error', 'skip', '--max-skip-share', 0.2, '--batch-size', 6)
    assert code == 1
    assert '2 of 6 samples could not be read, more than --max-skip-share 0.2' in said
    assert str(media) in said and f'{videos} line ' in said


def test_testing_counts_them_as_wrong_and_lists_them(call, listed, tmp_path):
    bad = list(UNREADABLE)
    videos = listed(*(f'{name} 1' for name in bad), 'good0.mp4 0', 'good1.mp4 1')
    code, said = call('test', videos)
    assert code == 1
    failed = tmp_path / 'out' / 'failures.jsonl'
    assert f'8 of 10 videos could not be scored, --failure-limit allows 10%; {failed} names them' in said
    failures = [json.loads(line) for line in failed.open()]
    assert [failure['key'] for failure in failures] == bad
    for line, failure in enumerate(failures, 1):
        assert f'({videos} line {line})' in failure['message']
        assert re.search(UNREADABLE[failure['key']], failure['message'])
    results = json.loads((tmp_path / 'out' / 'results.json').read_text())
    assert (results['n_expected'], results['n_scored']) == (10, 2) and results['top1'] <= 0.2


def test_validation_of_a_run_counts_them_as_wrong_and_lists_them(call, listed, tmp_path):
    val = listed('empty.mp4 0', 'good0.mp4 0', name='val.txt')
    code, said = call('train', listed('good0.mp4 0', 'good1.mp4 1'), '--val-list', val, validate=True)
    assert (code, said) == (0, '')
    record = json.loads((tmp_path / 'out' / 'metrics.jsonl').read_text())
    assert (record['val_expected'], record['val_count']) == (2, 1) and record['val_top1'] <= 0.5
    failure = json.loads((tmp_path / 'out' / 'failures.jsonl').read_text())
    assert failure['split'] == 'val' and f'({val} line 1)' in failure['message']


@pytest.mark.parametrize('command', COMMANDS)
def test_videos_of_fewer_frames_than_segments_are_read(call, listed, command):
    assert call(command, listed('one.mp4 0', 'two.mp4 1'), '--num-segments', 5) == (0, '')


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('command', COMMANDS)
def test_a_file_that_never_answers_is_given_up(call, listed, media, command, workers):
    os.mkfifo(media / 'hanging.mp4')
    started = time.monotonic()
    try:
        code, said = call(command, listed('good0.mp4 0', 'hanging.mp4 1'), '--decode-timeout', 2, '-j', workers)
    finally:
        os.unlink(media / 'hanging.mp4')
    assert code == 1 and time.monotonic() - started < 60
    if command == 'train':
        assert f'{media / "hanging.mp4"}: cannot be read' in said and ' line 2)' in said and '2 s' in said
    else:
        assert '1 of 2 videos could not be scored' in said


BAD_LISTS = {
    'label out of range': (('good0.mp4 0', 'good1.mp4 5'), ('--num-classes', 2),
                           r'line 2: label 5 is out of range 0\.\.1; check --num-classes'),
    'negative label': (('good0.mp4 0', 'good1.mp4 -1'), (), r'line 2: label -1 is out of range'),
    'label not an integer': (('good0.mp4 0', 'good1.mp4 jump'), (), r"line 2: label 'jump' is not an integer"),
    'fractional label': (('good0.mp4 0', 'good1.mp4 1.5'), (), r"line 2: label '1.5' is not an integer"),
    '1-based labels': (('good0.mp4 1', 'good1.mp4 2'), ('--num-classes', 2),
                       r'line 2: label 2 is out of range 0\.\.1; labels run from 1 to 2: .*--label-base 1'),
    '0-based labels read from 1': (('good0.mp4 0', 'good1.mp4 1'), ('--label-base', 1),
                                   r'line 1: label 0 is out of range .*--label-base 0'),
    'no label': (('good0.mp4 0', 'good1.mp4'), (), r"line 2: has 1 column, expected .*'good1.mp4'"),
    'outside': (('good0.mp4 0', '../secret.mp4 1'), (),
                r'line 2: ../secret.mp4 lies outside the data folder .*--data-dir'),
    'outside, absolute': (('good0.mp4 0', '/etc/secret.mp4 1'), (), r'line 2: /etc/secret.mp4 lies outside'),
    'two labels of one video': (('good0.mp4 0', 'good0.mp4 1'), (), r'line 2.* has label 1, but 0 in .*line 1'),
    'empty': ((), (), 'empty'),
    'blank lines only': (('', '  '), (), 'empty|no videos'),
}


@pytest.mark.parametrize('kind', BAD_LISTS)
@pytest.mark.parametrize('command', COMMANDS)
def test_a_bad_list_is_refused_by_file_and_line(call, listed, command, kind):
    lines, flags, expected = BAD_LISTS[kind]
    videos = listed(*lines)
    code, said = call(command, videos, *flags)
    assert code == 1 and str(videos) in said
    assert re.search(expected, said), said


@pytest.mark.parametrize('command', COMMANDS)
def test_a_missing_list_is_refused_with_what_lies_beside(call, listed, tmp_path, command):
    listed('good0.mp4 0', name='other.txt')
    code, said = call(command, tmp_path / 'vidoes.txt')
    assert code == 1
    assert f'{tmp_path / "vidoes.txt"}: the list does not exist; the folder holds other.txt' in said


@pytest.mark.parametrize('command', COMMANDS)
def test_a_list_that_is_no_text_is_refused(call, tmp_path, command):
    path = tmp_path / 'videos.txt'
    path.write_bytes(bytes(range(128, 256)) * 20)
    code, said = call(command, path)
    assert code == 1 and str(path) in said


@pytest.mark.parametrize('command', COMMANDS)
def test_weights_of_another_number_of_classes_are_refused(call, listed, weights, command):
    code, said = call(command, listed('good0.mp4 0', 'good1.mp4 2'), '--resume-params', weights, '--num-classes', 3)
    assert code == 1
    assert f'{weights} was trained on 2 classes, this network has 3' in said and '--num-classes 2' in said


def test_training_without_the_new_head_is_refused(call, listed, weights):
    start = (listed('good0.mp4 0', 'good1.mp4 1'), '--resume-params', weights, '--new-head', '--train-params')
    code, said = call('train', *start, '^layers')
    assert code == 2 and '--train-params ^layers: leaves the head of --new-head' in said
    assert r'"^layers|^(output\.)"' in said
    code, said = call('train', *start, 'nosuch')
    assert code == 2 and "--train-params nosuch: 'nosuch' fits no parameter" in said


def test_testing_labels_that_the_network_does_not_know_is_refused(call, listed, weights):
    videos = listed('good0.mp4 0', 'good1.mp4 5')
    code, said = call('test', videos)
    assert code == 1
    assert f'{videos} line 2: label 5 is out of range 0..1: the network knows 2 classes; check --val-list' in said


@pytest.mark.parametrize('kind', ['garbage', 'empty', 'missing', 'folder', 'another network'])
@pytest.mark.parametrize('command', COMMANDS)
def test_weights_that_are_none_are_refused(call, listed, tmp_path, command, kind):
    path = tmp_path / 'net.params'
    if kind in ('garbage', 'empty'):
        path.write_bytes(b'\x93garbage' * 500 if kind == 'garbage' else b'')
    elif kind == 'folder':
        path.mkdir()
    elif kind == 'another network':
        mx.nd.save(str(path), {'features.0.weight': mx.nd.zeros((3, 3))})
    code, said = call(command, listed('good0.mp4 0', 'good1.mp4 1'), '--resume-params', path)
    assert code == 1 and str(path) in said and 'unexpected' not in said
    assert re.search('not a file of parameters|no such file|is not of a', said), said


class Malicious:
    """What a pickle can do to whoever loads it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize('flag', ['--resume-states', '--resume-params'])
@pytest.mark.parametrize('command', COMMANDS)
def test_pickles_are_refused_and_not_run(call, listed, weights, tmp_path, command, flag):
    path = tmp_path / 'file.states'
    path.write_bytes(pickle.dumps(Malicious(tmp_path / 'harm')))
    flags = {'--resume-params': weights, flag: path}
    code, said = call(command, listed('good0.mp4 0', 'good1.mp4 1'), *(item for pair in flags.items() for item in pair))
    assert code in (1, 2) and str(path) in said
    assert not (tmp_path / 'harm').exists()
    if (command, flag) == ('train', '--resume-states'):
        assert 'pickles, which run code when they are loaded' in said and 'leave out --resume-states' in said


def test_a_missing_state_file_is_said_to_be_missing(call, listed, weights):
    code, said = call('train', listed('good0.mp4 0', 'good1.mp4 1'), '--resume-params', weights, '--resume-states',
                      'none.states')
    assert code == 1 and 'none.states: no such file' in said


@pytest.mark.parametrize('command', COMMANDS)
def test_an_unknown_model_is_answered_with_a_known_one(call, listed, command):
    code, said = call(command, listed('good0.mp4 0'), '--model', 'resnet18_v1b_custm')
    assert code in (1, 2)
    assert "'resnet18_v1b_custm'" in said and 'did you mean' in said and 'resnet18_v1b_custom' in said


@pytest.mark.parametrize('command', COMMANDS)
def test_an_unknown_data_set_is_answered_with_the_known_ones(call, listed, command):
    code, said = call(command, listed('good0.mp4 0'), '--dataset', 'ucf102')
    assert code == 2 and "'ucf102'" in said and 'ucf101' in said and 'demo_appearance' in said


@pytest.mark.parametrize('command', COMMANDS)
def test_a_folder_that_cannot_be_written_is_refused(call, listed, tmp_path, command):
    (tmp_path / 'file').write_text('')
    code, said = call(command, listed('good0.mp4 0', 'good1.mp4 1'), '--save-dir', tmp_path / 'file' / 'run')
    assert code == 1 and str(tmp_path / 'file' / 'run') in said and 'Not a directory' in said
    assert '--save-dir' in said


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
@pytest.mark.parametrize('command', COMMANDS)
def test_a_folder_without_permission_is_refused(call, listed, tmp_path, command):
    (tmp_path / 'mine').mkdir(mode=0o500)
    code, said = call(command, listed('good0.mp4 0', 'good1.mp4 1'), '--save-dir', tmp_path / 'mine' / 'run')
    assert code == 1 and 'Permission denied' in said and '--save-dir' in said


@pytest.mark.skipif(engine.cuda_wheel_installed(), reason='GPUs may be there')
@pytest.mark.parametrize('command', COMMANDS)
def test_gpus_that_are_not_there_are_refused(call, listed, tmp_path, command):
    code, said = call(command, listed('good0.mp4 0', 'good1.mp4 1'), '--num-gpus', 8)
    assert code == 1 and '--num-gpus' in said and 'cu112' in said


@pytest.mark.parametrize('flag, value', [('--batch-size', 0), ('--num-segments', 0), ('--decode-timeout', -1),
                                         ('-j', -1), ('--input-size', 0), ('--num-cpus', 0)])
@pytest.mark.parametrize('command', COMMANDS)
def test_numbers_that_cannot_be_are_refused_by_flag(call, listed, command, flag, value):
    code, said = call(command, listed('good0.mp4 0'), flag, value)
    assert code == 2 and flag.lstrip('-').replace('j', 'num-data-workers') in said and f'got {value}' in said


@pytest.mark.parametrize('command', COMMANDS)
def test_debug_shows_where_it_happened(call, listed, command):
    code, said = call(command, listed('good0.mp4 1.5'), '--debug', debug=True)
    assert code == 1 and "label '1.5' is not an integer" in said
