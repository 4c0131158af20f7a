"""Features of a user's own videos as records in YouTube-8M's format: a frame a second, a backbone, a PCA, 8 bits."""
from __future__ import annotations

import functools
import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...data.tfrecords.examples import make_example, make_sequence_example
from ...data.tfrecords.features.feature_messages import dequantize, quantize
from ...data.tfrecords.framing import RecordWriter
from ...data.tfrecords.record_sets import counted
from ...errors import UsageError, VideoReadError
from ...files import check_folder_takes_files, output_errors
from ..sharding.joining import Concatenate
from ..sharding.shards import Job
from .audio import AudioFeatures
from .backbone import Backbone
from .extract_config import AUDIO_SIZE, ExtractConfig
from .pca import FILES, Pca, PcaFit, load_pca
from .videos_csv import ListedVideo, read_videos_csv

log = logging.getLogger(__name__)

#: The byte that stands for each number of a frame's audio feature where there is no audio: the level next to 0,
#: -3.1e-5. (Byte 0, which the original writes, is -1.99, and would be most of what a frame's joint norm sees.)
NO_AUDIO = 127


def open_extraction(config: ExtractConfig) -> Job:
    """Return the job of a configuration whose PCA is there: see `with_pca`.

    Raises
    ------
    UsageError, WeightsError
        When backbone and PCA do not go together, or are not there.
    AnnotationError
        When the list cannot be read.
    """
    videos, backbone = read_videos_csv(config.input_videos_csv), _backbone(config)
    pca = _pca_for(config, backbone)
    kept = ('frames_per_second', 'max_frames', 'skip_frame_level_features', 'labels_feature_key', 'image_feature_key',
            'video_file_key_feature_key', 'insert_zero_audio_features')
    audio = _audio(config)
    settings = {**{name: getattr(config, name) for name in kept}, 'backbone': backbone.about,
                'audio': audio.about if audio else None,
                'pca': {'sha256': pca.sha256, 'size': pca.sizes[1]}, 'labels_sha256': _sha256_of_labels(videos)}

    def make(index: int, folder: Path) -> dict[str, Any]:
        video = videos[index]
        try:
            frames = backbone.read(video.path, frames_per_second=config.frames_per_second,
                                   max_frames=config.max_frames)
            sound = audio(video.path, frames.seconds) if audio and frames.seconds is not None else None
        except VideoReadError as error:
            if config.on_error == 'raise':
                raise
            log.warning('skipped: %s', error)
            return {'skipped': str(error)}
        with RecordWriter(folder / 'video.tfrecord') as writer:
            writer.write(_record(video, pca.apply(backbone(frames.pictures)), sound, config))
        return {'frames': len(frames.pictures), 'seconds': frames.length, 'audio': sound is not None,
                'labels': None if video.labels is None else list(video.labels)}

    return Job(Path(config.output_tfrecords_file).expanduser(), [video.path for video in videos], settings,
               Concatenate(), make, strict=config.on_error == 'raise')


def with_pca(config: ExtractConfig, *, may_fit: bool = True, progress: bool = False) -> ExtractConfig:
    """Return the configuration with the PCA that it wants, which is fitted where it is to be, and is not there.

    Parameters
    ----------
    config : ExtractConfig
    may_fit : bool
        Whether it may be fitted here; one of several processes may not.
    progress : bool
        Show a progress bar where the error stream is a terminal.

    Raises
    ------
    UsageError
        When there is no PCA, it was fitted to something else, or the videos do not suffice.
    OutputError
        When it cannot be written, before it is fitted.
    """
    if config.pca:
        return config
    if not config.fit_pca:
        folder = Path(config.model_dir).expanduser()
        if not all((folder / name).is_file() for name in FILES):
            raise UsageError(f'--model_dir {folder}: does not hold {", ".join(FILES)}; name a PCA with --pca, or fit '
                             'one to your videos with --fit_pca FILE')
        return replace(config, pca=str(folder))
    path = Path(config.fit_pca).expanduser()
    videos, backbone = read_videos_csv(config.input_videos_csv), _backbone(config)
    about = {'backbone': backbone.about, 'videos_sha256': _sha256([video.path for video in videos]),
             **{name: getattr(config, name) for name in ('fit_pca_videos', 'frames_per_second', 'max_frames',
                                                         'pca_size')}}
    about = json.loads(json.dumps(about))
    if path.exists():
        found = {key: value for key, value in load_pca(path).about.items() if key != 'frames'}
        if found != about:
            raise UsageError(f'--fit_pca {path}: exists, and was fitted to something else; take it as it is with '
                             f'--pca {path}, or name another file')
    elif not may_fit:
        raise UsageError(f'--fit_pca {path}: is fitted by one process, before the shards; run the same command without '
                         '--shard and with --fit_pca_only first')
    else:
        _audio(config)  # fitting takes hours: what would be refused after it is refused before
        with output_errors(path):
            check_folder_takes_files(path.parent)
        _fit(config, backbone, videos, progress).finish(config.pca_size, about).save(path)
    return replace(config, pca=str(path), fit_pca='')


def _fit(config: ExtractConfig, backbone: Backbone, videos: list[ListedVideo], progress: bool) -> PcaFit:
    from tqdm import tqdm
    if config.pca_size > backbone.width:
        raise UsageError(f'--pca_size {config.pca_size}: {config.backbone} gives {backbone.width} features of a frame; '
                         'pass as many, or fewer')
    count = min(config.fit_pca_videos, len(videos))
    fit, bad = PcaFit(backbone.width), []
    for index in tqdm(np.unique(np.linspace(0, len(videos) - 1, count).round().astype(int)), desc='PCA', unit='video',
                      disable=None if progress else True):
        try:
            frames = backbone.read(videos[index].path, frames_per_second=config.frames_per_second,
                                   max_frames=config.max_frames)
        except VideoReadError as error:
            if config.on_error == 'raise':
                raise
            bad.append(error)
            continue
        fit.add(backbone(frames.pictures))
    if bad:  # the extraction names them all
        log.warning('left out of the PCA: %s, first %s', counted(bad, 'video'), bad[0])
    return fit


def _pca_for(config: ExtractConfig, backbone: Backbone) -> Pca:
    pca = load_pca(config.pca)
    if pca.sizes[0] != backbone.width:
        raise UsageError(f'--pca {config.pca}: takes {pca.sizes[0]} features of a frame, and {config.backbone} gives '
                         f'{backbone.width}; name the backbone that it was fitted to')
    fitted_to = pca.about.get('backbone', backbone.about)
    if fitted_to != backbone.about:
        changed = [key for key in backbone.about if fitted_to.get(key) != backbone.about[key]]
        raise UsageError(f'--pca {config.pca}: was fitted to features of another backbone (its {", ".join(changed)}); '
                         'fit one to this backbone with --fit_pca')
    return pca.first(config.pca_size)


def _record(video: ListedVideo, features: np.ndarray, sound: np.ndarray | None, config: ExtractConfig) -> bytes:
    context: dict[str, Any] = {config.video_file_key_feature_key: video.path.encode('utf-8', 'surrogateescape')}
    if video.labels is not None:
        context[config.labels_feature_key] = np.array(video.labels, np.int64)
    absent = sound is None and config.insert_zero_audio_features
    if config.skip_frame_level_features:
        context[f'mean_{config.image_feature_key}'] = features.mean(0)
        if sound is not None or absent:
            context['mean_audio'] = np.zeros(AUDIO_SIZE, np.float32) if absent else dequantize(sound).mean(0)
        return make_example(context)
    lists = {config.image_feature_key: quantize(features)}
    if sound is not None or absent:
        lists['audio'] = np.full((len(features), AUDIO_SIZE), NO_AUDIO, np.uint8) if absent else sound
    return make_sequence_example(context, lists)


@functools.lru_cache(maxsize=1)
def _opened_backbone(**given) -> Backbone:
    return Backbone(given.pop('name'), **given)


def _backbone(config: ExtractConfig) -> Backbone:
    return _opened_backbone(name=config.backbone, params=config.backbone_params, use_pretrained=config.use_pretrained,
                            num_gpus=config.num_gpus, batch_size=config.batch_size)


@functools.lru_cache(maxsize=1)
def _opened_audio(params: str, pca: str, **computing) -> AudioFeatures:
    return AudioFeatures(params, pca, **computing)


def _audio(config: ExtractConfig) -> AudioFeatures | None:
    if not config.audio_params:
        return None
    audio = _opened_audio(config.audio_params, config.audio_pca, num_gpus=config.num_gpus,
                          batch_size=config.batch_size)
    if audio.size != AUDIO_SIZE:
        raise UsageError(f'--audio_pca {config.audio_pca}: gives {audio.size} numbers, and an audio feature has '
                         f'{AUDIO_SIZE}')
    return audio


def _sha256_of_labels(videos: list[ListedVideo]) -> str:
    return _sha256([video.labels for video in videos])


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode('utf-8', 'surrogateescape')).hexdigest()
