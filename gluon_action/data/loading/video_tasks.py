"""One task a video, in worker processes: answers as they come, and a video that cannot be read is an answer too."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...errors import VideoReadError
from .workers import WorkerError, WorkerPool, WorkerTimeout


def for_each_video(work: Callable, tasks: Sequence[tuple], *, num_workers: int = 1, timeout: float | None = None,
                   bar: str = '') -> Iterator[tuple[tuple, Any]]:
    """Call ``work(*task)`` for each task.

    Parameters
    ----------
    work : callable
        Called in forked processes; need not be picklable, but its value must be.
    tasks : sequence of tuple
        The first item of each is the path of the video.
    num_workers : int
        Processes; 0 works in this one, without a time limit.
    timeout : float, optional
        Seconds that one task may take.
    bar : str
        Words beside a progress bar, which is shown where the error stream is a terminal; none by default.

    Yields
    ------
    task : tuple
    value
        What `work` returned; a `VideoReadError` that it raised, or that says why its process had to be given up.

    Raises
    ------
    Exception
        Whatever else `work` raised: a fault that is not the video's.
    """
    from tqdm import tqdm
    answers = _in_workers(work, tasks, num_workers, timeout) if num_workers and tasks else _here(work, tasks)
    for task, value in tqdm(answers, desc=bar, unit='video', total=len(tasks), disable=None if bar else True):
        if isinstance(value, WorkerTimeout):
            value = VideoReadError(task[0], 'auto', f'not done after {timeout:g} s, so it was given up')
        elif isinstance(value, WorkerError):
            value = VideoReadError(task[0], 'auto', str(value))
        elif isinstance(value, Exception) and not isinstance(value, VideoReadError):
            raise value
        yield task, value


def _in_workers(work: Callable, tasks: Sequence[tuple], num_workers: int,
                timeout: float | None) -> Iterator[tuple[tuple, Any]]:
    pool = WorkerPool(work, min(num_workers, len(tasks)), timeout=timeout)
    try:
        for task in tasks:
            pool.submit(task, *task)
        while len(pool):
            yield pool.next()
    finally:
        pool.close()


def _here(work: Callable, tasks: Sequence[tuple]) -> Iterator[tuple[tuple, Any]]:
    for task in tasks:
        try:
            yield task, work(*task)
        except VideoReadError as error:
            yield task, error
