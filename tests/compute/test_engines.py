"""The engines by name, and what is said where one is missing or cannot do what is asked; PyTorch is not needed."""
import sys
from types import SimpleNamespace

import pytest
from flags_world import NO_PYTORCH, without_pytorch

from gluon_action import engine
from gluon_action.compute import engines, optimizers
from gluon_action.compute.engines import engine_of, engine_rules
from gluon_action.errors import DeviceError, UsageError
from gluon_action.evaluate.options.config import TestConfig
from gluon_action.train.recipes.config import TrainConfig


def broken(**options):
    """The first rule that a configuration of training breaks."""
    config = TrainConfig(model='x', **options)
    return next((f'{flag}: {why}' for wrong, flag, why in engine_rules(config) if wrong), None)


@pytest.mark.parametrize('options, message', [
    ({'engine': 'torch', 'num_gpus': 1}, None), ({'engine': 'torch', 'use_amp': True}, None),
    ({'engine': 'torch', 'dtype': 'float16'}, '--dtype: float16: only MXNet'),
    ({'engine': 'torch', 'kvstore': 'device'}, '--kvstore: device is a store of MXNet'),
    ({'engine': 'torch', 'mode': 'imperative'}, '--mode: says how MXNet'),
    ({'dtype': 'float16'}, '--dtype: float16 needs --num-gpus'), ({'dtype': 'float16', 'num_gpus': 1}, None)])
def test_what_an_engine_cannot_do_is_refused_by_its_flag(options, message):
    assert broken(**options) == message or broken(**options).startswith(message)


def test_bfloat16_needs_a_cpu_that_has_it_for_mxnet_alone(monkeypatch):
    monkeypatch.setattr(engine, 'has_bfloat16', lambda: False)
    assert broken(use_amp=True) == f'--use-amp: {engine.NO_BFLOAT16}' and broken(use_amp=True, engine='torch') is None


def test_an_optimizer_that_only_mxnet_has_is_refused_before_anything_is_read(monkeypatch):
    monkeypatch.setitem(optimizers.OPTIMIZERS, 'lbsgd', optimizers.Optimizer('mxnet.optimizer:LBSGD'))
    assert broken(optimizer='lbsgd') is None
    assert broken(optimizer='lbsgd', engine='torch').startswith('--optimizer: lbsgd: only MXNet')


def test_what_was_exported_is_run_by_what_it_was_exported_for():
    config = TestConfig(deploy=True, model_prefix='x', engine='torch').settled()
    assert [flag for wrong, flag, why in engine_rules(config) if wrong] == ['--engine']


def test_a_missing_pytorch_is_said_with_the_command_that_installs_it():
    asked = engine_of(TrainConfig(model='x', engine='torch'))
    with without_pytorch():
        for act in (asked.contexts, lambda: asked.learner(None, 'sgd', {}, contexts=[]), lambda: asked.scorer(None)):
            with pytest.raises(UsageError, match=NO_PYTORCH):
                act()


def test_a_pytorch_that_does_not_load_is_told_from_one_that_is_missing(monkeypatch):
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == 'torch':
                raise OSError('libcudart.so.13: cannot open shared object file')

    monkeypatch.delitem(sys.modules, 'torch', raising=False)
    monkeypatch.setattr(sys, 'meta_path', [Finder(), *sys.meta_path])
    with pytest.raises(UsageError, match='does not load: libcudart.so.13.*--force-reinstall torch'):
        engine_of(TrainConfig(model='x', engine='torch')).contexts()


@pytest.mark.parametrize('name', engines.ENGINES)
def test_one_of_several_processes_does_not_train_everything_by_itself(name, monkeypatch):
    for variable, value in (('RANK', '1'), ('LOCAL_RANK', '1'), ('WORLD_SIZE', '2')):
        monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match='torchrun: has started 2 processes'):
        engine_of(TrainConfig(model='x', engine=name)).contexts()


def test_devices_that_are_not_there_are_an_error_of_devices():
    with pytest.raises(DeviceError, match='--num-gpus 99'):
        engine_of(SimpleNamespace(engine='mxnet', num_gpus=99, num_cpus=1)).contexts()
    found = engine_of(TrainConfig(model='x', num_cpus=2)).contexts()
    assert [str(context) for context in found] == ['cpu(0)', 'cpu(1)']
