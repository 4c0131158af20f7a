"""Predictors of what lies about: bundles, ONNX files, and, where MXNet is installed, networks as they are."""
from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ...compute.engines import ENGINES, Engine, OnMXNet
from ...errors import UsageError
from ...run_config import read_run_config, refuse_checkpoint
from ..bundle.format import MANIFEST, MODEL
from .predictor import Predictor


def open_predictor(source: str | os.PathLike, *, model: str | None = None, use_pretrained: bool = False,
                   hashtag: str = '', weights_index: str = '', trust_first_use: bool = False, engine: str = 'mxnet',
                   num_gpus: int = 0, **options) -> Predictor:
    """Open whatever can predict.

    Parameters
    ----------
    source : str or path
        A bundle, an ONNX file that describes itself, the folder of a training run, a file of parameters, or the name
        of a model of the zoo. All but the first two need MXNet.
    model : str, optional
        Of a file of parameters without the ``config.json`` of its run beside it: the network.
    use_pretrained : bool
        Of a model of the zoo: take the published weights.
    hashtag : str
        With `use_pretrained`: those with this tag; by default the best that can be had.
    weights_index, trust_first_use
        Where these are looked for, see :class:`gluon_action.weights.options.WeightsOptions`.
    engine : {'mxnet', 'torch'}
        What computes a network that was not exported.
    num_gpus : int
        GPUs that it computes on; 0 for the CPU.
    **options
        Those of `Predictor`.

    Raises
    ------
    UsageError
        When it is nothing of these, or MXNet is needed and not installed.
    BundleError, WeightsError
        When it cannot be used.
    DeviceError
        When there are no such GPUs.
    """
    path = Path(source).expanduser()
    refuse_checkpoint(path)
    if path.suffix == '.onnx' or path.is_dir() and ((path / MANIFEST).exists() or (path / MODEL).exists()):
        for flag, given in (('--model', model), ('--use-pretrained', use_pretrained), ('--hashtag', hashtag),
                            ('--index', weights_index), ('--trust-first-use', trust_first_use)):
            if given:
                raise UsageError(f'{flag}: {path} holds its network and its weights; leave it out')
        for flag, given in (('--engine', engine != 'mxnet'), ('--num-gpus', num_gpus)):
            if given:
                raise UsageError(f'{flag}: {path} is run by ONNX Runtime on the CPU; leave it out')
        return Predictor(path, **options)
    if path.is_dir() and not (path / 'config.json').exists():
        raise UsageError(f'{path}: holds neither a bundle ({MANIFEST}) nor a training run (config.json)')
    if not path.exists():
        if path.suffix or len(path.parts) > 1:
            raise UsageError(f'{path}: does not exist; name a bundle, an ONNX file, the folder of a training run, '
                             'FILE.params, or a model of the zoo with --use-pretrained')
        if not use_pretrained:
            raise UsageError(f'{source}: is no bundle, run or file here; a model of the zoo predicts with its '
                             'published weights, pass --use-pretrained; for your own name the folder of their run, or '
                             f'FILE.params --model {source}')
    if options.get('threads'):
        raise UsageError('--threads: is for models in ONNX Runtime; for a network in MXNet set OMP_NUM_THREADS')
    _need_mxnet(source)
    computing = ENGINES[engine](num_gpus)
    computing.contexts()  # that devices are missing is said before weights are fetched
    from ..bundle.what_is_exported import open_source
    opened = open_source(source, model=model, use_pretrained=use_pretrained, hashtag=hashtag,
                         weights_index=weights_index, trust_first_use=trust_first_use)
    return Predictor(opened, model=NetworkModel(opened.net, computing, opened.preprocess.rows), **options)


def data_dirs_of(source: str | os.PathLike) -> list[str]:
    """Return the folders that the lists of a training run start from; none for what is no run."""
    place = Path(source).expanduser()
    run = read_run_config(place) if place.exists() else None
    folders = [run['config'].get(name) for name in ('val_data_dir', 'data_dir')] if run else []
    return [folder for folder in folders if folder and isinstance(folder, str)]


class NetworkModel:
    """A Gluon network as something that `Predictor` runs.

    Parameters
    ----------
    net : HybridBlock
    engine : Engine, optional
        What computes it; MXNet on the CPU by default.
    rows : int
        Consecutive rows of an input that belong together.
    """

    def __init__(self, net, engine: Engine | None = None, rows: int = 1):
        self.net, self.engine = net, engine or OnMXNet()
        self._scorer = self.engine.scorer(net, rows=rows)

    def run(self, input: np.ndarray) -> np.ndarray:
        """Compute logits float32 (videos, K) of an input float32."""
        return self._scorer(input)()


def _need_mxnet(source: str | os.PathLike) -> None:
    try:
        import mxnet  # noqa: F401
    except ImportError as error:
        raise UsageError(f"{source}: networks that were not exported need MXNet ({error}): pip install "
                         "'gluon_action[cpu]', or export it where MXNet is (gluon-action export) and name the bundle"
                         ) from error
