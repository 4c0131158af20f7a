"""int8 networks for CPUs, calibrated on videos."""
from __future__ import annotations

import logging
import math
import os
import tempfile
import warnings
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet import gluon
from mxnet.contrib import quantization

from ..errors import OutputError, UsageError, VideoReadError
from ..evaluate.config import TestConfig
from ..evaluate.network import build_network, check_test
from ..evaluate.recognizer import open_test_set
from ..evaluate.views import ViewRecipe, rescaled_frames

_log = logging.getLogger(__name__)


def calibrate(config: TestConfig) -> str:
    """Make an int8 network from a float32 one and the ranges of its layers on videos, and export it.

    Parameters
    ----------
    config : TestConfig
        ``num_calib_batches`` batches of ``batch_size`` views are taken, spread over ``train_list`` if it is given,
        else over ``val_list``.

    Returns
    -------
    str
        Prefix of the files ``-symbol.json`` and ``-0000.params`` in ``results_dir``, for `gluon.SymbolBlock.imports`.

    Raises
    ------
    UsageError
        When the files exist and ``overwrite`` is False, or no video can be read.
    OutputError
        When they cannot be written.
    """
    check_test(config)
    prefix = Path(config.results_dir) / f'{config.model}-quantized-{config.calib_mode}'
    if Path(f'{prefix}-symbol.json').exists() and not config.overwrite:
        raise UsageError(f'{prefix}-symbol.json exists; pass --overwrite to replace it, or another --save-dir')
    dataset = open_test_set(config, train=bool(config.train_list))
    network = build_network(config, dataset.num_classes, [mx.cpu()])
    wanted = config.batch_size * config.num_calib_batches
    data = collect_views(dataset, network.recipe, config.segments, wanted)
    _log.info('Calibrating on %d views of %s', len(data), dataset.samples[0].source)
    quantized = quantize(network.block, data, batch_size=config.batch_size, dtype=config.quantized_dtype,
                         mode=config.calib_mode, keep_concat='inceptionv3' not in config.model)
    export(quantized, prefix)
    return str(prefix)


def export(net: gluon.HybridBlock, prefix: Path) -> None:
    """Write ``prefix-symbol.json`` and ``prefix-0000.params``, each whole or not at all.

    Raises
    ------
    OutputError
    """
    try:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=prefix.parent, prefix='.export-') as folder:
            net.export(f'{folder}/net', epoch=0)
            for ending in ('-0000.params', '-symbol.json'):
                os.replace(f'{folder}/net{ending}', f'{prefix}{ending}')
    except (OSError, mx.MXNetError) as error:
        raise OutputError(f'{prefix}-symbol.json: cannot be written: {error}') from error


def quantize(net: gluon.HybridBlock, data: mx.nd.NDArray, *, batch_size: int = 32, dtype: str = 'auto',
             mode: str = 'naive', keep_concat: bool = True) -> gluon.SymbolBlock:
    """Return an int8 version of a network.

    Parameters
    ----------
    net : HybridBlock
        On the CPU, float32.
    data : float32 NDArray (V, ...)
        Input to find the ranges of its layers on.
    batch_size : int
        Rows of `data` at a time; at most V.
    dtype : {'auto', 'int8', 'uint8'}
        Type of the inputs of layers; auto takes uint8 where the calibration saw nothing negative.
    mode : {'naive', 'entropy', 'none'}
        Ranges are the extremes that were seen; lose the least information; or are found anew in every batch.
    keep_concat : bool
        Leave concatenations in float32: their inputs would have to share one range.

    Returns
    -------
    SymbolBlock
        Ready for ``export``; takes any number of rows.
    """
    batches = mx.io.NDArrayIter(data, batch_size=min(batch_size, len(data)), last_batch_handle='discard')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # it announces its removal from an MXNet 2 that never came
        quantized = quantization.quantize_net(
            net, quantized_dtype=dtype, quantize_mode='full', exclude_layers=[],
            exclude_layers_match=['concat'] if keep_concat else [], calib_data=batches, calib_mode=mode,
            num_calib_examples=len(data), ctx=mx.cpu())
    quantized.hybridize()
    quantized(data[:1]).wait_to_read()  # what was never run is exported without parameters
    return quantized


def collect_views(dataset, recipe: ViewRecipe, num_segments: int, count: int) -> mx.nd.NDArray:
    """Take `count` views, or as many as there are, spread over the videos and over the views of each.

    Returns
    -------
    float32 NDArray (V, 3, H, W) or (V, 3, T, H, W)

    Raises
    ------
    UsageError
        When no video can be read.
    """
    num_videos = min(len(dataset), count)
    share = min(math.ceil(count / num_videos), num_segments * recipe.crops)
    views, failure = [], None
    for turn, index in enumerate(np.linspace(0, len(dataset) - 1, num_videos).astype(int)):
        try:
            frames = rescaled_frames(dataset, recipe.short_side, int(index))
        except VideoReadError as error:
            failure = error
            _log.warning('not calibrated on: %s', error)
            continue
        all_views = list(recipe.cut(frames, num_segments))
        # Another view of every video, so that all segments and crops have their part.
        picked = (turn + np.linspace(0, len(all_views), share, endpoint=False)).astype(int) % len(all_views)
        views += [all_views[i] for i in picked]
    if not views:
        raise UsageError(f'there is nothing to calibrate on: no video could be read; the last one: {failure}')
    return recipe.to_network(mx.nd.array(np.stack(views[:count]), dtype='uint8'))
