"""MXNet's rules in PyTorch: the same steps and the same state, whichever engine took the steps before."""
import mxnet as mx
import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs PyTorch: make test-torch')

from gluon_action.compute import optimizers as table  # noqa: E402
from gluon_action.compute.on_mxnet.optimizer_state import restore_trainer_state, trainer_state  # noqa: E402
from gluon_action.compute.on_torch import gradients as limits  # noqa: E402
from gluon_action.compute.on_torch.optimizers import Optimizer  # noqa: E402
from gluon_action.errors import CheckpointError, UsageError  # noqa: E402

RNG = np.random.default_rng(3)
START = {'a.weight': RNG.normal(size=(5, 4)).astype('float32'), 'b.bias': RNG.normal(size=3).astype('float32')}
GRADIENTS = [{name: RNG.normal(size=array.shape).astype('float32') * 8 for name, array in START.items()}
             for _ in range(20)]
#: Of learning rate and weight decay.
FACTORS = {'a.weight': (1., 1.), 'b.bias': (10., 0.)}
RULES = [('sgd', {'momentum': 0.9}), ('sgd', {}), ('nag', {'momentum': 0.9}), ('nag', {}), ('adam', {}),
         ('adam', {'epsilon_hat': True}), ('adamw', {})]


def rate(step):
    """It falls, which tells a momentum of steps from one of gradients."""
    return 0.05 * 0.7 ** (step // 4)


class OnMXNet:
    """A trainer over the two parameters, whose gradients are set here."""

    def __init__(self, name, options):
        self.params = {}
        for key, array in START.items():
            self.params[key] = mx.gluon.Parameter(key, shape=array.shape)
            self.params[key].initialize(ctx=mx.cpu())
            self.params[key].set_data(mx.nd.array(array))
            self.params[key].lr_mult, self.params[key].wd_mult = FACTORS[key]
        self.trainer = mx.gluon.Trainer(list(self.params.values()), table.OPTIMIZERS[name].make(**options),
                                        kvstore=None, update_on_kvstore=False)

    def steps(self, begin, end):
        for step in range(begin, end):
            self.trainer.set_learning_rate(rate(step))
            for key, param in self.params.items():
                param.grad()[:] = GRADIENTS[step][key]
                param.data()._fresh_grad = True
            self.trainer.step(4)

    def values(self):
        return {key: param.data().asnumpy() for key, param in self.params.items()}

    def state(self):
        return trainer_state(self.trainer, list(START))

    def load(self, values, state):
        for key, array in values.items():
            self.params[key].set_data(mx.nd.array(array))
        restore_trainer_state(self.trainer, list(START), *state)


class OnTorch:
    def __init__(self, name, options):
        self.params = {key: torch.tensor(array) for key, array in START.items()}
        self.optimizer = Optimizer(table.rule_on_torch(name, **options), self.params, FACTORS)

    def steps(self, begin, end):
        for step in range(begin, end):
            self.optimizer.step({key: torch.tensor(array / 4) for key, array in GRADIENTS[step].items()}, rate(step))

    def values(self):
        return {key: value.numpy().copy() for key, value in self.params.items()}

    def state(self):
        return self.optimizer.state()

    def load(self, values, state):
        for key, array in values.items():
            self.params[key].copy_(torch.tensor(array))
        self.optimizer.load(*state)


def agree(found, expected, tolerance=5e-6):
    assert list(found) == list(expected)
    for key, array in found.items():
        assert array.dtype == np.float32 and np.allclose(array, expected[key], rtol=tolerance, atol=tolerance), key


@pytest.mark.parametrize('clip', [{}, {'clip_gradient': 0.3}], ids=['free', 'limited'])
@pytest.mark.parametrize('name, options', RULES)
def test_twenty_steps_at_a_falling_rate_are_mxnets(name, options, clip):
    made = [kind(name, {'wd': 0.1, **options, **clip}) for kind in (OnTorch, OnMXNet)]
    for each in made:
        each.steps(0, 20)
    agree(made[0].values(), made[1].values())
    (arrays, numbers), (expected, said) = (each.state() for each in made)
    agree(arrays, expected)
    assert numbers == said


@pytest.mark.parametrize('first, second', [(OnMXNet, OnTorch), (OnTorch, OnMXNet)])
@pytest.mark.parametrize('name, options', RULES[:5:2] + RULES[4:5] + RULES[6:])
def test_one_engine_goes_on_where_the_other_stopped(name, options, first, second):
    options = {'wd': 0.1, **options}
    whole, before, after = first(name, options), first(name, options), second(name, options)
    whole.steps(0, 20)
    before.steps(0, 9)
    after.load(before.values(), before.state())
    after.steps(9, 20)
    agree(after.values(), whole.values())


def test_what_it_remembers_is_given_out_as_copies():
    made = OnTorch('sgd', {'momentum': 0.9})
    made.steps(0, 1)
    arrays, _ = made.state()
    kept = {key: array.copy() for key, array in arrays.items()}
    for array in arrays.values():
        array[...] = 7
    agree(made.state()[0], kept, tolerance=0)


def test_a_state_of_something_else_is_refused():
    made = OnTorch('adam', {})
    made.steps(0, 1)
    arrays, numbers = made.state()
    with pytest.raises(CheckpointError, match='is of Adam, this run uses AdamW'):
        OnTorch('adamw', {}).optimizer.load(arrays, numbers)
    with pytest.raises(CheckpointError, match=r'a.weight is float32 \(1,\), this run needs float32 \(5, 4\)'):
        made.optimizer.load({**arrays, 'a.weight#0.0': np.ones(1, 'float32')}, numbers)
    with pytest.raises(CheckpointError, match='damaged'):
        made.optimizer.load(arrays, {**numbers, 'num_update': -1})
    agree(made.state()[0], arrays, tolerance=0)


def test_an_optimizer_without_a_twin_is_named(monkeypatch):
    monkeypatch.setitem(table.OPTIMIZERS, 'lbsgd', table.Optimizer('mxnet.optimizer:LBSGD'))
    for name in ('lbsgd', 'rmsprop'):
        with pytest.raises(UsageError, match=f'--optimizer {name}: only MXNet.* sgd, nag, adam, adamw;.*engine mxnet'):
            table.rule_on_torch(name)


def test_squares_of_a_large_gradient_are_all_counted():
    """Added up in float32 the norm of these would be 2 % too small."""
    gradient, small = torch.full((20_000_000,), 1e-3), torch.tensor([3., 4.])
    limits.limit_norm([gradient], 1.)
    assert float(gradient[0]) == pytest.approx(1 / 20_000_000 ** 0.5, rel=1e-5)
    limits.limit_each([small], 1.)
    assert small.tolist() == pytest.approx([0.6, 0.8])


def test_a_gradient_that_is_not_finite_is_left_to_the_loss():
    gradients = [torch.tensor([1., float('nan')]), torch.tensor([2.])]
    limits.limit_norm(gradients, 0.1)
    assert gradients[0][0] == 1 and gradients[1][0] == 2
