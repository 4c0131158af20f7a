"""Test a recogniser: data set, network, views, report."""
from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import logging
import math
import os
import platform
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet import gluon

from .. import engine, model_zoo
from ..data.by_name import open_dataset
from ..errors import ModelError, OutputError, UsageError, WeightsError
from ..model_zoo import weights as zoo_weights
from . import views
from .config import TestConfig, check_config
from .metrics import ClassificationMeter, cross_entropy, multi_label_scores
from .reports import open_report, write_report

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TestResult:
    """What a test found; all of it is in the files as well."""

    __test__ = False  # pytest takes every class named Test... for tests

    results: dict
    scores: views.VideoScores
    files: dict[str, Path]

    @property
    def failed_share(self) -> float:
        """Share of the videos that could not be scored."""
        return 1 - self.results['n_scored'] / self.results['n_expected']


def test_recognizer(config: TestConfig) -> TestResult:
    """Score every video of the validation list and write the report.

    A video that cannot be read counts as wrong, is listed with its cause, and is never replaced by another.

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
    check_test(config)
    directory = open_report(config.results_dir, config.overwrite)
    with _log_file(directory, config.logging_file):
        start = time.time()
        dataset = open_test_set(config)
        contexts = engine.contexts(config.num_gpus, config.num_cpus)
        network = build_network(config, dataset.num_classes, contexts)
        scores, meter = _score(config, network, dataset, contexts)
        results = _summary(config, dataset, network, scores, meter)
        results['seconds'] = round(time.time() - start, 1)
        files = write_report(
            directory, results, keys=scores.keys, labels=_label_table(scores.labels, scores.scores.shape[1]),
            scores=scores.scores, scored=scores.scored, failures=[asdict(f) for f in scores.failures],
            classes=_class_names(dataset, network, scores.scores.shape[1]), meter=meter)
        _say(results, start)
    return TestResult(results, scores, files)


test_recognizer.__test__ = False  # nor is this a test


def check_test(config: TestConfig) -> None:
    """Raise `UsageError` for choices that cannot be for this model."""
    check_config(config, _card(config))


def open_test_set(config: TestConfig, train: bool = False):
    """Open the videos to score, or with `train` the training list, sampled for testing all the same."""
    decoder = 'decord' if config.use_decord else config.decoder
    return open_dataset(
        config.dataset, train=train, setting=config.train_list if train else config.val_list,
        data_dir=config.data_dir if train else config.val_data_dir or config.data_dir, test_mode=True,
        num_segments=config.segments, new_length=config.new_length, new_step=config.new_step,
        new_width=config.new_width, new_height=config.new_height, target_width=config.input_size,
        target_height=config.input_size, data_aug=config.data_aug, video_loader=config.video_loader,
        use_decord=config.use_decord, decoder=decoder, slowfast=config.slowfast,
        slow_temporal_stride=config.slow_temporal_stride, fast_temporal_stride=config.fast_temporal_stride,
        timeout=config.decode_timeout or None, list_format=config.list_format, label_base=config.label_base,
        num_classes=config.num_classes, multi_label=config.multi_label)


@dataclass(frozen=True)
class Network:
    """A network ready to score views, and where it came from.

    Attributes
    ----------
    block : callable
        Views to scores.
    recipe : ViewRecipe
        How views are made for it.
    views_per_score : int
        Rows of input that it makes one score of.
    weights : dict
        ``source`` and ``sha256``, of the file where there is one, else of the parameters.
    classes : list of str or None
        What it knows of its classes.
    """

    block: gluon.HybridBlock
    recipe: views.ViewRecipe
    views_per_score: int
    weights: dict
    classes: list[str] | None


def build_network(config: TestConfig, num_classes: int | None, contexts: Sequence[mx.Context]) -> Network:
    """Build the network that scores views, with its weights.

    Segments are averaged outside of the network, so it is built for single views; only a consensus that is not the
    average stays inside.

    Parameters
    ----------
    num_classes : int or None
        Classes of the data set; those of ``--num-classes`` or of the file of weights come first.
    """
    card = _card(config)
    recipe = view_recipe(config, card)
    if config.deploy:
        block, group, source, path = *_exported(config, recipe, contexts), f'{config.model_prefix}-0000.params'
    else:
        group = config.segments if config.consensus != 'avg' else 1
        block, source, path = _from_zoo(config, num_classes, group, contexts)
    if config.dtype != 'float32':
        block.cast(config.dtype)
    if config.mode != 'imperative':
        block.hybridize(static_alloc=True, static_shape=True)
    _log.info('Successfully loaded model %s', 'deploy' if config.deploy else config.model)
    if path:
        described = {'source': source, 'sha256': _file_hash(path), 'sha256_of': 'file'}
    else:
        described = {'source': source, 'sha256': _parameter_hash(block), 'sha256_of': 'parameters'}
    return Network(block, recipe, group, described, getattr(block, 'classes', None))


def view_recipe(config: TestConfig, card) -> views.ViewRecipe:
    """Return how views are cut and normalised: by the card, or as for ImageNet where there is none."""
    known = {} if card is None else {'mean': card.mean, 'std': card.std, 'value_range': card.value_range}
    time_axis = config.input_5d or (card is not None and card.input_layout == 'NCTHW')
    return views.ViewRecipe(crops=config.crops, size=config.input_size, short_side=config.short_side,
                            time_axis=time_axis, **known)


def run_benchmark(config: TestConfig) -> float:
    """Time the network on random input and log GluonCV's line; returns videos (of all segments) a second."""
    check_test(config)
    contexts = engine.contexts(config.num_gpus, config.num_cpus)
    network = build_network(config, config.num_classes, contexts)
    rows = config.batch_size * config.segments
    shape = (rows, config.new_length, config.input_size, config.input_size, 3)
    data = network.recipe.to_network(mx.nd.random.randint(0, 255, shape=shape, ctx=contexts[0]), config.dtype)
    for n in range(-5, config.num_iterations):
        if n == 0:
            start = time.perf_counter()
        network.block(data).wait_to_read()
    speed = config.batch_size * config.num_iterations / (time.perf_counter() - start)
    _log.info('With batch size %d , %d batches, throughput is %f imgs/sec', config.batch_size, config.num_iterations,
              speed)
    return speed


def _card(config: TestConfig):
    try:
        return model_zoo.model_card(config.model)
    except ModelError:
        if config.deploy:  # an exported network need not be the zoo's
            return None
        raise


def _exported(config: TestConfig, recipe: views.ViewRecipe, contexts: Sequence[mx.Context]):
    symbol, params = f'{config.model_prefix}-symbol.json', f'{config.model_prefix}-0000.params'
    for path in (symbol, params):
        if not os.path.isfile(path):
            raise UsageError(f'--model-prefix {config.model_prefix}: {path} does not exist; net.export(prefix) makes '
                             'it and its companion')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # that the type of 'data' is open, as it should be
            block = gluon.SymbolBlock.imports(symbol, ['data'], params, ctx=list(contexts))
    except (mx.MXNetError, ValueError, AssertionError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise WeightsError(f'{symbol} and {params} are not an exported network: {reason}') from error
    group = views.views_per_score(block, recipe, config.segments, config.new_length, contexts[0])
    return block, group, symbol


def _from_zoo(config: TestConfig, num_classes: int | None, group: int, contexts: Sequence[mx.Context]):
    name, pretrained = config.model, config.hashtag or config.use_pretrained
    if config.quantized:
        name, pretrained = f'{config.model}_int8', True
        if name not in model_zoo.list_models():
            raise ModelError(f'--quantized: the zoo has no {name}; make int8 weights with --calibration and test them '
                             'with --deploy --model-prefix')
    arrays = zoo_weights.read_parameters(config.resume_params) if config.resume_params else {}
    head = arrays.get('output.weight')
    nclass = config.num_classes or (len(head) if head is not None else None) or num_classes
    if pretrained:
        nclass = config.num_classes or model_zoo.model_card(name).num_classes
    variants = {option: True for option in ('use_gn', 'use_se', 'batch_norm') if getattr(config, option)}
    net = model_zoo.get_model(name, nclass=nclass, pretrained=pretrained, pretrained_base=False, num_segments=group,
                              consensus=config.consensus, input_size=config.input_size, ctx=list(contexts), **variants)
    if config.resume_params:
        zoo_weights.assign(net, arrays, config.resume_params, ctx=list(contexts))
        _log.info('Pre-trained model %s is successfully loaded.', config.resume_params)
        return net, config.resume_params, config.resume_params
    if pretrained:
        _log.info('Pre-trained model is successfully loaded from the model zoo.')
        return net, f'{name}, published weights' + (f' {config.hashtag}' if config.hashtag else ''), None
    return net, 'random', None


def _score(config: TestConfig, network: Network, dataset, contexts: Sequence[mx.Context]):
    """Score all videos, telling how it goes; returns scores and meter (None for multi-label)."""
    total = config.batch_size * len(contexts)
    _log.info('Total batch size is set to %d on %d %s', total, len(contexts), 'GPUs' if config.num_gpus else 'CPUs')
    _log.info('Load %d test samples in %d iterations.', len(dataset),
              math.ceil(len(dataset) * config.segments * config.crops / total))
    known = getattr(network.block, 'num_classes', None) or config.num_classes
    with _Progress(len(dataset), config.log_interval, config.averaged == 'softmax') as progress:
        scores = views.score_videos(
            network.block, dataset, network.recipe, contexts=contexts, batch_size=config.batch_size,
            average=config.averaged, dtype=config.dtype, views_per_score=network.views_per_score,
            num_workers=config.num_workers, prefetch=max(1, int(config.prefetch_ratio * config.num_workers)),
            timeout=config.decode_timeout or None, on_video=progress)
    if not scores.scored.any():
        scores.scores = np.full((len(dataset), known or dataset.num_classes), np.nan, np.float32)
    return scores, progress.finish(scores.scores.shape[1], scores)


class _Progress:
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

    def __call__(self, position: int, label, score: np.ndarray | None) -> None:
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
        elif self.interval and self.done % self.interval == 0 and self.meter:
            _log.info('%04d/%04d is done: acc-top1=%f acc-top5=%f', self.done, self.num_videos, top1, top5)

    def finish(self, num_classes: int, scores: views.VideoScores) -> ClassificationMeter | None:
        """Return the meter with the failed videos counted as wrong; None for multi-label."""
        if any(isinstance(label, tuple) for label in scores.labels):
            return None
        meter = self.meter or ClassificationMeter(num_classes)
        meter.add_failures([label for label, scored in zip(scores.labels, scores.scored) if not scored])
        return meter


def _summary(config: TestConfig, dataset, network: Network, scores: views.VideoScores,
             meter: ClassificationMeter | None) -> dict:
    """Return the content of results.json: numbers first, then what they are numbers of."""
    if meter is not None:
        found = {'top1': meter.top(1), 'top5': meter.top(5), 'mean_class': meter.mean_class(), 'loss': meter.loss}
    else:
        multi = multi_label_scores(scores.scores, _label_table(scores.labels, scores.scores.shape[1]))
        found = {'mean_average_precision': multi.mean_average_precision, 'hit1': multi.hit_at[1],
                 'hit5': multi.hit_at[5]}
    card = _card(config)
    recipe = network.recipe
    protocol = {
        'dataset': config.dataset, 'split': 'val', 'list': dataset.samples[0].source,
        'list_sha256': dataset.list_sha256, 'model': config.model, 'weights': network.weights,
        'views': config.protocol, 'num_segments': config.segments, 'crops': config.crops,
        'crop_size': config.input_size, 'resize': config.resize, 'sampling': _sampling(config),
        'mean': list(recipe.mean), 'std': list(recipe.std), 'value_range': list(recipe.value_range),
        'average': config.averaged, 'consensus': config.consensus,
        'views_per_score': network.views_per_score, 'dtype': config.dtype,
        'decoder': 'decord' if config.use_decord else config.decoder,
        'published': list(card.accuracy) if card is not None and config.use_pretrained else []}
    return {**found, 'n_expected': len(scores.keys), 'n_scored': int(scores.scored.sum()),
            'n_failed': len(scores.failures), 'failures': [asdict(f) for f in scores.failures],
            'protocol': protocol, 'versions': _versions(), 'config': asdict(config)}


def _sampling(config: TestConfig) -> str:
    clip = (f'slow and fast pathway at strides {config.slow_temporal_stride} and {config.fast_temporal_stride} of '
            if config.slowfast else '')
    return f'{config.segments} segment centres, {clip}{config.new_length} frames at stride {config.new_step} each'


def _say(results: dict, start: float) -> None:
    protocol = results['protocol']
    _log.info('Protocol: %s views (segments x crops of %d), frames %s, %s averaged, %s', protocol['views'],
              protocol['crop_size'], protocol['resize'], protocol['average'], protocol['list'])
    if results['n_failed']:
        _log.info('%d of %d videos could not be scored and count as wrong; failures.jsonl names them',
                  results['n_failed'], results['n_expected'])
    if 'top1' in results:
        _log.info('Test accuracy: acc-top1=%f acc-top5=%f', 100 * results['top1'], 100 * results['top5'])
        _log.info('Mean class accuracy: %f', 100 * results['mean_class'])
    else:
        _log.info('Mean average precision: %f hit1=%f', 100 * results['mean_average_precision'], 100 * results['hit1'])
    _log.info('Total evaluation time is %4.2f minutes', (time.time() - start) / 60)


def _class_names(dataset, network: Network, num_classes: int) -> list[str]:
    for names in (dataset.classes, network.classes):
        if names is not None and len(names) == num_classes:
            return list(names)
    return [f'class {k}' for k in range(num_classes)]


def _label_table(labels: list, num_classes: int) -> np.ndarray:
    if not any(isinstance(label, tuple) for label in labels):
        return np.asarray(labels, np.int64)
    table = np.zeros((len(labels), num_classes), np.int64)
    for row, classes in zip(table, labels):
        row[list(classes)] = 1
    return table


def _file_hash(path: str) -> str:
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _parameter_hash(block: gluon.HybridBlock) -> str:
    digest = hashlib.sha256()
    for name, parameter in sorted(block._collect_params_with_prefix().items()):
        digest.update(name.encode())
        digest.update(parameter.data(parameter.list_ctx()[0]).asnumpy().tobytes())
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    found = {'python': platform.python_version()}
    for name in ('gluon_action', engine.mxnet_distribution() or 'mxnet', 'numpy', 'decord', 'av',
                 'opencv-python-headless'):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


@contextlib.contextmanager
def _log_file(directory: Path, name: str):
    """Copy what the package logs into a file as well."""
    if not name:
        yield
        return
    try:
        handler = logging.FileHandler(directory / name, mode='w', encoding='utf-8')
    except OSError as error:
        raise OutputError(f'--logging-file {directory / name}: cannot be written: {error.strerror}') from error
    package = logging.getLogger('gluon_action')
    level = package.level
    package.addHandler(handler)
    if package.getEffectiveLevel() > logging.INFO:
        package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        handler.close()
