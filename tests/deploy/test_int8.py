"""int8 models: near the float ones, honest about what they cost, and with the layers that hurt left in float."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import json
import sys
import weakref

import mxnet as mx
import numpy as np
import onnx
import pytest
from bundles import make_model
from mxnet import gluon
from onnx import numpy_helper
from videos import write_video

from gluon_action.cli import quantize_model
from gluon_action.cli.command import run
from gluon_action.data.preprocess import Preprocess
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.deploy.bundle.format import read_bundle, verify
from gluon_action.deploy.bundle.write import write_bundle
from gluon_action.deploy.int8 import bundle as int8_bundle
from gluon_action.deploy.int8 import layers as int8_layers
from gluon_action.deploy.int8.bundle import Int8Choices, quantize_bundle, report_text
from gluon_action.deploy.int8.calibrate import collect_views
from gluon_action.deploy.int8.calibration_clips import Clip, collect_clips, list_clips, split_clips
from gluon_action.deploy.int8.quantize import Calibration
from gluon_action.deploy.int8.quantize import quantize_model as quantize
from gluon_action.deploy.onnx.model import OnnxModel
from gluon_action.deploy.speed import processor
from gluon_action.errors import ModelError, UsageError
from gluon_action.files import describe
from gluon_action.model_zoo import get_model
from gluon_action.nn import BatchNorm

#: Name -> frames, size.
NETWORKS = {'frames': (1, 32), 'clips': (4, 24), 'timesformer_small_custom': (8, 16)}
LARGE = {'resnet18_v1b_custom': (1, 32), 's3dg_custom': (8, 32)}
SIZES = NETWORKS | LARGE


class Residual(gluon.HybridBlock):
    """What networks of convolutions are made of, for frames or for clips."""

    num_classes = 6

    def __init__(self, ndim):
        super().__init__()
        conv, pool = (gluon.nn.Conv2D, gluon.nn.MaxPool2D) if ndim == 4 else (gluon.nn.Conv3D, gluon.nn.MaxPool3D)
        with self.name_scope():
            self.stem, self.pool = conv(16, 3, 1, 1, in_channels=3), pool(2, 2)
            self.inside = gluon.nn.HybridSequential()
            self.inside.add(conv(16, 3, 1, 1, in_channels=16, use_bias=False), BatchNorm(ndim=ndim, in_channels=16),
                            gluon.nn.Activation('relu'), conv(16, 1, in_channels=16))
            self.output = gluon.nn.Dense(6, in_units=16)
        self.axes = tuple(range(2, ndim))

    def hybrid_forward(self, F, x):
        x = self.pool(F.relu(self.stem(x)))
        return self.output(F.mean(F.relu(x + self.inside(x)), axis=self.axes))


def network(name, frames, size):
    """A network whose scores spread over its classes."""
    mx.random.seed(1)
    if name in ('frames', 'clips'):
        net = Residual(4 if name == 'frames' else 5)
        net.initialize(mx.init.Xavier())
        net.output.initialize(mx.init.Normal(3), force_reinit=True)
        return net
    net = get_model(name, nclass=6, pretrained_base=False, input_size=size,
                    **({'clip_length': frames} if frames > 1 else {}))
    keys = net._collect_params_with_prefix()
    keys[net.card.head].set_data(mx.nd.random.normal(0, 0.5, keys[net.card.head].shape))
    return net


def preprocess_of(frames, size):
    return Preprocess(layout='NCHW' if frames == 1 else 'NCTHW', offsets=tuple(range(frames)), stride=frames,
                      resize={'short_side': size + 4}, crop=(size, size), mean=(0.5,) * 3, std=(0.25,) * 3)


ORIGIN = {'trained_from': {'model': 'x', 'tag': 'y', 'publisher': 'Z', 'licence': 'MIT'}}


@pytest.fixture(scope='module')
def bundles(tmp_path_factory):
    """A float bundle of a network for frames, one for clips, and a transformer."""
    made = {}

    def bundle(name):
        if name not in made:
            made[name] = write_bundle(network(name, *SIZES[name]), tmp_path_factory.mktemp(name) / 'float',
                                      preprocess=preprocess_of(*SIZES[name]), origin=ORIGIN)
        return made[name]
    return bundle


@pytest.fixture(scope='module')
def clips(demo_motion):
    """Clips of the demo's videos as a network takes them."""
    lines = [line.split() for path in (demo_motion.val_list, demo_motion.train_list) for line in path.open()]
    videos = [(f'{demo_motion.video_dir}/{path}', int(label) % 6) for path, _, label in lines]
    return lambda name, count=12: collect_clips(videos, preprocess_of(*SIZES[name]), count)


def operators(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def scores_of(bundle, clips):
    bundle = read_bundle(bundle)
    model = OnnxModel(bundle.model)
    return np.array([model.run(bundle.preprocess.cut(clip.frames)).mean(axis=0) for clip in clips])


@pytest.mark.parametrize('name', [*NETWORKS, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_frames_clips_and_transformers_score_alike_in_int8(bundles, clips, tmp_path, name):
    known, unseen = split_clips(clips(name), 0.5)
    report = quantize_bundle(bundles(name), tmp_path / 'int8', calibration=known, held_out=unseen,
                             choices=Int8Choices(min_agreement=0, keep_slow=True))
    expected, found = scores_of(bundles(name), unseen), scores_of(tmp_path / 'int8', unseen)
    error = np.sqrt(((found - expected) ** 2).mean()) / (expected - expected.mean(1, keepdims=True)).std()
    assert 0 < error < 0.2 and report['held_out']['score_error'] == pytest.approx(error, rel=1e-3)
    same = (found.argmax(1) == expected.argmax(1)).mean()
    assert report['held_out']['agreement'] == same
    assert report['layers'] == {'int8': report['layers']['int8'], 'float32': 0, 'kept_in_float': {}}
    if name in LARGE:
        assert report['bytes']['ratio'] < 0.4
    model = onnx.load(tmp_path / 'int8' / 'model.onnx')
    onnx.checker.check_model(model, full_check=True)
    assert sum(tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) > 1
               for tensor in model.graph.initializer) == report['layers']['int8']


@pytest.mark.parametrize('name', ['frames', 'clips'])
def test_an_int8_bundle_is_a_bundle(bundles, clips, tmp_path, name):
    quantize_bundle(bundles(name), tmp_path / 'int8', calibration=clips(name, 3),
                    choices=Int8Choices(keep_slow=True))
    before, after = read_bundle(bundles(name)), read_bundle(tmp_path / 'int8')
    assert (after.preprocess, after.labels, after.num_classes) == (before.preprocess, before.labels, before.num_classes)
    assert after.manifest['precision'] == 'int8' and after.manifest['input'] == before.manifest['input']
    assert verify(tmp_path / 'int8').ok
    assert read_bundle(tmp_path / 'int8' / 'model.onnx').preprocess == before.preprocess
    assert before.manifest['files']['model.onnx']['sha256'] in (tmp_path / 'int8' / 'model_card.md').read_text()
    assert after.manifest['trained_from'] == ORIGIN['trained_from']
    assert '- Trained from: x y of Z\n- Licence of these weights: MIT\n' in (
        tmp_path / 'int8' / 'model_card.md').read_text()


def test_weights_are_rounded_by_channel(bundles, clips, tmp_path):
    path = bundles('frames') / 'model.onnx'
    rows = [read_bundle(bundles('frames')).preprocess.cut(clip.frames)
            for clip in clips('frames', 3)]
    layers = quantize(path, rows, tmp_path / 'int8.onnx', reduce_range=False)
    floats = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    int8 = onnx.load(tmp_path / 'int8.onnx')
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
    for layer in layers[:3]:
        weight, eight = floats[layer.weight], found[f'{layer.weight}_quantized']
        largest = np.abs(weight).max(axis=(1, 2, 3))
        np.testing.assert_allclose(found[f'{layer.weight}_scale'], largest / 127, rtol=0.01)
        assert np.abs(eight * found[f'{layer.weight}_scale'].reshape(-1, 1, 1, 1) - weight).max() \
            <= 0.51 * found[f'{layer.weight}_scale'].max()


def test_layers_that_are_named_stay_in_float(bundles, tmp_path):
    path = bundles('frames') / 'model.onnx'
    rows = [np.zeros((1, 3, 32, 32), 'float32'), np.ones((1, 3, 32, 32), 'float32')]
    with pytest.raises(UsageError, match='has no layer nowhere'):
        quantize(path, rows, tmp_path / 'int8.onnx', keep_float=['nowhere'])
    first = Calibration(path, rows, tmp_path).layers[0].name
    layers = quantize(path, rows, tmp_path / 'int8.onnx', keep_float=[first])
    assert first not in [layer.name for layer in layers]
    conv = next(node for node in onnx.load(tmp_path / 'int8.onnx').graph.node if first in node.output)
    assert not conv.input[0].endswith('_DequantizeLinear_Output') and conv.op_type == 'Conv'


def test_layers_that_hurt_stay_in_float_until_the_model_agrees(bundles, clips, tmp_path):
    name = 'frames'
    spoilt = _spoil(bundles(name), tmp_path / 'spoilt')
    known, unseen = split_clips(clips(name), 0.5)
    harm = quantize_bundle(spoilt, tmp_path / 'all', calibration=known, held_out=unseen,
                           choices=Int8Choices(min_agreement=0, keep_slow=True))
    assert harm['held_out']['agreement'] < 1
    report = quantize_bundle(spoilt, tmp_path / 'int8', calibration=known, held_out=unseen,
                             choices=Int8Choices(min_agreement=1, max_float=0.9, keep_slow=True))
    kept = report['layers']['kept_in_float']
    assert report['held_out']['agreement'] == 1 and 1 <= len(kept) < report['layers']['int8'] + len(kept)
    assert all(why.startswith('hurts: alone in int8 it changes the scores by') for why in kept.values())
    assert next(iter(kept)) in report_text(report)
    with pytest.raises(ModelError, match='--min-agreement asks for 100.0%, and 0 layers in float do not reach it'):
        quantize_bundle(spoilt, tmp_path / 'none', calibration=known, held_out=unseen,
                        choices=Int8Choices(min_agreement=1, max_float=0, keep_slow=True))
    assert not (tmp_path / 'none').exists()


@pytest.mark.parametrize('enough, max_float, kept', [(1, 1., 1), (2, 1., 2), (3, 1., 3), (3, 0.75, 3), (2, 0.5, 2)])
def test_as_many_layers_stay_in_float_as_allowed_and_needed(bundles, clips, tmp_path, monkeypatch, enough, max_float,
                                                            kept):
    """Of the network's four layers three at most: one stays in int8, or it would be no int8 model."""
    known, unseen = split_clips(clips('frames'), 0.5)
    answers = iter([0.] * enough + [1.] * 9)  # with every layer in int8, with one in float, with two, ...
    monkeypatch.setattr(int8_bundle, 'agreement', lambda *scores: int8_layers.Agreement(next(answers), 0.5))
    report = quantize_bundle(bundles('frames'), tmp_path / 'int8', calibration=known[:2], held_out=unseen[:2],
                             choices=Int8Choices(min_agreement=1, max_float=max_float, keep_slow=True))
    assert (report['layers']['float32'], report['layers']['int8']) == (kept, 4 - kept)


@pytest.mark.parametrize('max_float, limit', [(1., 3), (0.7, 2), (0.25, 1), (0.2, 0)])
def test_no_more_layers_are_tried_in_float_than_allowed(bundles, clips, tmp_path, monkeypatch, max_float, limit):
    known, unseen = split_clips(clips('frames'), 0.5)
    tried = []
    monkeypatch.setattr(int8_bundle, 'agreement',
                        lambda *scores: tried.append(1) or int8_layers.Agreement(0., 0.5))
    with pytest.raises(ModelError, match=f'and {limit} layers in float do not reach it.*raise --max-float'):
        quantize_bundle(bundles('frames'), tmp_path / 'int8', calibration=known[:2], held_out=unseen[:2],
                        choices=Int8Choices(min_agreement=1, max_float=max_float, keep_slow=True))
    assert len(tried) == 1 + limit


def test_half_of_the_layers_and_95_of_100_clips_are_the_default():
    assert (Int8Choices().max_float, Int8Choices().min_agreement, Int8Choices().mode, Int8Choices().activations,
            Int8Choices().reduce_range, Int8Choices().keep_slow) == (0.5, 0.95, 'minmax', 'uint8', None, False)


def test_what_meets_a_float_stays_in_float(bundles, tmp_path):
    """The residual sum of a layer in int8 and one in float takes the float as it is."""
    path = bundles('frames') / 'model.onnx'
    rows = [np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype('float32')]
    layers = Calibration(path, rows, tmp_path).layers
    nodes = {node.op_type: node for node in onnx.load(path).graph.node}
    inside = next(name for name in nodes['Add'].input if name in [layer.name for layer in layers])
    for keep, floats in ((), 0), ((inside,), 1):
        quantize(path, rows, tmp_path / 'int8.onnx', keep_float=keep)
        graph = onnx.load(tmp_path / 'int8.onnx').graph.node
        added = next(node for node in graph if node.op_type == 'Add')
        assert sum(name == inside for name in added.input) == floats
        rounded = {node.input[0] for node in graph if node.op_type == 'QuantizeLinear'}
        assert (inside in rounded) == (not floats)


def _spoil(bundle, folder):
    """A bundle whose last layer sees one channel that is a thousand times larger than the others, and of no weight."""
    import shutil

    from gluon_action.deploy.bundle import format as bundle_format
    shutil.copytree(bundle, folder)
    model = onnx.load(folder / 'model.onnx')
    last = [node for node in model.graph.node if node.op_type in ('Conv', 'Gemm')]
    arrays = {tensor.name: tensor for tensor in model.graph.initializer}
    conv, dense = last[-2], last[-1]
    bias, weight = (numpy_helper.to_array(arrays[name]).copy() for name in (conv.input[2], dense.input[1]))
    bias[0] += 3000 * max(1, np.abs(bias).max())
    weight[:, 0] = 0
    for name, array in ((conv.input[2], bias), (dense.input[1], weight)):
        arrays[name].CopyFrom(numpy_helper.from_array(array, name))
    onnx.save(model, folder / 'model.onnx')
    manifest = json.loads((folder / 'manifest.json').read_text())
    manifest.pop('sha256')
    manifest['files'].update(describe(folder, ['model.onnx']))
    (folder / 'manifest.json').write_text(bundle_format.seal(manifest))
    return folder


def test_layers_that_are_slower_stay_in_float_and_the_report_says_so(bundles, clips, tmp_path, monkeypatch):
    name = 'clips'
    monkeypatch.setattr(int8_layers, 'SECONDS', 0)
    seconds = iter([1., 5.] + [1., 0.5] * 99)
    monkeypatch.setattr(int8_layers, '_seconds', lambda model, threads: next(seconds))
    report = quantize_bundle(bundles(name), tmp_path / 'int8', calibration=clips(name, 2))
    (layer, why), = report['layers']['kept_in_float'].items()
    assert why == 'slower here: 5000.0 ms in int8, 1000.0 ms in float' and why in report_text(report)
    assert layer in [node.output[0] for node in onnx.load(tmp_path / 'int8' / 'model.onnx').graph.node]


def test_batches_to_calibrate_on_are_held_one_at_a_time(bundles, tmp_path):
    held, most = [], []

    def batches():
        for number in range(8):
            most.append(sum(batch() is not None for batch in held))
            batch = np.full((1, 3, 32, 32), number, 'float32')
            held.append(weakref.ref(batch))
            yield batch
            del batch

    quantize(bundles('frames') / 'model.onnx', batches(), tmp_path / 'int8.onnx')
    assert len(most) == 8 and max(most) <= 2


@pytest.mark.parametrize('count, seen', [
    (3, [0, 11, 22]), (4, [0, 1, 11, 12]), (20, [0, 1, 2, 10, 11, 12, 20, 21, 22])])
def test_views_to_calibrate_on_are_of_all_videos_and_of_all_their_segments(count, seen):
    """Frames of video v are 10 v, 10 v + 1 and 10 v + 2, a segment each."""
    class Videos:
        def __len__(self):
            return 3

        def load_frames(self, index):
            return np.broadcast_to(np.arange(3, dtype=np.uint8)[:, None, None, None] + 10 * index, (3, 16, 20, 3))

    views = collect_views(Videos(), preprocess_of(1, 16), 3, count)
    assert {view.shape for view in views} == {(1, 16, 16, 3)}
    assert sorted(int(view.max()) for view in views) == seen


@pytest.mark.parametrize('count', [1, 3, 5])
def test_clips_stand_in_the_middle_of_equal_parts_of_a_video(tmp_path, count):
    path = write_video(tmp_path / 'a.mp4', 47)
    preprocess = preprocess_of(4, 16)
    found = collect_clips([(str(path), 2)], preprocess, count)
    with VideoReader(path) as reader:
        frames = preprocess.resized(reader.read(range(47)))
    starts = {1: [21], 3: [7, 21, 35], 5: [4, 12, 21, 30, 38]}[count]  # of the 43 frames where a clip can start
    assert len(found) == count and {clip.label for clip in found} == {2}
    for clip, start in zip(found, starts):
        np.testing.assert_array_equal(clip.frames, frames[start:start + 4])


@pytest.mark.parametrize('in_float, in_int8, slower', [
    (1e-4, 5e-4, False), (1e-4, 6.5e-4, True),  # five times as long, but not 0.5 ms longer
    (1e-2, 1.09e-2, False), (1e-2, 1.12e-2, True),  # 0.9 ms longer, but not by a tenth
    (1e-2, 5e-3, False)])
def test_a_layer_is_slower_by_a_tenth_and_by_half_a_millisecond(bundles, tmp_path, monkeypatch, in_float, in_int8,
                                                                slower):
    bundle = read_bundle(bundles('frames'))
    made = Calibration(bundle.model, [], tmp_path)
    times = []
    monkeypatch.setattr(int8_layers, '_seconds',
                        lambda model, threads: times.append(1) or (in_float, in_int8)[len(times) % 2 - 1])
    found = int8_layers.slower_layers(made, bundle.preprocess.shape(1))
    large = [layer.name for layer in made.layers if layer.kind == 'Conv']  # the dense one is too small to matter
    assert list(found) == (large if slower else []) and len(times) == 2 * len(large)


def test_a_layer_is_timed_as_it_stands_in_the_network(bundles, tmp_path):
    for name in NETWORKS:
        bundle = read_bundle(bundles(name))
        made = Calibration(bundle.model, [], tmp_path)
        slow = int8_layers.slower_layers(made, bundle.preprocess.shape(1), threads=1)
        assert set(slow) <= {layer.name for layer in made.layers}


def test_labels_tell_the_change_of_top1(bundles, clips, tmp_path):
    name = 'frames'
    known, unseen = split_clips(clips(name), 0.5)
    expected = scores_of(bundles(name), unseen).argmax(axis=1)
    labelled = [Clip(clip.path, int(label), clip.frames) for clip, label in zip(unseen, expected)]
    report = quantize_bundle(bundles(name), tmp_path / 'int8', calibration=known, held_out=labelled,
                             choices=Int8Choices(min_agreement=0))
    assert report['top1']['float32'] == 1
    assert report['top1']['int8'] == report['held_out']['agreement'] == 1 + report['top1']['change']


def test_the_report_says_what_the_processor_has(monkeypatch, bundles, clips, tmp_path):
    monkeypatch.setattr(processor, '_entries', {'flags': 'sse2 avx2', 'model name': 'Old One'}.get)
    assert processor.has_int8_products() is False
    report = quantize_bundle(bundles('frames'), tmp_path / 'int8',
                             calibration=clips('frames', 2), choices=Int8Choices(keep_slow=True))
    assert report['processor']['name'] == 'Old One' and report['calibration']['weight_bits'] == 7
    assert 'no instructions for int8 (VNNI or the like)' in report_text(report)
    monkeypatch.setattr(processor, '_entries', {'flags': 'avx512f avx512_vnni'}.get)
    assert processor.int8_instructions() == ['avx512_vnni']
    monkeypatch.setattr(processor, '_entries', lambda key: '')
    assert processor.has_int8_products() is None


def test_clips_are_spread_over_videos_and_a_video_is_on_one_side_only(demo_motion):
    videos = [(str(path), None) for path in sorted(demo_motion.video_dir.rglob('*.mp4'))[:5]]
    clips = collect_clips(videos, preprocess_of(4, 16), 10)
    assert len(clips) == 10 and {clip.path for clip in clips} == {path for path, _ in videos}
    known, unseen = split_clips(clips, 0.4)
    assert not {clip.path for clip in known} & {clip.path for clip in unseen} and len(unseen) == 4
    one = collect_clips(videos[:1], preprocess_of(4, 16), 6)
    known, unseen = split_clips(one, 0.5)
    assert len(known) == len(unseen) == 3
    assert len(collect_clips(videos[:3], preprocess_of(4, 16), 5)) == 5  # two of each, and the last one left out
    with pytest.raises(UsageError, match='one clip is too few'):
        split_clips(one[:1], 0.5)


def test_of_a_list_sorted_by_class_all_classes_have_their_part(demo_motion):
    path = str(next(demo_motion.video_dir.rglob('*.mp4')))
    clips = collect_clips([(path, n // 4) for n in range(12)], preprocess_of(1, 16), 6)
    assert len(clips) == 6 and {clip.label for clip in clips} == {0, 1, 2}


def test_videos_that_cannot_be_read_are_named_and_left_out(demo_motion, tmp_path, caplog):
    (tmp_path / 'bad.mp4').write_bytes(b'garbage' * 99)
    good = str(next(demo_motion.video_dir.rglob('*.mp4')))
    clips = collect_clips([(str(tmp_path / 'bad.mp4'), None), (good, 3)], preprocess_of(1, 16), 4)
    assert {clip.label for clip in clips} == {3} and 'bad.mp4' in caplog.text
    with pytest.raises(UsageError, match='no video could be read'):
        collect_clips([(str(tmp_path / 'bad.mp4'), None)], preprocess_of(1, 16), 4)


def test_videos_come_from_folders_lists_and_names(demo_motion, bundles):
    bundle = read_bundle(bundles('frames'))
    folder = str(next(path for path in demo_motion.video_dir.iterdir() if path.is_dir()))
    found = list_clips([folder], bundle)
    assert len(found) > 1 and all(path.endswith('.mp4') and label is None for path, label in found)
    with pytest.raises(UsageError, match='--data-dir: is about a list'):
        list_clips([folder], bundle, root='/somewhere')


def test_what_cannot_be_quantised_is_refused(bundles, clips, tmp_path, capsys):
    name = 'frames'
    quantize_bundle(bundles(name), tmp_path / 'int8', calibration=clips(name, 2), choices=Int8Choices(keep_slow=True))
    video = clips(name, 2)[0].path
    bare = make_model(tmp_path / 'bare.onnx', preprocess_of(1, 16))
    for argv, code, told in (([tmp_path / 'int8', video], 2, 'is int8 already'), ([bare, video], 2, 'ONNX file alone'),
                             ([tmp_path, video], 1, 'holds no manifest.json'),
                             ([bundles(name), video, '--out', tmp_path / 'int8'], 2, 'exists; name another folder'),
                             ([bundles(name), video, '--overwrite', '--out', bundles(name)], 2, 'the float bundle')):
        argv = [str(item) for item in argv] + ([] if '--out' in argv else ['--out', str(tmp_path / 'new')])
        assert run(quantize_model.parse_args, quantize_model.main, argv) == code
        error = capsys.readouterr().err
        assert told in error and 'Traceback' not in error
    assert not (tmp_path / 'new').exists() and not list(tmp_path.glob('.part*'))


def test_a_missing_package_is_named_before_anything_is_calibrated(bundles, tmp_path, monkeypatch):
    model = read_bundle(bundles('frames')).model
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(UsageError, match=r"int8 needs onnxruntime.quantization .*pip install 'gluon_action\[onnx\]'"):
        Calibration(model, [], tmp_path)


def test_nothing_is_left_when_it_fails(bundles, clips, tmp_path, monkeypatch):
    monkeypatch.setattr(int8_bundle, '_report', lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        quantize_bundle(bundles('frames'), tmp_path / 'int8',
                        calibration=clips('frames', 2), choices=Int8Choices(keep_slow=True))
    assert list(tmp_path.iterdir()) == []
