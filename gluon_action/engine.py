"""What MXNet 1.9.1 needs to run today: help at its import, threads, CUDA libraries, contexts. Imported first."""
from __future__ import annotations

import contextlib
import ctypes
import glob
import importlib.metadata
import importlib.util
import os
import sys
from pathlib import Path

from . import mxnet_import
from .errors import DeviceError

#: Compute capabilities that the mxnet-cu112 1.9.1 wheel has machine code for. It carries no PTX, so the driver cannot
#: compile it for a newer GPU: on Hopper (9.0) and later the first kernel of MXNet's own fails with 'no kernel image is
#: available' (apache/mxnet#21166).
NEWEST_GPU_CAPABILITY = (8, 9)

#: Why ``--use-amp`` is refused where `has_bfloat16` is False.
NO_BFLOAT16 = ('computes in bfloat16 on a CPU, for which MXNet needs AVX-512 (BW, DQ and VL), and this CPU lacks it; '
               'leave it out, or compute on GPUs with --num-gpus')

# What computes on GPUs that the wheel has no code for.
_TORCH = '--engine torch (pip install "gluon_action[torch]")'
# Load order matters: each library finds the ones before it already in the process.
_CUDA_LIBRARIES = (
    ('cuda_runtime', 'libcudart.so.11.0'), ('cuda_nvrtc', 'libnvrtc.so.11.2'), ('nvtx', 'libnvToolsExt.so.1'),
    ('cublas', 'libcublasLt.so.11'), ('cublas', 'libcublas.so.11'), ('cufft', 'libcufft.so.10'),
    ('curand', 'libcurand.so.10'), ('cusparse', 'libcusparse.so.11'), ('cusolver', 'libcusolver.so.11'),
    ('nccl', 'libnccl.so.2'), ('cudnn', 'libcudnn.so.8'),
)
_CUDA_COMPUTE_MAJOR, _CUDA_COMPUTE_MINOR = 75, 76  # CUdevice_attribute values of the driver API


def prepare() -> None:
    """Make ``import mxnet`` work in this process. Safe to call again."""
    mxnet_import.install()
    set_threads()
    if cuda_wheel_installed():
        preload_cuda_libraries()
    else:
        # On a CPU, updating several parameters in one operator takes a third longer than one after the other.
        os.environ.setdefault('MXNET_OPTIMIZER_AGGREGATION_SIZE', '0')


def usable_cores() -> int:
    """Cores that this process may run on: what the scheduler allows, not what the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def set_threads(num_devices: int = 1) -> int:
    """Give MXNet all usable cores, shared out between CPU devices.

    MXNet takes half of the logical cores by default, as if each ran two threads (src/engine/openmp.cc), which doubles
    the time of every step. The count is read when MXNet is loaded, so this must come first; an ``OMP_NUM_THREADS``
    from the environment is respected.

    Parameters
    ----------
    num_devices : int
        CPU contexts that will compute at the same time.

    Returns
    -------
    int
        The threads each device has.
    """
    if os.environ.get('OMP_NUM_THREADS') and os.environ.get('_GLUON_ACTION_OMP') != os.environ['OMP_NUM_THREADS']:
        with contextlib.suppress(ValueError):
            return int(os.environ['OMP_NUM_THREADS'])
    if 'mxnet' not in sys.modules:
        threads = str(max(1, usable_cores() // max(1, num_devices)))
        # The second name marks the value as ours, so that a child process may choose again.
        os.environ['OMP_NUM_THREADS'] = os.environ['_GLUON_ACTION_OMP'] = threads
    return int(os.environ.get('OMP_NUM_THREADS', '1'))


def has_bfloat16(cpu: str | None = None) -> bool:
    """Whether MXNet's layers can compute in bfloat16 on this CPU.

    Its convolutions and dense layers of that type are oneDNN's, which has them for AVX-512 only (``avx512_core`` in the
    chapter on data types of its guide). Elsewhere the first one fails, as soon as its result is read, with 'could not
    create a primitive descriptor iterator' (PaddlePaddle/Paddle#27588 shows the same of the same library).

    Parameters
    ----------
    cpu : str, optional
        Text of ``/proc/cpuinfo``; that of this machine by default. A machine that has none is believed to have it.
    """
    flags = mxnet_import.cpu_facts(cpu).get('flags')
    return flags is None or {'avx512f', 'avx512bw', 'avx512dq', 'avx512vl'} <= set(flags.split())


def mxnet_distribution() -> str | None:
    """Name of the installed MXNet wheel: ``'mxnet'``, ``'mxnet-cu112'``, ... or None."""
    for name in ('mxnet', 'mxnet-cu112', 'mxnet-cu117', 'mxnet-cu110', 'mxnet-cu102'):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(name)
            return name
    return None


def install_command(wheel: str = 'mxnet') -> str:
    """Return the command that installs an MXNet wheel and what it needs.

    Python 3.13 has no NumPy as old as the wheels ask for; they run with NumPy 2 and are installed by themselves there.
    """
    command = f'pip install "gluon_action[{"cpu" if wheel == "mxnet" else "cu112"}]"'
    return command if sys.version_info < (3, 13) else f'{command} && pip install --no-deps {wheel}==1.9.1'


def cuda_wheel_installed() -> bool:
    """Whether the installed MXNet was built for CUDA."""
    return (mxnet_distribution() or '').startswith('mxnet-cu')


def preload_cuda_libraries() -> list[str]:
    """Load the CUDA libraries that PyPI's ``nvidia-*-cu11`` packages brought, so that MXNet finds them.

    Returns
    -------
    list of str
        The libraries that neither those packages nor the system have.
    """
    spec = importlib.util.find_spec('nvidia')
    roots = list(spec.submodule_search_locations or []) if spec else []
    missing = []
    for package, library in _CUDA_LIBRARIES:
        found = [path for root in roots for path in glob.glob(str(Path(root, package, 'lib', library)))]
        try:
            ctypes.CDLL(found[0] if found else library, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            missing.append(library)
    return missing


def contexts(num_gpus: int = 0, num_cpus: int = 1, first_gpu: int = 0) -> list:
    """Devices to compute on.

    Parameters
    ----------
    num_gpus : int
        GPUs to use; 0 computes on the CPU.
    num_cpus : int
        CPU contexts ``cpu(0) .. cpu(num_cpus - 1)`` when `num_gpus` is 0. More than one splits a batch as several GPUs
        would, which is how the multi-device path runs on a machine without GPUs.
    first_gpu : int
        Number of the first GPU to use.

    Returns
    -------
    list of mxnet.Context

    Raises
    ------
    DeviceError
        When fewer GPUs exist, the driver is missing, MXNet was built for the CPU, or a GPU is newer than MXNet.
    """
    if num_gpus < 0 or num_cpus < 1:
        raise DeviceError(f'--num-gpus must be 0 or more and --num-cpus 1 or more, got {num_gpus} and {num_cpus}')
    if num_gpus == 0:
        import mxnet as mx
        return [mx.cpu(i) for i in range(num_cpus)]
    check_gpus(first_gpu + num_gpus)
    import mxnet as mx
    return [mx.gpu(first_gpu + i) for i in range(num_gpus)]


def seed(number: int) -> None:
    """Let MXNet's random draws on every device start from `number`: initial values, among others."""
    import mxnet as mx
    mx.random.seed(number)


def make_writable(parameter) -> None:
    """Make a parameter's memory writable again after oneDNN has re-laid it out.

    When a network scores clips, oneDNN, which computes 3-D convolutions since apache/mxnet#17884, re-lays their weights
    in place, and MXNet 1.9.1 cannot copy into such an array ('Check failed: to.IsDefaultData()'). An operator that
    writes to it brings the default layout back.
    """
    import mxnet as mx
    if parameter._data is not None:
        for array in parameter.list_data():
            if array.ndim == 5:
                mx.nd.identity(array.copy(), out=array)


def gives_memory_back() -> bool:
    """Whether the C library was told to give the memory of arrays back at once, by ``GLIBC_TUNABLES``.

    Then compiled graphs that train are to take memory when they need it, instead of keeping all of it
    (``static_alloc``): see the page on networks of clips.
    """
    return 'glibc.malloc.mmap_threshold=' in os.environ.get('GLIBC_TUNABLES', '')


def check_gpus(num_gpus: int, driver: str = 'libcuda.so.1', distribution: str | None = None) -> None:
    """Raise `DeviceError` with the cure when `num_gpus` GPUs cannot be used; say nothing when they can.

    Parameters
    ----------
    num_gpus : int
        GPUs asked for.
    driver : str
        The driver's library, a name or a path.
    distribution : str, optional
        The MXNet wheel to judge by; the installed one by default.
    """
    distribution = distribution or mxnet_distribution()
    cure = 'use --num-gpus 0 to compute on the CPU'
    if not (distribution or '').startswith('mxnet-cu'):
        raise DeviceError(f'--num-gpus {num_gpus}: the installed MXNet ({distribution or "none"}) was built without '
                          f'CUDA; pip uninstall -y mxnet && {install_command("mxnet-cu112")}, or train and test with '
                          f'{_TORCH}, or {cure}')
    capabilities = gpu_capabilities(driver)
    if len(capabilities) < num_gpus:
        raise DeviceError(f'--num-gpus {num_gpus}: this machine has {len(capabilities)}; '
                          f'pass --num-gpus {len(capabilities)}, or look at CUDA_VISIBLE_DEVICES')
    for i, capability in enumerate(capabilities[:num_gpus]):
        if capability > NEWEST_GPU_CAPABILITY:
            raise DeviceError(
                f'gpu({i}) has compute capability {capability[0]}.{capability[1]}, but {distribution} 1.9.1 has code '
                f'only up to {NEWEST_GPU_CAPABILITY[0]}.{NEWEST_GPU_CAPABILITY[1]} (Ada) and none that the driver '
                f'could translate; train and test with {_TORCH}, which has, or {cure}')


def gpu_capabilities(driver: str = 'libcuda.so.1') -> list[tuple[int, int]]:
    """Compute capability of every visible GPU, asked of the driver, without loading MXNet.

    Raises
    ------
    DeviceError
        When the driver's library cannot be loaded or does not start.
    """
    try:
        cuda = ctypes.CDLL(driver)
    except OSError as error:
        raise DeviceError(f'the NVIDIA driver is not installed ({error}); install it, or use --num-gpus 0') from error
    status = cuda.cuInit(0)
    if status == 100:  # CUDA_ERROR_NO_DEVICE
        return []
    if status:
        raise DeviceError(f'the NVIDIA driver does not start (cuInit returned {status}); try nvidia-smi')
    count = ctypes.c_int()
    cuda.cuDeviceGetCount(ctypes.byref(count))
    capabilities = []
    for i in range(count.value):
        device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        cuda.cuDeviceGet(ctypes.byref(device), i)
        cuda.cuDeviceGetAttribute(ctypes.byref(major), _CUDA_COMPUTE_MAJOR, device)
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), _CUDA_COMPUTE_MINOR, device)
        capabilities.append((major.value, minor.value))
    return capabilities
