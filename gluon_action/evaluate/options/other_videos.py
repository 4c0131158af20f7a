"""A test of other videos than those that the run was validated on: where they are, before MXNet is loaded."""
from __future__ import annotations

import dataclasses
import itertools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...data.by_name import DEMOS
from ...data.flow.folder import is_video_name
from ...data.lists.listed_videos import listed_videos
from ...errors import AnnotationError, UsageError
from ...run_config import read_run_config
from ..reports import list_of
from .config import TestConfig


def with_videos(config: TestConfig, videos: str) -> TestConfig:
    """Return a test of other videos than those that the run was validated on.

    Parameters
    ----------
    config : TestConfig
        As it was given.
    videos : str
        A list in any format, with names of classes or numbers, or a folder of one folder a class. Its paths start from
        `data_dir` where that is given, and otherwise from where the run's do, the list's own folder, or the current
        one, wherever the videos are.

    Raises
    ------
    UsageError
        When it is not there, is one video, or the list is named twice.
    """
    if config.val_list:
        raise UsageError(f'--val-list {config.val_list}: contradicts {videos}; name the videos once')
    place = os.path.abspath(os.path.expanduser(videos))
    if not os.path.exists(place):
        raise UsageError(f'{videos}: there is no such list or folder of class folders')
    if os.path.isfile(place) and is_video_name(place):
        raise UsageError(f'{videos}: is a video, and nobody says what it shows; name a list or a folder of class '
                         'folders, or ask gluon-action predict')
    about = read_run_config(config.resume_params) if config.resume_params else None
    run = about['config'] if about else {}
    if config.dataset is None and run.get('dataset') in (None, *DEMOS):  # no generated data are meant
        config = dataclasses.replace(config, dataset='custom')
    if config.data_dir is None and config.val_data_dir is None:
        config = dataclasses.replace(config, val_data_dir=_root_of(place, run, config))
    return dataclasses.replace(config, val_list=place)


def folder_beside(results_dir: str, videos: str) -> Path:
    """Return the folder for the results of other videos than the run's: `results_dir` with their name behind it.

    Where it holds results of another list of that name, a number follows.
    """
    name = re.sub(r'[^\w.-]+', '_', Path(videos).stem if os.path.isfile(videos) else Path(videos).name)
    for number in itertools.count(1):
        folder = Path(f'{results_dir}-{name or "videos"}' + f'-{number}' * (number > 1)).expanduser()
        if list_of(folder) in (None, videos):
            return folder


def _root_of(place: str, run: Mapping[str, Any], config: TestConfig) -> str | None:
    """The folder that the paths of a list start from; None leaves it to the run."""
    if os.path.isdir(place):
        return place
    of_run = next((folder for name in ('val_data_dir', 'data_dir') if isinstance(folder := run.get(name), str)), '')
    roots = [*filter(None, [of_run]), os.path.dirname(place), os.getcwd(), '/']
    try:
        return listed_videos(place, roots, list_format=config.list_format or 'auto',
                             list_encoding=config.list_encoding)[0]
    except AnnotationError:  # of flow, not the videos need be there; what reads the list says what is wrong with it
        return None if of_run else os.path.dirname(place)
