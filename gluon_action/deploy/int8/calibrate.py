"""int8 bundles by the flags of the test script, calibrated on the views that it would score."""
from __future__ import annotations

import logging
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from ... import engine
from ...data.preprocess import Preprocess
from ...errors import UsageError, VideoReadError
from ...evaluate.network import build_network, check_test
from ...evaluate.options.config import TestConfig
from ...evaluate.recognizer import open_test_set
from ...evaluate.views import resized_frames
from ..bundle.format import check_folder
from ..bundle.what_is_exported import preprocess_of
from ..bundle.write import write_bundle
from .bundle import Int8Choices, quantize_bundle, report_text
from .calibration_clips import Clip

_log = logging.getLogger(__name__)

# What GluonCV calls it -> what it is here.
_MODES = {'naive': 'minmax', 'entropy': 'entropy'}
_TYPES = {'auto': 'uint8', 'uint8': 'uint8', 'int8': 'int8'}


def calibrate(config: TestConfig) -> tuple[Path, str]:
    """Make an int8 bundle of the network that a test would score.

    Parameters
    ----------
    config : TestConfig
        ``num_calib_batches`` batches of ``batch_size`` views are taken, spread over ``train_list`` if it is given,
        else over ``val_list``.

    Returns
    -------
    Path, str
        The bundle, in ``results_dir``, and what it costs and gains, to read.

    Raises
    ------
    UsageError
        When it exists and ``overwrite`` is False, or no video can be read.
    OutputError
        When it cannot be written.
    """
    prepared = check_test(config)
    config = prepared.config
    out = Path(config.results_dir).expanduser() / f'{config.model}-quantized-{config.calib_mode}'
    check_folder(out, config.overwrite)
    dataset = open_test_set(config, train=bool(config.train_list))
    imperative = replace(prepared, config=replace(config, mode='imperative'))
    network = build_network(imperative.config, dataset.num_classes, engine.contexts(), prepared=imperative)
    views = collect_views(dataset, network.preprocess, config.segments, config.batch_size * config.num_calib_batches)
    _log.info('Calibrating on %d views of %s', len(views), dataset.samples[0].source)
    one_view = replace(config, num_crop=1, three_crop=False, ten_crop=False)
    preprocess = preprocess_of(one_view, prepared.card, short_side=None if config.read_size else config.short_side)
    choices = Int8Choices(mode=_MODES[config.calib_mode], activations=_TYPES[config.quantized_dtype])
    classes = dataset.classes if dataset.classes and len(dataset.classes) == network.block.num_classes else None
    with tempfile.TemporaryDirectory() as folder:
        float_bundle = write_bundle(network.block, Path(folder, 'float'), preprocess=preprocess,
                                    labels=classes or network.classes, card=prepared.card, origin=prepared.origin)
        report = quantize_bundle(float_bundle, out, calibration=[Clip('', None, view) for view in views],
                                 choices=choices, overwrite=config.overwrite)
    return out, report_text(report)


def collect_views(dataset, preprocess: Preprocess, num_segments: int, count: int) -> list[np.ndarray]:
    """Take `count` views, or as many as there are, spread over the videos and over the views of each.

    Returns
    -------
    list of uint8 ndarray (T, H, W, C)

    Raises
    ------
    UsageError
        When no video can be read.
    """
    num_videos = min(len(dataset), count)
    share = min(math.ceil(count / num_videos), num_segments * preprocess.crops)
    views, failure = [], None
    for turn, index in enumerate(np.linspace(0, len(dataset) - 1, num_videos).astype(int)):
        try:
            frames = resized_frames(dataset, preprocess, int(index))
        except VideoReadError as error:
            failure = error
            _log.warning('not calibrated on: %s', error)
            continue
        all_views = list(preprocess.views(frames, num_segments))
        # Another view of every video, so that all segments and crops have their part.
        picked = (turn + np.linspace(0, len(all_views), share, endpoint=False)).astype(int) % len(all_views)
        views += [all_views[i] for i in picked]
    if not views:
        raise UsageError(f'there is nothing to calibrate on: no video could be read; the last one: {failure}')
    return views[:count]
