import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile

import numpy as np
import pytest

import gluon_action  # noqa: F401  (prepares MXNet where this file is run as a program)

# isort: split
import mxnet as mx
from forking import Copy
from loops import CLASSES, Batch, Batches, close, make_loop, make_net, same, weights
from mxnet.contrib import amp as mixed_precision

from gluon_action import engine
from gluon_action.compute.losses import SigmoidCrossEntropy, SoftmaxCrossEntropy
from gluon_action.compute.trained import choose_parameters
from gluon_action.errors import CheckpointError, OutputError, TrainingError, UsageError
from gluon_action.train.hook import Hook
from gluon_action.train.hooks import SaveCheckpoints, SaveParameters, share
from gluon_action.train.mixup import MixUp
from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir, read_optimizer
from gluon_action.train.schedules import make_schedule


def test_the_loop_trains_as_a_bare_gluon_loop_does():
    net = make_net(dropout=0.0)
    trainer = mx.gluon.Trainer(net.collect_params(), 'sgd', {'momentum': 0.9, 'wd': 1e-3, 'learning_rate': 0.05})
    loss, total = mx.gluon.loss.SoftmaxCrossEntropyLoss(), 0
    for batch in Batches().epoch(0):
        with mx.autograd.record():
            value = loss(net(mx.nd.array(batch.data)), mx.nd.array(batch.label))
        value.backward()
        trainer.step(len(batch.indices))
        total += value.sum().asscalar()
    loop = make_loop(make_net(dropout=0.0))
    record = loop.train_epoch(Batches(), 0)
    expected = {name: param.data().asnumpy() for name, param in net._collect_params_with_prefix().items()}
    assert same(weights(loop), expected) and record['loss'] == pytest.approx(total / 22, rel=1e-6)
    assert record['update'] == record['step'] == 6 and record['samples'] == 22


def test_a_step_gives_the_logits_and_labels_that_it_was_made_with():
    loop, batch = make_loop(make_net(2, dropout=0.0, frozen=True), 2), next(Batches().epoch(0))
    expected = loop.learner.net(mx.nd.array(batch.data)).asnumpy()
    shards = loop.step(batch).shards
    logits, labels = (np.concatenate([getattr(shard, name) for shard in shards]) for name in ('logits', 'label'))
    assert np.allclose(logits, expected, atol=1e-5) and (labels == batch.label).all() and len(shards) == 2


def test_training_learns_and_says_how_well():
    history = make_loop().fit(Batches(), Batches(shuffle=False), epochs=6)
    assert [record['epoch'] for record in history] == list(range(6))
    assert history[-1]['loss'] < 0.5 * history[0]['loss'] and history[-1]['val_top1'] > 0.9
    assert history[-1]['val_expected'] == history[-1]['val_count'] == 22


@pytest.mark.parametrize('devices, accumulate', [(1, 1), (2, 1), (1, 3)])
def test_the_l1_term_has_the_gradient_of_the_absolute_value(devices, accumulate):
    l1, size = 0.02, Batches(count=12)
    plain, pulled = (make_loop(make_net(devices, dropout=0.0, frozen=True), devices, optimizer_params={'wd': 0.},
                               no_wd=True, accumulate=accumulate, l1=value) for value in (0, l1))
    before = weights(plain)
    for loop in (plain, pulled):
        for batch in list(size.epoch(0))[:accumulate]:
            loop.step(batch)
    for name, array in weights(pulled).items():
        expected = weights(plain)[name] - (0.05 * l1 * np.sign(before[name]) if name.endswith('weight') else 0)
        assert np.allclose(array, expected, rtol=1e-5, atol=1e-7), name


def test_a_negative_l1_term_and_one_in_mixed_precision_are_refused():
    with pytest.raises(UsageError, match='L1 term cannot be negative, got -0.001'):
        make_loop(l1=-1e-3)
    with pytest.raises(UsageError, match='mixed precision scales the gradients'):
        choose_parameters({}, None, accumulate=1, l1=1e-3, amp=True)


class Quietness:
    """A validation of another kind: how small the logits are."""

    best_metric = 'quiet'

    def __init__(self, batches):
        self.batches, self.expected, self.largest = batches, 0, 0.

    def add(self, logits, label, loss_sum):
        self.largest = max(self.largest, float(abs(logits).max()))

    def summary(self):
        return {'quiet': -self.largest if self.expected > 5 else float('nan'), 'batches': self.batches}


@pytest.mark.parametrize('count, defined', [(22, True), (4, False)])
def test_a_validation_may_score_otherwise_and_decide_what_is_best(tmp_path, count, defined):
    loop = make_loop(scores=Quietness)
    saved = SaveParameters(tmp_path, 'made', 'up', frequency=0, score='val_quiet')
    history = loop.fit(Batches(), Batches(count=count, shuffle=False), epochs=4, hooks=[saved])
    assert history[0]['val_batches'] == -(-count // 4) and 'val_top1' not in history[0]
    scores = [record['val_quiet'] for record in history]
    if defined:
        best = int(np.argmax(scores))
        assert loop.progress.best == scores[best] and [record['best'] for record in history][best]
        assert (tmp_path / 'best.params').resolve().name == f'{scores[best]:.4f}-made-up-{best:03d}-best.params'
    else:
        assert not any(record['best'] for record in history) and not (tmp_path / 'best.params').exists()


def test_several_devices_train_as_one_does():
    one, two, three = (make_loop(make_net(n, dropout=0.0, frozen=True), n) for n in (1, 2, 3))
    for loop in (one, two, three):
        # 21 samples in batches of 4: the last has 1, fewer than there are devices.
        loop.fit(Batches(count=21), epochs=2)
    assert close(weights(one), weights(two)) and close(weights(one), weights(three))
    for param in three.learner.trainer._params:
        first, *others = (array.asnumpy() for array in param.list_data())
        assert all((first == other).all() for other in others)


def test_rows_of_a_sample_stay_on_one_device():
    one, two = (make_loop(make_net(n, dropout=0.0, frozen=True, rows=3), n, rows_per_sample=3) for n in (1, 2))
    for loop in (one, two):
        loop.fit(Batches(rows=3), epochs=1)
    assert close(weights(one), weights(two))


@pytest.mark.parametrize('devices, kvstore', [(1, None), (1, 'local'), (1, 'store'), (2, None), (2, 'local'),
                                              (2, 'store')])
def test_accumulated_batches_equal_the_big_batch(devices, kvstore):
    small, big = (make_loop(make_net(devices, dropout=0.0, frozen=True), devices, accumulate=n,
                            kvstore=mx.kv.create('local') if kvstore == 'store' else kvstore) for n in (3, 1))
    small.fit(Batches(size=2), epochs=3)
    big.fit(Batches(size=6), epochs=3)
    assert small.progress.update == big.progress.update == 12
    assert close(weights(small), weights(big))


def test_batches_left_over_are_stepped_and_not_carried_into_the_next_epoch():
    loop = make_loop(make_net(dropout=0.0, frozen=True), accumulate=4)
    loop.train_epoch(Batches(size=4), 0)  # 6 batches: 4 and 2
    assert loop.progress.update == 2 and loop.between_updates
    assert all((param.grad().asnumpy() == 0).all() for param in loop.learner.trainer._params)


def test_the_schedule_gives_the_rate_of_every_update():
    seen, used = [], []

    class Rates(Hook):
        def on_step(self, loop, result):
            seen.append(result.lr)
            used.append(loop.learner.trainer.learning_rate)

    schedule = make_schedule('cosine', 0.1, 2, 3, warmup_epochs=1)
    make_loop(schedule=schedule, accumulate=2).fit(Batches(size=4), epochs=2, hooks=[Rates()])
    assert seen == [schedule(update) for update in (1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6)]
    assert used[1::2] == seen[1::2]


def test_frozen_and_unchosen_parameters_stay_as_they_are():
    net = make_net()
    net[1].gamma.grad_req = net[1].beta.grad_req = 'null'
    chosen = [name for name in net._collect_params_with_prefix() if name.endswith(('weight', 'gamma', 'beta'))]
    before = {name: param.data().asnumpy() for name, param in net._collect_params_with_prefix().items()}
    loop = make_loop(net, params=chosen)
    loop.fit(Batches(), epochs=1)
    after = weights(loop)
    moved = {name for name in after if (after[name] != before[name]).any()}
    assert moved == {'0.weight', '5.weight', '1.running_mean', '1.running_var'}
    assert loop.learner.names == ['0.weight', '5.weight']


def test_nothing_to_train_is_an_error():
    net = make_net()
    net.collect_params().setattr('grad_req', 'null')
    with pytest.raises(UsageError, match='frozen'):
        make_loop(net)


def test_no_wd_spares_biases_and_norms():
    loop = make_loop(no_wd=True)
    optimizer = loop.learner.trainer.optimizer
    decay = {name: optimizer._get_wd(index) for index, name in enumerate(loop.learner.names)}
    assert {name for name, value in decay.items() if value == 0} == {'1.gamma', '1.beta', '5.bias'}
    assert decay['0.weight'] == decay['5.weight'] == 1e-3


@pytest.mark.parametrize('l1', (0, 0.1))
def test_no_wd_is_over_when_the_same_network_is_trained_without(l1):
    """The decay that a loop spares is not the network's: the next loop over it decays everything again."""
    def moved(first):
        net = make_net(dropout=0.0, frozen=True)
        if first:
            make_loop(net, no_wd=True)
        loop = make_loop(net, optimizer_params={'wd': 10.}, l1=l1)
        net[5].bias.set_data(mx.nd.ones((CLASSES,)))
        loop.step(next(Batches().epoch(0)))
        return weights(loop)
    assert same(moved(first=True), moved(first=False))


def test_clipping_bounds_every_element_of_the_gradient():
    loop = make_loop(make_net(dropout=0.0), optimizer_params={'momentum': 0, 'wd': 0}, clip_grad=1e-3,
                     schedule=lambda update: 1.0)
    before = weights(loop)
    loop.step(next(Batches().epoch(0)))
    after = weights(loop)
    moved = [abs(after[name] - before[name]).max() for name in loop.learner.names]
    assert max(moved) == pytest.approx(1e-3, rel=1e-3)


def test_samples_that_could_not_be_read_are_counted_and_not_trained_on():
    batches = Batches(size=4, shuffle=False, missing=(1, 8, 9, 10, 11))  # one in the first batch, all of the third
    record = make_loop().train_epoch(batches, 0)
    assert record['samples'] == 17 and record['failed'] == 5 and record['step'] == 6 and record['update'] == 5


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path):
    folder = CheckpointDir(tmp_path / 'checkpoints')

    class Poison(Hook):
        def on_step(self, loop, result):
            if result.step == 4:
                for param in loop.learner.trainer._params:
                    param.data()[:] = np.inf

    loop = make_loop()
    with pytest.raises(TrainingError, match=r'loss is nan after batch 5 of epoch 0 .*learning rate 0.05.*--clip-grad'):
        loop.fit(Batches(), epochs=1, hooks=[Poison(), SaveCheckpoints(folder, every=3)])
    found = folder.load_latest()
    assert found.step == 3 and all(np.isfinite(array).all() for array in found.state['params'].values())


def test_parameters_that_are_not_finite_are_not_saved():
    loop = make_loop()
    loop.train_epoch(Batches(), 0)
    loop.learner.net[5].bias.data()[:] = np.nan
    with pytest.raises(TrainingError, match='parameters are not finite'):
        loop.state_dict()


@pytest.mark.parametrize('devices', (1, 2))
def test_validation_scores_every_sample_and_counts_unread_ones_as_wrong(devices):
    loop = make_loop(make_net(devices), devices)
    whole, batches = Batches(count=21, size=21, shuffle=False), Batches(count=21, size=4, shuffle=False)
    logits = loop.learner.net(mx.nd.array(whole.data[:, 0])).asnumpy()
    hits = logits.argmax(axis=1) == whole.label
    losses = SoftmaxCrossEntropy()(mx.nd, mx.nd.array(logits), mx.nd.array(whole.label)).asnumpy()
    scores = loop.validate(batches)
    assert scores['top1'] == hits.mean() and scores['top5'] == 1 and scores['count'] == scores['expected'] == 21
    assert scores['loss'] == pytest.approx(losses.mean(), rel=1e-5)
    batches.missing = {0, 20}
    scores = loop.validate(batches)
    assert scores['expected'] == 21 and scores['count'] == 19 and scores['top1'] == hits[1:20].sum() / 21


def test_crops_are_averaged_in_validation():
    loop = make_loop(make_net(2, rows=2), 2, rows_per_sample=2, val_crops=3)
    batches = Batches(rows=6, shuffle=False)
    rows = np.stack([[loop.learner.net(mx.nd.array(pair)).asnumpy()[0] for pair in sample.reshape((3, 2, 3, 6, 6))]
                     for sample in batches.data])
    assert loop.validate(batches)['top1'] == (rows.mean(axis=1).argmax(axis=1) == batches.label).mean()


def test_validation_of_nothing_is_an_error():
    with pytest.raises(UsageError, match='empty'):
        make_loop().validate(Batches(count=0))


def test_several_labels_are_trained_and_validated():
    loop = make_loop(loss=SigmoidCrossEntropy())
    history = loop.fit(Batches(several=True), Batches(several=True, shuffle=False), epochs=8)
    assert history[-1]['loss'] < history[0]['loss'] and history[-1]['val_top1'] > 0.9


def test_validation_does_not_smooth_the_labels():
    plain, smooth = (make_loop(loss=SoftmaxCrossEntropy(smoothing)) for smoothing in (0.0, 0.1))
    assert plain.validate(Batches()) == smooth.validate(Batches())


def test_a_teacher_teaches():
    teacher = make_net(seed=11, dropout=0.5)
    loop = make_loop(loss=SoftmaxCrossEntropy(temperature=2, hard_weight=0.0), teacher=teacher)
    loop.fit(Batches(), epochs=15)
    data = mx.nd.array(Batches().data[:, 0])
    agree = (loop.learner.net(data).asnumpy().argmax(1) == teacher(data).asnumpy().argmax(1)).mean()
    assert agree > 0.9 and same({'t': teacher[5].weight.data().asnumpy()},
                                {'t': make_net(seed=11)[5].weight.data().asnumpy()})


def test_random_draws_differ_between_steps_and_devices_and_repeat_with_the_seed():
    def draws(seed):
        loop, found = make_loop(make_net(2), 2, seed=seed), []
        for step in range(2):
            loop.learner._seed_devices((loop.seed, step))
            found += [mx.nd.random.uniform(shape=(4,), ctx=context).asnumpy() for context in loop.learner.contexts]
        return np.stack(found)
    first = draws(1)
    assert len({row.tobytes() for row in first}) == 4
    assert (first == draws(1)).all() and not (first == draws(2)).any()


class Keep(Hook):
    """Keeps the state after every update, as a checkpoint would."""

    def __init__(self, folder):
        self.folder = folder
        self.saved = []

    def on_step(self, loop, result):
        if loop.between_updates:
            path = CheckpointDir(self.folder / str(result.step)).save(result.step, loop.state_dict())
            self.saved.append(path.parent)


CASES = {
    'sgd': {}, 'plain': dict(optimizer_params={}), 'adam': dict(optimizer='adam', optimizer_params={}),
    'devices': dict(devices=2), 'accumulate': dict(accumulate=2, size=3),
    'all': dict(devices=2, accumulate=3, size=3, optimizer='nag', mixup=MixUp(CLASSES, 0.4), no_wd=True,
                loss=SoftmaxCrossEntropy(0.1), clip_grad=0.5)}


def start(case, size=4, **kwargs):
    kwargs = {**CASES[case], **kwargs}
    size = kwargs.pop('size', size)
    schedule = make_schedule('cosine', 0.05, 3, 8, warmup_epochs=1)
    return make_loop(make_net(kwargs.get('devices', 1)), schedule=schedule, **kwargs), Batches(size=size)


@pytest.mark.parametrize('case', CASES)
def test_a_run_resumed_at_any_step_ends_in_the_same_bytes(case, tmp_path):
    loop, batches = start(case)
    keep = Keep(tmp_path)
    history = loop.fit(batches, Batches(shuffle=False), epochs=2, hooks=[keep])
    for path in keep.saved[::3] + keep.saved[-1:]:
        again, batches = start(case)
        again.load_state_dict(CheckpointDir(path).load_latest().state)
        done = (again.progress.epoch, again.progress.batch)
        resumed = again.fit(batches, Batches(shuffle=False), epochs=2)
        assert same(weights(again), weights(loop))
        assert not batches.read or batches.read[0] >= done
        clocks = ('seconds', 'speed')
        assert [{k: v for k, v in r.items() if not k.endswith(clocks)} for r in resumed] \
            == [{k: v for k, v in r.items() if not k.endswith(clocks)} for r in history]


def run_and_die(folder, case, die_at):
    """The program of the next test: train, and be killed at a step."""
    class Die(Hook):
        def on_step(self, loop, result):
            if result.step == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    loop, batches = start(case)
    checkpoints = CheckpointDir(folder)
    found = checkpoints.load_latest()
    if found:
        loop.load_state_dict(found.state)
    loop.fit(batches, Batches(shuffle=False), epochs=2, hooks=[Die(), SaveCheckpoints(checkpoints, every=2)])
    np.savez(os.path.join(folder, 'end.npz'), **weights(loop))


@pytest.mark.parametrize('case, kills', [('sgd', (5, 8)), ('all', (10,))])
def test_resume_after_kill_gives_the_same_parameters(case, kills, tmp_path):
    for die_at in kills:
        assert Copy(run_and_die, tmp_path, case, die_at).wait() == -signal.SIGKILL
    run_and_die(tmp_path, case, die_at=0)
    loop, batches = start(case)
    loop.fit(batches, Batches(shuffle=False), epochs=2)
    assert same(dict(np.load(tmp_path / 'end.npz')), weights(loop))


def test_a_state_between_the_batches_of_an_update_cannot_be_saved():
    loop = make_loop(accumulate=2)
    loop.step(next(Batches().epoch(0)))
    with pytest.raises(UsageError, match='between'):
        loop.state_dict()


def test_a_checkpoint_of_another_run_is_refused():
    loop = make_loop()
    loop.train_epoch(Batches(), 0)
    state = loop.state_dict()
    with pytest.raises(CheckpointError, match='--seed 0, this one has --seed 1'):
        make_loop(seed=1).load_state_dict(state)
    with pytest.raises(CheckpointError, match=r'5.weight has shape \(3, 128\)'):
        make_loop(make_net_of_width(7)).load_state_dict(state)
    with pytest.raises(CheckpointError, match='another network'):
        make_loop().load_state_dict({**state, 'params': {}})


def make_net_of_width(width):
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Conv2D(8, 3, use_bias=False, in_channels=3), mx.gluon.nn.BatchNorm(in_channels=8),
            mx.gluon.nn.Activation('relu'), mx.gluon.nn.Dropout(0.1), mx.gluon.nn.Flatten(),
            mx.gluon.nn.Dense(CLASSES, in_units=width))
    net.initialize()
    return net


def test_one_devices_checkpoint_goes_on_on_two():
    one = make_loop(make_net(1, frozen=True, dropout=0.0))
    one.fit(Batches(), epochs=1)
    two = make_loop(make_net(2, frozen=True, dropout=0.0), 2)
    two.load_state_dict(one.state_dict())
    for loop in (one, two):
        loop.fit(Batches(), epochs=2)
    assert close(weights(one), weights(two))


def test_parameter_files_have_gluoncvs_names_and_the_best_is_one(tmp_path):
    loop = make_loop()
    hooks = [SaveParameters(tmp_path, 'ucf101', 'tiny', frequency=2),
             SaveCheckpoints(CheckpointDir(tmp_path / 'checkpoints'))]
    history = loop.fit(Batches(), Batches(shuffle=False), epochs=5, hooks=hooks)
    best = [record for record in history if record['best']]
    better = [(record['val_top1'], -record['val_loss']) for record in best]
    assert better == sorted(set(better)) and best
    expected = {f'{best[-1]["val_top1"]:.4f}-ucf101-tiny-{best[-1]["epoch"]:03d}-best', 'ucf101-tiny-001',
                'ucf101-tiny-003', 'ucf101-tiny-004'}
    assert {path.stem for path in tmp_path.glob('*.params')} == expected | {'best'}
    assert os.readlink(tmp_path / 'best.params').endswith('-best.params')
    assert not list(tmp_path.glob('*.states'))
    net = make_net(seed=99)
    net.load_parameters(str(tmp_path / 'ucf101-tiny-004.params'))
    fresh = make_loop(net)
    fresh.learner.load_optimizer_state(*read_optimizer(tmp_path))
    assert same(weights(fresh), weights(loop))
    assert fresh.learner.trainer.optimizer.num_update == loop.progress.update


@pytest.mark.parametrize('links', [True, False])
def test_the_last_parameters_are_on_the_disk_once_and_stay_when_their_checkpoint_goes(tmp_path, monkeypatch, links):
    def refuse(*args):
        raise OSError(errno.EPERM, 'Operation not permitted')

    if not links:
        monkeypatch.setattr(os, 'link', refuse)
    Rising.summaries = 0
    loop, folder = make_loop(scores=Rising), CheckpointDir(tmp_path / 'checkpoints')

    def hooks():
        return [SaveParameters(tmp_path, 'made', 'up', frequency=0, checkpoints=folder), SaveCheckpoints(folder)]

    loop.fit(Batches(), Batches(shuffle=False), epochs=2, hooks=hooks())
    last, best = tmp_path / 'made-up-001.params', tmp_path / '0.2000-made-up-001-best.params'
    names = [last, best, folder.newest() / 'params.params']
    assert len({path.stat().st_ino for path in names}) == (1 if links else 3)
    assert len({path.read_bytes() for path in names}) == 1 and not list(tmp_path.glob('.*'))
    before = last.read_bytes()
    loop.fit(Batches(), Batches(shuffle=False), epochs=5, hooks=hooks())
    assert last.read_bytes() == before and (tmp_path / 'made-up-004.params').read_bytes() != before
    assert folder.load_latest().step == loop.progress.step


def test_files_that_differ_or_are_links_stay_as_they_are(tmp_path):
    for name, content in (('a', b'x'), ('b', b'y'), ('c', b'x')):
        (tmp_path / name).write_bytes(content)
    (tmp_path / 'd').symlink_to('c')
    share(tmp_path / 'a', tmp_path / 'b')
    share(tmp_path / 'd', tmp_path / 'a')
    share(tmp_path / 'none', tmp_path / 'a')
    assert (tmp_path / 'b').read_bytes() == b'y' and (tmp_path / 'a').stat().st_nlink == 1


class Rising:
    """A validation that finds every epoch better than the one before."""

    best_metric = 'top1'
    summaries = 0

    def __init__(self, batches):
        self.batches = batches
        self.expected = 0

    def add(self, logits, label, loss_sum):
        pass

    def summary(self):
        type(self).summaries += 1
        return {'top1': self.summaries / 10}


def test_of_the_best_parameters_the_last_ones_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(Rising, 'summaries', 0)
    found = []

    class Look(Hook):
        def on_epoch(self, loop, record):
            found.append(sorted(path.name for path in tmp_path.glob('*-best.*')))

    make_loop(scores=Rising).fit(Batches(count=4), Batches(count=4), epochs=3, hooks=[
        SaveParameters(tmp_path, 'made', 'up', frequency=0), Look()])
    assert found == [[f'0.{epoch + 1}000-made-up-{epoch:03d}-best.params'] for epoch in range(3)]
    assert (tmp_path / 'best.params').resolve().name == '0.3000-made-up-002-best.params'


@pytest.mark.parametrize('every, accumulate, steps', [(4, 1, [6, 10, 12]), (1, 1, [6, *range(7, 13), 12]),
                                                      (0, 1, [6, 12]), (4, 3, [6, 12, 12])])
def test_checkpoints_within_an_epoch_are_counted_from_where_a_run_goes_on(every, accumulate, steps, monkeypatch):
    """After so many steps, however many the run has done before; between two updates; and after every epoch."""
    saved = []
    monkeypatch.setattr(CheckpointDir, 'save', lambda self, step, state: saved.append(step))
    first = make_loop(accumulate=accumulate)
    first.fit(Batches(), epochs=1, hooks=[SaveCheckpoints(CheckpointDir('nowhere'))])
    again = make_loop(accumulate=accumulate)
    again.load_state_dict(first.state_dict())
    again.fit(Batches(), epochs=2, hooks=[SaveCheckpoints(CheckpointDir('nowhere'), every=every)])
    assert saved == steps


def test_checkpoints_within_an_epoch_may_go_by_the_clock(monkeypatch):
    saved, clock = [], iter(range(0, 10_000, 25))
    monkeypatch.setattr(CheckpointDir, 'save', lambda self, step, state: saved.append(step))
    monkeypatch.setattr('gluon_action.train.hooks.time.monotonic', lambda: next(clock))
    make_loop().fit(Batches(), epochs=1, hooks=[SaveCheckpoints(CheckpointDir('nowhere'), minutes=1)])
    assert saved == [3, 6, 6]  # every look takes 25 seconds


def test_hooks_are_closed_when_training_fails():
    closed = []

    class Failing(Hook):
        def on_step(self, loop, result):
            raise RuntimeError('stop')

        def close(self):
            closed.append(self)

    with pytest.raises(RuntimeError):
        make_loop().fit(Batches(), epochs=1, hooks=[Failing()])
    assert len(closed) == 1


@pytest.mark.parametrize('fails', [True, False])
def test_a_hook_that_cannot_be_closed_hides_no_error_and_leaves_no_other_open(fails, caplog):
    """A full disk: training fails because a file cannot be written, and then none of the files can be closed."""
    closed = []

    class Full(Hook):
        def __init__(self, name, breaks):
            self.name, self.breaks = name, breaks

        def on_step(self, loop, result):
            if fails and self.name == 'second':
                raise OutputError('the disk is full')

        def close(self):
            closed.append(self.name)
            if self.breaks:
                raise OutputError(f'the {self.name} file cannot be closed')

    with pytest.raises(OutputError) as caught:
        make_loop().fit(Batches(), epochs=1, hooks=[Full('first', True), Full('second', False), Full('third', True)])
    assert closed == ['first', 'second', 'third']
    first = 'the disk is full' if fails else 'the first file cannot be closed'
    assert str(caught.value) == first and 'the third file cannot be closed' in caplog.text


@pytest.mark.slow
def test_two_machines_train_as_one_does(tmp_path):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    common = {**os.environ, 'DMLC_PS_ROOT_URI': '127.0.0.1', 'DMLC_PS_ROOT_PORT': str(port), 'DMLC_NUM_SERVER': '1',
              'DMLC_NUM_WORKER': '2', 'DMLC_INTERFACE': 'lo', 'DMLC_NODE_HOST': '127.0.0.1'}
    machines = [subprocess.Popen([sys.executable, __file__, str(tmp_path)],
                                 env={**common, 'DMLC_ROLE': role})
                for role in ('scheduler', 'server', 'worker', 'worker')]
    try:
        assert [machine.wait(timeout=120) for machine in machines] == [0, 0, 0, 0]
    finally:
        for machine in machines:
            machine.kill()
    first, second = (dict(np.load(tmp_path / f'{rank}.npz')) for rank in (0, 1))
    one = make_loop(make_net(dropout=0.0, frozen=True), accumulate=2)
    one.fit(Batches(count=24), epochs=3)
    assert same(first, second) and close(first, weights(one))


@pytest.mark.parametrize('kwargs, complaint', [
    (dict(accumulate=0), '--accumulate'), (dict(clip_grad=-1), '--clip-grad'), (dict(kvstore='nfs'), "'nfs' is not"),
    (dict(kvstore='dist_async_device'), 'cannot be saved'), (dict(dtype='float16'), 'needs --num-gpus'),
    (dict(dtype='int8'), 'not one of'), (dict(amp=True, dtype='float64'), '--use-amp')])
def test_what_cannot_be_is_refused_with_its_flag(kwargs, complaint):
    with pytest.raises(UsageError, match=complaint):
        make_loop(**kwargs)


def test_float64_trains():
    assert make_loop(dtype='float64').fit(Batches(), epochs=2)[-1]['loss'] < 2


needs_bfloat16 = pytest.mark.skipif(not engine.has_bfloat16(), reason='this CPU has no AVX-512')


def test_mixed_precision_on_a_cpu_without_bfloat16_is_refused(monkeypatch):
    monkeypatch.setattr(engine, 'has_bfloat16', lambda: False)
    with pytest.raises(UsageError, match='^--use-amp: computes in bfloat16 .*AVX-512.*; leave it out, .*--num-gpus$'):
        make_loop(amp=True)


@needs_bfloat16
def test_mixed_precision_on_a_cpu_learns():
    """In a process of its own, because MXNet turns mixed precision on for the whole of one."""
    done = Copy(print_losses_in_mixed_precision)
    output = done.communicate()[0]
    assert done.returncode == 0, output
    full, mixed, again = (float(value) for value in output.splitlines()[-1].split())
    assert mixed == pytest.approx(full, rel=0.05) and mixed != full and again == mixed


@pytest.mark.parametrize('devices, accumulate', [(1, 1), (2, 1), (1, 2)])
def test_the_limit_of_the_norm_is_of_the_gradient_and_not_of_what_mixed_precision_scales(devices, accumulate,
                                                                                         monkeypatch):
    """The scale of the loss, in layers that compute in float32 so that nothing else differs."""
    def step(scaled, limit):
        loop = make_loop(make_net(devices, dropout=0.0, frozen=True), devices, optimizer_params={'wd': 0.},
                         schedule=lambda update: 1., clip_norm=limit, accumulate=accumulate)
        if scaled:
            mixed_precision.init_trainer(loop.learner.trainer)
            scaler = loop.learner.trainer._amp_loss_scaler
            scaler._loss_scale = scaler._next_loss_scale = 2. ** 10
            loop.learner.amp = True
        before = weights(loop)
        for batch, _ in zip(Batches().epoch(0), range(accumulate)):
            loop.step(batch)
        assert not scaled or loop.learner.trainer._scale == 2. ** -10
        return {name: array - before[name] for name, array in weights(loop).items()}

    for name in ('_amp_initialized', '_amp_loss_scale_initialized'):
        monkeypatch.setattr(mixed_precision.amp, name, True)
    free = step(False, 0)
    length = np.sqrt(sum((change ** 2).sum() for change in free.values()))
    for limit in (0, length * 1.01, length / 4):
        assert close(step(True, limit), step(False, limit), tolerance=1e-6), limit
    assert close(step(True, length / 4), {name: change / 4 for name, change in free.items()}, tolerance=1e-5)


def train_half_of_every_batch(folder):
    """The program of each machine; MXNet turns scheduler and server away when it is imported."""
    store = mx.kv.create('dist_sync')

    class Half(Batches):
        def epoch(self, epoch, start_batch=0):
            for batch in super().epoch(epoch, start_batch):
                mine = slice(store.rank, None, 2)
                yield Batch(batch.data[mine], batch.label[mine], batch.indices[mine])

    loop = make_loop(make_net(dropout=0.0, frozen=True), kvstore=store, accumulate=2)
    loop.fit(Half(count=24), epochs=3)
    np.savez(os.path.join(folder, f'{store.rank}.npz'), **weights(loop))


def print_losses_in_mixed_precision():
    full = make_loop(make_net(dropout=0.0)).fit(Batches(), epochs=3)[-1]['loss']
    loop = make_loop(make_net(dropout=0.0), amp=True)
    loop.fit(Batches(), epochs=2)
    with tempfile.TemporaryDirectory() as folder:
        CheckpointDir(folder).save(1, loop.state_dict())
        mixed = loop.fit(Batches(), epochs=3)[-1]['loss']
        other = make_loop(make_net(dropout=0.0), amp=True)
        other.load_state_dict(CheckpointDir(folder).load_latest().state)
        again = other.fit(Batches(), epochs=3)[-1]['loss']
    print(full, mixed, again)


if __name__ == '__main__':
    train_half_of_every_batch(sys.argv[1])
