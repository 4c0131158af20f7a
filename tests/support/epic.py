"""A small data set of the shape of Epic-Kitchens: participants, folders of frames, CSVs with start and stop frames."""
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

#: Classes: a bright square moves to the right, or to the left.
ACTIONS = ('open bag', 'take bag')
_HEADER = 'participant_id,video_id,narration,start_frame,stop_frame,action_class'


@dataclass(frozen=True)
class Epic:
    """Where everything is. `train_dir` and `val_dir` hold ``<participant>/<video>/frame_%010d.jpg``."""

    train_dir: Path
    val_dir: Path
    train_list: Path
    val_list: Path
    class_names: Path


def make_epic(folder: Path, *, num_train: int = 6, num_val: int = 4, actions_per_video: int = 2, num_frames: int = 24,
              size: tuple[int, int] = (48, 40), seed: int = 0) -> Epic:
    """Write the data set; equal arguments give equal files.

    Parameters
    ----------
    folder : Path
    num_train, num_val : int
        Videos of each split. Videos 2 i and 2 i + 1 are of one participant.
    actions_per_video : int
        Actions of a video, one after the other with a pause between them; their classes take turns.
    num_frames : int
        Frames of an action.
    size : tuple of int
        Width and height of the pictures.
    seed : int
    """
    folder, rng = Path(folder), np.random.default_rng(seed)
    for split, num_videos, first in (('train', num_train, 0), ('val', num_val, num_train)):
        rows = [_HEADER]
        for video in range(num_videos):
            rows += _make_video(folder / split, first + video, actions_per_video, num_frames, size, rng)
        (folder / f'{split}_action_classes.csv').write_text('\n'.join(rows) + '\n')
    names = folder / 'class_names.json'
    names.write_text(json.dumps({name: number for number, name in enumerate(ACTIONS)}))
    return Epic(folder / 'train', folder / 'val', folder / 'train_action_classes.csv',
                folder / 'val_action_classes.csv', names)


def _make_video(folder: Path, number: int, num_actions: int, num_frames: int, size: tuple[int, int],
                rng: np.random.Generator) -> list[str]:
    """Frames 1 .. of one video, and its rows of the list."""
    participant = f'P{1 + number // 2:02d}'
    video = f'{participant}_{1 + number:02d}'
    place, rows, frame, pause = folder / participant / video, [], 1, 3
    place.mkdir(parents=True)
    for action in range(num_actions):
        kind = (number + action) % 2
        rows.append(f'{participant},{video},"{ACTIONS[kind]}, then pause",{frame},{frame + num_frames - 1},'
                    f'{ACTIONS[kind]}')
        for picture in _moving_square(num_frames, size, kind == 0, rng) + _noise(pause, size, rng):
            assert cv2.imwrite(str(place / f'frame_{frame:010d}.jpg'), picture)
            frame += 1
    return rows


def _moving_square(num_frames: int, size: tuple[int, int], to_right: bool, rng: np.random.Generator) -> list:
    (width, height), side = size, size[1] // 3
    places = np.linspace(0, width - side, num_frames).round().astype(int)
    top = int(rng.integers(height - side + 1))
    pictures = _noise(num_frames, size, rng)
    for picture, left in zip(pictures, places if to_right else places[::-1]):
        picture[top:top + side, left:left + side] = 230
    return pictures


def _noise(num_frames: int, size: tuple[int, int], rng: np.random.Generator) -> list:
    return list(rng.integers(20, 90, (num_frames, size[1], size[0], 3), dtype=np.uint8))
