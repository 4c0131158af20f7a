"""The engines by name: what each one computes on, and what it makes of a Gluon network. Who trains asks for no more."""
from __future__ import annotations

import abc
import contextlib
import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import engine
from ..errors import DeviceError, UsageError
from .learner import Learner
from .optimizers import OPTIMIZERS
from .scorer import Scorer


def engine_of(config: Any) -> Engine:
    """Return the engine that a configuration names, with the devices that it asks for.

    Parameters
    ----------
    config : RecognizerOptions
        Its ``engine``, ``num_gpus`` and ``num_cpus``.
    """
    return ENGINES[config.engine](config.num_gpus, config.num_cpus)


def engine_rules(config: Any) -> Iterator[tuple]:
    """Yield (broken, flag, why) for what the engine of a configuration cannot do."""
    yield (config.engine not in ENGINES, '--engine', f'must be one of {", ".join(ENGINES)}, got {config.engine!r}')
    yield from ENGINES[config.engine].rules(config)


@dataclass(frozen=True)
class Engine(abc.ABC):
    """An engine on the devices of this machine.

    Networks are built and given their weights as blocks of Gluon, whatever computes with them afterwards.

    Attributes
    ----------
    num_gpus : int
        GPUs to use; 0 computes on the CPU.
    num_cpus : int
        Parts of the CPU that share a batch where there are no GPUs.
    first_gpu : int
        The number of the first of the GPUs.
    """

    num_gpus: int = 0
    num_cpus: int = 1
    first_gpu: int = 0

    @property
    def num_devices(self) -> int:
        """Devices that share a batch."""
        return self.num_gpus or self.num_cpus

    #: Whether each of several processes validates everything, instead of the first one alone.
    all_validate = True

    @property
    @abc.abstractmethod
    def packages(self) -> tuple[str, ...]:
        """Distributions whose versions decide the numbers."""

    @abc.abstractmethod
    def contexts(self, several: bool = False) -> list:
        """Check the devices, and return MXNet's contexts for the blocks of Gluon.

        Parameters
        ----------
        several : bool
            Whether other processes may take part.

        Raises
        ------
        DeviceError
            When the devices are not there or cannot be used.
        UsageError
            When the engine is not installed, or torchrun has started several processes that cannot take part.
        """

    @abc.abstractmethod
    def has_others(self, kvstore: str | None) -> bool:
        """Whether other processes train with this one."""

    @abc.abstractmethod
    def meet(self, kvstore: str | None, cleanup: contextlib.ExitStack) -> tuple[Any, int, int]:
        """Meet them: return what adds up gradients, how many processes there are, and which of them this is, from 0."""

    @abc.abstractmethod
    def check_same(self, store: Any, about: Mapping[str, str]) -> None:
        """Refuse to train with processes to which something is another text, where the engine can tell."""

    @abc.abstractmethod
    def learner(self, net, optimizer: str, optimizer_params: dict[str, Any], *, contexts: Sequence,
                **options) -> Learner:
        """Return what trains a network; see `GluonLearner` for the options."""

    @abc.abstractmethod
    def scorer(self, net, *, contexts: Sequence | None = None, rows: int = 1, dtype: str = 'float32',
               compiled: bool = True, rounds: int = 1) -> Scorer:
        """Return what scores by a network; `rows` consecutive rows become one score.

        Where it is not to be `compiled`, MXNet runs it operator by operator, as ``--mode imperative`` asks. Of several
        `rounds`, in each of which a network of features draws other frames of the same videos, scores are the mean.
        """

    @staticmethod
    @abc.abstractmethod
    def rules(config: Any) -> Iterator[tuple]:
        """Yield (broken, flag, why) for what the engine cannot do."""


class OnMXNet(Engine):
    """MXNet 1.9.1, on CPUs and on GPUs up to Ada."""

    @property
    def packages(self):
        """The wheel that is installed."""
        return tuple(filter(None, [engine.mxnet_distribution()]))

    def contexts(self, several=False):
        """Return the devices themselves, where the blocks of Gluon compute."""
        _refuse_torchrun('pass --engine torch, or start one process and give it --num-gpus' if several else _ALONE)
        return engine.contexts(self.num_gpus, self.num_cpus, first_gpu=self.first_gpu)

    def has_others(self, kvstore):
        """Whether the store is over machines."""
        return (kvstore or '').startswith('dist')

    def meet(self, kvstore, cleanup):
        """Open the store."""
        from .on_mxnet.trainer import machines, open_store
        store = open_store(kvstore)
        return store, *machines(store)

    def check_same(self, store, about):
        """Believe it: MXNet's servers carry nothing but arrays."""

    def learner(self, net, optimizer, optimizer_params, *, contexts, sync_bn=False, compiles=False, **options):
        """Return a learner with a Gluon trainer; `rules` let nothing come here that only PyTorch does."""
        from .on_mxnet.learner import GluonLearner
        return GluonLearner(net, optimizer, optimizer_params, contexts=contexts, **options)

    def scorer(self, net, *, contexts=None, rows=1, dtype='float32', compiled=True, rounds=1):
        """Return a scorer of Gluon; where no contexts are given, the network is brought from the CPU to the GPUs."""
        from .on_mxnet.rounds import Rounds
        from .on_mxnet.scorer import GluonScorer
        if contexts is None:
            contexts = self.contexts()
            if self.num_gpus:
                net.collect_params().reset_ctx(contexts)
        return GluonScorer(net if rounds == 1 else Rounds(net, rounds), contexts, rows=rows, dtype=dtype,
                           compiled=compiled)

    @staticmethod
    def rules(config):
        """Yield what its kernels lack."""
        yield (config.dtype != 'float32' and not config.num_gpus, '--dtype',
               f'{config.dtype} needs --num-gpus: MXNet has no {config.dtype} convolution on a CPU')
        amp = getattr(config, 'use_amp', False)
        yield amp and config.dtype != 'float32', '--use-amp', 'keeps float32 parameters; leave out --dtype'
        yield amp and not config.num_gpus and not engine.has_bfloat16(), '--use-amp', engine.NO_BFLOAT16
        yield (getattr(config, 'sync_bn', False), '--sync-bn', 'needs --engine torch and processes that torchrun '
               'starts: with MXNet each device has statistics of its own; leave it out')
        yield getattr(config, 'compile', False), '--compile', 'is done by PyTorch: add --engine torch, or leave it out'


class OnTorch(Engine):
    """PyTorch, on CPUs and on every GPU that its wheels have code for. MXNet builds the networks, on the CPU."""

    all_validate = False

    @property
    def packages(self):
        """PyTorch, and the wheel of MXNet that is installed."""
        return ('torch', *OnMXNet().packages)

    def contexts(self, several=False):
        """Return the CPU, where the blocks of Gluon lie that PyTorch takes its networks from."""
        if not several:
            _refuse_torchrun(_ALONE)
        self._devices()
        return engine.contexts()

    def has_others(self, kvstore):
        """Whether torchrun has started others."""
        return _processes() > 1

    def meet(self, kvstore, cleanup):
        """Meet those that torchrun has started."""
        if not self.has_others(kvstore):
            return None, 1, 0
        found = _module('processes').join(self._devices()[0], cleanup)
        return found, found.count, found.rank

    def check_same(self, store, about):
        """Compare what each process was told, by its hash."""
        if store is not None:
            store.check_same(about)

    def learner(self, net, optimizer, optimizer_params, *, contexts, kvstore=None, dtype='float32', **options):
        """Return a learner of PyTorch, whose store are its processes; `rules` let no other type come here."""
        with _module('devices').telling_of_memory('take a smaller network, or another GPU'):
            return _module('learner').TorchLearner(net, optimizer, optimizer_params, devices=self._devices(),
                                                   processes=kvstore, **options)

    def scorer(self, net, *, contexts=None, rows=1, dtype='float32', compiled=True, rounds=1):
        """Return a scorer of PyTorch; `rules` let no ``--mode`` come here."""
        return _module('scorer').TorchScorer(net, self._devices(), rows=rows, rounds=rounds)

    @staticmethod
    def rules(config):
        """Yield what is MXNet's alone."""
        only = 'only MXNet computes so; '
        yield (config.dtype != 'float32', '--dtype', f'{config.dtype}: {only}--engine torch trains in half as many '
               'bits with --use-amp (bfloat16), whose parameters stay float32')
        yield (getattr(config, 'kvstore', None), '--kvstore',
               f'{getattr(config, "kvstore", None)} is a store of MXNet; --engine torch adds up gradients on the first '
               'device, so leave it out; several processes, on one machine or more, are started by torchrun')
        yield (config.mode, '--mode', 'says how MXNet runs a network; leave it out with --engine torch')
        yield (config.exported, '--engine', 'torch takes networks of the zoo; what was exported is run by what it was '
               'exported for, so leave it out')
        yield getattr(config, 'calibration', False), '--engine', 'int8 bundles are made by MXNet; leave it out'
        shares = getattr(config, 'sync_bn', False) and not getattr(config, 'eval', False)
        yield (shares and _processes() == 1, '--sync-bn', 'shares statistics between processes that torchrun starts '
               '(torchrun --nproc-per-node 2 ...), and this is a single one; start several, or leave it out')
        yield (shares and getattr(config, 'compile', False), '--compile',
               'cannot compile what processes exchange for --sync-bn; leave one of them out')
        rule = getattr(config, 'update_rule', None)
        yield (rule in OPTIMIZERS and not OPTIMIZERS[rule].on_torch, '--optimizer',
               f'{rule}: only MXNet has its rule; take another one, or --engine mxnet')

    def _devices(self) -> list:
        devices = _module('devices')
        if _processes() == 1:
            return devices.devices(self.num_gpus and self.first_gpu + self.num_gpus, self.num_cpus)[self.first_gpu:]
        if self.num_devices > 1:
            flag = f'--num-gpus {self.num_gpus}' if self.num_gpus else f'--num-cpus {self.num_cpus}'
            raise UsageError(f'{flag}: each process of torchrun has one device; pass --num-gpus 1 for a GPU each, or '
                             'neither flag for CPUs')
        if not self.num_gpus:
            return devices.devices()
        place, found = int(os.environ['LOCAL_RANK']), len(engine.gpu_capabilities())
        if place >= found:
            raise DeviceError(f'torchrun: process {place} of this machine is one too many for its GPUs, which are '
                              f'{found}; pass --nproc-per-node {found}, or look at CUDA_VISIBLE_DEVICES')
        return devices.devices(place + 1)[place:]


#: Engines by the name that ``--engine`` gives them.
ENGINES: dict[str, type[Engine]] = {'mxnet': OnMXNet, 'torch': OnTorch}


def _module(name: str):
    """Return a module of `on_torch`, which imports PyTorch.

    Raises
    ------
    UsageError
        Where PyTorch is not installed, or does not load.
    """
    try:
        importlib.import_module('torch')
    except ModuleNotFoundError as error:
        if error.name != 'torch':
            raise
        raise UsageError('--engine torch: PyTorch is not installed; pip install "gluon_action[torch]"') from error
    except (ImportError, OSError) as error:
        raise UsageError(f'--engine torch: PyTorch does not load: {error}; pip install --force-reinstall torch'
                         ) from error
    return importlib.import_module(f'.on_torch.{name}', __package__)


def _processes() -> int:
    """Return how many processes torchrun has started: 1 where it has not."""
    started = {'RANK', 'LOCAL_RANK'} <= os.environ.keys()
    return int(os.environ.get('WORLD_SIZE', '1')) if started else 1


#: What to do where torchrun cannot start a command.
_ALONE = ('only the training of gluon-action train --engine torch is started so. Start one process, without torchrun, '
          'and give it its GPUs: --num-gpus, or as --help of this command calls it')


def _refuse_torchrun(advice: str) -> None:
    """Refuse to be one of several processes that torchrun started: each would do the whole by itself."""
    count = _processes()
    if count > 1:
        raise UsageError(f'torchrun: has started {count} processes, and each of them would do all of it by itself; '
                         f'{advice}')
