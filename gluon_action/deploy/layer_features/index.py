"""The folder that features are written to: its settings, what is done, and the index of it as CSV and JSON."""
from __future__ import annotations

import contextlib
import csv
import fcntl
import hashlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import __version__
from ...errors import OutputError, UsageError
from ...files import Changed, check_sealed, open_file, output_errors, parse_json, to_json, write_file
from ...unfinished import Shard, Unfinished, stamp_of
from ..sharding.parts import difference
from .videos import Video

INDEX, TABLE, LOCK = 'index.json', 'index.csv', '.lock'
_FORMAT = 'gluon_action features 1'
_COLUMNS = ('video', 'file', 'shape', 'start', 'end', 'label', 'class_name', 'error', 'part_start', 'part_end')


class FeatureIndex:
    """What a folder holds of features, which all are of the same settings; several processes may write to it.

    A process adds what it has done to a file of its own, ``index.json.unfinished`` (of a shard
    ``index.json.1-of-4.unfinished``), and takes it into the index in the end.

    Parameters
    ----------
    folder : Path
    settings : mapping
        All that the features depend on, for JSON.
    shard : Shard, optional
        Of the process.
    overwrite : bool
        Replace features of other settings.

    Raises
    ------
    UsageError
        When the folder holds features of other settings, or other things.
    OutputError
        When it cannot be written, or its index cannot be read.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], shard: Shard | None = None, overwrite: bool = False):
        self.folder, self._shard = folder, shard
        self._settings = parse_json(to_json(settings))
        self.seal = hashlib.sha256(to_json(self._settings).encode()).hexdigest()
        with output_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._agree(overwrite)
            self._records = self._known()
        name = f'{INDEX}.{shard.index}-of-{shard.count}' if shard else INDEX
        self._log = Unfinished(folder / f'{name}.unfinished', self._job)

    def finished(self, video: Video) -> bool:
        """Whether the features of a video are there: made of the file as it is now, and written as they were."""
        record = self._records.get(video.name)
        return record is not None and 'error' not in record and record['video'] == str(video.source) \
            and record.get('stamp') == stamp_of(video.path) is not None and _is_whole(self.folder, record)

    def add(self, video: Video, record: Mapping[str, Any]) -> None:
        """Keep what was done for a video: ``file`` and what is known of it, or ``error``."""
        self._records[video.name] = record = {'name': video.name, 'video': str(video.source),
                                              'stamp': stamp_of(video.path), **record}
        self._log.add(record)

    def write(self, videos: Sequence[Video]) -> list[dict[str, Any]]:
        """Write the index of all that is there and return what is known of these videos, in their order.

        Videos that no process has come to yet are left out.
        """
        with self._locked():
            records = {**self._known(), **self._records}
            names = {video.name for video in videos}
            records = {name: record for name, record in records.items() if 'file' in record or name in names}
            for video in videos:  # a list may have changed
                if video.name in records:
                    records[video.name] |= {'label': video.label, 'class_name': video.class_name}
            content = {'format': _FORMAT, 'gluon_action': __version__, 'settings': self._settings,
                       'settings_sha256': self.seal, 'videos': [records[name] for name in sorted(records)]}
            write_file(self.folder / TABLE, _as_table(content['videos']))
            write_file(self.folder / INDEX, to_json(content))
            self._log.remove()
            if self._shard is None:  # nobody else is at work, so these are of shards that were stopped
                _remove_logs(self.folder)
        return [records[video.name] for video in videos if video.name in records]

    def close(self) -> None:
        """Keep what is done for the next time."""
        self._log.close()

    @property
    def _job(self) -> dict[str, Any]:
        return {'settings_sha256': self.seal}

    def _agree(self, overwrite: bool) -> None:
        """Compare the settings with those that are there, or write them."""
        index = self.folder / INDEX
        if not index.exists():
            if others := sorted(name for name in os.listdir(self.folder) if not name.startswith('.')):
                raise UsageError(f'--out {self.folder}: holds {others[0]} and no {INDEX}; name a new folder, or that '
                                 'of an earlier extraction')
        else:
            there = _read(index)
            if there['settings'] == self._settings:
                return
            if not overwrite:
                raise UsageError(f'--out {self.folder}: holds features of other settings: '
                                 f'{difference(self._settings, there["settings"])}; choose another --out, or pass '
                                 '--overwrite to replace them')
            _remove_logs(self.folder)
        write_file(index, to_json({'format': _FORMAT, 'gluon_action': __version__, 'settings': self._settings,
                                   'settings_sha256': self.seal, 'videos': []}))

    def _known(self) -> dict[str, dict[str, Any]]:
        """Records by name: of the index, and of processes that are not done."""
        lines = list(_read(self.folder / INDEX)['videos'])
        for path in _logs(self.folder):
            lines += Unfinished(path, self._job).done
        return {line['name']: line for line in lines if _is_record(line)}

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with output_errors(self.folder / LOCK):
            lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _logs(folder: Path) -> list[Path]:
    return sorted(folder.glob(f'{INDEX}*.unfinished'))


def _remove_logs(folder: Path) -> None:
    for path in _logs(folder):
        path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        with open_file(path) as file:
            content = parse_json(file.read())
        if content['format'] != _FORMAT or not isinstance(content['videos'], list) \
                or not isinstance(content['settings'], dict):
            raise ValueError(f'it is none of {_FORMAT!r}')
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise OutputError(f'{path}: is no index of features ({error}); choose another --out, or remove it') from error
    return content


def _is_record(line: Any) -> bool:
    if not isinstance(line, dict) or not all(isinstance(line.get(name), str) for name in ('name', 'video')):
        return False
    return isinstance(line.get('error'), str) or isinstance(line.get('file'), str) \
        and isinstance(line.get('shape'), list) and all(_is_time(line.get(name)) for name in ('start', 'end'))


def _is_time(value: Any) -> bool:
    values = value if isinstance(value, list) and value else [value]
    return all(isinstance(each, (int, float)) for each in values)


def _is_whole(folder: Path, record: Mapping[str, Any]) -> bool:
    try:
        check_sealed(folder / record['file'], record)
    except (Changed, OSError):
        return False
    return True


def _as_table(records: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator='\n')
    table.writerow(_COLUMNS)
    for record in records:
        times = [record[name] for name in ('start', 'end')] if 'file' in record else ['', '']
        ends = [f'{(time[place] if isinstance(time, list) else time):.3f}' if time != '' else ''
                for time, place in zip(times, (0, -1))]
        labels = record.get('label')
        table.writerow([record['video'], record.get('file', ''), 'x'.join(map(str, record.get('shape', ()))), *ends,
                        ' '.join(map(str, labels)) if isinstance(labels, (list, tuple)) else
                        '' if labels is None else labels, record.get('class_name') or '', record.get('error', ''),
                        *([f'{bound:.3f}' for bound in record['part']] if record.get('part') else ['', ''])])
    return text.getvalue()
