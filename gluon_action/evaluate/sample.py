"""Score one video by I3D's streams as kinetics-i3d's sample script does: RGB, flow, or the sum of both."""
from __future__ import annotations

import io
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..compute.on_mxnet.tracing import run
from ..data.reading.single_clip import NUM_FRAMES, flow_clip, rgb_clip
from ..errors import UsageError, WeightsError
from ..files import write_file
from ..model_zoo import get_model, model_card
from ..model_zoo.loading.preparation import Preparation, prepared_for, read_preparation, said
from ..model_zoo.two_stream import TwoStream
from .scores.fusion_weights import softmax

#: What can be evaluated -> the models that do.
EVAL_TYPES = {'rgb': ('i3d_rgb_kinetics400',), 'rgb600': ('i3d_rgb_kinetics600',), 'flow': ('i3d_flow_kinetics400',),
              'joint': ('i3d_rgb_kinetics400', 'i3d_flow_kinetics400')}
#: Model -> its published weights: started from ImageNet, or at random.
CHECKPOINTS = {'i3d_rgb_kinetics400': ('rgb_imagenet', 'rgb_scratch'),
               'i3d_flow_kinetics400': ('flow_imagenet', 'flow_scratch'),
               'i3d_rgb_kinetics600': (None, 'rgb_scratch_kin600')}
#: The sample that kinetics-i3d comes with.
SAMPLE = {'rgb': 'data/v_CricketShot_g04_c01_rgb.npy', 'flow': 'data/v_CricketShot_g04_c01_flow.npy'}
ORIGIN = 'https://github.com/google-deepmind/kinetics-i3d'

_LABEL_MAPS = {'kinetics400': 'label_map.txt', 'kinetics600': 'label_map_600.txt'}
_SHOWN = 20


@dataclass(frozen=True)
class SampleConfig:
    """What to score, and by which weights.

    Attributes
    ----------
    eval_type : str
        One of `EVAL_TYPES`.
    imagenet_pretrained : bool, optional
        Weights that were started from ImageNet, which is the default where there are such, or from nothing.
    checkpoint_dir : str
        Folder of `CHECKPOINTS`: ``rgb_imagenet/model.ckpt`` as published, or ``rgb_imagenet.params``.
    rgb, flow : str, optional
        What `gluon_action.data.reading.single_clip` reads; `SAMPLE` by default, and with `compute_flow` the flow of
        `rgb`.
    compute_flow : {'tvl1', 'farneback'}, optional
        Compute the flow of the video `flow`.
    label_map : str, optional
        File with a class name a line; by default the ``label_map.txt`` (``label_map_600.txt``) beside
        `checkpoint_dir`, as published, or Kinetics-400's names.
    num_frames, input_size : int
        Frames of the clip and their side, where the sample is not an array.
    """

    eval_type: str = 'joint'
    imagenet_pretrained: bool | None = None
    checkpoint_dir: str = 'data/checkpoints'
    rgb: str | None = None
    flow: str | None = None
    compute_flow: str | None = None
    label_map: str | None = None
    num_frames: int = NUM_FRAMES
    input_size: int = 224


@dataclass(frozen=True)
class SampleResult:
    """Scores of one video.

    Attributes
    ----------
    logits : float32 ndarray (K,)
        Of a joint evaluation the sum of both streams'.
    classes : list of str
        Names (K).
    named : bool
        False where names are unknown and `classes` are numbers.
    weights, clips : dict
        Model -> file of its weights; stream -> shape of what it saw (C, T, H, W).
    config : SampleConfig
    """

    logits: np.ndarray
    classes: list[str]
    named: bool
    weights: dict[str, str]
    clips: dict[str, tuple[int, ...]]
    config: SampleConfig

    @property
    def norm(self) -> float:
        """Length of the vector of logits."""
        return float(np.linalg.norm(self.logits))

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits (K,)."""
        return softmax(self.logits)

    def top(self, limit: int = _SHOWN) -> list[tuple[float, float, str]]:
        """Probability, logit and name of the best classes, best first."""
        order = np.argsort(-self.logits, kind='stable')[:limit]
        return [(float(self.probabilities[k]), float(self.logits[k]), self.classes[k]) for k in order]

    def text(self) -> str:
        """Return what kinetics-i3d's script prints."""
        rows = [f'{_number(probability)} {_number(logit)} {name}' for probability, logit, name in self.top()]
        return '\n'.join([f'Norm of logits: {self.norm:f}', '', 'Top classes and probabilities', *rows])

    def as_dict(self) -> dict:
        """Return everything, for JSON."""
        top = [{'class': name, 'probability': probability, 'logit': logit} for probability, logit, name in self.top()]
        return {'eval_type': self.config.eval_type, 'norm': self.norm, 'top': top, 'logits': self.logits.tolist(),
                'classes': self.classes, 'weights': self.weights,
                'clips': {stream: list(shape) for stream, shape in self.clips.items()}, 'config': asdict(self.config)}

    def plot(self, path: str | os.PathLike) -> None:
        """Draw the probabilities of the best classes as bars, their logits beside them."""
        from matplotlib.figure import Figure
        rows = self.top()
        drawing = Figure(figsize=(7.5, 1.1 + 0.24 * len(rows)), layout='constrained')
        axes = drawing.subplots()
        axes.barh(range(len(rows)), [100 * probability for probability, _, _ in rows], height=0.75, color='tab:blue')
        for place, (probability, logit, _) in enumerate(rows):
            axes.text(100 * probability + 1, place, f'{logit:.2f}', va='center', fontsize=7.5, color='0.3')
        axes.set_yticks(range(len(rows)), [name for _, _, name in rows], fontsize=8)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, 100 * rows[0][0] * 1.12 + 1)
        axes.set_xlabel('probability, % (logit beside the bar)')
        axes.set_title(f'{self.config.eval_type}: {" + ".join(map(_weights_name, self.weights.values()))}', fontsize=10)
        axes.spines[['top', 'right']].set_visible(False)
        data = io.BytesIO()
        drawing.savefig(data, format='png', dpi=110)
        write_file(Path(path), data.getvalue())


def evaluate_sample(config: SampleConfig) -> SampleResult:
    """Score one video.

    Raises
    ------
    UsageError
        For an unknown kind of evaluation, weights that were never published, a sample that does not exist, or a label
        map of other classes.
    WeightsError
        Where there are no weights, or they do not fit.
    VideoReadError
        When the sample cannot be read.
    """
    if config.eval_type not in EVAL_TYPES:
        raise UsageError(f'--eval_type {config.eval_type!r} is not one of {", ".join(EVAL_TYPES)}')
    if config.compute_flow and config.eval_type.startswith('rgb'):
        raise UsageError(f'--compute-flow: means nothing with --eval_type {config.eval_type}, which sees no flow')
    cards = [model_card(name) for name in EVAL_TYPES[config.eval_type]]
    files = {card.name: find_weights(card.name, config) for card in cards}
    for card in cards:
        _check_preparation(card, files[card.name])
    classes = class_names(cards[0], config)
    clips = {card.modality: _clip(card.modality, config) for card in cards}
    nets = []
    for card in cards:
        nets.append(get_model(card.name, pretrained_base=False, initialize=False))
        _load(nets[-1], files[card.name])
    net = TwoStream(*nets) if len(nets) == 2 else nets[0]
    logits = run(net, *clips.values())[0]
    if not np.isfinite(logits).all():
        raise WeightsError(f'{" and ".join(files.values())}: the network gives scores that are not finite')
    return SampleResult(logits, classes or [str(k) for k in range(len(logits))], classes is not None, files,
                        {stream: clip.shape[1:] for stream, clip in clips.items()}, config)


def find_weights(model: str, config: SampleConfig) -> str:
    """Return the path of a model's weights: of a TensorFlow checkpoint the part that its files share.

    Raises
    ------
    UsageError
        For weights that were never published.
    WeightsError
        When there are none.
    """
    from_imagenet, from_scratch = CHECKPOINTS[model]
    if config.imagenet_pretrained and from_imagenet is None:
        raise UsageError(f'--imagenet_pretrained true: for --eval_type {config.eval_type} only weights trained from '
                         f'scratch were published ({from_scratch}); leave the flag out or pass false')
    name = from_scratch if config.imagenet_pretrained is False or from_imagenet is None else from_imagenet
    folder = Path(config.checkpoint_dir).expanduser()
    checkpoint, params = folder / name / 'model.ckpt', folder / f'{name}.params'
    if params.is_file():
        return str(params)
    if Path(f'{checkpoint}.index').is_file():
        return str(checkpoint)
    raise WeightsError(
        f'no weights {name}: neither {checkpoint}.index nor {params} exists. Get them from data/checkpoints of '
        f'{ORIGIN} and say where with --checkpoint_dir, or convert them once: gluon-action import-weights '
        f'{name}/model.ckpt --model {model} --out {params}')


def class_names(card, config: SampleConfig) -> list[str] | None:
    """Return the names of a model's classes in kinetics-i3d's spelling; None where nobody says them.

    Raises
    ------
    UsageError
        When the label map cannot be read or is of another number of classes.
    """
    published = Path(config.checkpoint_dir).expanduser().parent / _LABEL_MAPS[card.dataset]
    path = Path(config.label_map).expanduser() if config.label_map else published
    if not config.label_map and not path.is_file():
        labels = card.labels()
        return labels and [re.sub('_-(.*)-$', r' (\1)', label).replace('_', ' ') for label in labels]
    try:
        names = [line.strip() for line in path.read_text(encoding='utf-8').rstrip().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f'--label_map {path}: cannot be read: {error}') from error
    if len(names) != card.num_classes:
        raise UsageError(f'--label_map {path}: has {len(names)} lines, {card.name} has {card.num_classes} classes; it '
                         'holds one name a line')
    return names


def _clip(stream: str, config: SampleConfig) -> np.ndarray:
    computed = config.compute_flow if stream == 'flow' else None
    path = getattr(config, stream) or (computed and config.rgb) or SAMPLE[stream]
    if not os.path.exists(path):
        raise UsageError(f'--{stream} {path}: does not exist; pass a video, a GIF or an array (1, T, H, W, '
                         f'{3 if stream == "rgb" else 2}), or get the sample from {ORIGIN}')
    if stream == 'rgb':
        return rgb_clip(path, size=config.input_size, num_frames=config.num_frames)
    return flow_clip(path, size=config.input_size, num_frames=config.num_frames, compute=computed)


def _check_preparation(card, path: str) -> None:
    wanted = prepared_for(card, read_preparation(path) or Preparation({}), path)
    if (wanted.mean, wanted.std) != (card.mean, card.std):
        raise WeightsError(f'{path}: these weights were trained on {said(wanted, card)}, and the sample is prepared as '
                           'for the published ones; gluon-action predict prepares videos for these')


def _load(net, path: str) -> None:
    from ..model_zoo.importers import load_any
    load_any(net, path)


def _weights_name(path: str) -> str:
    return Path(path).stem if path.endswith('.params') else Path(path).parent.name


def _number(value: float) -> str:
    text = f'{value:.6g}'
    return text if set(text) - set('-0123456789') else f'{text}.0'
