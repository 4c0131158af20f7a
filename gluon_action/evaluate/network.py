"""The network that a test scores views with: from the zoo or exported, with its weights and where they came from."""
from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .. import model_zoo
from ..compute.engines import engine_of
from ..compute.on_mxnet.exported import exported_size, open_exported_network
from ..compute.on_mxnet.parameters import parameters_sha256
from ..compute.scorer import Scorer
from ..data.preprocess import Preprocess
from ..errors import ModelError, UsageError
from ..files import file_sha256
from ..model_zoo.loading.fit import assign
from ..model_zoo.loading.params_file import read_parameters
from ..model_zoo.recognizer import initialize_rest
from ..run_config import read_run_config
from .exported import Exported
from .options.config import TestConfig, check_config
from .options.preparation import Prepared, by_card, prepare, prepared_for_file, weights_decide
from .options.recognizer_options import RecognizerOptions
from .options.run_options import with_run
from .views import views_per_score

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Network:
    """A network ready to score views, and where it came from.

    Attributes
    ----------
    block : HybridBlock or Exported
        What has the weights.
    scorer : Scorer
        Views to scores.
    preprocess : Preprocess
        How views are made for it of frames that a test has read.
    views_per_score : int
        Rows of input that it makes one score of.
    weights : dict
        ``source`` and ``sha256``, of the file where there is one, else of the parameters.
    classes : list of str or None
        What it knows of its classes.
    """

    block: Any
    scorer: Scorer
    preprocess: Preprocess
    views_per_score: int
    weights: dict
    classes: list[str] | None


def build_network(config: TestConfig, num_classes: int | None, contexts: Sequence,
                  open_exported: Callable[[str], Exported] | None = None, prepared: Prepared | None = None) -> Network:
    """Build the network that scores views, with its weights.

    Segments are averaged outside of the network, so it is built for single views; only a consensus that is not the
    average stays inside.

    Parameters
    ----------
    num_classes : int or None
        Classes of the data set; those of ``--num-classes`` or of the file of weights come first.
    open_exported : callable, optional
        Opens what ``--model-prefix`` names when it is no network of MXNet.
    prepared : Prepared, optional
        What `check_test` found of the configuration.
    """
    prepared = prepared or check_test(config)
    config = prepared.config
    preprocess = config.preprocess(prepared.card)
    if config.exported and (open_exported and names_bundle(config.model_prefix)):
        return _from_bundle(config, preprocess, open_exported(config.model_prefix))
    if config.exported:
        if config.quantized:
            raise UsageError(f'--quantized: {config.model_prefix} is no int8 bundle; --calibration makes one, and what '
                             'MXNet exported is scored with --deploy')
        block, group, source = _exported(config, preprocess, contexts)
        weights = _made_ready(block, config, source, f'{config.model_prefix}-0000.params')
    else:
        group = _group(config)
        block, weights = network_of_zoo(prepared, num_classes, contexts)
    scorer = engine_of(config).scorer(block, contexts=contexts, rows=group, dtype=config.dtype,
                                      compiled=config.mode != 'imperative')
    return Network(block, scorer, preprocess, group, weights, getattr(block, 'classes', None))


def network_of_zoo(prepared: Prepared, num_classes: int | None, contexts: Sequence):
    """Build a network of the zoo for single views, or for all segments where its consensus is not the average.

    Returns
    -------
    Recognizer, dict
        With its weights, and what they are: see `Network`.
    """
    block, source, path = _from_zoo(prepared, num_classes, contexts)
    weights = _made_ready(block, prepared.config, source, path)
    return block, {**weights, 'row': prepared.row} if prepared.row else weights


def names_bundle(prefix: str | None) -> bool:
    """Whether ``--model-prefix`` names a folder or an ONNX file, rather than the start of the names of two files."""
    return bool(prefix) and (os.path.isdir(os.path.expanduser(prefix)) or prefix.endswith('.onnx'))


def check_test(config: TestConfig) -> Prepared:
    """Find the weights of a test, and settle what they and their run decide.

    Raises
    ------
    UsageError
        For choices that cannot be for this model and its weights.
    WeightsError
        When there are no such weights.
    """
    config = with_run(config)
    if not (config.model or config.exported):
        raise UsageError('--model: name the network of the zoo, or score a run by its folder, which knows its network: '
                         'gluon-action test RUN_DIR')
    card = card_of(config)
    # Before anything is downloaded; what depends on a size that the weights decide follows.
    later = weights_decide(config, card)
    check_config(by_card(config, card) if later else config, card, sizes=not later or config.input_size is not None)
    prepared = _prepared_exported(config, card) if config.exported else prepare(config, card)
    if later:
        check_config(prepared.config, prepared.card)
    averages = prepared.average and not (config.average or config.use_softmax or config.multi_label)
    return replace(prepared, config=replace(prepared.config, average=prepared.average)) if averages else prepared


def _prepared_exported(config: TestConfig, card) -> Prepared:
    if card is None or not config.model_prefix or names_bundle(config.model_prefix):
        return Prepared(config.settled(), card)  # a bundle says itself how frames are prepared for it
    return prepared_for_file(config, card, f'{config.model_prefix}-0000.params')


def card_of(config: TestConfig):
    """Return the card of the model; None for an exported network that the zoo does not know."""
    try:
        run = read_run_config(config.resume_params) if config.resume_params else None
        return model_zoo.model_card(config.model, run)
    except ModelError:
        if config.exported:  # an exported network need not be the zoo's
            return None
        raise


def clip_option(card, config: RecognizerOptions) -> dict[str, int]:
    """Return ``clip_length`` for `get_model` as a configuration of training or testing takes clips; {} for frames."""
    return {'clip_length': config.frames_per_clip} if card.input.takes('clip_length') else {}


def _exported(config: TestConfig, preprocess: Preprocess, contexts: Sequence):
    symbol, params = f'{config.model_prefix}-symbol.json', f'{config.model_prefix}-0000.params'
    for path in (symbol, params):
        if not os.path.isfile(path):
            raise UsageError(f'--model-prefix {config.model_prefix}: {path} does not exist; net.export(prefix) makes '
                             'it and its companion')
    block = open_exported_network(symbol, params, contexts)
    _check_exported_size(config, exported_size(symbol))
    group = views_per_score(block, preprocess, config.segments, contexts[0])
    return block, group, symbol


def _from_bundle(config: TestConfig, preprocess: Preprocess, network: Exported) -> Network:
    where, side, frames = f'--model-prefix {config.model_prefix}', config.input_size, config.frames_per_clip
    own = network.preprocess
    if own.crop != (side, side):
        height, width = own.crop
        advice = f'pass --input-size {height}' if height == width else 'a test cuts squares, so it cannot be tested'
        raise UsageError(f'{where}: takes views of {width}x{height} pixels, not {side}x{side}; {advice}')
    if len(own.offsets) != frames:
        raise UsageError(f'{where}: takes views of {len(own.offsets)} frames, not {frames}; pass --new-length '
                         f'{len(own.offsets)}, or for SlowFast the strides that it was exported with')
    if own.modality != preprocess.modality:
        raise UsageError(f'{where}: looks at {own.modality}, and the test at {preprocess.modality}; name its network '
                         'with --model')
    if config.quantized and network.precision != 'int8':
        raise UsageError(f'--quantized: {config.model_prefix} is {network.precision}; score it with --deploy')
    if config.num_gpus:
        raise UsageError(f'--num-gpus: {config.model_prefix} is run by ONNX Runtime; leave it out')
    _log.info('Successfully loaded model %s, %s, in ONNX Runtime', config.model_prefix, network.precision)
    preprocess = replace(preprocess, layout=own.layout, mean=own.mean, std=own.std, value_range=own.value_range)
    weights = {'source': str(network.path), 'sha256': file_sha256(network.path), 'sha256_of': 'file',
               'precision': network.precision}
    return Network(network, network, preprocess, own.rows, weights, network.classes)


def _check_exported_size(config: TestConfig, noted: str | None) -> None:
    # At another size the graph would run, with paddings that are those of its own size, and score wrongly.
    frames, size = config.frames_per_clip, config.input_size
    if noted not in (None, f'{frames},{size},{size}'):
        length, height, width = noted.split(',')
        raise UsageError(f'--model-prefix {config.model_prefix}: was exported for clips of {length} frames of {height}x'
                         f'{width}, its paddings fit no other; pass --new-length {length} --input-size {height}, or '
                         f'export the network again after a call with clips of {frames} frames of {size}x{size}')


def _group(config: RecognizerOptions) -> int:
    """Return how many views the network of the zoo makes one score of."""
    return config.segments if config.consensus != 'avg' else 1


def _made_ready(block, config: RecognizerOptions, source: str, path: str | None) -> dict:
    """Give a network its type and its mode, and say what its weights are; `path` is their file."""
    if config.dtype != 'float32':
        block.cast(config.dtype)
    if config.mode != 'imperative':
        block.hybridize(static_alloc=True, static_shape=True)
    _log.info('Successfully loaded model %s', 'deploy' if config.exported else config.model)
    if path:
        return {'source': source, 'sha256': file_sha256(path), 'sha256_of': 'file'}
    return {'source': source, 'sha256': parameters_sha256(block), 'sha256_of': 'parameters'}


def _from_zoo(prepared: Prepared, num_classes: int | None, contexts: Sequence):
    config, card, start = prepared.config, prepared.card, prepared.start
    arrays = read_parameters(config.resume_params) if config.resume_params else {}
    trained = arrays.get('tsn_consensus.weight')
    if trained is not None and config.consensus != 'weighted':
        raise UsageError(f'{config.resume_params} has a weighted consensus of {trained.shape[1]} segments; pass '
                         f'--consensus weighted --num-segments {trained.shape[1]}')
    _check_consensus(config)
    head = arrays.get(card.head)
    nclass = config.num_classes or (len(head) if head is not None else None) or num_classes
    if start:
        nclass = config.num_classes or start.num_classes
    variants = {option: True for option in ('use_gn', 'use_se', 'batch_norm') if getattr(config, option)}
    if config.consensus != 'avg':
        variants['consensus'] = config.consensus
    net = model_zoo.get_model(card.name, nclass=nclass, pretrained=start or False, pretrained_base=False,
                              num_segments=_group(config), input_size=config.input_size, ctx=list(contexts),
                              initialize=not config.resume_params, **clip_option(card, config),
                              **{**prepared.options, **variants})
    net.card, net.row = card, prepared.row
    if config.resume_params:
        assign(net, arrays, config.resume_params, ctx=list(contexts))
        initialize_rest(net, list(contexts))  # a consensus that the file has no weights for
        net.classes = prepared.classes if len(prepared.classes or ()) == net.num_classes else None
        _log.info('Pre-trained model %s is successfully loaded.', config.resume_params)
        return net, config.resume_params, config.resume_params
    if start:
        _log.info('Pre-trained model is successfully loaded from the model zoo.')
        return net, f'{card.name}, published weights {start.row.tag} of {start.row.publisher}', None
    return net, 'random', None


def _check_consensus(config: RecognizerOptions) -> None:
    # A maximum leaves no trace among the parameters; the run that wrote them tells.
    run = (read_run_config(config.resume_params) if config.resume_params else None) or {}
    if run.get('config', {}).get('consensus') == 'max' and config.consensus != 'max' and config.segments > 1:
        raise UsageError(f'{config.resume_params} was trained with the maximum over segments, as config.json beside it '
                         f'says, and --consensus is {config.consensus}; pass --consensus max')
