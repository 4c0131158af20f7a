"""Fast copies of many videos: by several processes, to be gone on with, each proved and whole or not there."""
from __future__ import annotations

import contextlib
import fcntl
import functools
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...errors import UsageError, VideoReadError
from ...files import output_errors, parse_json, put_file, to_json
from ...signals import Terminated, heeding_termination
from ...unfinished import Shard, stamp_of
from ..loading.video_tasks import for_each_video
from ..reading.media.media_file import import_decoder
from .encoding import encode
from .lists import check_lists, write_lists
from .proof import prove
from .report import CopyLog, CopyReport
from .settings import CopySettings
from .sources import Source, list_sources

_log = logging.getLogger(__name__)
_PARTS, _LOCK = '.copies-', 'lock'


def make_copies(sources: str | os.PathLike | Sequence, out: str | os.PathLike, settings: CopySettings | None = None, *,
                data_dir: str = '', list_format: str = 'auto', list_encoding: str | None = None,
                multi_label: bool = False, num_workers: int = 1, timeout: float | None = None,
                shard: str | Shard | None = None, keep_unequal: bool = False, overwrite: bool = False,
                progress: bool = False) -> CopyReport:
    """Encode videos again so that they decode several times faster, and prove that nothing but pixels has changed.

    A copy has as many frames as its source, at the same times, upright; that is read back and compared. Called again
    it resumes with what is left, and with what failed.

    Parameters
    ----------
    sources : path or sequence of path
        Videos, folders of them at any depth, or lists as training takes them.
    out : path
        Folder of the copies, which have the paths of the videos below theirs, as ``.mp4``. ``copies.json`` in it says
        what each is; lists are written there with the new paths.
    settings : CopySettings, optional
    data_dir, list_format, list_encoding, multi_label
        Of lists, as in `gluon_action.data.lists.annotations.read_annotations`.
    num_workers : int
        Processes, each of which takes one video after the other; 0 works in this one.
    timeout : float, optional
        Seconds that one video may take.
    shard : str or Shard, optional
        ``'2/8'`` takes the second of eight shares of the videos.
    keep_unequal : bool
        Keep copies that are not as their sources; they are in the report all the same.
    overwrite : bool
        Replace files that are there, among them copies of other settings.
    progress : bool
        Show a progress bar where the error stream is a terminal.

    Returns
    -------
    CopyReport

    Raises
    ------
    UsageError
        When an argument is invalid, or files are there that are no copies of these settings.
    AnnotationError, OutputError
        When a list cannot be read, or `out` cannot be written.

    Examples
    --------
    >>> made = make_copies('train.txt', 'fast', data_dir='videos')
    >>> made.done, made.failed, made.lists
    (9537, 0, [PosixPath('fast/train.txt')])
    """
    settings = settings or CopySettings()
    shard = Shard.parse(shard) if isinstance(shard, str) else shard
    given = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
    reading = dict(list_format=list_format, list_encoding=list_encoding, multi_label=multi_label)
    videos = list_sources(given, data_dir, **reading)
    out = Path(out).expanduser()
    _check_places(given, videos, out)
    check_lists(given, out, list_format)
    with output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    log = CopyLog(out, settings, shard)
    mine = [videos[number] for number in (shard or Shard(1, 1)).of(len(videos))]
    todo = [video for video in mine if not log.finished(video)]
    _check_free(todo, out, settings, overwrite)
    with heeding_termination(), contextlib.closing(log), _parts(out) as parts:
        work = functools.partial(_work, out=out, parts=parts, settings=settings, keep_unequal=keep_unequal)
        try:
            for (path, name), answer in for_each_video(work, [(video.path, video.name) for video in todo],
                                                       num_workers=num_workers, timeout=timeout,
                                                       bar='copies' if progress else ''):
                record = {'error': answer.cause} if isinstance(answer, VideoReadError) else answer
                log.add(Source(path, name), record)
                if 'error' in record:
                    _log.warning('%s: %s', path, record['error'])
        except (KeyboardInterrupt, Terminated):
            _log.info('Interrupted. The copies that are done are kept: the same command resumes with the others.')
            raise
        lists = write_lists(given, videos, out, data_dir, overwrite=overwrite, **reading)
        return log.write(mine, len(todo), lists)


def _work(path: str, name: str, *, out: Path, parts: Path, settings: CopySettings,
          keep_unequal: bool) -> dict[str, Any]:
    """Copy one video, and return what is to be known of it."""
    target, part = out / name, parts / f'{secrets.token_hex(8)}.mp4'
    stamp = stamp_of(path)
    try:
        made = encode(path, part, settings, note=_note(settings, path))
        proof = prove(part, made)
        record = {'stamp': stamp, 'frames': len(made.timing.ticks), 'width': made.width, 'height': made.height,
                  'sound': made.sound, 'source_bytes': stamp[0] if stamp else 0, 'bytes': part.stat().st_size,
                  'psnr': [round(value, 2) for value in proof.psnr]}
        if proof.trouble:
            record['error'] = proof.trouble + ('; it is kept, as was asked' if keep_unequal else '; it is not kept')
        if not proof.trouble or keep_unequal:
            with output_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                put_file(part, target)
            record['file'] = name
        return record
    finally:
        part.unlink(missing_ok=True)


def _note(settings: CopySettings, path: str) -> str:
    """What a copy says of itself: a process that is killed may leave it before anything else knows it."""
    return to_json({'gluon_action_copy': settings.seal, 'source': stamp_of(path)}, indent=None).strip()


def _check_free(videos: Sequence[Source], out: Path, settings: CopySettings, overwrite: bool) -> None:
    """Refuse to replace what is there, unless it is an unfinished run's own copy, or that is asked for."""
    others = []
    for video in videos:
        target = out / video.name
        if not os.path.lexists(target):
            continue
        if _comment(target) != _note(settings, video.path):
            others.append(target)
    if others and not overwrite:
        raise UsageError(f'--out {out}: holds {len(others)} files that are no copies of these videos with these '
                         f'settings, first {others[0]}; pass --overwrite to replace them, or choose another --out')


def _check_places(given: Sequence, videos: Sequence[Source], out: Path) -> None:
    """Refuse a folder in which a copy would take the place of a video, or be copied itself the next time."""
    place = os.path.realpath(out)
    for folder in map(os.path.expanduser, map(os.fspath, given)):
        if os.path.isdir(folder) and os.path.commonpath([place, os.path.realpath(folder)]) == os.path.realpath(folder):
            raise UsageError(f'--out {out}: lies in {folder}, so that copies would be copied the next time; name a '
                             'folder beside it')
    originals = {os.path.realpath(video.path): video.path for video in videos}
    for video in videos:
        taken = originals.get(os.path.realpath(out / video.name))
        if taken:
            raise UsageError(f'--out {out}: the copy of {video.path} would take the place of {taken}; name another '
                             'folder')


def _comment(path: Path) -> str | None:
    av = import_decoder('av', 'av')
    try:
        with av.open(os.fspath(path), metadata_errors='replace') as container:
            note = container.metadata.get('comment', '')
            return note if isinstance(parse_json(note), dict) else None
    except (av.FFmpegError, OSError, ValueError):
        return None


@contextlib.contextmanager
def _parts(out: Path) -> Iterator[Path]:
    """A folder for copies that are not whole yet; what a killed process left of one is removed."""
    with output_errors(out):
        for left in out.glob(f'{_PARTS}*/{_LOCK}'):
            with contextlib.suppress(OSError), open(left, 'a') as lock:  # BlockingIOError: somebody writes there
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left.parent)
        making, folder = (out / f'{start}{secrets.token_hex(4)}' for start in ('.making-', _PARTS))
        making.mkdir()
        lock = open(making / _LOCK, 'a')
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.rename(making, folder)  # locked before others can find it
    try:
        yield folder
    finally:
        lock.close()
        shutil.rmtree(folder, ignore_errors=True)
