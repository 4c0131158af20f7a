"""What nobody says about an estimator's clips and network is as its records, or the run that is applied, say."""
from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ....data.tfrecords.clips.clip_records import CLASSES_FILE
from ....data.tfrecords.clips.manifest import MANIFEST
from ....data.tfrecords.record_sets import find_records
from ....errors import UsageError
from ....files import open_file, parse_json
from ....run_config import read_run_config
from .config import EstimatorConfig

log = logging.getLogger(__name__)

_CLIP = ('clip_length', 'frame_height', 'frame_width')
#: What a run that is evaluated, applied or exported had, and has to have.
_OF_RUN = ('num_classes', *_CLIP, 'channels', 'label_mode', 'min_depth', 'depth_multiplier')


def as_stored(config: EstimatorConfig, given: Collection[str] | None = None) -> EstimatorConfig:
    """Return choices in which those that were not asked for are as records, or the run, say.

    ``classes.txt`` beside the records says how many classes there are, and ``manifest.json`` of what made them how long
    and how large clips are. A run that is evaluated, applied or exported says both in its ``config.json``; as many
    classes as it had, its network has, whatever lies beside the records. A run that is resumed is trained by the engine
    that it was trained by. What is said is logged.

    Parameters
    ----------
    config : EstimatorConfig
    given : collection of str, optional
        Options that were asked for; by default those that are not what they are by default.

    Raises
    ------
    UsageError
        When no file fits the setting of the records, or their classes are not as many as the run's.
    """
    said: dict[str, Any] = {}
    if config.trains:  # a new phase is no run that is resumed, nor is one in a folder around this one
        resumed = not config.restart and (Path(config.model_dir).expanduser() / 'config.json').is_file()
        names, place = ('engine',) * resumed, config.model_dir
    else:
        names, place = _OF_RUN, config.checkpoint_path or config.model_dir
    before = (read_run_config(place) or {}).get('config', {}) if names else {}
    if before.get('network') == config.network:
        said = {name: before[name] for name in names if _is_like(before.get(name), name)}
    beside = trained = None
    subset = config.mode if config.mode in ('eval', 'predict') else 'train'
    setting = getattr(config, f'{subset}_subset_dir_path')
    if setting and (config.trains or config.mode == subset):
        of_records = _said_by_records(Path(find_records(setting)[0]).parent)
        beside, trained = of_records.get('num_classes'), said.get('num_classes')
        said |= of_records | {'num_classes': trained or beside}
    if given is None:
        given = {name for name in said if getattr(config, name) != getattr(EstimatorConfig, name)}
    if beside and trained and beside != trained and 'num_classes' not in given:
        raise UsageError(f'{setting}: {CLASSES_FILE} beside the records names {beside} classes, but the run has '
                         f'{trained}; give records of the classes that it was trained on')
    if not given.isdisjoint(_CLIP):  # a size that was given is not mixed with another
        said = {name: value for name, value in said.items() if name not in _CLIP}
    taken = {name: value for name, value in said.items()
             if name not in given and value not in (None, getattr(config, name))}
    if taken:
        log.info('As the records or the run say: %s', ' '.join(f'--{name} {value}' for name, value in taken.items()))
    return dataclasses.replace(config, **taken)


def _said_by_records(folder: Path) -> dict[str, Any]:
    said: dict[str, Any] = {}
    try:
        with open_file(folder / CLASSES_FILE) as file:
            names = file.read().decode('utf-8').splitlines()
        said['num_classes'] = sum(bool(name.strip()) for name in names) or None
    except (OSError, ValueError):  # what opens the records says what is wrong with it
        pass
    for place in (folder, folder.parent):
        try:
            with open_file(place / MANIFEST) as file:
                manifest = parse_json(file.read())
            settings = manifest['settings']
            clip = settings['clip_length'], settings['cut']['height'], settings['cut']['width']
        except (OSError, ValueError, LookupError, TypeError):
            continue
        said |= dict(zip(_CLIP, clip))
        break
    return {name: value for name, value in said.items() if _is_like(value, name)}


def _is_like(value: Any, name: str) -> bool:
    """Whether a value that was read can be that of an option."""
    default = getattr(EstimatorConfig, name)
    return type(value) is type(default) and (isinstance(value, str) or 0 < value < 2 ** 20)

