"""A learner on PyTorch does what the one on MXNet does: the same numbers where nothing is drawn, the same promises."""
import mxnet as mx
import numpy as np
import pytest
from loops import Batch, Batches, arrays_of, close, make_learner, make_net, same

torch = pytest.importorskip('torch', reason='needs PyTorch: make test-torch')

from gluon_action.compute.losses import SigmoidCrossEntropy, SoftmaxCrossEntropy  # noqa: E402
from gluon_action.compute.on_torch.learner import TorchLearner  # noqa: E402
from gluon_action.data.loading.loader import Batch as LoadedBatch  # noqa: E402
from gluon_action.data.transforms.scaling import Scaling  # noqa: E402
from gluon_action.errors import CheckpointError, DeviceError, UsageError  # noqa: E402
from gluon_action.train.loop import Loop  # noqa: E402
from gluon_action.train.mixup import MixUp  # noqa: E402


def learner(net=None, devices=1, optimizer='sgd', optimizer_params=None, loss=None, **kwargs):
    """`make_learner` of `loops` with the other engine."""
    return TorchLearner(make_net() if net is None else net, optimizer,
                        {'momentum': 0.9, 'wd': 1e-3} if optimizer_params is None else optimizer_params,
                        loss=loss or SoftmaxCrossEntropy(), devices=[torch.device('cpu')] * devices, **kwargs)


def loop_of(made, **kwargs):
    return Loop(made, schedule=kwargs.pop('schedule', lambda update: 0.05 * 0.9 ** update), **kwargs)


def both(devices=1, net=(), **kwargs):
    """A learner on either engine, from the same values."""
    return [make(make_net(devices if make is make_learner else 1, **{'dropout': 0., **dict(net)}), devices, **kwargs)
            for make in (learner, make_learner)]


def steps(made, batches, rate=0.05):
    """Losses and correct samples, a pair a step."""
    found, loop = [], loop_of(made, schedule=lambda update: rate)
    for batch in batches:
        result = loop.step(batch)
        found.append((result.loss_sum, result.correct))
    return found


def smooth_label(batch):
    return Batch(batch.data, np.eye(3, dtype='float32')[batch.label.astype(int)] * 0.8 + 0.2 / 3, batch.indices)


CASES = {
    'plain': {}, 'accumulated': {'accumulate': 2}, 'two devices': {'devices': 2}, 'limited': {'clip_grad': 0.02},
    'of a norm': {'clip_norm': 0.2}, 'each of a norm': {'clip_each': 0.1}, 'l1': {'l1': 0.01},
    'l2': {'l2': {'5.weight': 0.3}}, 'spared': {'no_wd': True, 'optimizer_params': {'wd': 1., 'momentum': 0.9}},
    'the head alone': {'params': ['5.weight', '5.bias']}, 'frozen statistics': {'net': {'frozen': True}},
    'towers': {'devices': 2, 'sum_devices': True}, 'segments': {'net': {'rows': 2}, 'rows_per_sample': 2},
    'smoothed': {'loss': SoftmaxCrossEntropy(smoothing=0.1)}, 'nag': {'optimizer': 'nag'},
    'adam': {'optimizer': 'adam', 'optimizer_params': {'wd': 0.01}},
    'adamw': {'optimizer': 'adamw', 'optimizer_params': {'wd': 0.1}},
    'averaged': {'average': 0.5}}


@pytest.mark.parametrize('case', CASES)
def test_steps_are_those_of_mxnet(case):
    ours, theirs = both(**CASES[case])
    batches = list(Batches(count=22, rows=ours.rows_per_sample).epoch(0))  # the last one has 2 samples
    found, expected = steps(ours, batches), steps(theirs, batches)
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert close(ours.parameters(), theirs.parameters(), 1e-4)
    state, other = ours.state(), theirs.state()
    assert close(state.params, other.params, 1e-4) and close(state.averages, other.averages, 1e-4)
    assert close(state.optimizer, other.optimizer, 1e-4) and state.numbers == other.numbers
    assert len(state.statistics) == len(other.statistics) and all(
        close(*pair, 1e-4) for pair in zip(state.statistics, other.statistics))
    assert ours.names == theirs.names and ours.weight_sums() == pytest.approx(theirs.weight_sums(), rel=1e-4)
    assert ours.penalty() == pytest.approx(theirs.penalty(), rel=1e-4)


def test_several_labels_and_mixed_ones_are_learnt_as_by_mxnet():
    several = list(Batches(several=True).epoch(0))[:3]
    assert np.allclose(*(steps(made, several) for made in both(loss=SigmoidCrossEntropy(smoothing=0.1))), atol=1e-4)
    mixed = [smooth_label(batch) for batch in Batches().epoch(0)][:3]
    assert np.allclose(*(steps(made, mixed) for made in both()), atol=1e-4)


def test_a_teacher_is_distilled_from_as_by_mxnet():
    teacher = make_net(dropout=0.5, seed=8)
    before = {name: param.data().asnumpy() for name, param in teacher.collect_params().items()}
    assert np.allclose(*(steps(made, list(Batches().epoch(0))[:3]) for made in both(teacher=teacher)), atol=1e-3)
    assert all((param.data().asnumpy() == before[name]).all() for name, param in teacher.collect_params().items())
    taught = [Batch(batch.data, np.random.default_rng(1).random((4, 6)).astype('float32'), batch.indices)
              for batch in Batches(several=True).epoch(0)][:2]
    assert np.allclose(*(steps(made, taught) for made in both(loss=SigmoidCrossEntropy(), stored_teacher=True)),
                       atol=1e-4)


@pytest.mark.parametrize('devices', (1, 2))
def test_scores_are_those_of_mxnet(devices):
    batch = next(Batches(rows=3, count=5, size=5).epoch(0))
    for shards in zip(*(made.scores(batch) for made in both(devices, val_crops=3))):
        assert (shards[0].label == shards[1].label).all()
        assert np.allclose(shards[0].logits, shards[1].logits, atol=1e-5)
        assert shards[0].loss_sum == pytest.approx(shards[1].loss_sum, rel=1e-5)


def test_two_devices_are_one_with_the_double_batch():
    """What is normalised by its own statistics is another matter: they are a device's own."""
    one, two = (learner(make_net(dropout=0., frozen=True), devices) for devices in (1, 2))
    batches = list(Batches(size=8).epoch(0))
    assert np.allclose(steps(one, batches), steps(two, batches), rtol=1e-5)
    assert close(one.parameters(), two.parameters(), 1e-5)
    values = [list(network.params.values()) for network in two._networks]
    assert all((a == b).all() and a is not b for a, b in zip(*values))


def test_fifty_steps_of_either_engine_from_one_checkpoint_end_in_the_same_scores():
    start = loop_of(make_learner(make_net(dropout=0.)))
    batches = Batches(count=40)
    start.train_epoch(batches, 0)
    state, found = start.state_dict(), []
    for made in both():
        loop = loop_of(made)
        loop.load_state_dict(state)
        losses = [loop.step(batch).loss_sum / 4 for epoch in range(1, 6) for batch in batches.epoch(epoch)]
        assert len(losses) == 50
        loop.flush()
        found.append((losses, made.scores(next(batches.epoch(0)))[0].logits))
    assert np.allclose(found[0][0], found[1][0], rtol=0, atol=1e-3)
    assert np.allclose(found[0][1], found[1][1], rtol=0, atol=1e-4)


@pytest.mark.parametrize('devices', (1, 2))
def test_pixels_are_scaled_on_the_devices(devices):
    pixels = np.random.default_rng(1).integers(0, 256, (4, 3, 6, 6), dtype=np.uint8)
    batch = LoadedBatch(pixels, np.array([0, 1, 2, 1], np.float32), [0, 1, 2, 3], [],
                        Scaling((0.4, 0.5, 0.6), (0.2, 0.3, 0.25)))
    found = []
    for given in (batch, batch.scaled()):
        made = learner(make_net(dropout=0.), devices)
        logits = np.concatenate([shard.logits for shard in made.gradients(given, (0, 0))])
        made.update(0.1, 4)
        found.append([logits, *made.parameters().values()])
    assert made.takes_pixels
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_draws_are_given_by_the_seed_and_the_device_alone():
    made, batch = learner(make_net(dropout=0.5), 2), next(Batches(size=2).epoch(0))
    batch.data[1], batch.label[1] = batch.data[0], batch.label[0]

    def drawn(*seed):
        torch.rand(3)
        return [shard.logits.tobytes() for shard in made.gradients(batch, seed)]
    found = [drawn(0, 1), drawn(0, 2), drawn(1, 1)]
    assert len({logits for each in found for logits in each}) == 6
    assert [drawn(0, 1), drawn(0, 2), drawn(1, 1)] == found


@pytest.mark.parametrize('devices', (1, 2))
@pytest.mark.parametrize('options', [{}, {'optimizer': 'adamw', 'optimizer_params': {'wd': 0.1}, 'average': 0.5}],
                         ids=['sgd', 'adamw with averages'])
def test_a_run_that_goes_on_ends_in_the_same_bytes(devices, options, tmp_path):
    from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir

    def made():
        return loop_of(learner(make_net(dropout=0.4), devices, **options), mixup=MixUp(3))
    whole, first, again = made(), made(), made()
    whole.fit(Batches(), epochs=3)
    first.fit(Batches(), epochs=1)
    CheckpointDir(tmp_path).save(1, first.state_dict())
    again.load_state_dict(CheckpointDir(tmp_path).load_latest().state)
    again.fit(Batches(), epochs=3)
    ended, expected = again.state_dict(), whole.state_dict()
    assert ended['loop'] == {**expected['loop'], 'progress': ended['loop']['progress']}
    assert {part: same(ended[part], expected[part]) for part in expected if part != 'loop'} == {
        part: True for part in expected if part != 'loop'}


@pytest.mark.parametrize('first, second', [(learner, make_learner), (make_learner, learner)])
def test_a_run_changes_its_engine_at_a_checkpoint(first, second, tmp_path):
    from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir
    whole, before, after = (loop_of(kind(make_net(dropout=0.), average=0.5)) for kind in (first, first, second))
    whole.fit(Batches(), epochs=3)
    before.fit(Batches(), epochs=1)
    CheckpointDir(tmp_path).save(1, before.state_dict())
    after.load_state_dict(CheckpointDir(tmp_path).load_latest().state)
    handed_over = arrays_of(before.state_dict())
    assert {key.split()[0] for key in handed_over} == {'params', 'averages', 'optimizer'}
    assert same(arrays_of(after.state_dict()), handed_over)
    after.fit(Batches(), epochs=3)
    assert after.progress.update == whole.progress.update
    assert close(arrays_of(after.state_dict()), arrays_of(whole.state_dict()), 1e-4)


def test_averages_are_shown_on_every_device_and_taken_back():
    made = learner(make_net(dropout=0.), 2, average=0.5)
    steps(made, list(Batches().epoch(0))[:3])
    state = made.state()
    assert not same(state.params, state.averages)
    with made.showing_averages():
        assert same(made.parameters(), state.averages) and same(made.state().params, state.params)
        assert (made._networks[1].params['5.weight'].detach().numpy() == state.averages['5.weight']).all()
    after = made.state()
    assert same(after.params, state.params) and same(after.statistics[0], state.statistics[0])
    with pytest.raises(CheckpointError, match='without moving averages'):
        made.load(learner(make_net(), 2).state())


def test_what_is_given_out_are_copies():
    made = learner(make_net(), 2, average=0.5)
    steps(made, list(Batches().epoch(0))[:1])
    state, parameters = made.state(), made.parameters()
    kept = {name: array.copy() for name, array in parameters.items()}
    for arrays in (parameters, state.params, state.optimizer, state.averages, *state.statistics):
        for array in arrays.values():
            array[...] = 7
    assert same(made.parameters(), kept) and same(made.state().params, kept)


def test_a_state_of_another_network_is_refused():
    state = learner().state()
    state.params['5.bias'] = np.zeros(7, 'float32')
    with pytest.raises(CheckpointError, match='another network: 5.bias'):
        learner().load(state)
    state.params.pop('5.bias')
    with pytest.raises(CheckpointError, match='another network: 1 parameters .* 5.bias'):
        learner().load(state)


def test_mixed_precision_computes_in_half_and_loses_in_full():
    made, batch = learner(make_net(dropout=0.), amp=True), next(Batches().epoch(0))
    seen = []
    graph = made._networks[0].graph(batch.data.shape, True)
    graph.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    before = learner(make_net(dropout=0.)).gradients(batch, (0, 0))[0].logits
    shard, = made.gradients(batch, (0, 0))
    made.update(0.05, 4)
    assert seen == [torch.bfloat16] and shard.logits.dtype == np.float32
    assert np.allclose(shard.logits, before, atol=0.05) and not np.allclose(shard.logits, before, atol=1e-6)
    assert {array.dtype for array in made.parameters().values()} == {np.dtype('float32')}


def test_activations_are_of_what_has_been_learnt():
    made, batch = learner(make_net(dropout=0.9)), next(Batches().epoch(0))
    steps(made, [batch])
    found = made.activations(batch.data[:1], made.endpoints())
    assert list(found) == [str(number) for number in range(6)]
    assert np.allclose(found['5'], made.scores(batch)[0].logits[:1], atol=1e-5)


def full(*args, **kwargs):
    raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 2 GiB')


def test_a_full_gpu_says_what_to_lower(monkeypatch):
    made, batch = learner(), next(Batches().epoch(0))
    monkeypatch.setattr(made, '_logits', full)
    for act in (lambda: made.gradients(batch, (0, 0)), lambda: made.scores(batch)):
        with pytest.raises(DeviceError, match='the GPU is full: CUDA out of memory; lower --batch-size .*--use-amp'):
            act()


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match='--optimizer rmsprop: only MXNet'):
        learner(optimizer='rmsprop', optimizer_params={})
    with pytest.raises(UsageError, match='--clip-norm must be 0'):
        learner(clip_norm=-1)
    net = make_net()
    net.collect_params().setattr('grad_req', 'null')
    with pytest.raises(UsageError, match='nothing to train'):
        learner(net)


def test_the_gluon_network_stays_what_it_was():
    net = make_net(dropout=0.)
    before = net(mx.nd.ones((2, 3, 6, 6))).asnumpy()
    steps(learner(net), list(Batches().epoch(0))[:2])
    assert (net(mx.nd.ones((2, 3, 6, 6))).asnumpy() == before).all()


def compiled_otherwise(change):
    """Stands for PyTorch's compiler: calls the module as it is, and changes what it gives."""
    return lambda module, **options: lambda x: change(module(x))


def test_a_network_whose_compiled_gradients_are_the_same_is_compiled(monkeypatch, caplog):
    calls = []
    monkeypatch.setattr(torch, 'compile', compiled_otherwise(lambda logits: calls.append(0) or logits))
    batches = list(Batches().epoch(0))[:3]
    ours, plain = (learner(make_net(dropout=0.5), devices=2, compiles=compiles) for compiles in (True, False))
    assert steps(ours, batches) == steps(plain, batches) and same(ours.parameters(), plain.parameters())
    assert len(calls) == 2 * (len(batches) + 1) and not caplog.records  # once more for the first batch, on each device


def test_batches_of_another_size_than_the_one_that_was_compared_are_not_compiled(monkeypatch):
    calls = []
    monkeypatch.setattr(torch, 'compile', compiled_otherwise(lambda logits: calls.append(len(logits)) or logits))
    first, *_, last = Batches().epoch(0)
    assert len(last.data) < len(first.data)
    steps(learner(make_net(), compiles=True), [first, last, first])
    assert calls == 3 * [len(first.data)]  # the first time to compare


@pytest.mark.parametrize('change, said', [
    (lambda logits: logits * 1.5, 'the loss is'),
    (lambda logits: logits + 0.5 * (logits - logits.detach()), 'the gradients are 50 % off'),
    (lambda logits: torch.zeros(2) @ torch.zeros(3), 'PyTorch cannot compile')])
def test_a_network_that_is_compiled_wrongly_is_trained_without_and_says_so_once(change, said, monkeypatch, caplog):
    monkeypatch.setattr(torch, 'compile', compiled_otherwise(change))
    batches = list(Batches().epoch(0))[:3]
    ours, plain = (learner(make_net(), compiles=compiles) for compiles in (True, False))
    assert steps(ours, batches) == steps(plain, batches) and same(ours.parameters(), plain.parameters())
    line, = caplog.messages
    assert line.startswith('--compile: ') and said in line


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_network_is_compiled(caplog):
    """With its draws: dropout drops what it drops without."""
    batches = list(Batches().epoch(0))[:3]
    ours, plain = (learner(make_net(dropout=0.5), compiles=compiles) for compiles in (True, False))
    assert np.allclose(steps(ours, batches), steps(plain, batches), rtol=1e-4)
    # PyTorch's compiler has a log of its own.
    assert not [record for record in caplog.records if record.name.startswith('gluon_action')]
    assert ours._networks[0]._compiled
    assert close(ours.parameters(), plain.parameters(), 1e-4)
