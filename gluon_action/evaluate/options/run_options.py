"""What a test takes from the ``config.json`` of the run whose weights it scores, and where it differs from that run."""
from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...errors import UsageError, WeightsError
from ...options import Option, options_of
from ...run_config import read_run_config
from .config import TestConfig
from .preparation import parameters_of_run

_log = logging.getLogger(__name__)

#: What network the parameters fit. Segments are not wrapped in a test, so that ``use_tsn`` says something else there.
_NETWORK = ('model', 'use_gn', 'use_se', 'batch_norm', 'consensus', 'input_5d', 'slowfast')
#: How large frames are before they are cropped: decided together.
_RESIZING = ('new_height', 'new_width', 'data_aug', 'crop_ratio')
#: Where the videos are, and how their list is written: that of another data set, or of other videos, is written so by
#: chance only.
_PLACES = ('data_dir', 'val_data_dir', 'val_list', 'list_format', 'list_encoding', 'video_loader',
           'name_pattern')
#: What changes the clips that the network sees; all of it is settled when a run begins.
_CLIPS = ('input_size', 'new_length', 'new_step', 'clip_sampling', 'slow_temporal_stride', 'fast_temporal_stride')
_NAMES: Iterable[str] = ('dataset', 'label_base', 'multi_label', 'num_segments', 'num_crop', *_NETWORK, *_RESIZING,
                         *_PLACES, *_CLIPS)
_OPTIONS: Mapping[str, Option] = options_of(TestConfig)
_LEAVE_OUT = ', as config.json beside its parameters says; leave it out to test what was trained'


def with_run(config: TestConfig) -> TestConfig:
    """Return a test with what it leaves open taken from the run of its weights; differences are told, a line each.

    Parameters
    ----------
    config : TestConfig
        As it was given: what is None was left open.

    Returns
    -------
    TestConfig
        ``resume_params`` names a file. Unchanged where no ``config.json`` lies beside the weights.

    Raises
    ------
    UsageError
        When the run is of something else than a recogniser, or is not there.
    WeightsError
        When a folder is none of a run, or the run has no parameters yet.
    """
    place = Path(config.resume_params).expanduser() if config.resume_params else None
    if place and not (config.model or place.exists()):
        raise UsageError(f'{place}: does not exist; name the folder of a run, or parameters with --model')
    about = read_run_config(place) if place else None
    if place and place.is_dir():
        if about is None:
            raise WeightsError(f'{place}: is not a file of parameters, and holds no config.json of a training run; '
                               'name the folder of a run, or parameters by --resume-params FILE --model NAME, or a '
                               'bundle by --deploy --model-prefix')
        config = dataclasses.replace(config, resume_params=str(parameters_of_run(place)))
    if about is None:
        return config
    if 'network' in about['config']:
        raise UsageError(f'{place}: is the run of an estimator, which scores its own TFRecords: run '
                         'scripts/i3d_estimator.py or s3dg_estimator.py with --mode eval and its --model_dir')
    run = {name: value for name, value in about['config'].items() if _is_valid(name, value)}
    taken = {name: value for name, value in _wanted(config, run).items() if getattr(config, name) is None
             or name == 'model' and not config.model}
    _say_taken(config, taken)
    for line in differences(config, run):
        _log.warning('%s: %s', place, line)
    return dataclasses.replace(config, **taken)


def differences(config: TestConfig, run: Mapping[str, Any]) -> list[str]:
    """Return a line for each option that was given and makes the network, or what it sees, another one than in a run.

    Parameters
    ----------
    config : TestConfig
        As it was given.
    run : mapping
        Options of the run.
    """
    found = []
    for name in (*_NETWORK, *_CLIPS, 'multi_label'):
        given, before = getattr(config, name), run.get(name)
        if given in (None, '') or before is None or given == before:
            continue
        # Consecutive and dense clips lie elsewhere and look alike.
        if name == 'clip_sampling' and 'spread' not in (given, before):
            continue
        found.append(f'{_said(name, given)}, and the run had {_said(name, before)}{_LEAVE_OUT}')
    if any(getattr(config, name) is not None for name in _RESIZING) and {'input_size', *_RESIZING} <= run.keys():
        one_view = dataclasses.replace(config, num_crop=1, three_crop=False, ten_crop=False)
        now = one_view.settled({'input_size': run['input_size']})
        before = dataclasses.replace(now, **{name: run[name] for name in _RESIZING})
        if now.resize != before.resize:
            flags = ', '.join(_OPTIONS[name].flag for name in _RESIZING if getattr(config, name) is not None)
            found.append(f'{flags}: frames are {now.resize} before the crop of {now.input_size}, and in the validation '
                         f'of the run they were {before.resize}{_LEAVE_OUT}')
    return found


def _wanted(config: TestConfig, run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a run that a test takes over where it leaves them open."""
    names = [*_NETWORK, 'multi_label']
    if config.dataset in (None, run.get('dataset')):
        names += ['dataset', 'label_base', *_PLACES]
        if config.data_dir is not None:
            names.remove('val_data_dir')
        if config.val_list is not None:
            names = [name for name in names if name not in (
                'list_format', 'list_encoding', 'video_loader', 'name_pattern')]
    if config.num_segments is None and not config.use_tsn:
        names.append('num_segments')
    if config.num_crop is None and not (config.three_crop or config.ten_crop):
        names.append('num_crop')
    crops = run.get('num_crop', 1) if 'num_crop' in names else config.crops
    if all(getattr(config, name) is None for name in _RESIZING):
        names += ['new_height', 'new_width', 'data_aug']
        if not run.get('new_height') and run.get('data_aug') == 'v1' and crops != 3:
            names.append('crop_ratio')
    return {name: run[name] for name in names if run.get(name) is not None}


def _say_taken(config: TestConfig, taken: Mapping[str, Any]) -> None:
    defaults = {**{name: option.default for name, option in _OPTIONS.items()}, **TestConfig.UNSAID}
    said = [_said(name, value) for name, value in taken.items() if value != defaults[name]]
    if said:
        _log.info('From config.json of the run of %s: %s', config.resume_params, ' '.join(said))


def _is_valid(name: str, value: Any) -> bool:
    """Whether `config.json`, which others may have written, says something that an option can be."""
    if name not in _NAMES or value is None:
        return False
    option = _OPTIONS[name]
    if option.type is float:
        return type(value) in (int, float) and 0 < value <= 1  # crop_ratio is the only one
    if type(value) is not option.type or option.choices and value not in option.choices:
        return False
    return option.type is not int or (option.least or 0) <= value < 2 ** 20


def _said(name: str, value: Any) -> str:
    """An option as the command line has it; a switch that is off in words."""
    flag = _OPTIONS[name].flag
    return flag if value is True else f'no {flag}' if value is False else f'{flag} {value}'
