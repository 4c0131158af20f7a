"""Which devices PyTorch computes on, and what is said of those that it cannot use; no GPU is needed."""
import warnings

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='needs PyTorch: make test-torch')

from gluon_action.compute.on_torch import devices as made  # noqa: E402
from gluon_action.errors import DeviceError  # noqa: E402

KNOWN = ['sm_75', 'sm_80', 'sm_86', 'sm_90', 'sm_100', 'sm_120']


@pytest.mark.parametrize('capability, architectures, runs', [
    ((9, 0), KNOWN, True), ((8, 9), KNOWN, True), ((7, 5), KNOWN, True), ((7, 0), KNOWN, False), ((6, 1), KNOWN, False),
    ((10, 3), KNOWN, True), ((12, 0), KNOWN, True), ((12, 1), ['sm_90', 'compute_90'], True),
    ((12, 0), ['sm_90a'], False), ((5, 2), [], False), ((9, 0), ['gfx90a'], False)])
def test_code_runs_on_gpus_of_its_kind_and_what_is_translated_on_newer_ones(capability, architectures, runs):
    assert made.runs_on(capability, architectures) is runs


def test_parts_of_the_cpu_share_a_batch():
    assert made.devices() == [torch.device('cpu')] and made.devices(0, 3) == [torch.device('cpu')] * 3
    with pytest.raises(DeviceError, match='--num-cpus 1 or more, got 0 and 0'):
        made.devices(0, 0)


@pytest.fixture
def gpus(monkeypatch):
    """A PyTorch for CUDA, on a machine that says of its GPUs what a test wants."""
    def set_up(capabilities, usable=True, warned=''):
        def available():
            if warned:
                warnings.warn(warned, stacklevel=1)
            return usable
        monkeypatch.setattr(torch.version, 'cuda', '13.0')
        monkeypatch.setattr(torch.cuda, 'is_available', available)
        monkeypatch.setattr(torch.cuda, 'get_arch_list', lambda: KNOWN)
        return lambda count: made.check_gpus(count, capabilities=lambda: capabilities)
    return set_up


def test_gpus_that_can_be_used_are_used(gpus):
    assert gpus([(9, 0), (8, 9)])(2) is None


def test_a_pytorch_for_cpus_says_which_one_to_install(monkeypatch):
    monkeypatch.setattr(torch.version, 'cuda', None)
    with pytest.raises(DeviceError, match='--num-gpus 1: .* without CUDA; pip install .*torch --index-url'):
        made.devices(1)


def test_fewer_gpus_than_asked_for_are_counted(gpus):
    with pytest.raises(DeviceError, match='--num-gpus 2: this machine has 1; pass --num-gpus 1'):
        gpus([(9, 0)])(2)


def test_a_driver_that_is_too_old_is_said_in_pytorchs_words(gpus):
    said = 'CUDA initialization: The NVIDIA driver on your system is too old (found version 12020).\nPlease update'
    with pytest.raises(DeviceError, match='too old .found version 12020.*Update the driver to one that knows CUDA'):
        gpus([(9, 0)], usable=False, warned=said)(1)
    with pytest.raises(DeviceError, match='the driver does not start'):
        gpus([(9, 0)], usable=False)(1)


@pytest.mark.parametrize('capability, cure', [((6, 1), '--engine mxnet has code for it'), ((13, 0), 'a newer PyTorch')])
def test_a_gpu_without_code_says_which_engine_has_it(gpus, capability, cure):
    with pytest.raises(DeviceError, match=rf'cuda:1 has compute capability {capability[0]}\.{capability[1]}.*{cure}'):
        gpus([(9, 0), capability])(2)


def test_arrays_come_as_float32_whatever_they_were():
    kept = np.arange(4)
    tensor = made.placed(kept, torch.device('cpu'))
    assert tensor.dtype == torch.float32 and tensor.tolist() == [0, 1, 2, 3]
    frozen = np.ones(3, 'float32')
    frozen.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert made.placed(frozen, torch.device('cpu')).tolist() == [1, 1, 1]


def test_a_full_memory_is_told_from_other_faults():
    with pytest.raises(DeviceError, match="the memory is full: DefaultCPUAllocator: can't allocate .*; lower it"), \
            made.telling_of_memory('lower it'):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you "
                           'tried to allocate 400000000000 bytes. Error code 12 (Cannot allocate memory)\nmore')
    with pytest.raises(RuntimeError, match='something else'), made.telling_of_memory('lower it'):
        raise RuntimeError('something else')
