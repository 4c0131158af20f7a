"""What a command has found out about its videos: kept on disk, so that memory does not grow with their number."""
from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ... import __version__
from ...errors import GluonActionError, UsageError
from ...unfinished import Unfinished, stamp_of, take_up
from ..predict.prediction import Prediction
from ..predict.predictor import Predictor
from .files import Job
from .tables import STANDARD_OUTPUT, Tables


class FailedVideo(NamedTuple):
    """A video that could not be predicted, or whose files could not be written."""

    source: str
    error: GluonActionError

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {'path': self.source, 'error': str(self.error)}


class Results:
    """Predictions and failures by the number of their job, beginning with what an interrupted command left.

    Iterating gives them in the order of the jobs, as `Tables.write` takes them; predictions are read from the file that
    keeps them. What no table is made of is not kept.

    Parameters
    ----------
    tables : Tables
    predictor : Predictor
    jobs : sequence of Job
    top_k : int
        Classes of each video.
    fps : float or None
        Of folders of pictures.
    overwrite : bool
        Drop what another command left.

    Attributes
    ----------
    failed, misused : int
        Videos that failed, and those of them whose failure is a usage error.

    Raises
    ------
    UsageError
        When what is there is of another command, and `overwrite` is False.
    """

    def __init__(self, tables: Tables, predictor: Predictor, jobs: Sequence[Job], *, top_k: int, fps: float | None,
                 overwrite: bool):
        self._jobs, self._top_k, self.failed, self.misused = jobs, top_k, 0, 0
        self._known: dict[int, int | dict[str, Any] | None] = {}  # where it lies, or what it is
        self._folder = self._kept = None
        job = {'model': predictor.about(), 'top_k': top_k, 'fps': fps, 'version': __version__,
               'jobs': [[str(job.video), *map(str, job.files)] for job in jobs]}
        if tables.files:
            self._kept = take_up(
                tables.unfinished().path, job, overwrite=overwrite, instead='another name',
                other='another prediction, which was interrupted: of another model, other videos or options')
            for place, line in self._kept.lines():
                if self._is_as_it_was(line):
                    self._known[line['number']] = place
        elif tables.json == STANDARD_OUTPUT:
            self._folder = tempfile.TemporaryDirectory()
            self._kept = Unfinished(Path(self._folder.name, 'results'), job)

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, number: int) -> bool:
        return number in self._known

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in sorted(self._known):
            known = self._known[number]
            yield self._kept.at(known)['video'] if isinstance(known, int) else known

    def add(self, number: int, result: Prediction | FailedVideo) -> None:
        """Take the result of a job."""
        if isinstance(result, FailedVideo):  # which the next command tries again
            self.failed, self.misused = self.failed + 1, self.misused + isinstance(result.error, UsageError)
            self._known[number] = result.as_dict()
        elif self._kept is None:
            self._known[number] = None
        else:
            content = result.as_dict(self._top_k)
            place = self._kept.add({'number': number, 'stamp': stamp_of(self._jobs[number].video), 'video': content})
            self._known[number] = content if place is None else place  # there was no room for it

    def close(self) -> None:
        """Keep the file for the next time, or remove one that is for this time only."""
        if self._kept:
            self._kept.close()
        if self._folder:
            self._folder.cleanup()

    def remove(self) -> None:
        """All is done."""
        if self._kept and not self._folder:
            self._kept.remove()

    def _is_as_it_was(self, line: dict[str, Any]) -> bool:
        """Whether a line is of a job whose video and files are as they were."""
        number = line.get('number')
        if type(number) is not int or not 0 <= number < len(self._jobs) or not isinstance(line.get('video'), dict):
            return False
        job = self._jobs[number]
        return line.get('stamp') == stamp_of(job.video) is not None and all(path.exists() for path in job.files)
