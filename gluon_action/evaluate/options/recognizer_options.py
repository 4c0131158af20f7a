"""The options that training and testing a recogniser share, and the checks that hold for both."""
from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from ...compute.engines import ENGINES, engine_rules
from ...data.flow.methods import BOUND
from ...data.preprocess import Preprocess
from ...data.reading.sampling import CLIP_SAMPLINGS
from ...data.video_options import VideoOptions
from ...errors import UsageError
from ...input_kind import CLIPS, FRAMES
from ...options import changed, option
from ...weights.options import WeightsOptions

_model = partial(option, group='model')
_devices = partial(option, group='devices')


@dataclass
class RecognizerOptions(VideoOptions):
    """Which network, with which weights, on which devices, beside the frames that it sees."""

    model: str = _model('', 'name in the model zoo; gluon-action list-models shows them', required=True, common=True)
    use_tsn: bool = _model(False, 'wrap the network in temporal segment consensus', common=True)
    use_pretrained: bool = _model(False, "download the model's published weights", common=True)
    hashtag: str = _model('', 'which published weights, by their tag, with --use-pretrained', '--hashtag', '--tag',
                          metavar='TAG')
    weights_index: str = changed(WeightsOptions, 'weights_index', group='model')
    trust_first_use: bool = changed(WeightsOptions, 'trust_first_use', group='model')
    resume_params: str = _model(
        '', 'parameters to start from, or the folder of a run, whose best are', metavar='FILE', common=True)
    mode: str | None = _model(
        None, 'hybrid (the default) compiles the network; imperative runs it operator by operator',
        choices=('hybrid', 'imperative'))
    dtype: str = _model('float32', 'type of the parameters', choices=('float32', 'float16'))
    use_se: bool = _model(False, 'squeeze-and-excitation variant of the network', '--use_se')
    use_gn: bool = _model(False, 'group instead of batch normalisation (ResNets)')
    batch_norm: bool = _model(False, 'batch-normalised variant of VGG')
    input_5d: bool = _model(False, 'the network takes clips (N, C, T, H, W), also of a single frame')
    consensus: str = _model(
        'avg', 'how the scores of segments become one (TSN)', choices=('avg', 'max', 'weighted'))
    engine: str = _devices(
        'mxnet', 'what computes; torch also runs on GPUs that MXNet has no code for (Hopper, Blackwell)',
        choices=tuple(ENGINES), common=True)
    num_gpus: int = _devices(0, 'GPUs to use; 0 computes on the CPU', least=0, common=True)
    num_cpus: int = _devices(
        1, 'without GPUs: split each batch over N CPU contexts, as GPUs would', metavar='N', least=1)

    def as_json(self) -> str:
        """Return the record as JSON, keys in the order of the fields."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    def preprocess(self, card, **changes) -> Preprocess:
        """Return what validation and testing make of frames as they are read.

        Parameters
        ----------
        card : gluon_action.model_zoo.ModelCard or None
            The model's; without one, frames are normalised as for ImageNet.
        **changes
            Fields of the record that are to be others.

        Raises
        ------
        UsageError
            When the crops do not fit into the frames, or the network takes no pixels.
        """
        if card is not None:
            card.input.need_video(f'--model {card.name}')
        offsets, side, size = self.frame_plan().offsets, self.short_side, self.settled().input_size
        kind = CLIPS if self.input_5d or len(offsets) > 1 else FRAMES if card is None else card.input
        look = {'mean': (0.485, 0.456, 0.406), 'std': (0.229, 0.224, 0.225)} if card is None else {
            'mean': card.mean, 'std': card.std, 'modality': card.modality,
            'flow_bound': BOUND if card.modality == 'flow' else None}
        return Preprocess(**{
            'layout': kind.layout, 'offsets': offsets, 'crops': self.crops,
            'crop': (size, size), 'resize': {'short_side': side} if side else {},
            'activation': 'sigmoid' if self.multi_label else 'softmax', **look, **changes})

    @property
    def exported(self) -> bool:
        """Whether the network is one that was exported, rather than one of the zoo."""
        return False


def raise_first(*rules: Iterable[tuple]) -> None:
    """Raise `UsageError` for the first of (broken, flag, why) that is broken."""
    for broken, flag, why in itertools.chain(*rules):
        if broken:
            raise UsageError(f'{flag}: {why}')


def shared_rules(c: RecognizerOptions, card) -> Iterator[tuple]:
    """Yield (broken, flag, why) for what is refused in training and in testing.

    Parameters
    ----------
    c : RecognizerOptions
    card : gluon_action.model_zoo.ModelCard or None
        The model's; None for an exported network that the zoo does not know.
    """
    yield c.hashtag and not c.use_pretrained, '--hashtag', 'names published weights; add --use-pretrained'
    fetches = c.use_pretrained or getattr(c, 'pretrained_base', False) and not c.resume_params \
        or getattr(c, 'teacher', '') and not c.teacher_params
    for flag, given in (('--index', c.weights_index), ('--trust-first-use', c.trust_first_use)):
        yield given and not fetches, flag, 'is about published weights, and none are wanted; add --use-pretrained'
    yield from _network_rules(c, card)
    yield from _frame_rules(c)
    yield c.num_gpus and c.num_cpus > 1, '--num-cpus', 'splits batches where there are no GPUs; leave out --num-gpus'
    yield from engine_rules(c)


def _network_rules(c: RecognizerOptions, card) -> Iterator[tuple]:
    """Yield what means nothing for this network."""
    if card is not None:
        card.input.need_video(f'--model {c.model}')
    for name, flag, what in (('use_gn', '--use-gn', 'group normalisation'),
                             ('use_se', '--use_se', 'squeeze-and-excitation'),
                             ('batch_norm', '--batch-norm', 'batch-normalised variant')):
        yield getattr(c, name) and c.exported, flag, 'an exported network is what it is'
        yield getattr(c, name) and card and name not in card.supports, flag, f'{c.model} has no {what}'
    pathways = card is not None and 'slowfast' in card.supports
    yield c.slowfast and card and not pathways, '--slowfast', f'{c.model} has no slow and fast pathway'
    yield pathways and not c.slowfast, '--slowfast', f'{c.model} has a slow and a fast pathway; add it'
    if card is not None and not c.exported:
        yield from _input_rules(c, card)
    yield c.consensus != 'avg' and c.segments == 1, '--consensus', 'needs --num-segments of 2 or more'


def _input_rules(c: RecognizerOptions, card) -> Iterator[tuple]:
    if card.input == FRAMES:
        yield c.input_5d, '--input-5d', f'{c.model} takes {card.input}, not clips'
        yield (c.clip_sampling == 'spread', '--clip-sampling spread',
               f'{c.model} takes one frame a segment; --num-segments spreads those over the video')
        yield (c.clip_sampling == 'dense', '--clip-sampling dense',
               f'{c.model} takes one frame a segment, and dense sampling is for networks of clips; leave it out')
        yield (c.new_length > 1, '--new-length',
               f'{c.model} takes one frame a segment; use --num-segments for more frames')
    else:
        yield (c.new_length == 1 and not (c.input_5d or c.slowfast), '--new-length',
               f'{c.model} takes clips; pass the frames of one, for published weights --new-length {card.clip_length}, '
               'for others what they were or shall be trained with, or --input-5d for clips of a single frame')
        yield (c.consensus != 'avg', '--consensus',
               f'{c.model} averages over segments; another consensus is for temporal segment networks')


def _frame_rules(c: RecognizerOptions) -> Iterator[tuple]:
    yield (c.num_segments is not None and c.num_segments < 1, '--num-segments',
           f'must be 1 or more, got {c.num_segments}')
    yield (c.clip_sampling not in CLIP_SAMPLINGS, '--clip-sampling',
           f'must be one of {", ".join(CLIP_SAMPLINGS)}, got {c.clip_sampling!r}')
    if c.clip_sampling == 'spread':
        yield c.slowfast, '--clip-sampling spread', 'contradicts --slowfast, which takes its own strides'
        yield (c.segments != 1, '--clip-sampling spread',
               f'takes one clip from the whole video, got --num-segments {c.segments}; leave it out, or pass '
               '--clip-sampling consecutive or dense')
        yield (c.new_step != 1, '--clip-sampling spread',
               'takes one clip whose frames are as far apart as the video allows, got --new-step '
               f'{c.new_step}; leave it out, or pass --clip-sampling consecutive')
    yield (not c.slowfast and (c.slow_temporal_stride, c.fast_temporal_stride) != (16, 2),
           '--slow-temporal-stride and --fast-temporal-stride', 'mean something with --slowfast only')
    yield c.use_decord and c.decoder == 'pyav', '--use-decord', 'contradicts --decoder pyav'
    yield (c.on_damage != 'accept' and (c.use_decord or c.decoder == 'decord'), '--on-damage',
           f'{c.on_damage} needs PyAV, which hears of damage; leave out --use-decord and --decoder decord')
    yield c.num_crop not in (1, 3, 10), '--num-crop', f'must be 1, 3 or 10, got {c.num_crop}'
    yield (c.crop_ratio is not None and not 0 < c.crop_ratio <= 1, '--crop-ratio',
           f'must be above 0 and at most 1, got {c.crop_ratio}')
    yield (c.data_aug == 'v1' and bool(c.new_height) != bool(c.new_width), '--new-height and --new-width',
           f'go together, got {c.new_height} and {c.new_width}')
