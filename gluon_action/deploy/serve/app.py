"""The app: a page where videos are dropped, and the same for programs under ``/api``."""
from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from ... import __version__
from ...errors import GluonActionError
from ...files import finite
from ..predict.prediction import Prediction
from ..predict.predictor import Predictor
from .guard import Guard
from .uploads import Refused, check_video, in_plain_words, receive

_log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / 'page'
#: Videos that arrive, wait and are looked at, at most.
MOST_WAITING = 8
_CURVES = 6  # classes whose probabilities are told for every window: the best, and then those of segments
_LOOK = 0.2  # seconds between looks at whether somebody still waits for the answer
_LINGER = 10.  # seconds that more is read than is wanted
_GRACE = 5.  # seconds more for what does not come to its next window


@dataclass(frozen=True)
class Limits:
    """What a video may be.

    Attributes
    ----------
    megabytes : float
        Of a million bytes.
    seconds : float
        That it may take to arrive, and again to be predicted.
    top_k : int
        Classes in an answer, at most.
    network : bool
        Whether other machines may ask.
    """

    megabytes: float = 512.
    seconds: float = 300.
    top_k: int = 5
    network: bool = False


def make_app(predictor: Predictor, limits: Limits | None = None) -> Guard:
    """Return the ASGI app that answers with the predictions of a model.

    Videos are predicted one by one, in the order in which they have arrived.

    Parameters
    ----------
    predictor : Predictor
    limits : Limits, optional
    """
    limits = limits or Limits()
    service = _Service(predictor, limits)
    files = {'/': ('index.html', 'text/html'), '/page.js': ('page.js', 'text/javascript'),
             '/page.css': ('page.css', 'text/css')}

    def file_route(place: str, name: str, kind: str) -> Route:
        async def answer(request: Request) -> Response:
            return FileResponse(PAGE / name, media_type=kind)
        return Route(place, answer)

    routes = [*(file_route(place, *file) for place, file in files.items()), Route('/api/model', service.model),
              Route('/api/status', service.status), Route('/api/predict', service.predict, methods=['POST'])]
    return Guard(Starlette(routes=routes, lifespan=service.lifespan), limits.network)


class _Service:
    """The answers under ``/api``."""

    def __init__(self, predictor: Predictor, limits: Limits):
        self._predictor, self._limits = predictor, limits
        self._folder: Path | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._jobs: set[_Job] = set()
        self._arriving = 0

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Have a folder for videos, and a thread that predicts them, as long as the app runs."""
        with tempfile.TemporaryDirectory(prefix='gluon-action-serve-') as folder:
            self._folder = Path(folder)
            self._pool = ThreadPoolExecutor(1, thread_name_prefix='predict')
            try:
                yield
            finally:
                for job in self._jobs:
                    job.wanted = False
                self._pool.shutdown(wait=True, cancel_futures=True)

    async def model(self, request: Request) -> JSONResponse:
        """What predicts, and what is allowed."""
        about = self._predictor.about()
        return JSONResponse({
            'gluon_action': __version__, 'model': about['model'], 'labels': self._predictor.labels,
            'threshold': about['threshold'], 'several_labels': about['activation'] == 'sigmoid',
            'max_mb': self._limits.megabytes, 'max_seconds': self._limits.seconds})

    async def status(self, request: Request) -> JSONResponse:
        """How many videos are looked at, and wait."""
        running = sum(job.started is not None for job in self._jobs)
        return JSONResponse({'running': running, 'waiting': len(self._jobs) - running, 'arriving': self._arriving})

    async def predict(self, request: Request) -> Response:
        """Predict the video that is the body of the request."""
        try:
            return JSONResponse(finite(await self._answer(request)))
        except Refused as refusal:
            await _read_off(request)
            return JSONResponse({'error': refusal.why}, refusal.status, {'connection': 'close'})
        except ClientDisconnect:
            return Response(status_code=499)

    async def _answer(self, request: Request) -> dict[str, Any]:
        if request.headers.get('content-type', '').startswith('multipart/'):
            raise Refused(415, 'the body of the request is the video itself, not a form: curl --data-binary @video.mp4')
        if self._arriving + len(self._jobs) >= MOST_WAITING:
            raise Refused(503, f'{MOST_WAITING} videos wait already; try again in a moment')
        length = request.headers.get('content-length', '')
        self._arriving += 1
        try:
            path = await receive(
                request.stream(), self._folder, megabytes=self._limits.megabytes, seconds=self._limits.seconds,
                announced=int(length) if length.isdecimal() else None)
        finally:
            self._arriving -= 1
        job = _Job(self._predictor, path, self._limits)
        self._jobs.add(job)
        done = asyncio.wrap_future(self._pool.submit(job))
        done.add_done_callback(lambda _: self._forget(job))
        gone = asyncio.create_task(_until_gone(request))
        try:
            while not done.done():
                await asyncio.wait({done, gone}, timeout=_LOOK, return_when=asyncio.FIRST_COMPLETED)
                if gone.done() and not done.done():
                    job.wanted = False
                    raise ClientDisconnect
                if job.late(_GRACE):
                    raise job.too_slow
            return done.result()
        finally:
            gone.cancel()
            if not done.done():
                done.add_done_callback(lambda future: future.cancelled() or future.exception())  # nobody asks any more

    def _forget(self, job: _Job) -> None:
        self._jobs.discard(job)
        job.path.unlink(missing_ok=True)


class _Job:
    """A video that waits for its turn and is predicted then, by a thread."""

    def __init__(self, predictor: Predictor, path: Path, limits: Limits):
        self.path, self.wanted, self.started = path, True, None
        self._predictor, self._limits = predictor, limits

    @property
    def too_slow(self) -> Refused:
        """What is said when it takes too long."""
        return Refused(504, f'predicting the video took longer than {self._limits.seconds:g} s (--max-seconds); send a '
                            'shorter part of it')

    def late(self, grace: float = 0.) -> bool:
        """Whether it takes longer than it may."""
        return self.started is not None and time.monotonic() - self.started > self._limits.seconds + grace

    def __call__(self) -> dict[str, Any]:
        """Predict it."""
        self.started = time.monotonic()
        self._go_on()
        try:
            check_video(self.path)
            prediction = self._predictor.stream(self.path, on_window=self._go_on)
        except Refused:
            raise
        except GluonActionError as error:
            raise Refused(422, in_plain_words(error, self.path)) from error
        except Exception as error:
            _log.exception('a video could not be predicted')
            raise Refused(500, f'a fault of the program: {type(error).__name__}; the server tells more') from error
        return {**_answer_of(prediction, self._limits.top_k), 'seconds': round(time.monotonic() - self.started, 2)}

    def _go_on(self, window=None) -> None:
        if not self.wanted:
            raise Refused(499, 'nobody waits for the answer any more')
        if self.late():
            raise self.too_slow


def _answer_of(prediction: Prediction, top_k: int) -> dict[str, Any]:
    """Return what is told of a prediction: nothing of where the model and the video lie."""
    everything, about = prediction.as_dict(top_k), prediction.protocol
    answer = {name: everything[name] for name in (
        'label', 'index', 'score', 'found', 'duration', 'top', 'segments', 'skipped', 'windows')}
    classes = dict.fromkeys([*prediction.best(_CURVES // 2), *(segment.index for segment in prediction.segments)])
    answer['curves'] = [
        {'label': prediction.labels[k],
         'probabilities': [round(float(window.probabilities[k]), 4) for window in prediction.windows]}
        for k in list(classes)[:_CURVES]]
    answer['model'] = {name: about[name] for name in (
        'model', 'model_sha256', 'threshold', 'rolling_seconds', 'stride', 'span', 'fps')}
    return answer


async def _read_off(request: Request) -> None:
    """Read what is left of a body, for a while: who still sends when the connection closes never sees the answer."""
    if request.headers.get('expect', '').lower() == '100-continue':
        return  # it waits for the word before it sends
    with contextlib.suppress(ClientDisconnect, TimeoutError, RuntimeError):  # RuntimeError: all was read
        async with asyncio.timeout(_LINGER):
            async for _ in request.stream():
                pass


async def _until_gone(request: Request) -> None:
    """Wait until whoever asked has closed the connection."""
    while (await request.receive())['type'] != 'http.disconnect':
        pass
