"""Features of many videos, as files with an index: what is done is kept, and several processes may share the work."""
from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import GluonActionError, OutputError, UsageError
from ...files import describe
from ...unfinished import Shard
from .extractor import FeatureExtractor
from .files import FORMATS, import_h5py, write_features
from .index import INDEX, TABLE, FeatureIndex
from .videos import Video, list_sources

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extraction:
    """What an extraction has come to.

    Attributes
    ----------
    folder, table, index : Path
        Where the files are, and the index of them as CSV and as JSON.
    layer : str
    videos : list of dict
        What the index says of each video: ``video``, ``file``, ``shape``, ``start`` and ``end`` in seconds, ``label``;
        of a part of one also ``part``, when it begins and ends, and of one that was skipped ``error``. Those that other
        shards have not done yet are missing.
    done, found, skipped, missing : int
        Videos that were done now, had been before, could not be read, and are left to other shards.
    """

    folder: Path
    layer: str
    videos: list[dict[str, Any]]
    done: int
    found: int
    skipped: int
    missing: int

    @property
    def table(self) -> Path:
        """The index as CSV."""
        return self.folder / TABLE

    @property
    def index(self) -> Path:
        """The index as JSON."""
        return self.folder / INDEX


def extract_features(source: str | os.PathLike | FeatureExtractor, videos: str | os.PathLike | Sequence,
                     out: str | os.PathLike, *, format: str = 'npz', shard: str | Shard | None = None,
                     overwrite: bool = False, data_dir: str = '', list_format: str = 'auto',
                     list_encoding: str | None = None, multi_label: bool = False, progress: bool = False,
                     **choices) -> Extraction:
    """Extract features of videos by a layer of a model into a folder, one file a video.

    Called again it resumes with what is left: files that are there as they were written, of videos that have not
    changed since, are kept. A video that cannot be read is skipped, and tried again the next time.

    Parameters
    ----------
    source : str, path or FeatureExtractor
        The model: the folder of a run, a bundle, FILE.params, or a model of the zoo.
    videos : str, path or sequence of them
        Videos, folders of them at any depth, folders of frames, or lists as training takes them.
    out : path
        Folder of the files, which have the names of the videos, and of ``index.csv`` and ``index.json``.
    format : {'npz', 'npy', 'hdf5'}
        ``npz`` and ``hdf5`` have the arrays ``features``, ``start`` and ``end`` (in seconds), ``npy`` has the features.
    shard : str or Shard, optional
        ``'2/8'`` takes the second of eight shares of the videos; the last one to be done completes the index.
    overwrite : bool
        Replace features of other settings.
    data_dir, list_format, list_encoding, multi_label
        Of lists, as in `gluon_action.data.lists.annotations.read_annotations`.
    progress : bool
        Show a progress bar where the error stream is a terminal.
    **choices
        Those of `FeatureExtractor`: ``layer``, ``window``, ``stride``, ``pool``, ``use_pretrained`` ...

    Returns
    -------
    Extraction

    Raises
    ------
    UsageError
        When an argument is invalid, there is no such layer, or `out` holds features of other settings.
    AnnotationError, BundleError, WeightsError, OutputError
        When a list or the model cannot be read, or `out` cannot be written.

    Examples
    --------
    >>> made = extract_features('runs/mine', 'videos', 'features')
    >>> made.videos[0]['shape']
    (2048,)
    """
    if format not in FORMATS:
        raise UsageError(f'--format must be one of {", ".join(FORMATS)}, got {format!r}')
    if format == 'hdf5':
        import_h5py()
    shard = Shard.parse(shard) if isinstance(shard, str) else shard
    found = list_sources([videos] if isinstance(videos, (str, os.PathLike)) else videos, data_dir,
                         list_format=list_format, list_encoding=list_encoding, multi_label=multi_label)
    if isinstance(source, FeatureExtractor) and choices:
        raise UsageError(f'{", ".join(choices)}: a FeatureExtractor has made its choices; leave them out')
    extractor = source if isinstance(source, FeatureExtractor) else FeatureExtractor(source, **choices)
    folder = Path(out).expanduser()
    index = FeatureIndex(folder, {**extractor.settings(), 'format': format}, shard, overwrite)
    mine = [found[number] for number in (shard or Shard(1, 1)).of(len(found))]
    todo = [video for video in mine if not index.finished(video)]
    try:
        for video in _with_bar(todo, len(mine), folder.name) if progress else todo:
            index.add(video, _extract(extractor, video, folder, format))
        records = index.write(found)
    finally:
        index.close()
    names = {video.name for video in mine}
    skipped = sum('error' in record for record in records if record['name'] in names)
    return Extraction(folder, extractor.layer, records, len(todo) - skipped, len(mine) - len(todo), skipped,
                      len(found) - len(records))


def _extract(extractor: FeatureExtractor, video: Video, folder: Path, form: str) -> dict[str, Any]:
    """Write the file of a video and return what is to be known of it."""
    known = {'label': video.label, 'class_name': video.class_name}
    try:
        features = extractor(video.source)
    except OutputError:
        raise
    except GluonActionError as error:
        _log.warning('skipped: %s', error)
        return {**known, 'error': str(error)}
    name = video.name + FORMATS[form]
    write_features(folder / name, features, form)
    part = {} if features.part is None else {'part': features.part.round(4).tolist()}
    return {**known, 'file': name, 'shape': list(features.values.shape), 'start': features.start.round(4).tolist(),
            'end': features.end.round(4).tolist(), **part, **features.about, **describe(folder, [name])[name]}


def _with_bar(videos: Sequence[Video], total: int, name: str) -> Sequence[Video]:
    try:
        from tqdm import tqdm
    except ImportError:
        return videos
    return tqdm(videos, total=total, initial=total - len(videos), unit='video', desc=name, disable=None)
