"""The devices that PyTorch computes on: which there are, how arrays come to them, what is said when one is full."""
from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from ... import engine
from ...errors import DeviceError

_CPU = 'use --num-gpus 0 to compute on the CPU'


def devices(num_gpus: int = 0, num_cpus: int = 1) -> list[torch.device]:
    """Return the devices to compute on.

    Parameters
    ----------
    num_gpus : int
        GPUs to use; 0 computes on the CPU.
    num_cpus : int
        How many parts of the CPU share a batch where there are no GPUs, one after the other: what several GPUs do can
        be tried without one.

    Raises
    ------
    DeviceError
        When fewer GPUs exist, their driver is missing or too old, or PyTorch has no code for them.
    """
    if num_gpus < 0 or num_cpus < 1:
        raise DeviceError(f'--num-gpus must be 0 or more and --num-cpus 1 or more, got {num_gpus} and {num_cpus}')
    if not num_gpus:
        return [torch.device('cpu')] * num_cpus
    check_gpus(num_gpus)
    return [torch.device('cuda', number) for number in range(num_gpus)]


def check_gpus(num_gpus: int, *, capabilities: Callable[[], list[tuple[int, int]]] = engine.gpu_capabilities) -> None:
    """Raise `DeviceError` with the cure when `num_gpus` GPUs cannot be used; say nothing when they can.

    Parameters
    ----------
    num_gpus : int
        GPUs asked for.
    capabilities : callable
        Returns the compute capability of each GPU that the driver sees, as `engine.gpu_capabilities` does.
    """
    asked = f'--num-gpus {num_gpus}'
    if torch.version.cuda is None:
        raise DeviceError(f'{asked}: the installed PyTorch ({torch.__version__}) was built without CUDA; pip install '
                          f'--force-reinstall torch --index-url https://download.pytorch.org/whl/cu130, or {_CPU}')
    found = capabilities()
    if len(found) < num_gpus:
        raise DeviceError(f'{asked}: this machine has {len(found)}; pass --num-gpus {len(found)}, or look at '
                          'CUDA_VISIBLE_DEVICES')
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        usable = torch.cuda.is_available()
    if not usable:
        reason = str(said[-1].message).strip().splitlines()[0] if said else 'the driver does not start'
        raise DeviceError(f'{asked}: PyTorch {torch.__version__} cannot use the NVIDIA driver: {reason} Update the '
                          f'driver to one that knows CUDA {torch.version.cuda}, or install PyTorch for an older CUDA '
                          f'(https://pytorch.org/get-started/previous-versions), or {_CPU}')
    known = torch.cuda.get_arch_list()
    for number, capability in enumerate(found[:num_gpus]):
        if not runs_on(capability, known):
            major, minor = capability
            others = f'; --engine mxnet has code for it (pip install "gluon_action[cu112]"), or {_CPU}' \
                if capability <= engine.NEWEST_GPU_CAPABILITY else f'; install a newer PyTorch, or {_CPU}'
            raise DeviceError(f'cuda:{number} has compute capability {major}.{minor}, and PyTorch {torch.__version__} '
                              f'has code for {", ".join(known)}{others}')


def runs_on(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Whether code for one of the architectures, ``'sm_90'`` and the like, runs on a GPU of a compute capability.

    Machine code runs on GPUs of the same major number that are no older; ``compute_90`` is what the driver translates
    for any newer one.
    """
    for name in architectures:
        kind, _, number = name.partition('_')
        digits = number.rstrip('af')  # of features that only this very GPU has
        if not digits.isdigit():
            continue
        known = divmod(int(digits), 10)
        if kind == 'compute' and capability >= known or \
                kind == 'sm' and capability[0] == known[0] and capability >= known:
            return True
    return False


def placed(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return an array as float32 on a device. On a CPU it may share its memory, so use it before that changes.

    A GPU is not waited for: the copy is made out of memory that the system cannot move away.
    """
    return _copied(np.require(array, np.float32, ('C', 'W')), device)


def scaled(pixels: np.ndarray, scaling, device: torch.device) -> torch.Tensor:
    """Copy pixels uint8 (N, C, ...) to a device, a quarter of the bytes of floats, and scale them there.

    Parameters
    ----------
    pixels : ndarray
    scaling : Scaling
    device : torch.device
    """
    shape = (1, -1, *[1] * (pixels.ndim - 2))
    factor, offset = (placed(value, device).reshape(shape) for value in scaling.affine(pixels.shape[1]))
    return _copied(np.require(pixels, np.uint8, ('C', 'W')), device).float().mul_(factor).add_(offset)


def _copied(array: np.ndarray, device: torch.device) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    return tensor if device.type == 'cpu' else tensor.pin_memory().to(device, non_blocking=True)


class Later:
    """A tensor on its way to NumPy. Reading waits for what it was computed of, and for nothing that was begun since."""

    def __init__(self, tensor: torch.Tensor):
        self._event = None
        self._here = tensor.detach()
        if tensor.is_cuda:
            self._here = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._here.copy_(tensor.detach(), non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(tensor.device))

    def read(self) -> np.ndarray:
        """Return the numbers."""
        if self._event is not None:
            self._event.synchronize()
        return self._here.numpy()


def wait(used: Sequence[torch.device]) -> None:
    """Wait until the devices have nothing to do."""
    for device in used:
        if device.type == 'cuda':
            torch.cuda.synchronize(device)


def seed(device: torch.device, number: int) -> None:
    """Let the random draws on one device start from `number`."""
    if device.type == 'cuda':
        torch.cuda.default_generators[device.index or 0].manual_seed(number)
    else:
        torch.default_generator.manual_seed(number)


@contextlib.contextmanager
def telling_of_memory(lower: str) -> Iterator[None]:
    """Say what helps when a device is full.

    Parameters
    ----------
    lower : str
        What, in the words of the command's flags.

    Raises
    ------
    DeviceError
        Instead of PyTorch's own error.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = str(error).strip().split('. ')[0]
        raise DeviceError(f'the GPU is full: {reason}; {lower}, or end what else uses the GPU (nvidia-smi)') from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        reason = str(error).strip().splitlines()[0].rpartition('] ')[2].lstrip('. ')
        raise DeviceError(f'the memory is full: {reason}; {lower}') from error
