"""Test a recogniser: data set, network, views, report."""
from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import math
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..compute.engines import engine_of
from ..data.by_name import DEMOS
from ..data.lists.classes.class_files import ClassNames
from ..errors import AnnotationError
from ..model_zoo.registry import outside_module
from ..options import command_of
from ..run_config import folder_of_run, read_run_config
from ..unfinished import Unfinished, kept
from . import views
from .exported import Exported
from .interrupted import joined, keep, open_unfinished, scored_before
from .log_file import log_file
from .log_header import header
from .network import Network, build_network, card_of, check_test
from .options.config import TestConfig
from .options.other_videos import folder_beside
from .options.preparation import Prepared, parameters_of_run
from .report.page import try_to_write
from .reports import label_table, open_report, write_report
from .scores.metrics import ClassificationMeter, cross_entropy, multi_label_scores, tells_top5

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TestResult:
    """The result of a test; all of it is in the files as well."""

    __test__ = False  # pytest takes every class named Test... for tests

    results: dict
    scores: views.VideoScores
    files: dict[str, Path]

    @property
    def failed_share(self) -> float:
        """Share of the videos that could not be scored."""
        # Not 1 minus the share that was scored: 3 of 10 would come out above 0.3.
        return (self.results['n_expected'] - self.results['n_scored']) / self.results['n_expected']


def test_recognizer(config: TestConfig, open_exported: Callable[[str], Exported] | None = None, *,
                    beside: bool = False) -> TestResult:
    """Score every video of the validation list and write the report.

    A video that cannot be read counts as wrong, is listed with its cause, and is never replaced by another. A test that
    was interrupted resumes with the videos that it had not scored; a video that was changed meanwhile is scored again.

    Parameters
    ----------
    config : TestConfig
    open_exported : callable, optional
        As in `gluon_action.evaluate.network.build_network`.
    beside : bool
        `val_list` has other videos than the run: where `save_dir` does not say where, their results go to a folder with
        their name, beside that of the run's own.

    Returns
    -------
    TestResult
        ``results`` is the content of ``results.json``.

    Raises
    ------
    UsageError
        When choices contradict each other, or the results would overwrite others.
    OutputError
        When the results cannot be written.
    """
    prepared, asked = check_test(config), config
    config = prepared.config
    directory = _results_dir(asked, config)
    directory = folder_beside(directory, config.val_list) if beside and not config.save_dir else directory
    directory = open_report(directory, config.overwrite)
    if beside and not config.save_dir:
        asked = replace(asked, save_dir=str(directory))
    with log_file(directory, config.logging_file):
        start = time.time()
        dataset = open_test_set(config)
        contexts = engine_of(config).contexts()
        network = build_network(config, dataset.num_classes, contexts, open_exported, prepared)
        known = getattr(network.block, 'num_classes', None)
        _check_labels(dataset.samples, known)
        _check_names(prepared, dataset, known)
        protocol = _protocol(config, dataset, network)
        module = outside_module(config.model) if config.model else None
        command = command_of('gluon-action test', asked, ('overwrite',), ['--import', module] if module else [])
        for line in header(config, network.block, {'test': dataset}, command=command, versions=_versions(config)):
            _log.info('%s', line)
        if beside:
            _log.info('Results of %s go to %s', config.val_list, directory)
        unfinished = open_unfinished(directory, {'protocol': protocol, 'versions': _versions(config)}, config.overwrite)
        began = time.time()
        scores, meter = _score(config, network, dataset, unfinished)
        times = {'scoring_seconds': time.time() - began, 'data_seconds': scores.waits.data,
                 'device_seconds': scores.waits.devices}
        if known is None:  # an exported network tells by its scores only
            _check_names(prepared, dataset, scores.scores.shape[1])
        results = _summary(config, scores, meter, protocol)
        results |= {'seconds': round(time.time() - start, 1), **{name: round(times[name], 3) for name in times},
                    'command': command, 'directory': os.getcwd()}
        files = write_report(
            directory, results, keys=scores.keys, labels=label_table(scores.labels, scores.scores.shape[1]),
            scores=scores.scores, scored=scores.scored, failures=[asdict(f) for f in scores.failures],
            classes=_class_names(dataset, network, scores.scores.shape[1]), meter=meter)
        unfinished.remove()
        _say(results, start, scores.scores.shape[1])
        page = try_to_write(directory, {'test': dataset}) if config.report else None
    return TestResult(results, scores, {**files, **({'report': page} if page else {})})


test_recognizer.__test__ = False  # nor is this a test


def _results_dir(asked: TestConfig, config: TestConfig) -> str:
    """Return where results go: into the run of the weights, so that tests of two runs do not meet.

    Into a run that may not be written, somebody else's, they do not. Of other weights of it than those that its folder
    stands for they have the name of the file.
    """
    given = Path(asked.resume_params or '').expanduser()
    run = folder_of_run(given) if asked.resume_params and not asked.save_dir else None
    if run is None or not os.access(run, os.W_OK):
        return config.results_dir
    file = Path(config.resume_params).expanduser().resolve()
    same = any(map(Path.exists, run.glob('*.params'))) and file == parameters_of_run(run).resolve()
    name = '' if same else re.sub(r'[^\w.-]+', '_', f'-{file.relative_to(run).with_suffix("")}')
    folder = next((place for place in (given, given.parent) if place.resolve() == run), run)  # as it was named
    return str(folder / f'test-{config.protocol}{name}')


def open_test_set(config: TestConfig, train: bool = False):
    """Open the videos to score, or with `train` the training list, sampled for testing all the same.

    Classes are numbered as in the run that `resume_params` come from, where its ``config.json`` lies beside them: a
    validation list that lacks a class must not renumber the others.
    """
    run = _run_of(config)
    names = {'classes': run['classes']} if run.get('classes') else {}
    card = card_of(config)
    return config.open_videos(
        train=train, test_mode=True, modality=card.modality if card else 'rgb',
        num_classes=config.num_classes or run.get('num_classes'), **names)


def run_benchmark(config: TestConfig, open_exported: Callable[[str], Exported] | None = None) -> float:
    """Time the network on random input and log GluonCV's line; returns videos (of all segments) a second."""
    prepared = check_test(config)
    config = prepared.config
    network = build_network(config, config.num_classes, engine_of(config).contexts(), open_exported, prepared)
    rows = config.batch_size * config.segments
    shape = (rows, config.frames_per_clip, config.input_size, config.input_size, network.preprocess.channels)
    pixels = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    speed = config.batch_size * config.num_iterations / network.scorer.seconds(network.preprocess.normalised(pixels),
                                                                               config.num_iterations)
    _log.info('With batch size %d , %d batches, throughput is %f imgs/sec', config.batch_size, config.num_iterations,
              speed)
    return speed


def _run_of(config: TestConfig) -> dict:
    return (read_run_config(config.resume_params) if config.resume_params else None) or {}


def _check_names(prepared: Prepared, dataset, num_classes: int | None) -> None:
    """Refuse a list whose class names number the classes in another way than the network does."""
    config, names = prepared.config, dataset.classes
    run = prepared.classes or _run_of(config).get('classes')
    if names is None or num_classes is None or config.dataset in DEMOS:
        return
    if run is not None:
        known = ClassNames(run)
        moved = next((name for number, name in enumerate(names) if known.find(name) != number), None)
        if moved is not None:
            raise AnnotationError(f'{dataset.setting}: numbers its classes in another way than what lies beside '
                                  f'{config.resume_params}: {moved!r} is {names.index(moved)} in the list and '
                                  f'{known.find(moved)} there; check --val-list and --resume-params')
    elif len(names) != num_classes and (dataset.PRESET is None or names != list(dataset.PRESET.classes)):
        raise AnnotationError(
            f'{dataset.setting}: names {len(names)} classes and the network knows {num_classes}, so which name has '
            'which number cannot be told; put config.json of the training run beside --resume-params, name the '
            'classes of the network by --class-names FILE, or give --val-list with class numbers')


def _check_labels(samples: Sequence, num_classes: int | None) -> None:
    for sample in samples if num_classes else ():
        highest = max(sample.label) if isinstance(sample.label, tuple) else sample.label
        if highest >= num_classes:
            raise AnnotationError(f'{sample.where}: label {highest} is out of range 0..{num_classes - 1}: the network '
                                  f'knows {num_classes} classes; check --val-list, --label-base and the weights')


def _score(config: TestConfig, network: Network, dataset, unfinished: Unfinished):
    """Score all videos, telling how it goes; returns scores and meter (None for multi-label)."""
    devices = network.scorer.num_devices
    total = config.batch_size * devices
    _log.info('Total batch size is set to %d on %d %s', total, devices, 'GPUs' if config.num_gpus else 'CPUs')
    _log.info('Load %d test samples in %d iterations.', len(dataset),
              math.ceil(len(dataset) * config.segments * config.crops / total))
    known = getattr(network.block, 'num_classes', None) or config.num_classes
    before = scored_before(unfinished, dataset)
    left = [index for index in range(len(dataset)) if index not in before]
    if before:
        _log.info('%d of %d videos were scored before the test was interrupted', len(before), len(dataset))
    with kept(unfinished, 'videos'), \
            _ProgressBar(len(dataset), config.log_interval, config.averaged == 'probabilities') as progress:
        for index, score in before.items():
            progress(dataset.samples[index].label, score)

        def on_video(position: int, label, score: np.ndarray | None) -> None:
            if score is not None:
                keep(unfinished, dataset, left[position], score)
            progress(label, score)

        scores = views.score_videos(
            network.scorer, dataset, network.preprocess, batch_size=config.batch_size, average=config.averaged,
            views_per_score=network.views_per_score, num_workers=config.num_workers, prefetch=config.prefetch,
            timeout=config.timeout, indices=left, on_video=on_video)
    if before:
        scores = joined(dataset, before, left, scores)
    if not scores.scored.any():
        scores.scores = np.full((len(dataset), known or dataset.num_classes), np.nan, np.float32)
    return scores, progress.finish(scores.scores.shape[1], scores)


class _ProgressBar:
    """Counts videos as they are scored: a bar on a terminal, GluonCV's lines otherwise."""

    def __init__(self, num_videos: int, interval: int, probabilities: bool):
        self.num_videos, self.interval, self.probabilities = num_videos, interval, probabilities
        self.meter: ClassificationMeter | None = None
        self.done = 0
        self.bar = None

    def __enter__(self):
        if sys.stderr.isatty():
            from tqdm import tqdm
            self.bar = tqdm(total=self.num_videos, unit='video', leave=False)
        return self

    def __exit__(self, *error):
        if self.bar is not None:
            self.bar.close()

    def __call__(self, label, score: np.ndarray | None) -> None:
        self.done += 1
        if score is not None and not isinstance(label, tuple):
            if self.meter is None:
                self.meter = ClassificationMeter(len(score))
            loss = cross_entropy(score[None], [label], self.probabilities)
            self.meter.update(score[None], [label], float(loss[0]))
        top1, top5 = (100 * self.meter.top(k) if self.meter else float('nan') for k in (1, 5))
        if self.bar is not None:
            self.bar.update()
            self.bar.set_postfix(top1=f'{top1:.1f}', refresh=False)
        elif self.interval and self.done % self.interval == 0:
            best_five = f' acc-top5={top5:.2f}' if self.meter and tells_top5(self.meter.num_classes) else ''
            scores = f': acc-top1={top1:.2f}{best_five}' if self.meter else ''
            _log.info('%04d/%04d is done%s', self.done, self.num_videos, scores)

    def finish(self, num_classes: int, scores: views.VideoScores) -> ClassificationMeter | None:
        """Return the meter with the failed videos counted as wrong; None for multi-label."""
        if any(isinstance(label, tuple) for label in scores.labels):
            return None
        meter = self.meter or ClassificationMeter(num_classes)
        meter.add_failures([label for label, scored in zip(scores.labels, scores.scored) if not scored])
        return meter


def _summary(config: TestConfig, scores: views.VideoScores, meter: ClassificationMeter | None, protocol: dict) -> dict:
    """Return the content of results.json: numbers first, then what they are numbers of."""
    if meter is not None:
        metrics = {'top1': meter.top(1), 'top5': meter.top(5), 'mean_class': meter.mean_class(), 'loss': meter.loss}
    else:
        multi = multi_label_scores(scores.scores, label_table(scores.labels, scores.scores.shape[1]))
        metrics = {'mean_average_precision': multi.mean_average_precision, 'hit1': multi.hit_at[1],
                   'hit5': multi.hit_at[5]}
    return {**metrics, 'n_expected': len(scores.keys), 'n_scored': int(scores.scored.sum()),
            'n_failed': len(scores.failures), 'failures': [asdict(f) for f in scores.failures],
            'protocol': protocol, 'versions': _versions(config), 'config': asdict(config)}


def _protocol(config: TestConfig, dataset, network: Network) -> dict[str, Any]:
    """Return what scores depend on."""
    preprocess = network.preprocess
    return {
        'dataset': config.dataset, 'split': 'val', 'list': dataset.setting,
        'list_sha256': dataset.list_sha256, 'model': config.model, 'weights': network.weights,
        'views': config.protocol, 'num_segments': config.segments, 'crops': config.crops,
        'crop_size': config.input_size, 'resize': config.resize, 'sampling': _sampling(config),
        'mean': list(preprocess.mean), 'std': list(preprocess.std), 'value_range': list(preprocess.value_range),
        'average': config.averaged, 'consensus': config.consensus,
        'views_per_score': network.views_per_score, 'dtype': config.dtype,
        'decoder': 'decord' if config.use_decord else config.decoder, 'on_damage': config.on_damage,
        'video_loader': config.video_loader, 'name_pattern': config.name_pattern,
        'published': network.weights['row'] if config.use_pretrained else None}


def _sampling(config: TestConfig) -> str:
    if config.clip_sampling == 'spread':
        return f'1 clip, the middle frames of {config.new_length} equal parts'
    clip = (f'slow and fast pathway at strides {config.slow_temporal_stride} and {config.fast_temporal_stride} of '
            if config.slowfast else '')
    if config.clip_sampling == 'dense':
        place = 'from the first to the last frame' if config.segments > 1 else 'in the middle'
        return f'{config.segments} clips {place}, {clip}{config.new_length} frames at stride {config.new_step} each'
    return f'{config.segments} segment centres, {clip}{config.new_length} frames at stride {config.new_step} each'


def _say(results: dict, start: float, num_classes: int) -> None:
    protocol = results['protocol']
    _log.info('Protocol: %s views (segments x crops of %d), frames %s, %s averaged, %s', protocol['views'],
              protocol['crop_size'], protocol['resize'], protocol['average'], protocol['list'])
    if results['n_failed']:
        _log.info('%d of %d videos could not be scored and count as wrong; failures.jsonl names them',
                  results['n_failed'], results['n_expected'])
    if 'top1' in results:
        best_five = f' acc-top5={100 * results["top5"]:.2f}' if tells_top5(num_classes) else ''
        _log.info('Test accuracy: acc-top1=%.2f%s', 100 * results['top1'], best_five)
        _log.info('Mean class accuracy: %.2f', 100 * results['mean_class'])
    else:
        _log.info('Mean average precision: %.2f hit1=%.2f', 100 * results['mean_average_precision'],
                  100 * results['hit1'])
    _log.info('Total evaluation time is %4.2f minutes', (time.time() - start) / 60)


def _class_names(dataset, network: Network, num_classes: int) -> list[str]:
    for names in (dataset.classes, network.classes):
        if names is not None and len(names) == num_classes:
            return list(names)
    return [f'class {k}' for k in range(num_classes)]


def _versions(config: TestConfig) -> dict[str, str]:
    installed = {'python': platform.python_version()}
    for name in ('gluon_action', *engine_of(config).packages, 'numpy', 'decord', 'av', 'opencv-python-headless'):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed
