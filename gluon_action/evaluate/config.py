"""Every choice of a test in one record, and which of them cannot be."""
from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass

from ..data.reading.sampling import CLIP_SAMPLINGS
from ..errors import UsageError

#: Segments of the TSN paper's test protocol (arXiv:1608.00859, section 4.1), which ``--use-tsn`` stands for.
TSN_SEGMENTS = 25


@dataclass
class TestConfig:
    """What ``scripts/test_recognizer.py`` takes, under the names of its flags; ``--help`` explains each.

    ``TestConfig(model='resnet18_v1b_ucf101', resume_params='best.params')`` is enough to start with.
    """

    __test__ = False  # pytest takes every class named Test... for tests

    # data
    dataset: str = 'ucf101'
    data_dir: str | None = None
    val_data_dir: str | None = None
    train_list: str | None = None
    val_list: str | None = None
    list_format: str = 'auto'
    label_base: int | None = None
    multi_label: bool = False
    num_classes: int | None = None
    num_segments: int | None = None
    new_length: int = 1
    new_step: int = 1
    clip_sampling: str = 'consecutive'
    new_height: int = 256
    new_width: int = 340
    input_size: int = 224
    crop_ratio: float | None = None
    data_aug: str = 'v1'
    num_crop: int = 1
    three_crop: bool = False
    ten_crop: bool = False
    video_loader: bool = False
    use_decord: bool = False
    decoder: str = 'auto'
    decode_timeout: float = 60.
    num_workers: int = 4
    prefetch_ratio: float = 2.
    slowfast: bool = False
    slow_temporal_stride: int = 16
    fast_temporal_stride: int = 2
    # model
    model: str = ''
    use_tsn: bool = False
    consensus: str = 'avg'
    use_pretrained: bool = False
    hashtag: str = ''
    resume_params: str = ''
    deploy: bool = False
    model_prefix: str | None = None
    quantized: bool = False
    mode: str | None = None
    dtype: str = 'float32'
    use_se: bool = False
    use_gn: bool = False
    batch_norm: bool = False
    input_5d: bool = False
    # devices
    num_gpus: int = 0
    num_cpus: int = 1
    # scoring
    batch_size: int = 32
    average: str | None = None
    use_softmax: bool = False
    failure_limit: float = 0.1
    save_dir: str | None = None
    overwrite: bool = False
    logging_file: str = 'test.log'
    log_interval: int = 50
    # instead of scoring
    benchmark: bool = False
    num_iterations: int = 100
    calibration: bool = False
    num_calib_batches: int = 5
    quantized_dtype: str = 'auto'
    calib_mode: str = 'naive'

    def as_json(self) -> str:
        """Return the record as JSON, keys in the order of this class."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @property
    def segments(self) -> int:
        """Segments a video."""
        return self.num_segments or (TSN_SEGMENTS if self.use_tsn else 1)

    @property
    def crops(self) -> int:
        """Crops a segment: 1, 3 or 10."""
        return 10 if self.ten_crop else 3 if self.three_crop else self.num_crop

    @property
    def exported(self) -> bool:
        """Whether the network is one that was exported, rather than one of the zoo."""
        return self.deploy or self.quantized

    @property
    def averaged(self) -> str:
        """What is averaged over the views: 'logits' or 'softmax'."""
        return self.average or ('softmax' if self.use_softmax else 'logits')

    @property
    def protocol(self) -> str:
        """Segments x crops, as accuracies are quoted: ``'25x10'``."""
        return f'{self.segments}x{self.crops}'

    @property
    def results_dir(self) -> str:
        """Where the results go."""
        return self.save_dir or f'results/{self.model}-{self.dataset}-{self.protocol}'

    @property
    def resized(self) -> bool:
        """Whether frames are read at `new_width` x `new_height`."""
        return self.data_aug == 'v1' and self.new_width > 0 and self.new_height > 0

    @property
    def short_side(self) -> int:
        """Short side that frames are rescaled to before cropping; 0 leaves them as they are read.

        Three crops cover the longer side of a frame only when the shorter one is the crop's, so for them it is.
        """
        if self.crops == 3:
            fits = self.resized and self.input_size in (self.new_width, self.new_height)
            return 0 if fits and min(self.new_width, self.new_height) == self.input_size else self.input_size
        if self.resized:
            return 0
        return (self.new_height if self.data_aug != 'v1' else 0) or math.ceil(
            self.input_size / (self.crop_ratio or 0.875))

    @property
    def resize(self) -> str:
        """The resizing in words, for the protocol."""
        read = f'{self.new_width}x{self.new_height}' if self.resized else 'native size'
        return f'{read}, short side {self.short_side}' if self.short_side else read


def check_config(config: TestConfig, card=None) -> None:
    """Refuse choices that contradict each other or mean nothing for the model.

    Parameters
    ----------
    config : TestConfig
    card : gluon_action.model_zoo.ModelCard, optional
        The model's; None for an exported network that the zoo does not know.

    Raises
    ------
    UsageError
        Naming the flag, the reason and what to do.
    """
    for rules in (_start_rules(config), _model_rules(config, card), _data_rules(config), _scoring_rules(config)):
        for broken, flag, why in rules:
            if broken:
                raise UsageError(f'{flag}: {why}')


def _start_rules(c: TestConfig):
    """Yield (broken, flag, why): where the network comes from."""
    starts = [flag for flag, given in (('--resume-params', c.resume_params), ('--use-pretrained', c.use_pretrained),
                                       ('--deploy or --quantized', c.exported)) if given]
    yield (not starts and not c.benchmark, f'--model {c.model}',
           'no weights to test: pass --resume-params FILE, --use-pretrained, or --deploy --model-prefix PREFIX')
    yield len(starts) > 1, ' and '.join(starts), 'contradict each other; the network comes from one of them'
    yield c.hashtag and not c.use_pretrained, '--hashtag', 'names published weights; add --use-pretrained'
    yield (c.deploy and not c.model_prefix, '--deploy',
           'needs --model-prefix: a bundle, or the exported files up to -symbol.json')
    yield (c.quantized and not c.model_prefix, '--quantized',
           f'nobody publishes int8 weights of {c.model}; make them with --calibration, name them with --model-prefix')
    yield c.model_prefix and not c.exported, '--model-prefix', 'names an exported network; add --deploy'
    yield c.exported and c.mode == 'imperative', '--mode imperative', 'an exported network is a graph; leave out --mode'
    yield c.benchmark and c.calibration, '--benchmark', 'contradicts --calibration'
    yield c.calibration and c.exported, '--calibration', 'starts from the float32 network of the zoo'
    yield (c.calibration and c.calib_mode == 'none', '--calib-mode none',
           'would find ranges anew in every batch, which int8 bundles do not; pass naive or entropy')
    yield (c.calibration and c.consensus != 'avg', '--calibration',
           'makes a network for single views; leave out --consensus')
    yield c.calibration and c.num_gpus > 0, '--calibration', 'int8 runs on CPUs only; leave out --num-gpus'
    yield (c.train_list and not c.calibration, '--train-list',
           'testing scores --val-list; a training list is read for --calibration only')
    yield (not c.calibration and (c.num_calib_batches, c.quantized_dtype, c.calib_mode) != (5, 'auto', 'naive'),
           '--num-calib-batches, --quantized-dtype and --calib-mode', 'mean something with --calibration only')
    yield not c.benchmark and c.num_iterations != 100, '--num-iterations', 'means something with --benchmark only'


def _model_rules(c: TestConfig, card):
    variants = (('use_gn', '--use-gn', 'group normalisation'), ('use_se', '--use_se', 'squeeze-and-excitation'),
                ('batch_norm', '--batch-norm', 'batch-normalised variant'))
    for option, flag, what in variants:
        yield getattr(c, option) and c.exported, flag, 'an exported network is what it is'
        yield getattr(c, option) and card and option not in card.supports, flag, f'{c.model} has no {what}'
    frames = card is not None and card.input_layout == 'NCHW' and not c.exported
    yield c.input_5d and frames, '--input-5d', f'{c.model} takes frames (N, C, H, W), not clips'
    pathways = card is not None and 'slowfast' in card.supports
    yield c.slowfast and card and not pathways, '--slowfast', f'{c.model} has no slow and fast pathway'
    yield pathways and not c.slowfast, '--slowfast', f'{c.model} has a slow and a fast pathway; add it'
    yield (c.clip_sampling == 'spread' and frames, '--clip-sampling spread',
           f'{c.model} takes one frame a segment; --num-segments spreads those over the video')
    yield (c.new_length > 1 and frames, '--new-length',
           f'{c.model} takes one frame a segment; use --num-segments for more frames')
    clips = card is not None and card.input_layout == 'NCTHW' and not c.exported
    yield (clips and c.new_length == 1 and not (c.input_5d or c.slowfast), '--new-length',
           f'{c.model} takes clips; pass the frames it was trained with, for published weights --new-length '
           f'{card.clip_length if card else 1}, or --input-5d for clips of one frame')
    yield (c.consensus != 'avg' and clips, '--consensus',
           f'{c.model} averages over segments; consensus is a choice of temporal segment networks')
    yield (c.consensus != 'avg' and c.segments == 1, '--consensus', 'needs --num-segments of 2 or more')
    yield c.consensus != 'avg' and c.exported, '--consensus', 'an exported network holds its own'
    yield (c.dtype != 'float32' and not c.num_gpus, '--dtype',
           f'{c.dtype} needs --num-gpus: MXNet has no {c.dtype} convolution on a CPU')


def _data_rules(c: TestConfig):
    yield (c.num_segments is not None and c.num_segments < 1, '--num-segments',
           f'must be 1 or more, got {c.num_segments}')
    yield (c.clip_sampling not in CLIP_SAMPLINGS, '--clip-sampling',
           f'must be one of {", ".join(CLIP_SAMPLINGS)}, got {c.clip_sampling!r}')
    if c.clip_sampling == 'spread':
        yield c.slowfast, '--clip-sampling spread', 'contradicts --slowfast, which takes its own strides'
        yield (c.segments != 1, '--clip-sampling spread',
               f'takes one clip from the whole video, got --num-segments {c.segments}; leave it out')
        yield (c.new_step != 1, '--clip-sampling spread',
               f'takes frames as far apart as the video allows, got --new-step {c.new_step}; leave it out')
    yield c.num_crop not in (1, 3, 10), '--num-crop', f'must be 1, 3 or 10, got {c.num_crop}'
    asked = {n for n, given in ((c.num_crop, c.num_crop > 1), (3, c.three_crop), (10, c.ten_crop)) if given}
    yield len(asked) > 1, '--num-crop, --three-crop and --ten-crop', 'contradict each other'
    yield c.use_decord and c.decoder == 'pyav', '--use-decord', 'contradicts --decoder pyav'
    yield c.num_gpus and c.num_cpus > 1, '--num-cpus', 'splits batches where there are no GPUs; leave out --num-gpus'
    yield (not c.slowfast and (c.slow_temporal_stride, c.fast_temporal_stride) != (16, 2),
           '--slow-temporal-stride and --fast-temporal-stride', 'mean something with --slowfast only')
    if c.crop_ratio is not None:
        yield not 0 < c.crop_ratio <= 1, '--crop-ratio', f'must be above 0 and at most 1, got {c.crop_ratio}'
        yield (c.resized or c.crops == 3 or c.data_aug != 'v1' and c.new_height > 0, '--crop-ratio',
               f'means nothing here, where frames are {c.resize}; for crops of {c.crop_ratio:g} of the short side pass '
               '--new-height 0 --new-width 0' + (' and no --three-crop' if c.crops == 3 else ''))
    yield (bool(c.new_width) != bool(c.new_height) and c.data_aug == 'v1', '--new-width and --new-height',
           f'go together, got {c.new_width} and {c.new_height}')
    size = (c.new_width, c.new_height) if c.resized else (c.short_side, c.short_side)
    yield (min(size) < c.input_size, '--input-size',
           f'{c.input_size} does not fit into frames of {c.resize}; raise --new-height and --new-width, or 0 to keep '
           'the native size')


def _scoring_rules(c: TestConfig):
    yield c.average not in (None, 'logits', 'softmax'), '--average', f"must be logits or softmax, got {c.average!r}"
    yield c.use_softmax and c.average == 'logits', '--use-softmax', 'contradicts --average logits'
    yield not 0 <= c.failure_limit <= 1, '--failure-limit', f'must be in 0..1, got {c.failure_limit}'
    yield c.batch_size < 1, '--batch-size', f'must be 1 or more, got {c.batch_size}'
