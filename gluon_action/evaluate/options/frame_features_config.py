"""The options of evaluating a training on features, YouTube-8M's: the network's, and what is scored."""
from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from ...compute.engines import ENGINES
from ...errors import UsageError
from ...feature_architecture import Architecture
from ...options import SWITCH, changed, option
from .recognizer_options import RecognizerOptions

_records = partial(option, underscores=True, group='records')
_scoring = partial(option, underscores=True, group='scoring')
_run = partial(option, underscores=True, group='run')


@dataclass(frozen=True)
class FeatureEvaluation(Architecture):
    """What ``scripts/youtube8m/eval.py`` takes, under the names of its flags; ``--help`` explains each."""

    eval_data_pattern: str = _records(
        '', 'TFRecords with labels to score: a pattern, a folder, or several with commas between; --build_only needs '
        'none', metavar='PATTERN', common=True)
    num_readers: int = _records(
        8, 'processes that read records, at most one for each core; 0 reads in this one. The result does not depend on '
        'it', least=0, common=True)
    on_error: str = _records(
        'raise', 'a record that cannot be read stops the evaluation, or is left out, counted and named',
        '--on_error', '--on-error', choices=('raise', 'skip'))

    batch_size: int = _scoring(1024, 'videos that are computed together', least=1, common=True)
    top_k: int = _scoring(20, 'classes of a video that count, its most probable ones', least=1, common=True)
    n_rounds: int = _scoring(
        1, 'mean over so many passes, each of which draws other frames; the draws are always the same ones', least=1)
    use_EMA: bool | None = _scoring(
        None, 'take the moving averages of the parameters; by default where the run has them', **SWITCH)
    engine: str = changed(RecognizerOptions, 'engine', group='scoring')
    num_gpu: int = _scoring(1, 'GPUs; 0 computes on the CPU, which is also where there are none', least=0, common=True)

    train_dir: str = _run(
        '/tmp/yt8m_model/', 'folder of the run, whose newest checkpoint is taken. inference_model, evallog.txt and '
        'eval.json are written there', metavar='FOLDER', common=True)
    build_only: bool = _run(False, 'write inference_model, and score nothing', **SWITCH, common=True)
    run_once: bool = _run(
        False, 'score once; otherwise every new checkpoint is scored until you stop it with Ctrl-C', **SWITCH,
        common=True)
    poll_seconds: float = _run(60., 'how often to look for a new checkpoint', least=1)
    strict_flags: bool = _run(
        False, 'refuse options of a network that contradict the stored model, instead of leaving them aside',
        **SWITCH)


def check_evaluation(config: FeatureEvaluation) -> None:
    """Refuse choices that contradict each other or mean nothing.

    Raises
    ------
    UsageError
        Naming the flag, the reason and what to do.
    """
    if config.engine not in ENGINES:
        raise UsageError(f'--engine: must be one of {", ".join(ENGINES)}, got {config.engine!r}')
    if not config.train_dir:
        raise UsageError('--train_dir: needs the folder of the run')
    if not (config.build_only or config.eval_data_pattern):
        raise UsageError('--eval_data_pattern: needs the TFRecords to score; --build_only writes the model and scores '
                         'nothing')
    if not math.isfinite(config.poll_seconds):
        raise UsageError(f'--poll_seconds: must be a finite number, got {config.poll_seconds}')
