"""Predictors of what lies about: bundles, ONNX files, and, where MXNet is installed, networks as they are."""
from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ...errors import UsageError
from ..bundle.format import MANIFEST, MODEL
from .predictor import Predictor


def open_predictor(source: str | os.PathLike, *, model: str | None = None, use_pretrained: bool = False,
                   hashtag: str = '', weights_index: str = '', trust_first_use: bool = False, **options) -> Predictor:
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
    **options
        Those of `Predictor`.

    Raises
    ------
    UsageError
        When it is nothing of these, or MXNet is needed and not installed.
    BundleError, WeightsError
        When it cannot be used.
    """
    path = Path(source).expanduser()
    if path.suffix == '.onnx' or path.is_dir() and ((path / MANIFEST).exists() or (path / MODEL).exists()):
        for flag, given in (('--model', model), ('--use-pretrained', use_pretrained), ('--hashtag', hashtag),
                            ('--index', weights_index), ('--trust-first-use', trust_first_use)):
            if given:
                raise UsageError(f'{flag}: {path} holds its network and its weights; leave it out')
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
    from ..bundle.what_is_exported import open_source
    opened = open_source(source, model=model, use_pretrained=use_pretrained, hashtag=hashtag,
                         weights_index=weights_index, trust_first_use=trust_first_use)
    return Predictor(opened, model=MxnetModel(opened.net), **options)


class MxnetModel:
    """A network of MXNet as something that `Predictor` runs."""

    def __init__(self, net):
        self._net = net

    def run(self, input: np.ndarray) -> np.ndarray:
        """Compute logits float32 (videos, K) of an input float32."""
        from ...compute.on_mxnet.tracing import run
        return run(self._net, input)


def _need_mxnet(source: str | os.PathLike) -> None:
    try:
        import mxnet  # noqa: F401
    except ImportError as error:
        raise UsageError(f"{source}: networks that were not exported need MXNet ({error}): pip install "
                         "'gluon_action[cpu]', or export it where MXNet is (gluon-action export) and name the bundle"
                         ) from error
