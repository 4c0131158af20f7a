import functools
import json
import logging
import math
import os
import re
import struct
import sys
from types import SimpleNamespace

import mxnet as mx
import pytest
from events import events_of, scalars_of
from forking import Copy
from loops import Batches, FailingBatches, make_loop
from PIL import Image
from tensorboardX.proto.event_pb2 import SessionLog
from tqdm import tqdm

from gluon_action.errors import OutputError, UnscoredError
from gluon_action.train import loop as train_loop
from gluon_action.train.hook import Hook
from gluon_action.train.hooks import SaveCheckpoints
from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir
from gluon_action.train.run.history import log as run_log
from gluon_action.train.run.history import log_style
from gluon_action.train.run.history.log import RunLog, drop_later
from gluon_action.train.run.history.log_style import epoch_lines, rate_curve, rate_text
from gluon_action.train.run.history.time_left import TimeLeft

NUMBER, PERCENT = r'-?\d+\.\d{6}', r'\d+\.\d\d'
BATCH_LINE = re.compile(rf'Epoch\[(\d{{3}})\] Batch \[(\d{{4}})\]/\[(\d{{4}})\]\tSpeed: {NUMBER} samples/sec\t '
                        rf'accuracy={PERCENT}\t loss={NUMBER}\t lr={NUMBER}(?:\t [\d.]+ s left)?$')
LINES = (BATCH_LINE, re.compile(rf'\[Epoch \d{{3}}\] training: accuracy={PERCENT}\t loss={NUMBER}$'),
         re.compile(rf'\[Epoch \d{{3}}\] speed: \d+(?:\.\d+)? samples/sec\ttime cost: {NUMBER}$'),
         re.compile(rf'\[Epoch \d{{3}}\] validation: acc-top1={PERCENT} acc-top5={PERCENT} loss={NUMBER}$'),
         re.compile(rf'Batch \[\d{{4}}\]/\[\d{{4}}\]: acc-top1={PERCENT} acc-top5={PERCENT}$'),
         re.compile(r'\[Epoch \d{3}\] \d of 2 epochs done; waited \d+ % of the time for videos, \d+ % for the network'),
         re.compile(r'\[Epoch \d{3}\] 1 could not be read in (train|valid)\w+: clip.avi; failures.jsonl says why$'))


def records_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def run(tmp_path):
    """A run of two epochs of six batches, recorded every two."""
    loop = make_loop()
    loop.fit(FailingBatches(missing=(3,)), FailingBatches(shuffle=False, missing=(5,)), epochs=2,
             hooks=[RunLog(tmp_path, log_interval=2, title='tiny', bar=False)])
    return loop, tmp_path


def test_the_log_has_gluoncvs_lines(run):
    _, folder = run
    lines = (folder / 'train.log').read_text().splitlines()
    assert all(any(form.match(line) for form in LINES) for line in lines)
    assert [BATCH_LINE.match(line).groups() for line in lines if line.startswith('Epoch[')] == [
        (epoch, batch, '0006') for epoch in ('000', '001') for batch in ('0001', '0003', '0005')]
    assert sum(line.startswith('Batch [') for line in lines) == 6 and len(lines) == 6 + 6 + 2 + 6 + 4


def test_lines_also_go_to_logging(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        make_loop().fit(Batches(), epochs=1, hooks=[RunLog(tmp_path, log_interval=3, bar=False)])
    assert [line for line in caplog.messages if 'poch' in line] == (tmp_path / 'train.log').read_text().splitlines()


def test_the_last_line_of_an_epoch_has_its_means(run):
    loop, folder = run
    metrics = records_of(folder / 'metrics.jsonl')
    last, epoch = [record for record in metrics if record['epoch'] == 1][-2:]
    assert last['kind'] == 'batch' and epoch['kind'] == 'epoch'
    assert last['loss'] == epoch['loss'] == loop.progress.history[1]['loss'] and last['accuracy'] == epoch['accuracy']


@pytest.fixture
def clock(monkeypatch):
    """A hook that lets half a second pass for every sample that is trained on, 100 for every batch that is scored."""
    class Clock(Hook):
        now = 1000.

        def on_batch(self, loop, batch):
            self.now += 0.5 * len(batch.indices)

        def on_scored(self, loop, scores, batch):
            self.now += 100

    clock = Clock()
    for module in (run_log, train_loop):
        monkeypatch.setattr(module, 'time', SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(log_style, 'plot_run', lambda *args, **kwargs: None)  # a picture takes a second
    return clock


def test_the_speed_is_that_of_training_in_every_epoch(tmp_path, clock):
    history = make_loop().fit(Batches(), Batches(), epochs=3,
                              hooks=[clock, RunLog(tmp_path, log_interval=4, bar=False)])
    intervals = [record for record in records_of(tmp_path / 'metrics.jsonl') if record['kind'] == 'batch']
    assert [(record['epoch'], record['batch'], record['speed']) for record in intervals] == [
        (0, 3, 2.), (1, 3, 2.), (2, 3, 2.)]
    assert [(record['speed'], record['seconds']) for record in history] == [(2., 11.)] * 3


def test_an_epoch_that_goes_on_has_the_speed_of_its_rest(tmp_path, clock):
    class Keep(Hook):
        def on_step(self, loop, result):
            if result.step == 3:
                loop.flush()
                states.append(loop.state_dict())
                raise KeyboardInterrupt

    states, again = [], make_loop()
    with pytest.raises(KeyboardInterrupt):
        make_loop().fit(Batches(), epochs=1, hooks=[Keep()])
    again.load_state_dict(states[0])
    again.fit(Batches(), epochs=1, hooks=[clock, RunLog(tmp_path, log_interval=5, bar=False)])
    interval, epoch = records_of(tmp_path / 'metrics.jsonl')
    assert (interval['batch'], epoch['samples']) == (4, 22)
    assert interval['speed'] == epoch['speed'] == 2


def test_an_interval_of_zero_leaves_only_epochs(tmp_path):
    make_loop().fit(Batches(), epochs=2, hooks=[RunLog(tmp_path, log_interval=0, bar=False)])
    assert [record['kind'] for record in records_of(tmp_path / 'metrics.jsonl')] == ['epoch', 'epoch']
    assert len((tmp_path / 'train.log').read_text().splitlines()) == 6


def test_failures_are_listed_and_no_file_means_none(run, tmp_path_factory):
    _, folder = run
    failures = records_of(folder / 'failures.jsonl')
    assert [(f['split'], f['epoch'], f['index']) for f in failures] == [('train', 0, 3), ('val', 0, 5),
                                                                       ('train', 1, 3), ('val', 1, 5)]
    assert failures[0]['message'].endswith('truncated')
    whole = tmp_path_factory.mktemp('whole')
    make_loop().fit(Batches(), epochs=1, hooks=[RunLog(whole, bar=False)])
    assert not (whole / 'failures.jsonl').exists()


def test_tensorboard_has_gluoncvs_tags_at_its_steps(run):
    loop, folder = run
    scalars = scalars_of(folder)
    for tag in ('train_acc_top1_iter', 'train_loss_iter', 'learning_rate_iter'):
        assert [step for name, step, _ in scalars if name == tag] == list(range(12))
    for tag, key, scale in (('train_loss_epoch', 'loss', 1), ('val_loss_epoch', 'val_loss', 1),
                            ('val_acc_top1_epoch', 'val_top1', 100)):
        assert [(step, value) for name, step, value in scalars if name == tag] == [
            (epoch, pytest.approx(scale * loop.progress.history[epoch][key], rel=1e-5)) for epoch in (0, 1)]
    accuracy = [value for name, _, value in scalars if name == 'train_acc_top1_iter']
    assert accuracy[-1] == pytest.approx(100 * loop.progress.accuracy)


def test_the_history_is_drawn(run):
    assert Image.open(run[1] / 'history.png').width > 1000


def test_a_resumed_run_log_every_step_once(tmp_path):
    class Stop(Hook):
        def on_step(self, loop, result):
            if result.step == 10:
                raise KeyboardInterrupt

    checkpoints = CheckpointDir(tmp_path / 'checkpoints')

    def hooks(*more):
        return [*more, RunLog(tmp_path, log_interval=1, bar=False), SaveCheckpoints(checkpoints, every=4)]

    train, val = FailingBatches(missing=(3,)), FailingBatches(shuffle=False, missing=(5,))
    with pytest.raises(KeyboardInterrupt):
        make_loop().fit(train, val, epochs=2, hooks=hooks(Stop()))
    with open(tmp_path / 'metrics.jsonl', 'a') as stream:
        stream.write('{"kind": "batch", "ep')  # killed while it wrote
    loop = make_loop()
    found = checkpoints.load_latest()
    assert found.step == 6
    loop.load_state_dict(found.state)
    loop.fit(train, val, epochs=2, hooks=hooks())
    metrics = records_of(tmp_path / 'metrics.jsonl')
    assert [record['step'] for record in metrics if record['kind'] == 'batch'] == list(range(1, 13))
    assert [record['epoch'] for record in metrics if record['kind'] == 'epoch'] == [0, 1]
    assert [f['epoch'] for f in records_of(tmp_path / 'failures.jsonl')] == [0, 0, 1, 1]
    assert [event.step for event in events_of(tmp_path) if event.session_log.status == SessionLog.START] == [6]


def test_a_new_run_drops_the_records_of_the_old(tmp_path):
    for _ in range(2):
        make_loop().fit(Batches(), epochs=1, hooks=[RunLog(tmp_path, log_interval=0, bar=False)])
    assert len(records_of(tmp_path / 'metrics.jsonl')) == 1


def test_records_are_dropped_by_their_place(tmp_path):
    path = tmp_path / 'metrics.jsonl'
    path.write_text('\n'.join(json.dumps(record) for record in (
        {'kind': 'batch', 'epoch': 0, 'step': 6}, {'kind': 'epoch', 'epoch': 0, 'step': 6},
        {'kind': 'stretch', 'epoch': 0, 'step': 6}, {'split': 'val', 'epoch': 0, 'step': 6},
        {'split': 'train', 'epoch': 1, 'step': 7})) + '\n')
    drop_later(path, epoch=0, step=6)  # all batches of epoch 0 are done, its validation is not
    assert records_of(path) == [{'kind': 'batch', 'epoch': 0, 'step': 6}]
    drop_later(tmp_path / 'missing.jsonl', 0, 0)
    assert os.listdir(tmp_path) == ['metrics.jsonl']


def test_lines_that_no_run_has_written_stay(tmp_path):
    path = tmp_path / 'metrics.jsonl'
    foreign = (b'7\n[]\nnull\n"x"\n{"kind": "epoch"}\n{"kind": "batch", "epoch": "a", "step": 9}\n'
               b'notes \xff\n\n{"a": 1}\n')
    for torn in (b'', b'{"kind": "batch", "ep'):
        path.write_bytes(foreign + b'{"kind": "batch", "epoch": 0, "step": 9}\n' + torn)
        drop_later(path, epoch=0, step=6)
        assert path.read_bytes() == foreign
    whole = b'{"kind": "batch", "epoch": 0, "step": 5}'
    path.write_bytes(foreign + whole)
    drop_later(path, epoch=0, step=6)
    assert path.read_bytes() == foreign + whole + b'\n'


def test_a_validation_without_a_sample_that_can_be_read_is_no_score(tmp_path):
    loop, failing = make_loop(), FailingBatches(count=2, missing=(0, 1))
    with pytest.raises(UnscoredError, match='not one of the 2 samples of the validation could be read.*truncated'):
        loop.fit(Batches(), failing, epochs=1, hooks=[RunLog(tmp_path, log_interval=0, bar=False)])
    assert records_of(tmp_path / 'metrics.jsonl') == [] and loop.progress.history == []


def test_epoch_lines_have_percent_and_seconds():
    record = {'epoch': 7, 'accuracy': 0.5, 'loss': 1.25, 'speed': 12.7, 'seconds': 3.5, 'val_top1': 0.25,
              'val_top5': 1.0, 'val_loss': 2.0}
    assert epoch_lines(record) == [
        '[Epoch 007] training: accuracy=50.00\t loss=1.250000',
        '[Epoch 007] speed: 12 samples/sec\ttime cost: 3.500000',
        '[Epoch 007] validation: acc-top1=25.00 acc-top5=100.00 loss=2.000000']
    assert ' speed: 0.38 samples/sec' in epoch_lines({**record, 'speed': 0.3765})[1]  # not 0


def test_the_log_says_how_far_the_run_is_and_what_it_waited_for():
    record = {'epoch': 1, 'seconds': 10., 'data_seconds': 9., 'device_seconds': 0.5}
    said = log_style.LogStyle().progress_line(record, 8, 200.)
    assert said == ('[Epoch 001] 2 of 8 epochs done; waited 90 % of the time for videos, 5 % for the network; 3 min 20 '
                    's left')
    assert log_style.LogStyle().progress_line(record, 2, 0.).endswith('for the network')
    assert log_style.LogStyle().progress_line(record, math.inf, math.inf) == ''


def test_what_is_left_is_told_by_the_pace_so_far(tmp_path, clock):
    make_loop().fit(Batches(), epochs=3, hooks=[clock, RunLog(tmp_path, log_interval=0, bar=False)])
    lines = [line for line in (tmp_path / 'train.log').read_text().splitlines() if 'epochs done' in line]
    assert [line.partition('network')[2] for line in lines] == ['; 22.0 s left', '; 11.0 s left', '']


def test_what_is_left_is_told_from_the_first_batches_on_and_counts_validations_once_they_are_known(tmp_path, clock):
    make_loop().fit(Batches(), Batches(shuffle=False), epochs=3,
                    hooks=[clock, RunLog(tmp_path, log_interval=2, bar=False)])
    lines = [line for line in (tmp_path / 'train.log').read_text().splitlines() if 'lr=' in line or 'done' in line]
    # 2 s a batch, 1 s of the last one, then 600 s of a validation
    assert [line.rpartition('lr=')[2].partition('\t ')[2] or line.partition('network; ')[2] for line in lines] == [
        '32.0 s left', '28.0 s left', '22.0 s left', '20 min 22 s left',
        '20 min 19 s left', '20 min 15 s left', '20 min 11 s left', '10 min 11 s left',
        '10 min 07 s left', '10 min 04 s left', '10 min 00 s left', '']


def test_the_pace_is_that_of_the_last_batches():
    left = TimeLeft(10, 100)
    assert left.after(0, 0) == math.inf and TimeLeft(math.inf, 100).after(0, 1) == math.inf
    for _ in range(20):
        left.trained(10, 50.)
    assert left.after(1, 50) == 850 * 5
    for _ in range(20):
        left.trained(10, 10.)
    left.validation = 7.
    assert left.after(1, 50) == 850 + 9 * 7 and left.after(10, 0) == 0


def test_the_log_begins_with_its_header_and_warns_once(tmp_path, caplog):
    records = RunLog(tmp_path, log_interval=0, bar=False, header=['command: x', 'data: y'])
    with caplog.at_level(logging.INFO):
        make_loop().fit(Batches(), epochs=1, hooks=[records])
    assert (tmp_path / 'train.log').read_text().splitlines()[:2] == caplog.messages[:2] == ['command: x', 'data: y']
    caplog.clear()
    records = RunLog(tmp_path, log_interval=0, bar=False)
    for line in ('twice', 'twice', 'once'):
        records.warn(line)
    assert caplog.messages == ['twice', 'once']


def test_the_rate_curve_is_short_and_reaches_both_ends():
    curve = rate_curve(lambda update: 1 / update, 100_000, 1000)
    assert len(curve) < 500 and curve[0] == (0, 1) and curve[-2:] == [(99.999, 1e-5), (100, 1e-5)]
    assert rate_curve(lambda update: 0.1, 0, 10) == []


@pytest.mark.parametrize('rate, text', [(0.1, '0.100000'), (0.000015, '0.000015'), (1e-7, '1e-07'), (0., '0.000000'),
                                        (0.0000123, '1.23e-05'), (0.0123456, '0.012346')])
def test_a_small_rate_can_be_read(rate, text):
    assert rate_text(rate) == text


def test_a_folder_that_cannot_be_written_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match='train.log'):
        RunLog(tmp_path / 'missing')


def train_with_a_bar(folder):
    """The program of the next test."""
    tqdm.__init__ = functools.partialmethod(tqdm.__init__, mininterval=0)
    logging.basicConfig(level=logging.INFO, format='%(message)s', stream=sys.stdout)
    make_loop().fit(Batches(), Batches(), epochs=2, hooks=[RunLog(folder, log_interval=2)])


def test_a_bar_takes_the_place_of_batch_lines_on_a_terminal(tmp_path):
    """With a pseudo terminal, as a user has."""
    import fcntl
    import pty
    import termios
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 100, 0, 0))  # a terminal has a size
    child = Copy(train_with_a_bar, tmp_path, output=theirs)
    os.close(theirs)
    shown = b''
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # how a terminal says that its other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert child.wait() == 0
    assert b'epoch 1:' in shown and b'accuracy' in shown and b'[Epoch 001] validation' in shown
    assert b'Epoch[001] Batch' not in shown
    assert 'Epoch[001] Batch' in (tmp_path / 'train.log').read_text()


def test_a_full_disk_is_an_output_error(tmp_path):
    records = RunLog(tmp_path, log_interval=1, bar=False)
    records._log.close()
    records._log = open('/dev/full', 'w')
    with pytest.raises(OutputError, match='No space left'):
        make_loop().fit(Batches(), epochs=1, hooks=[records])
    with pytest.raises(OSError):
        records._log.close()
    mx.nd.waitall()
