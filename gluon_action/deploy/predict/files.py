"""Predictions for several videos, and their output files: checked first, written atomically, taken up again."""
from __future__ import annotations

import os
import re
import string
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from ... import __version__
from ...data.flow.folder import ARRAY, MANIFEST, is_video_name
from ...data.lists.file_kinds import are_frames, is_hidden
from ...data.reading.frame_folder import natural_order
from ...errors import GluonActionError, OutputError, UsageError
from ...files import new_part, to_json, write_file
from ...unfinished import Unfinished, stamp_of
from .overlay import Overlay, check_path
from .overlay_panel import import_pillow
from .predictor import Prediction, Predictor
from .timeline import import_matplotlib, plot_timeline
from .windows import Window

FIELDS = ('name', 'number')


class Job(NamedTuple):
    """A video, and the files that its prediction goes to."""

    video: str
    overlays: tuple[Path, ...] = ()
    timeline: Path | None = None

    @property
    def files(self) -> list[Path]:
        """All of them."""
        return [*self.overlays, *([self.timeline] if self.timeline else [])]


class FailedVideo(NamedTuple):
    """A video that could not be predicted, or whose files could not be written."""

    source: str
    error: GluonActionError

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {'path': self.source, 'error': str(self.error)}


class PredictedBefore(NamedTuple):
    """A video that was predicted before the command was interrupted: what is known of it."""

    source: str
    content: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return self.content

    @property
    def answer(self) -> str:
        """Class and score."""
        return f'{self.content.get("label")} ({self.content.get("score")})'


def plan_jobs(videos: Sequence[str], *, overlay: str | None = None, timeline: str | None = None,
              json: str | None = None, overwrite: bool = False) -> list[Job]:
    """Decide where every output goes, and refuse what cannot be written.

    Parameters
    ----------
    videos : sequence of str
    overlay, timeline : str, optional
        A file for one video; for several a folder, or a name with ``{name}`` (of the video, without its ending) or
        ``{number}`` (from 1) in it.
    json : str, optional
        File for all.
    overwrite : bool
        Replace files that are there. Those of an interrupted command, which `unfinished_beside` knows, are not in the
        way.

    Raises
    ------
    UsageError
        When a file exists, two would have the same name, the folder is missing, or a package that writes them is.
    OutputError
        When a folder cannot be written to.
    """
    overlays = output_paths('--overlay', overlay, videos, '.mp4') if overlay else [None] * len(videos)
    timelines = output_paths('--timeline', timeline, videos, '.png') if timeline else [None] * len(videos)
    if overlay:
        import_pillow()
    if timeline:
        import_matplotlib()
    targets = [('--overlay', path) for path in overlays] + [('--timeline', path) for path in timelines]
    targets.append(('--json', Path(json).expanduser() if json else None))
    overwrite = overwrite or json is not None and unfinished_beside(json).exists
    taken: dict[Path, str] = {}
    for flag, path in targets:
        if path is None:
            continue
        if taken.setdefault(path.absolute(), flag) != flag:
            raise UsageError(f'{flag} {path}: is the file of {taken[path.absolute()]} too; pass another name')
        if flag == '--overlay':
            check_path(path)
        if flag == '--timeline' and path.suffix.lower() != '.png':
            raise UsageError(f'--timeline {path}: must end in .png')
        check_output(flag, path, videos, overwrite)
    return [Job(video, (over,) if over else (), time) for video, over, time in zip(videos, overlays, timelines)]


def predict_jobs(predictor: Predictor, jobs: Iterable[Job], *, top_k: int = 5, fps: float | None = None,
                 watch: Callable[[Any], Callable[[Window], None]] | None = None
                 ) -> Iterator[tuple[Job, Prediction | FailedVideo]]:
    """Predict one video after the other; what fails does not stop the others.

    Parameters
    ----------
    predictor : Predictor
    jobs : iterable of Job
    top_k : int
        Classes of a timeline.
    fps : float, optional
        Of folders of pictures.
    watch : callable, optional
        Takes what `Predictor.stream` tells its `on_open`, and returns what takes every window: for a progress bar.
    """
    for job in jobs:
        try:
            result = _predict(predictor, job, top_k, fps, watch)
        except GluonActionError as error:
            result = FailedVideo(job.video, error)
        yield job, result


def unfinished_beside(json: str | os.PathLike, job: dict[str, Any] | None = None) -> Unfinished:
    """Return what an interrupted command left beside its JSON file."""
    path = Path(json).expanduser()
    return Unfinished(path.with_name(f'{path.name}.unfinished'), job)


def resume_jobs(json: str | os.PathLike, predictor: Predictor, jobs: Sequence[Job], *, top_k: int, fps: float | None,
                overwrite: bool) -> tuple[Unfinished, dict[int, PredictedBefore]]:
    """Find what an interrupted command predicted: of the same model, videos and options, and of files as they were.

    Returns
    -------
    Unfinished, dict of int to PredictedBefore
        Where results are to be kept with `keep`, and those that need no prediction by the number of their job.

    Raises
    ------
    UsageError
        When it was another command, and `overwrite` is False.
    """
    job = {'model': predictor.about(), 'top_k': top_k, 'fps': fps, 'version': __version__,
           'jobs': [[job.video, *map(str, job.files)] for job in jobs]}
    unfinished, found = unfinished_beside(json, job), {}
    if unfinished.exists and not unfinished.same:
        if not overwrite:
            raise UsageError(f'{unfinished.path}: is of another prediction, which was interrupted: of another model, '
                             'other videos or options; pass --overwrite to drop it, or another --json')
        unfinished.remove()
    for line in unfinished.done:
        number, content = line.get('number'), line.get('video')
        if type(number) is int and 0 <= number < len(jobs) and isinstance(content, dict) \
                and line.get('stamp') == stamp_of(jobs[number].video) is not None \
                and all(path.exists() for path in jobs[number].files):
            found[number] = PredictedBefore(jobs[number].video, content)
    return unfinished, found


def keep(unfinished: Unfinished, number: int, prediction: Prediction, top_k: int) -> None:
    """Keep the prediction of a job, by its number."""
    unfinished.add({'number': number, 'stamp': stamp_of(prediction.source), 'video': prediction.as_dict(top_k)})


def write_json(path: str | os.PathLike, predictor: Predictor,
               results: Sequence[Prediction | PredictedBefore | FailedVideo], top_k: int = 5) -> None:
    """Write all predictions and failures as JSON; `OutputError` when the file cannot be written."""
    videos = [result.as_dict(top_k) if isinstance(result, Prediction) else result.as_dict() for result in results]
    content = {'gluon_action': __version__, 'model': predictor.about(), 'labels': predictor.labels, 'videos': videos}
    write_file(Path(path).expanduser(), to_json(content))


def find_videos(names: Sequence[str]) -> list[str]:
    """Return these videos, and in the place of a folder of videos all of them, those of folders in it too.

    A folder that holds pictures and no videos, or optical flow, is a video itself. Hidden files are left out.
    """
    return [video for name in names for video in _videos_in(name) or [name]]


def _videos_in(folder: str, above: tuple[str, ...] = ()) -> list[str]:
    place = os.path.realpath(folder)
    if place in above:  # a link to a folder that it is in
        return []
    try:
        inside = sorted((name for name in os.listdir(folder) if not is_hidden(name)), key=natural_order)
    except (OSError, ValueError):  # no folder; what opens it will say what is wrong with it
        return []
    if are_frames(inside) or MANIFEST in inside or ARRAY in inside:
        return [folder]
    paths = [os.path.join(folder, name) for name in inside]
    return [video for path in paths for video in
            (_videos_in(path, (*above, place)) if os.path.isdir(path) else [path] * is_video_name(path))]


def output_paths(flag: str, target: str, videos: Sequence[str], ending: str) -> list[Path]:
    """Return the file of each video, as `plan_jobs` describes it."""
    folder = target.endswith('/') or os.path.isdir(os.path.expanduser(target))
    pattern = f'{target.rstrip("/")}/{{name}}{ending}' if folder else target
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(pattern) if field is not None]
    except ValueError:
        fields = ['?']
    if set(fields) - set(FIELDS):
        raise UsageError(f'{flag} {target}: between braces only {{name}} and {{number}} mean something')
    if len(videos) > 1 and not fields:
        raise UsageError(f'{flag} {target}: is one file for {len(videos)} videos; name a folder that exists, or put '
                         f'{{name}} or {{number}} into it: {os.path.splitext(target)[0]}_{{name}}{ending}')
    paths = [Path(pattern.format(name=name_of(video), number=number)).expanduser()
             for number, video in enumerate(videos, 1)]
    seen: dict[Path, str] = {}
    for path, video in zip(paths, videos):
        if path in seen:
            raise UsageError(f'{flag} {target}: {seen[path]} and {video} would both go to {path}; put {{number}} into '
                             'the name')
        seen[path] = video
    return paths


def name_of(video: str) -> str:
    """Name of a video for files: without folders and the ending, of an address what file systems allow."""
    base = os.path.basename(video.rstrip('/'))
    if '://' in video or not base:
        return re.sub(r'[^\w.-]+', '_', video).strip('_') or 'video'
    if video == '-':
        return 'stdin'
    return os.path.splitext(base)[0] if os.path.isfile(video) or is_video_name(video) else base


def check_output(flag: str, path: Path, videos: Sequence[str], overwrite: bool) -> None:
    """Refuse a file that is there, is a video that is read, or cannot be written."""
    if any(os.path.exists(video) and path.exists() and os.path.samefile(path, video) for video in videos):
        raise UsageError(f'{flag} {path}: is the video itself; pass another name')
    if path.is_dir():
        raise UsageError(f'{flag} {path}: is a folder; pass the name of a file')
    if path.exists() and not overwrite:
        raise UsageError(f'{flag} {path}: exists; pass --overwrite to replace it, or another name')
    if not path.parent.is_dir():
        raise UsageError(f'{flag} {path}: there is no folder {path.parent} to write it to; make it first')
    try:
        new_part(path).unlink()
    except OSError as error:
        raise OutputError(f'{flag} {path}: cannot be written: {error.strerror or error}') from error


def _predict(predictor: Predictor, job: Job, top_k: int, fps: float | None, watch: Callable | None) -> Prediction:
    watcher: list[Callable[[Window], None]] = []
    with ExitStack() as stack:
        overlay = stack.enter_context(Overlay(job.overlays, predictor.labels)) if job.overlays else None

        def on_open(frames) -> None:
            if overlay:
                overlay.open(frames)
            if watch:
                watcher.append(watch(frames))

        def on_window(window: Window) -> None:
            if overlay:
                overlay.window(window)
            for take in watcher:
                take(window)

        prediction = predictor.stream(job.video, on_open=on_open, on_window=on_window,
                                      on_frame=overlay and overlay.frame, fps=fps)
        if job.timeline:
            plot_timeline(prediction, job.timeline, top_k=top_k, colors=overlay and overlay.colors)
    return prediction
