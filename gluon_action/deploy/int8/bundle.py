"""A bundle in int8: calibrated on clips, with the layers that hurt in float, and a report of its accuracy and speed."""
from __future__ import annotations

import contextlib
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ModelError, UsageError
from ..bundle.card import card_text
from ..bundle.format import MODEL, Bundle, read_bundle, read_reference
from ..bundle.write import complete, new_bundle
from ..onnx.model import OnnxModel
from ..speed.processor import int8_instructions, processor_name
from .calibration_clips import Clip
from .layers import Agreement, agreement, most_harmful, slower_layers
from .quantize import Calibration

#: What is copied from the manifest of the float bundle.
_KEPT = ('model', 'opset', 'ir_version', 'input', 'outputs', 'published', 'trained_from')
_TIMED_RUNS = 7


@dataclass(frozen=True)
class Int8Choices:
    """How an int8 bundle is made.

    Attributes
    ----------
    mode : {'minmax', 'entropy'}
    activations : {'uint8', 'int8'}
    reduce_range : bool or None
        As in `gluon_action.deploy.int8.quantize.Calibration`.
    min_agreement : float
        Share of the held-out clips that must stay in the class that the float model says; layers are kept in float
        until it is reached.
    max_float : float
        Share of the layers that may be kept in float for that.
    keep_slow : bool
        Make layers int8 that it makes slower on this machine.
    threads : int or None
        Of ONNX Runtime.
    """

    mode: str = 'minmax'
    activations: str = 'uint8'
    reduce_range: bool | None = None
    min_agreement: float = 0.95
    max_float: float = 0.5
    keep_slow: bool = False
    threads: int | None = None


def quantize_bundle(path: str | os.PathLike, out: str | os.PathLike, *, calibration: Sequence[Clip],
                    held_out: Sequence[Clip] = (), choices: Int8Choices | None = None, overwrite: bool = False,
                    progress: Callable[[str, int], Callable[[], None]] | None = None) -> dict[str, Any]:
    """Write an int8 version of a bundle and return the report.

    Parameters
    ----------
    path : path
        A float32 bundle.
    out : path
        The new bundle.
    calibration : sequence of Clip
        To find ranges on.
    held_out : sequence of Clip
        To compare with the float model on, and by their labels; without any, layers are not judged by what they do to
        scores.
    choices : Int8Choices, optional
    overwrite : bool
        Replace a bundle that is there.
    progress : callable, optional
        Takes what begins and in how many steps, returns what to call after each step.

    Raises
    ------
    UsageError
        When the bundle is int8 already or bare, `out` exists, or there is nothing to calibrate on.
    ModelError
        When ``min_agreement`` is not reached.
    BundleError
        When the bundle cannot be read.
    OutputError
        When the new one cannot be written.
    """
    choices, started = choices or Int8Choices(), time.perf_counter()
    bundle = read_bundle(path)
    _check(bundle, choices)
    if not calibration:
        raise UsageError('there is nothing to calibrate on: not one clip')
    with new_bundle(out, overwrite=overwrite) as part, tempfile.TemporaryDirectory() as folder:
        made = Calibration(bundle.model, (bundle.preprocess.cut(clip.frames) for clip in calibration), folder,
                           mode=choices.mode, activations=choices.activations, reduce_range=choices.reduce_range)
        trial = _Trial(bundle, held_out, choices.threads)
        float_layers = {} if choices.keep_slow else slower_layers(
            made, bundle.preprocess.shape(bundle.preprocess.rows), threads=choices.threads)
        if len(float_layers) == len(made.layers):
            raise ModelError(f'{path}: int8 makes every layer slower on this machine, so it is of no use here; '
                             '--keep-slow makes it all the same')
        float_layers |= _floats_for_accuracy(made, trial, float_layers, part / MODEL, Path(folder), choices, progress)
        report = _report(bundle, part / MODEL, made, trial, float_layers, choices, len(calibration))
        _complete(bundle, part, report)
        report['seconds'] = round(time.perf_counter() - started, 1)
    return report


class _Trial:
    """Held-out clips, and the scores of the float model for them."""

    def __init__(self, bundle: Bundle, clips: Sequence[Clip], threads: int | None):
        self.clips, self.threads, self._cut = clips, threads, bundle.preprocess.cut
        self.float_model = OnnxModel(bundle.model, threads=threads)
        self.expected = self.scores(self.float_model)

    @property
    def batches(self) -> list[np.ndarray]:
        """Input for each clip."""
        return [self._cut(clip.frames) for clip in self.clips]

    def scores(self, model: OnnxModel) -> np.ndarray:
        """Scores (clips, K), means over their crops; one clip is held at a time."""
        return np.array([model.run(self._cut(clip.frames)).mean(axis=0) for clip in self.clips])

    def compare(self, path: Path) -> tuple[Agreement, np.ndarray] | None:
        """Agreement of a model with the float one, and its scores."""
        if not self.clips:
            return None
        scores = self.scores(OnnxModel(path, threads=self.threads))
        return agreement(self.expected, scores), scores


def _check(bundle: Bundle, choices: Int8Choices) -> None:
    if not bundle.manifest:
        raise UsageError(f'{bundle.path}: is an ONNX file alone; name the folder of its bundle')
    if bundle.manifest.get('precision') != 'float32':
        raise UsageError(f'{bundle.path}: is {bundle.manifest.get("precision")} already; name the float32 bundle')
    for name in ('min_agreement', 'max_float'):
        if not 0 <= getattr(choices, name) <= 1:
            raise UsageError(f'--{name.replace("_", "-")} must be in 0..1, got {getattr(choices, name)}')


def _floats_for_accuracy(made: Calibration, trial: _Trial, float_layers: dict[str, str], path: Path, folder: Path,
                       choices: Int8Choices, progress: Callable | None) -> dict[str, str]:
    """Write the model with ever more of the most harmful layers in float, until it agrees; return these with why."""
    layers = [layer for layer in made.layers if layer.name not in float_layers]
    made.write(path, [layer.name for layer in layers])
    compared = trial.compare(path)
    if compared is None or compared[0].top1 >= choices.min_agreement:
        return {}
    first = compared[0].top1
    limit = min(math.floor(choices.max_float * len(made.layers)), len(layers) - 1)
    step = progress('layers tried alone', len(layers)) if progress else lambda: None
    few = _Few(trial)
    worst = most_harmful(made, layers, few.batches, few.expected, folder, threads=choices.threads, on_layer=step)
    number = 1
    while number <= limit:
        chosen = dict(worst[:number])
        made.write(path, [layer.name for layer in layers if layer.name not in chosen])
        compared = trial.compare(path)
        if compared[0].top1 >= choices.min_agreement:
            return {name: f'hurts: alone in int8 it changes the scores by {error:.1%}'
                    for name, error in chosen.items()}
        number = limit if number < limit < 2 * number else 2 * number
    raise ModelError(f'{compared[0].top1:.1%} of the held-out clips keep their class ({first:.1%} with every layer in '
                     f'int8), --min-agreement asks for {choices.min_agreement:.1%}, and {limit} layers in float do not '
                     'reach it; calibrate on more clips, take --calib-mode entropy, raise --max-float, or lower '
                     '--min-agreement')


class _Few:
    """The first held-out clips: enough to rank layers by."""

    def __init__(self, trial: _Trial, most: int = 4):
        self.batches = [trial._cut(clip.frames) for clip in trial.clips[:most]]
        self.expected = np.concatenate([trial.float_model.run(batch) for batch in self.batches])


def _report(bundle: Bundle, path: Path, made: Calibration, trial: _Trial, float_layers: dict[str, str],
            choices: Int8Choices, num_calibration: int) -> dict[str, Any]:
    shape = bundle.preprocess.shape(bundle.preprocess.rows)
    model = OnnxModel(path, threads=choices.threads)
    in_float, in_int8 = _latencies(trial.float_model, model, np.zeros(shape, np.float32))
    sizes = bundle.model.stat().st_size, path.stat().st_size
    report = {
        'model': bundle.name, 'bundle': str(bundle.path),
        'processor': {'name': processor_name(), 'int8_instructions': int8_instructions(), 'threads': model.threads},
        'calibration': {'clips': num_calibration, 'mode': made.mode, 'activations': made.activations,
                        'weight_bits': 7 if made.reduce_range else 8},
        'bytes': {'float32': sizes[0], 'int8': sizes[1], 'ratio': sizes[1] / sizes[0]},
        'seconds_a_score': {'float32': in_float, 'int8': in_int8, 'ratio': in_int8 / in_float},
        'layers': {'int8': len(made.layers) - len(float_layers), 'float32': len(float_layers),
                   'kept_in_float': float_layers}}
    compared = trial.compare(path)
    if compared is None:
        return report
    report['held_out'] = {'clips': len(trial.clips), 'agreement': compared[0].top1, 'score_error': compared[0].error}
    labelled = [place for place, clip in enumerate(trial.clips) if clip.label is not None]
    if labelled:
        truth = np.array([trial.clips[place].label for place in labelled])
        top1 = [float(np.mean(values[labelled].argmax(axis=1) == truth)) for values in (trial.expected, compared[1])]
        report['top1'] = {'clips': len(labelled), 'float32': top1[0], 'int8': top1[1], 'change': top1[1] - top1[0]}
    return report


def _latencies(one: OnnxModel, other: OnnxModel, data: np.ndarray) -> tuple[float, float]:
    """Median seconds of two models that take turns."""
    taken: tuple[list[float], list[float]] = [], []
    for turn in range(_TIMED_RUNS + 1):
        for model, times in zip((one, other), taken):
            started = time.perf_counter()
            model.run(data)
            if turn:  # the first call allocates
                times.append(time.perf_counter() - started)
    return float(np.median(taken[0])), float(np.median(taken[1]))


def _complete(bundle: Bundle, part: Path, report: dict[str, Any]) -> None:
    frames, _ = read_reference(bundle)
    preprocess, model = bundle.preprocess, OnnxModel(part / MODEL)
    rows = preprocess.apply(frames)
    logits = np.concatenate([model.run(rows[place:place + preprocess.rows])
                             for place in range(0, len(rows), preprocess.rows)])
    manifest = {name: bundle.manifest[name] for name in _KEPT if name in bundle.manifest}
    told = {name: report[name] for name in ('calibration', 'layers', 'held_out', 'top1') if name in report}
    manifest |= {'precision': 'int8', 'int8': told}
    card = None
    with contextlib.suppress(ImportError, UsageError):  # a network of somebody else's
        from ...model_zoo import model_card
        card = model_card(bundle.name)
    text = card_text(card, preprocess, bundle.labels, manifest, _notes(bundle, report))
    complete(part, manifest, preprocess=preprocess, labels=bundle.labels, card=text, frames=frames, logits=logits)


def _notes(bundle: Bundle, report: dict[str, Any]) -> dict[str, str]:
    layers, notes = report['layers'], {}
    notes['int8 version of'] = f'{bundle.path.name}, SHA-256 {bundle.manifest["files"][MODEL]["sha256"]}'
    notes['Layers'] = f'{layers["int8"]} in int8, {layers["float32"]} in float'
    if 'held_out' in report:
        held = report['held_out']
        notes['Agreement with float'] = f'{held["agreement"]:.1%} of {held["clips"]} held-out clips keep their class'
    return notes


def report_text(report: dict[str, Any]) -> str:
    """Return a report as a page to read."""
    processor, sizes, seconds = report['processor'], report['bytes'], report['seconds_a_score']
    instructions = processor['int8_instructions']
    eight = 'unknown whether it has instructions for int8' if instructions is None else \
        f'instructions for int8: {", ".join(instructions)}' if instructions else \
        'no instructions for int8 (VNNI or the like): gains are small here'
    calibration, layers = report['calibration'], report['layers']
    lines = [f'{report["model"]} in int8',
             f'  processor  {processor["name"]}, {processor["threads"]} threads; {eight}',
             f'  size       {sizes["int8"] / 1e6:.1f} MB, float {sizes["float32"] / 1e6:.1f} MB: {sizes["ratio"]:.2f}',
             f'  latency    {1000 * seconds["int8"]:.1f} ms, float {1000 * seconds["float32"]:.1f} ms: '
             f'{seconds["ratio"]:.2f}' + (' (int8 is slower here)' if seconds['ratio'] > 1 else ''),
             f'  ranges     {calibration["clips"]} clips, {calibration["mode"]}, {calibration["activations"]} between '
             f'layers, weights of {calibration["weight_bits"]} bits by channel']
    if 'held_out' in report:
        held = report['held_out']
        lines.append(f'  agreement  {held["agreement"]:.1%} of {held["clips"]} held-out clips keep their class; scores '
                     f'differ by {held["score_error"]:.1%}')
    if 'top1' in report:
        top1 = report['top1']
        lines.append(f'  top-1      {top1["int8"]:.1%}, float {top1["float32"]:.1%}: {100 * top1["change"]:+.1f} '
                     f'points on {top1["clips"]} labelled clips')
    lines.append(f'  layers     {layers["int8"]} in int8, {layers["float32"]} in float')
    lines += [f'    {name}: {why}' for name, why in layers['kept_in_float'].items()]
    return '\n'.join(lines) + '\n'
