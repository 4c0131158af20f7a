"""What became of the copies: kept while they are made, and told at the end, as text and as JSON."""
from __future__ import annotations

import dataclasses
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import __version__
from ...errors import OutputError
from ...files import open_file, parse_json, to_json, write_file
from ...printable import printable
from ...unfinished import Shard, Unfinished, stamp_of
from .settings import CopySettings
from .sources import Source

REPORT = 'copies.json'
_FORMAT = 'gluon_action fast copies 1'
_TOLD = 5  # failures in the text


@dataclass(frozen=True)
class CopyReport:
    """What became of the videos that were to be copied.

    Attributes
    ----------
    folder : Path
        Of the copies.
    report : Path
        The same as JSON.
    videos : list of dict
        Of each video ``video`` (its path), and of its copy ``file``, ``frames``, ``width``, ``height``, ``sound``,
        ``bytes``, ``source_bytes`` and ``psnr`` (of some frames, in dB), or ``error``.
    done, found, failed : int
        Videos that were copied now, had been before, and have no copy that is proved.
    lists : list of Path
        That were written.
    """

    folder: Path
    report: Path
    videos: list[dict[str, Any]]
    done: int
    found: int
    failed: int
    lists: list[Path]

    def told(self) -> str:
        """Return it as text."""
        whole = [record for record in self.videos if 'error' not in record]
        lines = [f'{self.folder}: {self.done} copies made, {self.found} were there before, {self.failed} failed']
        if whole:
            before, after = (sum(record[name] for record in whole) for name in ('source_bytes', 'bytes'))
            frames = sum(record['frames'] for record in whole)
            lines.append(f'{megabytes(after)} instead of {megabytes(before)} ({after / max(1, before):.2f} times), '
                         f'{frames} frames, all at the times of their sources')
            values = [value for record in whole for value in record['psnr']]
            if values:
                lines.append(f'frames differ from their sources by {statistics.median(values):.1f} dB (median of '
                             f'{len(values)} frames), {min(values):.1f} dB at worst')
        failures = [record for record in self.videos if 'error' in record]
        lines += [f'  failed: {record["video"]}: {record["error"]}' for record in failures[:_TOLD]]
        if len(failures) > _TOLD:
            lines.append(f'  and {len(failures) - _TOLD} more, in {self.report}')
        lines += [f'list: {path}' for path in self.lists]
        if failures and self.lists:
            lines.append('the lists name the videos that failed too; gluon-action check-data LIST --fix-list FILE '
                         'makes one without them')
        return '\n'.join(printable(line) for line in lines)


class CopyLog:
    """What is known of copies in a folder: of this process, of earlier ones, and of those of other shards.

    Parameters
    ----------
    folder : Path
    settings : CopySettings
    shard : Shard, optional
        Of the process, which has a report of its own.

    Raises
    ------
    OutputError
        When a report is none.
    """

    def __init__(self, folder: Path, settings: CopySettings, shard: Shard | None = None):
        self._folder, self._settings, self._shard = folder, parse_json(to_json(dataclasses.asdict(settings))), shard
        name = REPORT if shard is None else f'copies.{shard.index}-of-{shard.count}.json'
        self.path = folder / name
        self._log = Unfinished(folder / f'{name}.unfinished', self._settings)
        self._records = self._known()

    def finished(self, video: Source) -> bool:
        """Whether the proved copy of a video is there: of the file as it is now, and as it was written."""
        record = self._records.get(video.name)
        return record is not None and 'error' not in record and record['video'] == video.path \
            and record.get('stamp') == stamp_of(video.path) is not None \
            and record.get('copy_stamp') == stamp_of(self._folder / video.name) is not None

    def add(self, video: Source, record: Mapping[str, Any]) -> None:
        """Keep what was done for a video."""
        self._records[video.name] = {
            'video': video.path, 'name': video.name, 'stamp': stamp_of(video.path),
            'copy_stamp': stamp_of(self._folder / video.name) if 'file' in record else None, **record}
        self._log.add(self._records[video.name])

    def write(self, videos: Sequence[Source], num_tried: int, lists: list[Path]) -> CopyReport:
        """Write the report about these videos, of which so many were tried now."""
        records = [self._records[video.name] for video in videos]
        failed = sum('error' in record for record in records)
        names = {video.name for video in videos}
        others = [record for name, record in self._records.items() if name not in names and 'error' not in record]
        report = CopyReport(self._folder, self.path, records, num_tried - failed, len(videos) - num_tried, failed,
                            lists)
        write_file(self.path, to_json({
            'format': _FORMAT, 'gluon_action': __version__, 'settings': self._settings, 'done': report.done,
            'found': report.found, 'failed': failed, 'lists': [os.fspath(path.name) for path in lists],
            'videos': [*records, *others]}))
        self._log.remove()
        if self._shard is None:  # it has taken over what shards had to say
            for path in self._others():
                path.unlink(missing_ok=True)
        return report

    def close(self) -> None:
        """Keep what is done for the next time."""
        self._log.close()

    def _others(self) -> list[Path]:
        return sorted(self._folder.glob('copies.*-of-*.json*'))

    def _known(self) -> dict[str, dict[str, Any]]:
        found = []
        for path in sorted({*self._others(), self._folder / REPORT, self._folder / f'{REPORT}.unfinished'}):
            found += Unfinished(path, self._settings).done if path.suffix == '.unfinished' else self._read(path)
        return {record['name']: record for record in found if _is_record(record)}

    def _read(self, path: Path) -> list[Any]:
        """Records of a report; none of one of other settings."""
        try:
            with open_file(path) as file:
                content = parse_json(file.read())
            if content['format'] != _FORMAT or not isinstance(content['videos'], list):
                raise ValueError(f'it is none of {_FORMAT!r}')
            return content['videos'] if content['settings'] == self._settings else []
        except FileNotFoundError:
            return []
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise OutputError(f'{path}: is no report of copies ({error}); choose another --out, or remove '
                              'it') from error


def _is_record(record: Any) -> bool:
    return isinstance(record, dict) and all(isinstance(record.get(name), str) for name in ('video', 'name')) and (
        isinstance(record.get('error'), str) or isinstance(record.get('psnr'), list) and all(
            isinstance(record.get(name), int) for name in ('frames', 'bytes', 'source_bytes')))


def megabytes(number: float) -> str:
    """Return a number of bytes as people say it."""
    for unit, size in (('GB', 1e9), ('MB', 1e6)):
        if number >= size:
            return f'{number / size:.3g} {unit}'
    return f'{number / 1e3:.3g} kB'
