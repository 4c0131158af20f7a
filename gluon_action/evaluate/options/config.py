"""All options of a test, and the checks that refuse impossible combinations."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

from ...options import changed, option
from .recognizer_options import RecognizerOptions, raise_first, shared_rules

#: Segments of the TSN paper's test protocol (arXiv:1608.00859, section 4.1), which ``--use-tsn`` stands for.
TSN_SEGMENTS = 25

#: What the views of a video have in common is the mean of these. The head of every network here is one dense layer, so
#: that the scores of mean features are the mean scores: the two differ in name only, which is that of the publisher.
AVERAGES = ('features', 'scores', 'probabilities')

_views = partial(option, group='views')
_results = partial(option, group='results')
_exported = partial(option, group='exported and int8 networks, speed')


@dataclass
class TestConfig(RecognizerOptions):
    """What ``scripts/test_recognizer.py`` takes, under the names of its flags; ``--help`` explains each.

    ``TestConfig(resume_params='runs/mine')`` is enough to score a run, and ``TestConfig(model='resnet18_v1b_ucf101',
    resume_params='x.params')`` to start with parameters that come from elsewhere.
    """

    __test__ = False  # pytest takes every class named Test... for tests

    dataset: str | None = changed(
        RecognizerOptions, 'dataset', None, help="data set; by default that of the run of --resume-params, and ucf101 "
        'where there is no run; those whose names start with demo are generated where --data-dir says')
    list_format: str | None = changed(
        RecognizerOptions, 'list_format', None, help='format of the list; auto, the default, looks at it')
    multi_label: bool | None = changed(
        RecognizerOptions, 'multi_label', None, help='a video may have several labels, as it may where the run says so')
    num_segments: int | None = changed(
        RecognizerOptions, 'num_segments', None, help="segments a video is divided into (TSN); by default the run's, "
        'and 1 where there is no run')
    data_aug: str | None = changed(
        RecognizerOptions, 'data_aug', None, help="augmentation that training had, which decides how frames are "
        "resized; by default the run's, and v1 where there is no run")
    video_loader: bool | None = changed(RecognizerOptions, 'video_loader', None)
    slowfast: bool | None = changed(RecognizerOptions, 'slowfast', None)
    model: str = changed(
        RecognizerOptions, 'model', required=False, help='name in the model zoo, which gluon-action list-models shows; '
        'not needed where the weights are those of a run')
    resume_params: str = changed(
        RecognizerOptions, 'resume_params', help='parameters to score, or the folder of a run, whose best are')
    use_se: bool | None = changed(RecognizerOptions, 'use_se', None)
    use_gn: bool | None = changed(RecognizerOptions, 'use_gn', None)
    batch_norm: bool | None = changed(RecognizerOptions, 'batch_norm', None)
    input_5d: bool | None = changed(RecognizerOptions, 'input_5d', None)
    new_height: int | None = changed(
        RecognizerOptions, 'new_height', None, help='height frames are resized to before they are cropped, 0 for none; '
        "also the short side of --data-aug v2 to v4. By default the run's; where there is no run 256, in proportion "
        'where the weights decide --input-size')
    new_width: int | None = changed(
        RecognizerOptions, 'new_width', None, help='width frames are resized to before they are cropped, 0 for none. '
        "By default the run's, or 340 in proportion, as --new-height")
    val_list: str | None = changed(
        RecognizerOptions, 'val_list', help="list of the videos to score; by default the data set's")
    val_data_dir: str | None = changed(
        RecognizerOptions, 'val_data_dir', help="folder of --val-list's paths, where it is not --data-dir")
    train_list: str | None = changed(
        RecognizerOptions, 'train_list', help='list of videos for --calibration; --val-list by default', common=False)
    use_tsn: bool = changed(
        RecognizerOptions, 'use_tsn', help="the TSN paper's 25 segments, unless --num-segments says otherwise")

    ten_crop: bool = _views(False, 'corners and centre with their mirror images', common=True)
    three_crop: bool = _views(
        False, 'three crops along the longer side; frames are rescaled so that the shorter is the crop', common=True)
    num_crop: int | None = changed(
        RecognizerOptions, 'num_crop', None, group='views', help="the same as a number; by default the run's, or 1")
    crop_ratio: float | None = changed(
        RecognizerOptions, 'crop_ratio', None, group='views',
        help='frames of native size (--new-height 0 --new-width 0): the crop over the short side; 0.875 by default')
    average: str | None = _views(
        None, 'what is averaged over the views: features below the head, scores (logits), or probabilities (softmax); '
        'by default what the published score of the weights was measured with, and scores for weights of your own',
        choices=AVERAGES)
    use_softmax: bool = _views(False, 'the same as --average probabilities')
    consensus: str | None = changed(
        RecognizerOptions, 'consensus', None, group='views',
        help="how scores of segments become one, where the network was trained with another than avg; by default the "
        "run's")
    batch_size: int = _views(
        32, 'views a forward pass and device; memory grows with it, results do not change', least=1, common=True)

    save_dir: str | None = _results(
        None, 'where everything is written; by default test-SEGMENTSxCROPS in the run that the weights are of, with '
        'the name of the file behind it where they are not its best; without a run '
        "results/MODEL-DATASET-SEGMENTSxCROPS; of other VIDEOS than the run's with their name behind it",
        common=True)
    overwrite: bool = _results(False, 'replace the results that --save-dir holds', common=True)
    failure_limit: float = _results(
        0.1, 'exit with 1 when a larger share of the videos cannot be read; they count as wrong anyway',
        metavar='SHARE')
    report: bool = _results(True, 'write no report.html', '--no-report')
    logging_file: str = _results('test.log', 'log file in --save-dir; empty for none')
    log_interval: int = _results(50, 'videos between lines; 0 for none', least=0)

    deploy: bool = _exported(False, 'score an exported network instead of one of the zoo')
    model_prefix: str | None = _exported(
        None, 'a bundle, or PREFIX-symbol.json and PREFIX-0000.params that MXNet exported', metavar='PREFIX')
    quantized: bool = _exported(False, 'score the int8 bundle that --model-prefix names')
    benchmark: bool = _exported(False, 'time the network on random input and stop')
    num_iterations: int = _exported(100, 'batches of --benchmark', least=1)
    calibration: bool = _exported(False, 'make an int8 bundle for CPUs, to be scored with --quantized, and stop')
    num_calib_batches: int = _exported(5, 'batches of views to calibrate on', least=1)
    quantized_dtype: str = _exported(
        'auto', 'type of the inputs of layers; auto is uint8, which is what x86 processors are quick with',
        choices=('auto', 'int8', 'uint8'))
    calib_mode: str = _exported(
        'naive', 'ranges from extremes of the calibration data, or by least information lost; not none',
        choices=('none', 'naive', 'entropy'))

    #: Those of `RecognizerOptions.UNSAID`, and what `gluon_action.evaluate.options.run_options` takes from the run of
    #: the weights: the values where there is none are GluonCV's.
    UNSAID: ClassVar[dict[str, Any]] = {
        **RecognizerOptions.UNSAID, 'new_height': 256, 'new_width': 340, 'dataset': 'ucf101', 'list_format': 'auto',
        'multi_label': False, 'data_aug': 'v1', 'video_loader': False, 'slowfast': False, 'use_se': False,
        'use_gn': False, 'batch_norm': False, 'input_5d': False, 'num_crop': 1, 'consensus': 'avg'}

    def settled(self, said: Mapping[str, Any] = MappingProxyType({})):
        """Return these options with every one of `UNSAID` decided; frames are as much larger as the crop is."""
        if self.input_size is None and 'input_size' in said:
            scale = said['input_size'] / self.UNSAID['input_size']
            said = {**said, **{name: round(scale * self.UNSAID[name]) for name in ('new_height', 'new_width')}}
        return super().settled(said)

    @property
    def segments(self) -> int:
        """Segments a video."""
        return self.num_segments or (TSN_SEGMENTS if self.use_tsn else 1)

    @property
    def crops(self) -> int:
        """Crops a segment: 1, 3 or 10."""
        return 10 if self.ten_crop else 3 if self.three_crop else self.num_crop or 1

    @property
    def exported(self) -> bool:
        """Whether the network is one that was exported, rather than one of the zoo."""
        return self.deploy or self.quantized

    @property
    def averaged(self) -> str:
        """What is averaged over the views: one of `AVERAGES`."""
        return self.average or ('probabilities' if self.use_softmax else 'scores')

    @property
    def protocol(self) -> str:
        """Segments x crops, as accuracies are quoted: ``'25x10'``."""
        return f'{self.segments}x{self.crops}'

    @property
    def results_dir(self) -> str:
        """Where the results go."""
        return self.save_dir or f'results/{self.model}-{self.settled().dataset}-{self.protocol}'

    @property
    def resize(self) -> str:
        """The resizing in words, for the protocol."""
        read = '{1}x{0}'.format(*self.read_size) if self.read_size else 'native size'
        return f'{read}, short side {self.short_side}' if self.short_side else read


def check_config(config: TestConfig, card=None, sizes: bool = True) -> None:
    """Refuse choices that contradict each other or mean nothing for the model.

    Parameters
    ----------
    config : TestConfig
    card : gluon_action.model_zoo.ModelCard, optional
        The model's; None for an exported network that the zoo does not know.
    sizes : bool
        Whether the crop fits the frames; their sizes may still be up to the weights.

    Raises
    ------
    UsageError
        Naming the flag, the reason and what to do.
    """
    config = config.settled()
    raise_first(_start_rules(config), shared_rules(config, card), _view_rules(config),
                _size_rules(config) if sizes else (), _scoring_rules(config))


def _start_rules(c: TestConfig):
    """Yield (broken, flag, why): where the network comes from."""
    starts = [flag for flag, given in (('--resume-params', c.resume_params), ('--use-pretrained', c.use_pretrained),
                                       ('--deploy or --quantized', c.exported)) if given]
    yield (not starts and not c.benchmark, f'--model {c.model}',
           'no weights to test: pass --resume-params FILE, --use-pretrained, or --deploy --model-prefix PREFIX')
    yield len(starts) > 1, ' and '.join(starts), 'contradict each other; the network comes from one of them'
    yield (c.deploy and not c.model_prefix, '--deploy',
           'needs --model-prefix: a bundle, or the exported files up to -symbol.json')
    yield (c.quantized and not c.model_prefix, '--quantized',
           f'nobody publishes int8 weights of {c.model}; make them with --calibration, name them with --model-prefix')
    yield c.model_prefix and not c.exported, '--model-prefix', 'names an exported network; add --deploy'
    yield c.exported and c.consensus != 'avg', '--consensus', 'an exported network holds its own'
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


def _view_rules(c: TestConfig):
    asked = {n for n, given in ((c.num_crop, c.num_crop > 1), (3, c.three_crop), (10, c.ten_crop)) if given}
    yield len(asked) > 1, '--num-crop, --three-crop and --ten-crop', 'contradict each other'
    yield (c.crop_ratio is not None and (c.read_size or c.crops == 3 or c.data_aug != 'v1' and c.new_height > 0),
           '--crop-ratio', f'means nothing here, where frames are {c.resize}; for crops of {c.crop_ratio} of the short '
           'side pass --new-height 0 --new-width 0' + (' and no --three-crop' if c.crops == 3 else ''))


def _size_rules(c: TestConfig):
    size = c.read_size or (c.short_side, c.short_side)
    yield (min(size) < c.input_size, '--input-size',
           f'{c.input_size} does not fit into frames of {c.resize}; raise --new-height and --new-width, or 0 to keep '
           'the native size')


def _scoring_rules(c: TestConfig):
    yield (c.average not in (None, *AVERAGES), '--average',
           f'must be one of {", ".join(AVERAGES)}, got {c.average!r}')
    yield (c.use_softmax and c.average not in (None, 'probabilities'), '--use-softmax',
           f'contradicts --average {c.average}')
    yield not 0 <= c.failure_limit <= 1, '--failure-limit', f'must be in 0..1, got {c.failure_limit}'
    yield c.batch_size < 1, '--batch-size', f'must be 1 or more, got {c.batch_size}'
