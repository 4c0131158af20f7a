"""Predictions for several videos, one after the other: what fails stops no other."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

from ...errors import GluonActionError
from ..predict.prediction import Prediction
from ..predict.predictor import Predictor
from ..predict.windows import Window
from .files import Job
from .overlay import Overlay
from .results import FailedVideo
from .timeline import plot_timeline


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
            result = FailedVideo(str(job.video), error)
        yield job, result


def _predict(predictor: Predictor, job: Job, top_k: int, fps: float | None, watch: Callable | None) -> Prediction:
    watcher: list[Callable[[Window], None]] = []
    with ExitStack() as stack:
        overlay = None
        if job.overlays:
            overlay = stack.enter_context(Overlay(job.overlays, predictor.labels, threshold=predictor.threshold))

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
