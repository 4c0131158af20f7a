"""What the imports of MXNet 1.9.1 and GluonCV 0.10.5 need today, given to them while they run and taken back after."""
from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import types
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

from .errors import DeviceError

# Bytes of addresses with which MXNet's wheel loads and computes; it was measured, by `ulimit -v`.
_LEAST_ADDRESSES = 3 << 29


def install() -> None:
    """Help every later import of MXNet and of GluonCV in this process. Safe to call again."""
    if not any(isinstance(finder, _HelpingFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _HelpingFinder())


class _HelpingFinder:
    """Finds what the other finders find, and puts a context around its loading."""

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        """Return the spec of MXNet or GluonCV; of nothing else."""
        if name not in _HELP:
            return None
        specs = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((found for found in specs if found is not None), None)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_with_help(module: types.ModuleType) -> None:
                with _HELP[name]():
                    load(module)
            spec.loader.exec_module = load_with_help
        return spec


@contextlib.contextmanager
def _help_for_mxnet() -> Iterator[None]:
    """Serve the names that NumPy dropped, put SciPy off, and say which kernels OpenBLAS shall take."""
    _check_memory()
    import numpy  # before the variable is set: NumPy brings a newer OpenBLAS, which knows the CPU by itself
    old, theirs = _dropped_names(numpy), numpy.__getattr__
    numpy.__getattr__ = lambda name: old[name] if name in old else theirs(name)
    core = openblas_core()
    if core:
        os.environ['OPENBLAS_CORETYPE'] = core
    try:
        with _scipy_stats_put_off():
            yield
    finally:
        numpy.__getattr__ = theirs
        if core:
            del os.environ['OPENBLAS_CORETYPE']
    view = types.ModuleType('numpy')
    vars(view).update({**old, **vars(numpy), 'bool': bool})
    for name in _READ_DROPPED_NAMES_LATER:
        names = vars(sys.modules[name])
        names.update({alias: view for alias in ('np', '_np') if names.get(alias) is numpy})


def _check_memory() -> None:
    """Refuse to load MXNet where it would abort the process: its libraries do so without a word of Python."""
    try:
        import resource
    except ImportError:  # where there is no such limit
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < _LEAST_ADDRESSES:
        raise DeviceError(f'this process may take {limit / 2 ** 30:.1f} GiB of addresses (`ulimit -v` says '
                          f'{limit // 1024}), and MXNet needs {_LEAST_ADDRESSES / 2 ** 30:g} GiB to be loaded, most of '
                          'which it never fills; lift the limit with `ulimit -v unlimited`, or ask the scheduler for '
                          'more memory')


@contextlib.contextmanager
def _scipy_stats_put_off() -> Iterator[None]:
    """Let ``mxnet.test_utils`` and ``mxnet.contrib.quantization`` load ``scipy.stats`` when they call it.

    No training or testing does, and loading it is a third of the time that importing MXNet takes.
    """
    name = 'scipy.stats'
    if name in sys.modules or importlib.util.find_spec('scipy') is None:
        yield
        return
    later = types.ModuleType(name)
    later.__getattr__ = lambda attribute: getattr(importlib.import_module(name), attribute)
    sys.modules[name] = later
    try:
        yield
    finally:
        if sys.modules.get(name) is later:
            del sys.modules[name]


# Functions of these modules read a dropped name when they are called: they keep a view of NumPy that has it.
_READ_DROPPED_NAMES_LATER = ('mxnet.gluon.contrib.estimator.event_handler', 'mxnet.ndarray.numpy._op',
                             'mxnet.numpy.multiarray', 'mxnet.symbol.numpy._symbol', 'mxnet.test_utils')


def _dropped_names(np: types.ModuleType) -> dict:
    """Return what NumPy dropped between 1.20 and 2.4, as far as MXNet reads it (apache/mxnet#21165)."""
    def financial(name: str) -> Callable:
        def function(*args, **kwargs):
            raise RuntimeError(f'NumPy dropped {name}; the package numpy_financial has it')
        return function

    return {
        'bool': bool, 'int': int, 'PZERO': 0.0, 'NZERO': -0.0, 'PINF': np.inf, 'NINF': -np.inf,
        **dict.fromkeys(('INF', 'Inf', 'Infinity', 'infty'), np.inf), **dict.fromkeys(('NAN', 'NaN'), np.nan),
        'alltrue': np.all, 'sometrue': np.any, 'product': np.prod, 'cumproduct': np.cumprod, 'round_': np.round,
        'row_stack': np.vstack, 'trapz': getattr(np, 'trapezoid', None), 'msort': lambda a: np.sort(a, axis=0),
        'in1d': lambda ar1, ar2, **options: np.isin(np.ravel(ar1), ar2, **options),
        'compat': types.SimpleNamespace(basestring=str),
        **{name: financial(name) for name in ('mirr', 'npv', 'pmt', 'ppmt', 'pv', 'rate')},
    }


def openblas_core(cpu: str | None = None) -> str | None:
    """Return the kernels that MXNet's OpenBLAS must be told to take, or None where it knows better or was told.

    OpenBLAS 0.3.13, which the wheel brings, takes CPUs newer than itself (Zen 4 and later, Sapphire Rapids and later)
    for such of 2007, and multiplies matrices at half the speed or less. It reads ``OPENBLAS_CORETYPE`` when it is
    loaded. The variable is set for that moment only: it would slow NumPy's own OpenBLAS in child processes.

    Parameters
    ----------
    cpu : str, optional
        Text of ``/proc/cpuinfo``; that of this machine by default.
    """
    if 'OPENBLAS_CORETYPE' in os.environ:
        return None
    facts = cpu_facts(cpu)
    if not {'avx2', 'fma'} <= set(facts.get('flags', '').split()):
        return None
    intel = (facts.get('vendor_id'), facts.get('cpu family')) == ('GenuineIntel', '6')
    return None if intel and facts.get('model') in _HAVE_AVX512_KERNELS else 'Haswell'


def cpu_facts(cpu: str | None = None) -> dict[str, str]:
    """Return what ``/proc/cpuinfo`` (or a text like it) says of the first processor; nothing where there is none."""
    if cpu is None:
        with contextlib.suppress(OSError):
            cpu = Path('/proc/cpuinfo').read_text()
    first = (cpu or '').split('\n\n')[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(':') for line in first)}


# Skylake-X to Cooper Lake, and Ice Lake: OpenBLAS 0.3.13 knows them, and has better kernels for them than Haswell's.
_HAVE_AVX512_KERNELS = ('85', '106', '108', '125', '126')


@contextlib.contextmanager
def _help_for_gluoncv() -> Iterator[None]:
    """Hide PyTorch, which GluonCV does not need: its check.py stops where it finds version 2."""
    hidden = {'torch': sys.modules.pop('torch')} if 'torch' in sys.modules else {}
    finder = _NoPyTorch()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        sys.modules.update(hidden)


class _NoPyTorch:
    """Says that PyTorch is not installed. None in `sys.modules` would say so too, but SciPy takes it for a module."""

    def find_spec(self, name: str, path=None, target=None) -> None:
        if name == 'torch':
            raise ModuleNotFoundError('PyTorch is hidden while GluonCV is imported', name=name)


_HELP = {'mxnet': _help_for_mxnet, 'gluoncv': _help_for_gluoncv}
