"""The three phases of the estimator against training from scratch, at equal steps, on generated clips with two labels.

A network learns eight directions of grey textures first, which stands for Kinetics. Then a new task with few clips: is
the texture red (or green), does it move up (or down); a clip has both labels, one or none. The phases train a new
logits layer at a high rate, then all layers at a lower one, then at a still lower one; the other run starts at random
and has as many steps, at the rate of those tried that suits it best. Writes clips, runs and ``three_phases.png``, and
prints mean average precision and F1.
"""
from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import gluon_action  # noqa: F401  (prepares MXNet)

# isort: split
from gluon_action.data.demo.moving_texture import CLASSES, render_two_stream
from gluon_action.data.tfrecords.examples import make_example
from gluon_action.data.tfrecords.framing import RecordWriter
from gluon_action.train.recipes.clip_estimator.config import EstimatorConfig
from gluon_action.train.recipes.clip_estimator.estimator import train

FRAMES, SIDE = 16, 32
DIRECTIONS = 8
PHASES = ((20, 0.1, 'head'), (60, 0.02, 'all'), (20, 0.002, 'all'))  # steps, learning rate, what is trained
SCRATCH_RATES = (0.1, 0.02)
PRETRAINING = dict(train_steps=260, monitor_steps=130, learning_rate=0.1, batch_size=16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=None, help='folder of clips, runs and the picture')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.out or Path(temporary)
        result = measure(folder)
        print(f'{"":<24}{"mAP":>8}{"F1":>8}{"best mAP":>10}')
        for name, scores in result.items():
            print(f'{name:<24}{scores["map"]:>8.4f}{scores["f1"]:>8.4f}{scores["best"]:>10.4f}')
        print(json.dumps(result))
        if args.out:
            print(folder / 'three_phases.png')


def measure(folder: Path) -> dict[str, dict[str, float]]:
    """Make the data, run everything, draw the curves; return the scores at the end, and the best on the way, by run."""
    write_data(folder)
    task = dict(num_classes=2, train_subset_dir_path=str(folder / 'task' / 'train'),
                eval_subset_dir_path=str(folder / 'task' / 'eval'))
    before = config(folder, 'pretrained', num_classes=DIRECTIONS, **PRETRAINING,
                    train_subset_dir_path=str(folder / 'directions' / 'train'),
                    eval_subset_dir_path=str(folder / 'directions' / 'eval'))
    train(before)
    phases, source = [], before.model_dir
    for number, (steps, rate, part) in enumerate(PHASES, 1):
        head = part == 'head'
        phase = config(folder, f'phase-{number}', **task, train_steps=steps, learning_rate=rate, warm_start=True,
                       checkpoint_path=source, variables_to_warm_start='s3dg_convs' if head else None,
                       variables_to_train='s3dg_logits' if head else None)
        phases += shifted(train(phase).history, phases)
        source = phase.model_dir
    total = sum(steps for steps, _, _ in PHASES)
    alone = {f'scratch, rate {rate:g}': train(config(folder, f'scratch-{rate:g}', **task, train_steps=total,
                                                     learning_rate=rate)).history for rate in SCRATCH_RATES}
    runs = {'three phases': phases, **alone}
    draw(runs, folder / 'three_phases.png')
    return {name: {'map': history[-1]['val_map'], 'f1': history[-1]['val_f1'],
                   'best': max(record['val_map'] for record in history)} for name, history in runs.items()}


def config(folder: Path, name: str, **choices) -> EstimatorConfig:
    """The choices of a run of a thin S3D-G."""
    return EstimatorConfig(**{**dict(
        network='s3dg', mode='train_and_eval', model_dir=str(folder / name), clip_length=FRAMES, frame_height=SIDE,
        frame_width=SIDE, depth_multiplier=0.25, min_depth=8, batch_size=8, monitor_steps=10, num_data_workers=0,
        weight_decay=1e-5, add_image_summaries=False), **choices})


def shifted(history: list[dict], before: list[dict]) -> list[dict]:
    """A phase's records, their steps counted from the first phase's start."""
    start = before[-1]['step'] if before else 0
    return [{**record, 'step': record['step'] + start} for record in history]


def write_data(folder: Path) -> None:
    """Write the records of both tasks, unless they are there."""
    for split, seed, many, few in (('train', 0, 480, 16), ('eval', 1, 48, 64)):
        write_records(folder / 'directions' / split, many, DIRECTIONS, direction, seed)
        write_records(folder / 'task' / split, few, 2, red_and_up, seed)


def write_records(folder: Path, count: int, classes: int, make: Callable, seed: int) -> None:
    """Write `count` clips that ``make(rng, number)`` gives with the labels that they have."""
    if (folder / 'clips.tfrecord').exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with RecordWriter(folder / 'clips.tfrecord') as writer:
        for number in range(count):
            clip, labels = make(np.random.default_rng((seed, classes, number)), number)
            hot = np.isin(np.arange(classes), labels).astype(np.uint8)
            writer.write(make_example({'feature': clip.tobytes(), 'label': hot.tobytes()}))


def direction(rng: np.random.Generator, number: int) -> tuple[np.ndarray, list[int]]:
    """A grey texture that moves in one of eight directions; none is straight up or down."""
    import cv2
    label = number % DIRECTIONS
    side = 2 * SIDE
    clip = render_two_stream(rng, 0, FRAMES, side, side)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), 360 * (label + 0.5) / DIRECTIONS, 1.)
    inner = slice(SIDE // 2, SIDE // 2 + SIDE)
    grey = [cv2.cvtColor(cv2.warpAffine(frame, turn, (side, side)), cv2.COLOR_RGB2GRAY)[inner, inner] for frame in clip]
    return np.repeat(np.stack(grey)[..., None], 3, axis=-1), [label]


def red_and_up(rng: np.random.Generator, number: int) -> tuple[np.ndarray, list[int]]:
    """A texture with the label 0 where it is red, and 1 where it moves up."""
    kind = number % len(CLASSES)
    labels = [place for place, word in enumerate(('Red', 'Up')) if word in CLASSES[kind]]
    return render_two_stream(rng, kind, FRAMES, SIDE, SIDE), labels


def draw(runs: dict[str, list[dict]], path: Path) -> None:
    """Draw mean average precision and F1 of all runs by step."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(11, 4.4), layout='constrained')
    ends = np.cumsum([steps for steps, _, _ in PHASES])
    for axes, key, title in zip(figure.subplots(1, 2), ('val_map', 'val_f1'), ('mean average precision', 'F1')):
        for color, (name, history) in zip(('#D55E00', '#0072B2', '#56B4E9'), runs.items()):
            axes.plot([record['step'] for record in history], [record[key] for record in history], marker='o',
                      markersize=4, color=color, label=name)
        for number, end in enumerate(ends, 1):
            axes.axvline(end, color='0.7', linestyle=':', linewidth=1)
            axes.text(end, 0.01, f'phase {number} ends ', ha='right', fontsize=8, color='0.4')
        axes.set(title=f'{title}, evaluation', xlabel='steps on the task', ylim=(0, 1.04), xlim=(0, ends[-1] * 1.03))
        axes.grid(alpha=0.3)
        axes.legend(loc='lower right', bbox_to_anchor=(1, 0.06))
    figure.savefig(path, dpi=100)


if __name__ == '__main__':
    main()
