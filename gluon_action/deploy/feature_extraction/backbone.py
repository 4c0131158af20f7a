"""A network of the zoo that turns frames of videos into features: what stands below its head."""
from __future__ import annotations

import logging
import os
import textwrap
from typing import NamedTuple

import numpy as np

from ... import engine
from ...compute.on_mxnet.parameters import parameters_sha256
from ...compute.on_mxnet.tracing import run
from ...data.preprocess import Preprocess
from ...data.reading.video_reader import VideoReader
from ...errors import UsageError, WeightsError
from ...input_kind import FRAMES
from ...model_zoo import get_model, model_card
from ...model_zoo.loading.fit import assign
from ...model_zoo.loading.params_file import read_parameters
from ...model_zoo.loading.preparation import prepared_for, read_preparation
from ...weights.environment import weights_root

_log = logging.getLogger(__name__)


class VideoFrames(NamedTuple):
    """Frames of a video uint8 (n, H, W, 3), when each is shown, and how long the video is; None without time."""

    pictures: np.ndarray
    seconds: np.ndarray | None
    length: float | None


class Backbone:
    """A network of frames without its head.

    Parameters
    ----------
    name : str
        A model of the zoo that takes frames.
    params : path, optional
        File of its parameters, whatever its classes; by default those for ImageNet of its body.
    use_pretrained : bool
        Take the model's own published weights.
    num_gpus : int
        1 computes on the first GPU.
    batch_size : int
        Frames that are computed at a time.

    Attributes
    ----------
    width : int
        D, its features of a frame.
    about : dict
        What decides the features, as JSON knows it: name, SHA-256 of the parameters, size and normalisation of frames.

    Raises
    ------
    UsageError
        When the model takes something else than frames.
    WeightsError
        When there are no such weights.
    """

    def __init__(self, name: str, *, params: str | os.PathLike = '', use_pretrained: bool = False, num_gpus: int = 0,
                 batch_size: int = 32):
        card = model_card(name)
        if card.input != FRAMES or card.modality != 'rgb':
            raise UsageError(f'--backbone {card.name}: takes {card.input} of {card.modality}, and features are made of '
                             'single pictures; name a network of frames, such as inceptionv3_kinetics400')
        if params and use_pretrained:
            raise UsageError('--backbone_params: contradicts --use_pretrained; leave out one of them')
        if not (params or use_pretrained or card.base):
            raise UsageError(f'--backbone {card.name}: has no weights for images to start from; pass --backbone_params '
                             'FILE, or --use_pretrained for published weights')
        contexts = engine.contexts(min(num_gpus, 1))
        if params:
            found, arrays = read_preparation(params), read_parameters(params)
            card = prepared_for(card, found, params) if found else card
            arrays.pop('tsn_consensus.weight', None)  # over segments, which stand apart here
            trained = (found.run or {}).get('config', {}) if found else {}
            if trained.get('model') not in (None, card.name):
                _log.warning('--backbone %s: the run of %s trained %s, as config.json beside it says', card.name,
                             params, trained['model'])
            variants = {name: True for name in ('use_gn', 'use_se', 'batch_norm') if trained.get(name) is True}
            self._net = get_model(card.name, nclass=len(arrays[card.head]) if card.head in arrays else None,
                                  pretrained_base=False, feat_ext=True, input_size=card.input_size, ctx=contexts,
                                  **variants)
            assign(self._net, arrays, params, ctx=contexts)
        else:
            try:
                self._net = get_model(card.name, pretrained=use_pretrained, feat_ext=True, ctx=contexts)
            except WeightsError as error:
                raise WeightsError(
                    f'--backbone {card.name}: its weights are not available; pass a file of parameters with '
                    '--backbone_params, or, on a machine with a network, run "gluon-action models download '
                    f'{card.name if use_pretrained else card.base} --root FOLDER" and put the files into '
                    f'{weights_root()} here. What happened: {textwrap.shorten(str(error), 300)}') from error
            card = self._net.card
        self._net.hybridize()
        self._batch_size, size = batch_size, card.input_size
        self.width = self._net.feat_dim
        self._size = size
        self._preprocess = Preprocess(layout=FRAMES.layout, offsets=(0,), crop=(size, size), mean=card.mean,
                                      std=card.std)
        self.about = {'name': card.name, 'sha256': parameters_sha256(self._net), 'size': size,
                      'mean': list(card.mean), 'std': list(card.std)}

    def read(self, path: str, *, frames_per_second: float, max_frames: int) -> VideoFrames:
        """Read frames of a video, evenly in time from its beginning, squeezed to the square that the network takes.

        Parameters
        ----------
        path : str
            A file, or a folder of numbered pictures, which have no time: all of them are taken.
        frames_per_second : float
        max_frames : int

        Raises
        ------
        VideoReadError
        """
        with VideoReader(path, width=self._size, height=self._size) as reader:
            shown = reader.seconds
            if shown is None:
                return VideoFrames(reader.read(range(min(len(reader), max_frames))), None, None)
            numbers = frame_numbers(shown, frames_per_second, max_frames)
            length = float(shown[-1]) + (1 / reader.fps if reader.fps else 0)
            return VideoFrames(reader.read(numbers), shown[numbers], round(length, 3))

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Return the features float32 (n, D) of frames uint8 (n, H, W, 3) as `read` gives them."""
        step = self._batch_size
        return np.concatenate([run(self._net, self._preprocess.apply(frames[first:first + step]))
                               for first in range(0, len(frames), step)])


def frame_numbers(shown: np.ndarray, frames_per_second: float, most: int) -> list[int]:
    """Return the numbers of frames that are shown every so often: of each moment the first one from then on.

    A frame may come before its moment by half of the shortest time between two frames, so that rounded times do not
    push it to the next one.

    Parameters
    ----------
    shown : float ndarray (n,)
        When each frame of the video is shown, in seconds, ascending from 0.
    frames_per_second : float
        Moments in a second. A frame is taken once, so fewer come out where the video has fewer.
    most : int
        No more frames than these.
    """
    early = np.diff(shown).min() / 2 if len(shown) > 1 else 0.
    moments = np.arange(int((shown[-1] + early) * frames_per_second) + 1) / frames_per_second
    return np.unique(np.searchsorted(shown, moments - early))[:most].tolist()
