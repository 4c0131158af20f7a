"""Write a bundle: a network as ONNX with all that is needed to use it, and proof that it computes the same."""
from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import __version__
from ...data.feature_input import FeatureInput, reference_features
from ...data.preprocess import Preprocess
from ...errors import ModelError, UsageError
from ...files import describe, new_folder, to_json
from .card import card_text
from .format import (
    CARD,
    FILES,
    FORMAT,
    LABELS,
    MANIFEST,
    MODEL,
    PREPROCESS,
    REFERENCE,
    check_folder,
    check_labels,
    seal,
    verify,
)
from .reference_clip import moving_discs, settled

if TYPE_CHECKING:
    from ...model_zoo.recognizer import Recognizer
    from ...model_zoo.registry import ModelCard


def write_bundle(net: Recognizer, folder: str | os.PathLike, *, preprocess: Preprocess | FeatureInput,
                 labels: Sequence[str] | None = None, card: ModelCard | None = None,
                 notes: Mapping[str, str] | None = None, origin: Mapping[str, Any] | None = None,
                 reference: np.ndarray | None = None, overwrite: bool = False) -> Path:
    """Write a network as a bundle.

    Parameters
    ----------
    net : HybridBlock
        float32, initialised; gives scores.
    folder : path
        Made here, with its parents; nothing is left of it when something fails.
    preprocess : Preprocess or FeatureInput
        How videos are prepared for the network, or which features it takes; decides the shape of its input.
    labels : sequence of str, optional
        Names of the classes in order; by default those that the network knows.
    card : ModelCard, optional
        What the zoo knows of the network; by default the network's own.
    notes : mapping of str to str, optional
        Further lines of the model card: where the weights come from, how well they do.
    origin : mapping, optional
        For the manifest and the model card: which published weights these are, as in
        :class:`gluon_action.deploy.bundle.what_is_exported.Source`.
    reference : uint8 ndarray (n, H, W, C), optional
        Frames of a clip to prove the model on, those at ``preprocess.offsets``, once for each of its rows; by default
        discs that move. Features are always generated.
    overwrite : bool
        Replace a bundle that is there. A folder that holds anything else is never replaced.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UsageError
        When the folder exists, an argument is invalid, or ONNX is not installed.
    ModelError
        When the network has no counterpart in ONNX, or that does not agree with it.
    BundleError
        When labels are not those of the network.
    OutputError
        When the folder cannot be written.
    """
    from ..onnx.export import called, check_packages, export_onnx, rows_per_video
    card = card or getattr(net, 'card', None)
    labels = labels or getattr(net, 'classes', None)
    labels = check_labels(list(labels) if labels else None, getattr(net, 'num_classes', 0) or None, 'labels')
    if rows_per_video(net) != preprocess.rows:
        raise UsageError(f'the network makes one score of {rows_per_video(net)} rows, and preprocess says '
                         f'rows={preprocess.rows}')
    check_packages()
    frames = _reference(preprocess, reference)
    with new_bundle(folder, overwrite=overwrite) as part:
        name, outputs = ('clip', preprocess.activation) if preprocess.input.is_video else ('video_features', 'logits')
        about = export_onnx(net, part / MODEL, input_shape=preprocess.shape(preprocess.rows), input_name=name,
                            outputs=outputs, metadata=metadata_of(preprocess, labels, called(net)))
        about |= {'precision': 'float32', **(origin or {})}
        text = card_text(card, preprocess, labels, about, notes)
        complete(part, about, preprocess=preprocess, labels=labels, card=text, frames=frames,
                 logits=_scores(net, preprocess, frames))
    return Path(folder).expanduser().absolute()


@contextlib.contextmanager
def new_bundle(folder: str | os.PathLike, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder to write a bundle into; it is renamed on success and removed on failure.

    Raises
    ------
    UsageError
        When `folder` exists and is not to be replaced, or is no bundle.
    OutputError
        When it cannot be written.
    """
    folder = Path(folder).expanduser().absolute()
    check_folder(folder, overwrite)
    with new_folder(folder) as part:
        yield part
        check_folder(folder, overwrite)  # another command may have written it in the meantime


def complete(folder: Path, about: Mapping[str, Any], *, preprocess: Preprocess | FeatureInput,
             labels: Sequence[str] | None, card: str, frames: np.ndarray, logits: np.ndarray) -> None:
    """Write everything beside the model that is in a folder, and replay the reference clip.

    Parameters
    ----------
    folder : Path
        Holds `MODEL`, with `metadata_of` in it.
    about : mapping
        For the manifest: ``model``, ``opset``, ``ir_version``, ``input``, ``outputs``, ``checked`` and ``precision``,
        ``'float32'`` or ``'int8'``.
    card : str
        The model card, in Markdown.
    frames : uint8 ndarray (n, H, W, C) or (n, D), or float32 ndarray (1, D)
        Reference clip, or features.
    logits : float32 ndarray (n, K)
        What the model must give for it.

    Raises
    ------
    ModelError
        When the model gives something else.
    """
    (folder / PREPROCESS).write_text(to_json(preprocess.to_json()))
    (folder / LABELS).write_text(json.dumps(list(labels) if labels else None, indent=1, ensure_ascii=False) + '\n')
    (folder / CARD).write_text(card)
    with open(folder / REFERENCE, 'wb') as file:
        np.savez_compressed(file, frames=frames, logits=logits.astype(np.float32))
    manifest = {'format': FORMAT, **about, 'gluon_action': __version__,
                'files': describe(folder, FILES)}
    (folder / MANIFEST).write_text(seal(manifest))
    verdict = verify(folder)
    if not verdict.ok:
        raise ModelError(f'on the reference clip the exported model differs from the network by '
                         f'{verdict.difference:.1e} of its largest score, more than {verdict.tolerance:g}, or names '
                         'another class; the bundle is not kept')


def metadata_of(preprocess: Preprocess | FeatureInput, labels: Sequence[str] | None, model: str) -> dict[str, str]:
    """Return what the ONNX file says about itself, so that it can be used without its folder."""
    return {'preprocess': json.dumps(preprocess.to_json()), 'model': model,
            'labels': json.dumps(list(labels) if labels else None, ensure_ascii=False)}


def _reference(preprocess: Preprocess | FeatureInput, frames: np.ndarray | None) -> np.ndarray:
    if not preprocess.input.is_video:
        if frames is not None:
            preprocess.input.need_video('the reference clip (--reference-clip): the network')
        return reference_features(preprocess)
    return settled(preprocess, frames) if frames is not None else moving_discs(preprocess)


def _scores(net: Recognizer, preprocess: Preprocess | FeatureInput, frames: np.ndarray) -> np.ndarray:
    """Scores of the network itself for the reference clip, one at a time to save memory."""
    from ...compute.on_mxnet.tracing import run
    rows = preprocess.apply(frames)
    return np.concatenate([run(net, part) for part in np.split(rows, len(rows) // preprocess.rows)])
