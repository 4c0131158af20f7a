"""How models of the zoo are trained: the commands of GluonCV's published runs, of papers, and of relatives."""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..registry import ModelCard

GLUONCV, PAPER, OURS = 'GluonCV', 'paper', 'ours'
#: Frames that the fast pathway of SlowFast takes are this far apart (arXiv:1812.03982, section 4).
FAST_STRIDE = 2
#: Height and width that frames are resized to before they are cropped to a size, as GluonCV's runs have it.
_RESIZED = {224: (256, 340), 299: (340, 450), 112: (128, 171)}


@dataclass(frozen=True)
class Training:
    """A training.

    Attributes
    ----------
    flags : str
        Of ``scripts/train_recognizer.py``, beside data set, model and what its clips are.
    whose : str
        `GLUONCV`, whose published command it is; `PAPER`, that of the card's source; `OURS`; or the model whose
        command it is, where nobody published one of this model.
    """

    flags: str
    whose: str


def trainings_of(card: ModelCard) -> list[Training]:
    """Return the trainings of a model of frames or clips; several where GluonCV published several."""
    published = [Training(flags, GLUONCV) for name, flags in _PUBLISHED if name == card.name]
    if published:
        return published
    for pattern, flags, whose in _OTHERS:
        if re.fullmatch(pattern, card.name):
            return [Training(flags or _published(whose), whose)]
    raise LookupError(f'{card.name}: no training is known; add one to {__name__}')


def training_lines(dataset: str, cards: Sequence[ModelCard]) -> list[str]:
    """Return what ``model_zoo.md`` says of training on a data set: a command, and a row for each training."""
    if dataset == 'youtube8m':
        frames = '--frame_features --feature_names rgb,audio --feature_sizes 1024,128'
        return ['Training, for the models of whole videos with `--feature_names mean_rgb,mean_audio` and without '
                '`--frame_features`; the flags of the winners\' networks are in [YouTube-8M](docs/youtube8m.md):', '',
                '```sh', 'python scripts/youtube8m/train.py --train_data_pattern "data/frame/train*.tfrecord" '
                f'--train_dir trained/MODEL --model MODEL \\\n    {frames} --batch_size 160 \\\n    '
                '--base_learning_rate 0.0002 --learning_rate_decay 0.8 --num_epochs 10', '```', '']
    lists = '' if dataset not in ('custom', 'kinetics600') else ' --data-dir videos --train-list train.txt ' \
        '--val-list val.txt'
    known = dataset if dataset != 'kinetics600' else 'custom'
    devices = '' if dataset in ('custom', 'demo_motion') else ' --num-gpus 8 -j 32'
    rows = [f'| `{card.name}` | {_said(card, training)} | `{training_flags(card, training)}` |'
            for card in cards for training in trainings_of(card)]
    return ['```sh', f'python scripts/train_recognizer.py --dataset {known}{lists} --model MODEL{devices} --save-dir '
            'runs/MODEL FLAGS', '```', '', '| model | trained by | flags |', '| --- | --- | --- |', *rows, '']


def training_flags(card: ModelCard, training: Training) -> str:
    """Return the flags of training a model, beside its name and the data set."""
    said = clip_flags(card), '' if '--new-height' in training.flags else size_flags(card), training.flags
    return ' '.join(filter(None, said))


def clip_flags(card: ModelCard) -> str:
    """Return the flags of training and testing that say what the clips of a card are; none of networks of frames."""
    size = f'--input-size {card.input_size}' if card.input_size != 224 else ''
    if not card.input.takes('clip_length'):
        return size
    slow = pathways(card)
    if slow:
        frames, stride = slow
        return f'--slowfast --new-length {frames * stride} --slow-temporal-stride {stride} ' \
               f'--fast-temporal-stride {FAST_STRIDE} {size}'.rstrip()
    spread = card.clip_sampling == 'spread'
    stride = '--clip-sampling spread' if spread else f'--new-step {card.clip_stride}' if card.clip_stride > 1 else ''
    return ' '.join(filter(None, [f'--new-length {card.clip_length}', stride, size]))


def size_flags(card: ModelCard) -> str:
    """Return the flags that say how frames are brought to the size of a model, before they are cropped."""
    if card.family == 'TimeSformer' and card.input_size != 112:  # a short side between the two (section 4)
        return f'--data-aug v3 --new-height {card.input_size * 8 // 7} --new-width {card.input_size * 10 // 7}'
    height, width = _RESIZED.get(card.input_size, (card.input_size * 8 // 7, card.input_size * 8 // 7 * 4 // 3))
    return f'--new-height {height} --new-width {width}'


def pathways(card: ModelCard) -> tuple[int, int] | None:
    """Frames of the slow pathway and their distance, which GluonCV's names of SlowFast say."""
    found = re.match(r'slowfast_(\d+)x(\d+)_', card.name)
    return (int(found[1]), int(found[2])) if found else None


def _said(card: ModelCard, training: Training) -> str:
    if training.whose in dict(_PUBLISHED):
        return f'as `{training.whose}`'
    return card.source if training.whose == PAPER else training.whose


def _published(name: str) -> str:
    """Return the flags of the last training that GluonCV published of a model."""
    return [flags for published, flags in _PUBLISHED if published == name][-1]


def _steps(batch: int, rate: float, at: str, epochs: int, *more: str) -> str:
    return ' '.join([f'--batch-size {batch} --lr {rate:g} --lr-decay-epoch {at} --num-epochs {epochs}', *more])


def _cosine(batch: int, rate: float, epochs: int, warmup: str = '', *more: str) -> str:
    warm = '--warmup-lr {} --warmup-epochs {}'.format(*warmup.split()) if warmup else ''
    return ' '.join(filter(None, [f'--batch-size {batch} --lr {rate:g} --lr-mode cosine --num-epochs {epochs}', warm,
                                  *more]))


_SIDES, _CLIP = '--scale-ratios 1.0,0.8', '--clip-grad 40'
_ON_UCF101 = _steps(25, 0.001, '30,60,80', 80, '--wd 0.0005')
_ON_HMDB51 = _steps(32, 0.01, '15,25,35', 35, _SIDES, _CLIP)
_I3D = _steps(8, 0.01, '40,80,100', 100, _SIDES)
_TSN = f'--num-segments 7 {_cosine(8, 0.01, 100, "", _SIDES)}'
_R21D = _cosine(8, 0.1, 196, '0.001 34', _SIDES)
_FROM_KINETICS = '--resume-params KINETICS.params --new-head'

# The shell scripts beside GluonCV's logs of training (dmlc/web-data, gluoncv/logs/action_recognition).
_PUBLISHED: tuple[tuple[str, str], ...] = (
    ('vgg16_ucf101', _ON_UCF101),
    ('vgg16_ucf101', f'--num-segments 3 --use-tsn {_ON_UCF101}'),
    ('inceptionv3_ucf101', f'{_ON_UCF101} {_CLIP} --partial-bn'),
    ('inceptionv3_ucf101', '--num-segments 3 --use-tsn '
     + _steps(15, 0.001, '30,60,80', 80, '--wd 0.0005', _CLIP, '--partial-bn')),
    ('i3d_resnet50_v1_ucf101', _steps(8, 0.001, '20,40,50', 50, _SIDES, _CLIP)),
    ('i3d_resnet50_v1_ucf101', _steps(8, 0.001, '20,40,50', 50, _SIDES, _CLIP, _FROM_KINETICS)),
    ('resnet50_v1b_hmdb51', _ON_HMDB51),
    ('resnet50_v1b_hmdb51', f'--num-segments 3 {_ON_HMDB51}'),
    ('i3d_resnet50_v1_hmdb51', _steps(8, 0.01, '15,25,35', 35, _SIDES, _CLIP)),
    ('i3d_resnet50_v1_hmdb51', _steps(8, 0.01, '15,25,35', 35, _SIDES, _CLIP, _FROM_KINETICS)),
    ('resnet50_v1b_sthsthv2', f'--num-segments 8 --use-tsn {_steps(16, 0.01, "10,20,30", 30, _SIDES, _CLIP)}'),
    ('i3d_resnet50_v1_sthsthv2', _steps(16, 0.01, '40,80,100', 100, _SIDES, _CLIP)),
    ('inceptionv1_kinetics400', f'--num-segments 7 {_steps(25, 0.01, "40,80,100", 100, _SIDES)}'),
    ('inceptionv3_kinetics400', '--num-segments 3 --use-tsn '
     + _steps(25, 0.01, '40,80,100', 100, _SIDES, _CLIP, '--partial-bn')),
    *((f'resnet{depth}_v1b_kinetics400', _TSN) for depth in (18, 34, 50, 101, 152)),
    ('c3d_kinetics400', _cosine(16, 0.01, 196, '0.001 24', _SIDES)),
    *((f'i3d_{body}_kinetics400', _I3D) for body in ('inceptionv1', 'inceptionv3', 'resnet50_v1', 'resnet101_v1',
                                                     'nl5_resnet50_v1')),
    *((f'i3d_{body}_v1_kinetics400', f'{_I3D} {_CLIP}') for body in ('nl5_resnet101', 'nl10_resnet50',
                                                                     'nl10_resnet101')),
    ('p3d_resnet50_kinetics400', _cosine(16, 0.1, 196, '0.001 34', _SIDES)),
    ('p3d_resnet101_kinetics400', _R21D),
    *((f'r2plus1d_resnet{depth}_kinetics400', _R21D) for depth in (18, 34, 50)),
    ('slowfast_4x16_resnet50_kinetics400', _cosine(8, 0.11, 196, '0.01 24', _SIDES)),
    ('slowfast_8x8_resnet50_kinetics400', _cosine(8, 0.11, 196, '0.01 34', _SIDES)),
    ('slowfast_8x8_resnet101_kinetics400', _cosine(7, 0.11, 196, '0.01 24', _SIDES)),
)

_FINE_TUNING = '--batch-size 8 --lr 0.001 --lr-mode cosine --warmup-epochs 2 --num-epochs 30'
_SHIPPED = '--no-pretrained-base --data-aug v3 --new-height 60 --new-width 72 --batch-size 16 --lr 0.04 ' \
           '--lr-mode cosine --warmup-epochs 1 --num-epochs 10'
_SMALL = '--no-pretrained-base --batch-size 16 --optimizer adamw --lr 0.001 --wd 0.01 --no-wd --clip-norm 1 ' \
         '--lr-mode cosine --warmup-epochs 3 --num-epochs 100'
# (names, flags or '' for those of the model that is named, whose they are)
_OTHERS: tuple[tuple[str, str, str], ...] = (
    (r'i3d_rgb_kinetics\d+', _steps(6, 0.1, 'i3d-rgb@run', 180), 'kinetics-i3d'),
    (r'i3d_flow_kinetics\d+', _steps(6, 0.1, 'i3d-flow@run', 180), 'kinetics-i3d'),
    (r'timesformer_.*_(kinetics\d+|ssv2)', _steps(8, 0.005, '11,14', 15), PAPER),
    (r'(i3d|c2d|slowonly|s3dg?)_.*kinetics\d+', '', 'i3d_resnet50_v1_kinetics400'),
    (r'r2plus1d_.*_kinetics400', '', 'r2plus1d_resnet50_kinetics400'),
    (r'slowfast_.*_kinetics400', '', 'slowfast_8x8_resnet50_kinetics400'),
    (r'vgg16_kinetics400', '', 'resnet50_v1b_kinetics400'),
    (r'c3d_ucf101', _steps(8, 0.001, '20,40,50', 50, _SIDES, _CLIP), 'i3d_resnet50_v1_ucf101'),
    (r'\w+_(ucf101|hmdb51)', '', 'resnet50_v1b_hmdb51'),
    (r'\w+_sthsthv2', '', 'resnet50_v1b_sthsthv2'),
    (r's3dg_small_demo_motion', _SHIPPED, OURS),
    (r'timesformer_small_custom', _SMALL, OURS),
    (r'(i3d|s3dg?|slowfast|timesformer)_.*custom', _FINE_TUNING, OURS),
    (r'\w+_custom', f'--num-segments 3 --use-tsn {_FINE_TUNING} --partial-bn', OURS),
)
