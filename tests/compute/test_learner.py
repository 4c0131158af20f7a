"""What the loop asks of an engine: NumPy in and out, nothing shared with the network, steps that are what they say."""
import mxnet as mx
import numpy as np
import pytest
from loops import Batches, make_learner, make_net, same

from gluon_action.compute.losses import SoftmaxCrossEntropy
from gluon_action.data.loading.loader import Batch
from gluon_action.data.loading.shards import shard_bounds
from gluon_action.data.transforms.scaling import Scaling
from gluon_action.errors import CheckpointError, UsageError


def batch_of(**kwargs):
    return next(Batches(**kwargs).epoch(0))


def arrays_in(value):
    """All arrays of a state, however deep."""
    if isinstance(value, dict):
        return [array for item in value.values() for array in arrays_in(item)]
    return [array for item in value for array in arrays_in(item)] if isinstance(value, list) else [value]


@pytest.mark.parametrize('devices', (1, 2))
def test_an_update_is_a_step_down_the_mean_gradient(devices):
    learner = make_learner(make_net(devices, dropout=0., frozen=True), devices, optimizer_params={'wd': 0.})
    batch, reference = batch_of(), make_net(dropout=0., frozen=True)
    with mx.autograd.record():
        loss = SoftmaxCrossEntropy()(mx.nd, reference(mx.nd.array(batch.data)), mx.nd.array(batch.label))
    loss.backward()
    before, gradients = learner.parameters(), {
        name: param.grad().asnumpy() for name, param in reference._collect_params_with_prefix().items()
        if param.grad_req != 'null'}
    shards = learner.gradients(batch, (0, 0))
    learner.update(0.25, len(batch.indices))
    assert sum(shard.loss_sum for shard in shards) == pytest.approx(float(loss.sum().asscalar()), rel=1e-6)
    assert len(shards) == devices and [len(shard.label) for shard in shards] == [4 // devices] * devices
    for name, array in learner.parameters().items():
        expected = before[name] - 0.25 * gradients.get(name, 0) / 4
        assert np.allclose(array, expected, rtol=1e-5, atol=1e-7), name


def test_scores_are_those_of_the_network_outside_of_training():
    learner, batch = make_learner(make_net(2, dropout=0.9), 2), batch_of()
    expected = learner.net(mx.nd.array(batch.data)).asnumpy()
    shards = learner.scores(batch)
    assert np.allclose(np.concatenate([shard.logits for shard in shards]), expected, atol=1e-6)
    assert (np.concatenate([shard.label for shard in shards]) == batch.label).all()


def test_mixed_precision_hands_float32_to_the_loss():
    """Whatever the network gives: a loss is a logarithm of a sum, for which half the digits are too few."""
    learner, batch = make_learner(make_net(dropout=0.)), batch_of()
    expected, net = learner.scores(batch)[0].logits, learner.net
    learner.net, learner.amp = lambda x: net(x).astype('float16'), True
    found = learner.scores(batch)[0].logits
    assert found.dtype == np.float32 and np.allclose(found, expected, atol=1e-2)


def test_draws_are_given_by_the_seed_alone():
    learner, batch = make_learner(make_net(dropout=0.5)), batch_of()
    found = {seed: learner.gradients(batch, seed)[0].logits.tobytes() for seed in ((0, 1), (0, 2), (1, 1))}
    assert len(set(found.values())) == 3
    assert all(learner.gradients(batch, seed)[0].logits.tobytes() == value for seed, value in found.items())


def test_what_is_given_out_are_copies_of_numpy():
    learner, batch = make_learner(make_net(2), 2), batch_of()
    learner.gradients(batch, (0, 0))
    learner.update(0.1, 4)
    state, parameters = learner.state(), learner.parameters()
    given = arrays_in([parameters, state.params, state.optimizer, state.statistics])
    assert len(given) > 20 and all(isinstance(array, np.ndarray) for array in given)
    kept = {name: array.copy() for name, array in parameters.items()}
    for array in given:
        array[...] = 7
    assert same(learner.parameters(), kept) and same(learner.state().params, kept)


@pytest.mark.parametrize('devices', (1, 2))
def test_a_state_brings_back_what_was_and_what_comes(devices):
    learner, batches = make_learner(make_net(devices), devices), list(Batches().epoch(0))

    def steps(part):
        for number, batch in enumerate(part):
            learner.gradients(batch, (0, number))
            learner.update(0.1, len(batch.indices))
        return learner.parameters()

    steps(batches[:2])
    state, before = learner.state(), learner.parameters()
    after = steps(batches[2:4])
    learner.load(state)
    assert same(learner.parameters(), before)
    assert same(steps(batches[2:4]), after)


def test_a_state_of_another_network_is_refused():
    state = make_learner().state()
    state.params.pop('5.bias')
    with pytest.raises(CheckpointError, match='another network: 1 parameters .* 5.bias'):
        make_learner().load(state)


def test_weight_sums_are_of_weights_alone():
    learner = make_learner()
    weights = [array.astype(np.float64) for name, array in learner.parameters().items() if name.endswith('weight')]
    magnitudes, squares = learner.weight_sums()
    assert len(weights) == 2
    assert magnitudes == pytest.approx(sum(abs(array).sum() for array in weights), rel=1e-5)
    assert squares == pytest.approx(sum((array ** 2).sum() for array in weights), rel=1e-5)


def test_activations_are_numpy_by_name():
    learner, batch = make_learner(make_net(dropout=0.9)), batch_of()
    names = learner.endpoints()
    found = learner.activations(batch.data[:1], names)
    assert list(found) == names == [str(number) for number in range(6)]
    assert all(isinstance(array, np.ndarray) for array in found.values())
    assert np.allclose(found['5'], learner.scores(batch)[0].logits[:1], atol=1e-6)


@pytest.mark.parametrize('size, shards, multiplier, sizes', [
    (21, 4, 3, [6, 6, 6, 3]), (22, 4, 1, [6, 6, 5, 5]), (3, 4, 3, [3]), (0, 2, 1, [])])
def test_shards_follow_each_other_and_hold_whole_samples(size, shards, multiplier, sizes):
    bounds = shard_bounds(size, shards, multiplier=multiplier)
    assert [end - begin for begin, end in bounds] == sizes
    assert [begin for begin, _ in bounds] == np.cumsum([0, *sizes])[:len(sizes)].tolist()
    with pytest.raises(UsageError, match='cannot be split evenly over 5 devices'):
        shard_bounds(7, 5, even=True)


@pytest.mark.parametrize('devices', (1, 2))
def test_pixels_are_scaled_on_the_devices_to_the_numbers_of_the_workers(devices):
    scaling = Scaling((0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
    pixels = np.random.default_rng(1).integers(0, 256, (4, 3, 6, 6), dtype=np.uint8)
    batch = Batch(pixels, np.array([0, 1, 2, 1], np.float32), [0, 1, 2, 3], [], scaling)
    found = []
    for given in (batch, batch.scaled()):
        learner = make_learner(make_net(devices, dropout=0.), devices)
        logits = np.concatenate([shard.logits for shard in learner.gradients(given, (0, 0))])
        learner.update(0.1, 4)
        found.append([logits, *learner.parameters().values()])
    assert learner.takes_pixels
    for one, other in zip(*found):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
