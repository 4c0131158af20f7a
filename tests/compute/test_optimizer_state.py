"""What an optimizer remembers, as arrays and numbers, in memory and in a file."""
import json

import mxnet as mx
import numpy as np
import pytest

from gluon_action.compute.on_mxnet.optimizer_state import restore_trainer_state, trainer_state
from gluon_action.errors import CheckpointError
from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir, read_optimizer


def make_trainer(optimizer, contexts, dtype='float32', **kwargs):
    net = mx.gluon.nn.HybridSequential()
    net.add(mx.gluon.nn.Dense(5, in_units=4), mx.gluon.nn.Dense(2, in_units=5))
    net.cast(dtype)
    net.initialize(mx.init.One(), ctx=contexts)
    params = net.collect_params()
    trainer = mx.gluon.Trainer(list(params.values()), optimizer,
                               {'learning_rate': 0.01, 'multi_precision': dtype == 'float16', **kwargs},
                               update_on_kvstore=False)
    return net, trainer, list(net._collect_params_with_prefix())


def take_steps(net, trainer, contexts, count):
    """Steps with gradients made up here: MXNet has no float16 layers on a CPU."""
    for step in range(count):
        for param in net.collect_params().values():
            for i, (array, grad) in enumerate(zip(param.list_data(), param.list_grad())):
                grad[:] = array * (0.1 + step + i)
                array._fresh_grad = True
        trainer.step(4)
    return [array.asnumpy() for param in net.collect_params().values() for array in param.list_data()]


CASES = [('sgd', {'momentum': 0.9}, 'float32'), ('sgd', {}, 'float32'), ('sgd', {'momentum': 0.9}, 'float16'),
         ('nag', {'momentum': 0.9}, 'float32'), ('adam', {}, 'float32'), ('adam', {}, 'float16'),
         ('nadam', {}, 'float32'), ('rmsprop', {'centered': True}, 'float32')]


@pytest.mark.parametrize('optimizer, kwargs, dtype', CASES)
@pytest.mark.parametrize('devices', (1, 2))
def test_a_restored_optimizer_goes_on_as_if_never_stopped(tmp_path, optimizer, kwargs, dtype, devices):
    if optimizer == 'nadam' and devices > 1:
        pytest.skip('MXNet shares one momentum schedule among the devices, which drift apart')
    contexts = [mx.cpu(i) for i in range(devices)]
    net, trainer, names = make_trainer(optimizer, contexts, dtype, **kwargs)
    take_steps(net, trainer, contexts, 3)
    arrays, numbers = trainer_state(trainer, names)
    CheckpointDir(tmp_path).save(3, {'optimizer': arrays, 'loop': {'optimizer': numbers}})
    net.save_parameters(str(tmp_path / 'x.params'))
    expected = take_steps(net, trainer, contexts, 2)
    for restore in ('memory', 'file'):
        other, again, _ = make_trainer(optimizer, contexts, dtype, **kwargs)
        other.load_parameters(str(tmp_path / 'x.params'), ctx=contexts)
        if restore == 'memory':
            restore_trainer_state(again, names, arrays, json.loads(json.dumps(numbers)))
        else:
            restore_trainer_state(again, names, *read_optimizer(tmp_path))
        got = take_steps(other, again, contexts, 2)
        assert all((a == b).all() for a, b in zip(got, expected))


def test_a_state_of_another_run_is_refused(tmp_path):
    contexts = [mx.cpu()]
    net, trainer, names = make_trainer('sgd', contexts, momentum=0.9)
    take_steps(net, trainer, contexts, 1)
    arrays, numbers = trainer_state(trainer, names)
    with pytest.raises(CheckpointError, match='is of SGD, this run uses Adam'):
        restore_trainer_state(make_trainer('adam', contexts)[1], names, arrays, numbers)
    with pytest.raises(CheckpointError, match='0.weight'):
        restore_trainer_state(trainer, ['a', 'b', 'c', 'd'], arrays, numbers)
    with pytest.raises(CheckpointError, match=r'0.weight is float32 \(1,\), this run needs float32 \(5, 4\)'):
        restore_trainer_state(trainer, names, {**arrays, '0.weight#0': np.ones(1, np.float32)}, numbers)


def test_a_pickle_is_not_read_as_optimizer_state(tmp_path):
    net, trainer, names = make_trainer('sgd', [mx.cpu()], momentum=0.9)
    take_steps(net, trainer, [mx.cpu()], 1)
    trainer.save_states(str(tmp_path / 'gluoncv.states'))
    with pytest.raises(CheckpointError, match='run code'):
        read_optimizer(tmp_path / 'gluoncv.states')
