"""Weights by their publishers' names: each tensor goes where it belongs, and what does not fit is refused."""
import re

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import publisher_names
import pytest
from mxnet import gluon
from safetensors.numpy import save_file
from torch_file_writer import Raw, write_torch_file

from gluon_action.class_names import class_names
from gluon_action.errors import WeightsError
from gluon_action.model_zoo import get_model, importers, list_models, model_card
from gluon_action.model_zoo.importers import FORMATS, convert, convert_arrays, convert_base, load_any
from gluon_action.model_zoo.importers.formats.safetensors_file import read_safetensors
from gluon_action.model_zoo.loading.fit import assign
from gluon_action.model_zoo.loading.pretrained import reading_of
from gluon_action.train.run.warm_start import warm_start
from gluon_action.weights import read_index
from gluon_action.weights.index import FORMATS as INDEXED

STEPS = 'counter of steps'
AUXILIARY = 'auxiliary scores, for training only'
# format -> the names, networks, and tensors that are dropped
FAMILIES = {
    'timm-resnet': (publisher_names.timm_resnet, ('resnet18_v1b_custom', 'resnet50_v1b_kinetics400'), ()),
    'torchvision-googlenet': (publisher_names.googlenet, ('inceptionv1_kinetics400',),
                              ('aux1.conv.conv.weight', 'aux1.conv.bn.running_var', 'aux2.fc1.bias')),
    'torchvision-inception3': (publisher_names.inception_v3, ('inceptionv3_kinetics400',),
                               ('AuxLogits.conv0.conv.weight', 'AuxLogits.conv1.bn.bias', 'AuxLogits.fc.weight')),
    'torchvision-vgg16': (publisher_names.vgg16, ('vgg16_ucf101',), ()),
    'torchvision-r2plus1d': (publisher_names.r2plus1d, ('r2plus1d_resnet18_kinetics400',), ()),
    'ig65m': (publisher_names.r2plus1d, ('r2plus1d_ig65m_resnet34_kinetics400',), ()),
    'mmaction2-resnet2d': (publisher_names.mmaction2_resnet, ('resnet50_v1b_kinetics400', 'c2d_resnet50_kinetics400'),
                           ()),
    'mmaction2-resnet3d': (
        publisher_names.mmaction2_resnet,
        ('i3d_resnet50_v1_kinetics400', 'i3d_heavy_resnet50_kinetics400', 'slowonly_4x16_resnet50_kinetics400',
         'i3d_nl5_resnet50_v1_kinetics400'), ()),
    'mmaction2-c3d': (publisher_names.mmaction2_c3d, ('c3d_ucf101',), ()),
    'mmaction2-timesformer': (
        publisher_names.mmaction2_timesformer,
        tuple(f'timesformer_{kind}_8x32_kinetics400' for kind in ('divst', 'jointst', 'spaceonly')), ()),
    'huggingface-timesformer': (publisher_names.hugging_face, ('timesformer_divst_8x32_kinetics400',), ()),
    'pytorchvideo-slowfast': (
        publisher_names.pytorchvideo_slowfast,
        ('slowfast_4x16_resnet50_kinetics400', 'slowfast_8x8_resnet50_kinetics400'), ()),
    'pytorchvideo-slow': (publisher_names.pytorchvideo_slow, ('slowonly_8x8_resnet50_kinetics400',), ()),
    'pytorchvideo-i3d': (publisher_names.pytorchvideo_i3d, ('i3d_8x8_resnet50_kinetics400',), ()),
}
# What a network is built with for weights of a format.
OPTIONS = {('mmaction2-resnet3d', 'i3d_nl5_resnet50_v1_kinetics400'): {'sub_sample': True}}
# The formats with tests of their own.
ELSEWHERE = {'timesformer', 'vit', 'torchvision-s3d', 'deepmind-i3d', 'slim', 'params'}
CASES = [(format, model) for format, (_, models, _) in FAMILIES.items() for model in models]


@pytest.fixture(scope='module')
def skeletons():
    """Networks by name without values, each built once, which takes most of the time and memory."""
    made = {}

    def skeleton(model, **options):
        key = model, *options.items()
        if key not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(gluon.Parameter, 'initialize', lambda *args, **kwargs: None)
                made[key] = get_model(model, pretrained_base=False, **options)
        return made[key]
    return skeleton


def shapes_of(net):
    """Key -> shape of every parameter, each once."""
    shapes, seen = {}, set()
    for key, parameter in net._collect_params_with_prefix().items():
        if id(parameter) not in seen:
            seen.add(id(parameter))
            shapes[key] = parameter.shape
    return shapes


def published(net, format, dropped=()):
    """Tensors by the publisher's names, each full of its own number, and the numbers by the network's keys."""
    shapes = shapes_of(net)
    names = FAMILIES[format][0](shapes)
    # mmaction2's has none, as a normalisation follows.
    names = {key: name for key, name in names.items() if not name.endswith('conv_out.conv.bias')}
    assert len(set(names.values())) == len(names)
    tensors, numbers = {}, {}
    for number, (key, name) in enumerate(names.items(), 1):
        numbers[key] = number
        shape = shapes[key]
        if format == 'mmaction2-resnet2d' and len(shape) == 5:  # C2D, published as a network for frames
            shape = shape[:2] + shape[3:]
        tensors[name] = np.broadcast_to(np.float32(number), shape)
        if name.endswith('running_var'):
            tensors[name.replace('running_var', 'num_batches_tracked')] = np.int64(number)
    return {**tensors, **{name: np.ones(3, np.float32) for name in dropped}}, numbers


def test_every_format_is_tested():
    assert {*FAMILIES, *ELSEWHERE} == set(FORMATS)


@pytest.mark.parametrize('format, model', CASES)
def test_every_tensor_goes_to_its_parameter_or_is_dropped_with_a_reason(format, model, skeletons):
    net, dropped = skeletons(model, **OPTIONS.get((format, model), {})), FAMILIES[format][2]
    tensors, numbers = published(net, format, dropped)
    conversion = convert_arrays(tensors, net, 'x.pth')
    assert conversion.format == FORMATS[format].title
    params = net._collect_params_with_prefix()
    assert conversion.arrays.keys() == params.keys()
    for key, number in numbers.items():
        if format == 'ig65m' and key.endswith('running_var'):
            number += 0.00099
        elif '.theta.' in key:
            number *= params[key].shape[0] ** 0.5
        array = conversion.arrays[key]
        assert array.dtype == np.float32 and array.shape == params[key].shape
        assert array.flat[0] == array.flat[-1] == pytest.approx(number, rel=1e-6), key
    assert len({id(array) for array in conversion.arrays.values()}) == len({id(param) for param in params.values()})
    left = {name: note for name, _, key, note in conversion.rows if key is None}
    assert left == {**{name: STEPS for name in tensors if name.endswith('.num_batches_tracked')},
                    **dict.fromkeys(dropped, AUXILIARY)}
    assert {name for name, *_ in conversion.rows} - {''} == set(tensors)
    given = set(params[key] for key in numbers)
    assert {key for key in params if params[key] not in given} == {
        key for key in params if re.search(r'\.(W|W_bn\.0)\.bias', key)}
    assert all(not conversion.arrays[key].any() for key in params if params[key] not in given)


# ResNet-18 stands for all where names do not matter.

RESNET = 'resnet18_v1b_custom'


@pytest.fixture(scope='module')
def resnet():
    """A network that no test may change."""
    return get_model(RESNET, pretrained_base=False, nclass=7)


@pytest.fixture
def tensors(resnet):
    """Random tensors by torchvision's names, with values that single precision has no short name for."""
    rng = np.random.default_rng(0)
    shapes = shapes_of(resnet)
    names = publisher_names.timm_resnet(shapes)
    return {name: rng.standard_normal(shapes[key]).astype(np.float32) for key, name in names.items()}


def test_a_file_is_known_by_its_names_and_fills_the_network(tensors, tmp_path):
    net = get_model(RESNET, pretrained_base=False, nclass=7)
    steps = {name.replace('running_var', 'num_batches_tracked'): np.int64(9) for name in tensors if 'var' in name}
    conversion = load_any(net, write_torch_file(tmp_path / 'resnet18-f37072fd.pth', {**tensors, **steps}))
    params = net._collect_params_with_prefix()
    for key, name in publisher_names.timm_resnet(params).items():
        np.testing.assert_array_equal(params[key].data().asnumpy(), tensors[name])
    assert f'{len(params)} variables used, {len(steps)} unused; {len(params)} parameters' in conversion.table()


@pytest.mark.parametrize('change, told', [
    (lambda names: names.pop('layer3.1.bn2.running_var'), r'1 are missing in the file \(layer3.1.bn2.running_var\)'),
    (lambda names: names.pop('fc.bias'), r'1 are missing in the file \(output.bias\)'),
    (lambda names: names.update({'layer1.2.bn1.weight': np.ones(64)}),
     r'1 are not in the network \(layer1.2.bn1.gamma\); ResNet of timm or torchvision is for resnet\*_v1b_\*'),
    (lambda names: names.update({'layer1.0.se.conv.weight': np.ones(64)}),
     r'1 of 103 variables are not of ResNet of timm or torchvision \(layer1.0.se.conv.weight\).*nothing was loaded'),
    (lambda names: names.update({'conv1.weight': np.ones((64, 3, 3, 3))}),
     r'1 shapes differ, conv1.weight is \(64, 3, 3, 3\) in the file and \(64, 3, 7, 7\) in the network'),
    (lambda names: names.update({'fc.weight': np.ones((9, 512)), 'fc.bias': np.ones(9)}),
     'was trained on 9 classes, this network has 7.*--num-classes 9.*--new-head')])
def test_what_does_not_fit_is_refused_by_name(change, told, resnet, tensors):
    change(tensors)
    with pytest.raises(WeightsError, match=f'^x.pth.*{told}'):
        convert_arrays(tensors, resnet, 'x.pth')


def test_another_architecture_is_refused_and_says_what_the_file_is_for(skeletons):
    tensors, _ = published(skeletons('inceptionv1_kinetics400'), 'torchvision-googlenet')
    with pytest.raises(WeightsError, match=r"are missing.*are not in the network.*GoogLeNet is for inceptionv1_\*"):
        convert_arrays(tensors, skeletons('resnet50_v1b_kinetics400'), 'x.pth')
    tensors, _ = published(skeletons('i3d_nl5_resnet50_v1_kinetics400', sub_sample=True), 'mmaction2-resnet3d')
    with pytest.raises(WeightsError, match=r'are not in the network .*nonlocal_block.sub_phi.0.weight'):
        convert_arrays(tensors, skeletons('i3d_nl5_resnet50_v1_kinetics400'), 'x.pth')


def test_a_head_for_other_classes_is_left_out_when_asked(resnet, tensors):
    tensors |= {'fc.weight': np.ones((9, 512)), 'fc.bias': np.ones(9)}
    conversion = convert_arrays(tensors, resnet, 'x.pth', ignore_head=True)
    assert {name: note for name, _, key, note in conversion.rows if key is None} == dict.fromkeys(
        ('fc.weight', 'fc.bias'), 'the head is left out')
    assert not any(key.startswith('output.') for key in conversion.arrays)


def test_a_format_may_be_named_and_a_wrong_name_tells_all(resnet, tensors):
    assert convert_arrays(tensors, resnet, 'x', format='timm-resnet').format == 'ResNet of timm or torchvision'
    with pytest.raises(WeightsError, match="no format of weights is named 'resnet'; known are .*, timm-resnet, params"):
        convert_arrays(tensors, resnet, 'x', format='resnet')
    with pytest.raises(WeightsError, match="102 of 102 variables are not of torchvision's or timm's VGG16"):
        convert_arrays(tensors, resnet, 'x', format='torchvision-vgg16')


# Heads by class name, and colours.

def test_rows_of_the_head_go_where_their_class_is(skeletons):
    net = skeletons('c3d_ucf101')
    tensors, _ = published(net, 'mmaction2-c3d')
    ours = class_names('ucf101')
    theirs = [name.upper() for name in ours]
    for one, other in ((34, 35), (46, 47)):  # as in mmaction2's list
        theirs[one], theirs[other] = theirs[other], theirs[one]
    rows = np.arange(101, dtype=np.float32)
    tensors |= {'cls_head.fc_cls.weight': np.repeat(rows[:, None], 4096, 1), 'cls_head.fc_cls.bias': rows}
    conversion = convert_arrays(tensors, net, 'x.pth', classes=(theirs, ours))
    assert ours[34:36] == ['HammerThrow', 'Hammering']
    want = [*range(34), 35, 34, *range(36, 46), 47, 46, *range(48, 101)]
    assert conversion.arrays['fc8.bias'].tolist() == conversion.arrays['fc8.weight'][:, 7].tolist() == want
    notes = {key: note for _, _, key, note in conversion.rows if note and key}
    assert notes == dict.fromkeys(('fc8.weight', 'fc8.bias'), '4 rows moved to where their classes are here')
    assert convert_arrays(tensors, net, 'x', classes=(ours, ours)).arrays['fc8.bias'].tolist() == rows.tolist()


@pytest.mark.parametrize('theirs, ours, told', [
    ('abcdefx', 'abcdefg', 'its 7 classes.*g are not among them'), ('abcdef', 'abcdefg', 'g are not among them'),
    ('abcdefgh', 'abcdefg', 'the weights have 7 rows, and 7 are wanted'), ('abcdef', 'abcdef', 'have 7 rows, and 6')])
def test_other_classes_are_refused_by_name(theirs, ours, told, resnet, tensors):
    with pytest.raises(WeightsError, match=f'^x: the names of .*{told}.*--new-head'):
        convert_arrays(tensors, resnet, 'x', classes=(list(theirs), list(ours)))


@pytest.mark.parametrize('model, format, stems', [
    ('resnet50_v1b_kinetics400', 'mmaction2-resnet2d', ['conv1.weight']),
    ('slowfast_4x16_resnet50_kinetics400', 'pytorchvideo-slowfast', ['fast_conv1.weight', 'slow_conv1.weight'])])
def test_filters_for_bgr_are_turned(model, format, stems, skeletons):
    net = skeletons(model)
    tensors, numbers = published(net, format)
    names = FAMILIES[format][0](shapes_of(net))
    for key in stems:
        tensors[names[key]] = tensors[names[key]] + np.arange(3, dtype=np.float32).reshape(
            [3 if axis == 1 else 1 for axis in range(tensors[names[key]].ndim)])
    arrays = convert_arrays(tensors, net, 'x.pth', channels='bgr').arrays
    plain = convert_arrays(tensors, net, 'x.pth').arrays
    for key in arrays:
        np.testing.assert_array_equal(arrays[key], plain[key][:, ::-1] if key in stems else plain[key])
    assert (arrays[stems[0]][:, 0] == numbers[stems[0]] + 2).all()
    with pytest.raises(WeightsError, match="'rgb' or 'bgr', got 'gbr'"):
        convert_arrays(tensors, net, 'x.pth', channels='gbr')


# Files.

def test_safetensors_are_read(resnet, tensors, tmp_path):
    save_file(tensors, tmp_path / 'model.safetensors')
    arrays = convert(tmp_path / 'model.safetensors', resnet).arrays
    for key, name in publisher_names.timm_resnet(shapes_of(resnet)).items():
        np.testing.assert_array_equal(arrays[key], tensors[name])


def safetensors_file(path, kind, values):
    header = f'{{"conv1.weight":{{"dtype":"{kind}","shape":[2],"data_offsets":[0,{len(values)}]}}}}'.encode()
    path.write_bytes(len(header).to_bytes(8, 'little') + header + values)
    return path


@pytest.mark.parametrize('kind, values, want', [
    ('F16', np.float16([1.5, -2]), [1.5, -2]), ('F64', np.float64([1e-3, 7]), [1e-3, 7]),
    ('BF16', np.uint16([0x3fc0, 0xc000]), [1.5, -2]), ('I64', np.int64([2 ** 40, -1]), [2 ** 40, -1])])
def test_each_kind_of_number_of_safetensors_is_read(kind, values, want, tmp_path):
    assert read_safetensors(safetensors_file(tmp_path / 'x', kind, values.tobytes()))['conv1.weight'].tolist() == want


def test_torn_and_unknown_safetensors_are_refused(resnet, tensors, tmp_path):
    save_file(tensors, tmp_path / 'whole')
    content = (tmp_path / 'whole').read_bytes()
    for end in (9, 200, len(content) - 1):
        (tmp_path / 'torn').write_bytes(content[:end])
        with pytest.raises(WeightsError, match='torn: a torn or damaged file of safetensors.*copy it again'):
            convert(tmp_path / 'torn', resnet)
    with pytest.raises(WeightsError, match='tensor conv1.weight holds numbers of the kind F8_E4M3.*save it as F32'):
        convert(safetensors_file(tmp_path / 'x', 'F8_E4M3', b'ab'), resnet)


def test_a_pickle_that_calls_is_refused(resnet, tensors, tmp_path):
    meta = Raw(b'cposix\nsystem\n(X\1\0\0\0.tR')
    source = write_torch_file(tmp_path / 'x.pth', {'state_dict': tensors, 'meta': meta})
    with pytest.raises(WeightsError, match='x.pth: it would load posix.system and run it.*Nothing was run'):
        convert(source, resnet)


def test_what_mmengine_saves_beside_weights_is_passed_over(resnet, tensors, tmp_path):
    """Its histories of losses are objects; protocol 2 writes their methods as calls of getattr, arrays as calls too."""
    history = Raw(
        b'cmmengine.logging.history_buffer\nHistoryBuffer\n)\x81}(X\x0c\0\0\0_log_history'
        b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85c_codecs\nencode\n(X\1\0\0\0bX\6\0\0\0latin1tRtR'
        b'(K\1K\2\x85cnumpy\ndtype\n(X\2\0\0\0f8\x89\x88tR(K\3X\1\0\0\0<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89'
        b'c_codecs\nencode\n(X\2\0\0\0abX\6\0\0\0latin1tRtb'
        b'X\7\0\0\0methods}X\4\0\0\0meanc__builtin__\ngetattr\n(cmmengine.logging.history_buffer\nHistoryBuffer\n'
        b'X\4\0\0\0meantRsub')
    content = {'message_hub': {'log_scalars': {'train/loss': history}}, 'meta': {'seed': 1}, 'state_dict': tensors}
    conversion = convert(write_torch_file(tmp_path / 'x.pth', content), resnet)
    assert [name for name, _, _, note in conversion.rows if note == 'beside the weights'] == ['message_hub', 'meta']
    np.testing.assert_array_equal(conversion.arrays['conv1.weight'], tensors['conv1.weight'])


@pytest.mark.parametrize('operations, told', [
    # what getattr gave is called
    (b'c__builtin__\ngetattr\n(cmmengine.logging.history_buffer\nHistoryBuffer\nX\4\0\0\0meantR(K\1tR', 'would call'),
    (b'c__builtin__\neval\n(X\1\0\0\0.tR', 'would load __builtin__.eval'),
    (b'cmmengine.logging.history_buffer\nOther\n)\x81', 'would load mmengine.logging.history_buffer.Other')])
def test_nothing_else_of_mmengines_objects_is_let_in(operations, told, resnet, tensors, tmp_path):
    with pytest.raises(WeightsError, match=told):
        convert(write_torch_file(tmp_path / 'x.pth', {'meta': Raw(operations), 'state_dict': tensors}), resnet)


# ImageNet networks that bodies start from.

@pytest.mark.parametrize('base, model, rename', [
    ('resnet18_v1b', 'resnet18_v1b_custom', publisher_names.timm_resnet),
    ('googlenet', 'inceptionv1_kinetics400', publisher_names.googlenet),
    ('inceptionv3', 'inceptionv3_kinetics400', publisher_names.inception_v3),
    ('vgg16', 'vgg16_kinetics400', publisher_names.vgg16)])
def test_an_imagenet_network_starts_the_network_for_frames(base, model, rename, skeletons, monkeypatch):
    net = skeletons(model)
    shapes = shapes_of(net)
    names = rename(shapes)
    tensors = {name: np.broadcast_to(np.float32(number), shapes[key])
               for number, (key, name) in enumerate(names.items())}
    heads = [name for key, name in names.items() if key.startswith('output.')]
    tensors |= {name: np.ones((1000, *tensors[name].shape[1:]), np.float32) for name in heads}
    # Half a gigabyte is not written to be read.
    monkeypatch.setattr(importers, '_read', lambda source: (source, tensors, [], None))
    conversion = convert_base(base, 'x.pth')
    assert {name: note for name, _, key, note in conversion.rows if key is None} == dict.fromkeys(
        heads, 'the head for the classes of ImageNet is left out')
    arrays = net.from_base(conversion.arrays)
    assert set(arrays) == {key for key in names if not key.startswith('output.')}
    for number, (key, name) in enumerate(names.items()):
        if name not in heads:
            assert arrays[key].shape == shapes[key] and (arrays[key] == number).all()


@pytest.mark.parametrize('model', ['i3d_resnet50_v1_kinetics400', 'slowonly_4x16_resnet50_kinetics400',
                                   'c2d_resnet50_kinetics400'])
def test_an_imagenet_resnet_is_inflated(model, skeletons, tmp_path):
    net, flat = skeletons(model), skeletons('resnet50_v1b_kinetics400')
    shapes, params = shapes_of(flat), net._collect_params_with_prefix()
    names = publisher_names.timm_resnet(shapes)
    tensors = {name: np.broadcast_to(np.float32(number), shapes[key])
               for number, (key, name) in enumerate(names.items())}
    arrays = net.from_base(convert_base('resnet50_v1b', write_torch_file(tmp_path / 'x.pth', tensors)).arrays)
    body = {key: array for key, array in arrays.items() if key in params}
    assert set(shapes_of(net)) - set(body) == {'head.1.weight', 'head.1.bias'}
    for key, array in body.items():
        layer, _, part = key.rpartition('.')
        layer = publisher_names.plain(layer)
        layer = {'first_stage.0': 'conv1', 'first_stage.1': 'bn1'}.get(layer) or re.sub(
            r'^res_layers\.(\d)', lambda match: f'layer{int(match[1]) + 1}', layer)
        shape = params[key].shape
        number = list(names).index(f'{layer}.{part}')
        assert array.shape == shape
        np.testing.assert_allclose(array, number / (shape[2] if len(shape) == 5 else 1), rtol=1e-6)


def test_an_image_transformer_starts_attention_along_time(tmp_path):
    net = get_model('timesformer_small_custom', pretrained_base=False, nclass=3, input_size=16, clip_length=2)
    assert net.base == ''
    rng = np.random.default_rng(0)
    shapes = shapes_of(net)
    keys = [key for key in shapes if 'temporal' not in key and key != 'time_embed']
    ours = {key: rng.standard_normal(shapes[key]).astype(np.float32) for key in keys}
    arrays = net.from_base(ours)
    assert arrays.keys() == shapes.keys()
    for key, array in arrays.items():
        want = 0 if key == 'time_embed' or '.temporal_fc.' in key else ours[key.replace('temporal_', '')]
        np.testing.assert_array_equal(array, np.broadcast_to(want, shapes[key]))
    assert net.from_base(arrays).keys() == arrays.keys()


def test_vit_b_is_a_base_of_timesformer(skeletons, monkeypatch):
    net = skeletons('timesformer_divst_8x32_custom')
    all_shapes = shapes_of(net)
    shapes = {key: shape for key, shape in all_shapes.items() if 'temporal' not in key and key != 'time_embed'}
    shapes |= {'head.weight': (1000, 768), 'head.bias': (1000,), 'pos_embed': (1, 577, 768)}  # of 384 x 384 pixels
    names = {key: key.replace('gamma', 'weight').replace('beta', 'bias') for key in shapes}
    tensors = {names[key]: np.broadcast_to(np.float32(number), shape) for number, (key, shape)
               in enumerate(shapes.items())}
    monkeypatch.setattr(importers, '_read', lambda source: (source, tensors, [], None))
    conversion = convert_base('vit_base_patch16', 'x.pth', format='vit')
    assert {name: note for name, _, key, note in conversion.rows if key is None} == dict.fromkeys(
        ('head.weight', 'head.bias'), 'the head for the classes of ImageNet is left out')
    arrays, _ = net.fitted(net.from_base(conversion.arrays))
    assert arrays.keys() == {key for key in all_shapes if not key.startswith('head.')}
    for key, array in arrays.items():
        new = key == 'time_embed' or '.temporal_fc.' in key
        number = 0 if new else list(shapes).index(key.replace('temporal_', ''))
        assert array.shape == all_shapes[key] and (array == number).all()


def test_a_file_of_another_network_is_no_base(tmp_path, tensors):
    with pytest.raises(WeightsError, match=r'not of a inceptionv3 .*are missing.*ResNet of timm or torchvision is for'):
        convert_base('inceptionv3', write_torch_file(tmp_path / 'x.pth', tensors))


# The new networks.

def test_c2d_is_the_network_for_frames_averaged():
    """Both take the same file of mmaction2: what is a filter of an image is one of a clip's single frame."""
    flat = get_model('resnet50_v1b_kinetics400', nclass=3, pretrained_base=False)
    clip = get_model('c2d_resnet50_kinetics400', nclass=3, pretrained_base=False, input_size=32, clip_length=3)
    names = publisher_names.mmaction2_resnet(shapes_of(flat))
    tensors = {names[key]: parameter.data().asnumpy() + (0.3 if key.endswith('running_mean') else 0)
               for key, parameter in flat._collect_params_with_prefix().items()}
    for net in (flat, clip):
        assign(net, convert_arrays(tensors, net, 'x.pth').arrays, 'x.pth')
    frames = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)
    want = flat(mx.nd.array(frames)).asnumpy().mean(axis=0)
    got = clip(mx.nd.array(frames.transpose(1, 0, 2, 3)[None])).asnumpy()[0]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())


def test_a_non_local_block_answers_as_mmcvs(skeletons):
    """Embedded gaussian: softmax of theta and phi without a scale, over places of which one in four is looked at."""
    net, rng = skeletons('i3d_nl5_resnet50_v1_kinetics400', sub_sample=True), np.random.default_rng(0)
    shapes, block = shapes_of(net), net.res_layers[1][1].nonlocal_block
    names = publisher_names.mmaction2_resnet(shapes)
    tensors, _ = published(net, 'mmaction2-resnet3d')
    start = 'backbone.layer2.1.non_local_block.'
    inside = {name.removeprefix(start): shapes[key] for key, name in names.items() if name.startswith(start)}
    theirs = {name: (rng.standard_normal(shape) * (0.06 if len(shape) > 1 else 0.3)).astype(np.float32)
              for name, shape in inside.items() if name != 'conv_out.conv.bias'}
    theirs['conv_out.bn.running_var'] = np.abs(theirs['conv_out.bn.running_var']) + 0.5
    arrays = convert_arrays({**tensors, **{start + name: value for name, value in theirs.items()}}, net, 'x').arrays
    for name, parameter in block._collect_params_with_prefix().items():
        parameter._load_init(mx.nd.array(arrays[f'res_layers.1.1.nonlocal_block.{name}']), mx.cpu())
    x = rng.standard_normal((1, 512, 2, 4, 6)).astype(np.float32)

    def conv(name, value):
        flat = theirs[f'{name}.weight'][:, :, 0, 0, 0] @ value.reshape(len(value), -1)
        return flat + (theirs[f'{name}.bias'][:, None] if f'{name}.bias' in theirs else 0)

    def pooled(name):
        places = conv(f'{name}.0.conv', x[0]).reshape(-1, 2, 2, 2, 3, 2)
        return places.max(axis=(3, 5)).reshape(len(places), -1)
    logits = conv('theta.conv', x[0]).T @ pooled('phi')
    share = np.exp(logits - logits.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    y = conv('conv_out.conv', (share @ pooled('g').T).T)
    mean, var, scale, shift = (theirs[f'conv_out.bn.{part}'][:, None] for part in (
        'running_mean', 'running_var', 'weight', 'bias'))
    want = x[0] + ((y - mean) / np.sqrt(var + 1e-5) * scale + shift).reshape(x[0].shape)
    got = block(mx.nd.array(x)).asnumpy()[0]
    assert share.max() > 0.5  # a forgotten scale would show
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want - x[0]).max())


def test_training_starts_from_weights_with_several_keys_for_a_parameter(tmp_path):
    """The parts of a block of GluonCV's inflated ResNet are known by number and by name."""
    net = get_model('i3d_8x8_resnet50_kinetics400', nclass=2, pretrained_base=False, input_size=32, clip_length=4)
    shapes = shapes_of(net)
    names = publisher_names.pytorchvideo_i3d(shapes)
    theirs = {name: np.full(shapes[key], number, np.float32) for number, (key, name) in enumerate(names.items())}
    warm_start(net, write_torch_file(tmp_path / 'x.pyth', {'model_state': theirs}))
    want = theirs['blocks.5.res_blocks.2.branch2.conv_c.weight']
    assert (net.res_layers[3][2].conv3.weight.data().asnumpy() == want).all()
    net.save_parameters(str(tmp_path / 'x.params'))
    taken = warm_start(net, tmp_path / 'x.params', 'body')
    assert taken.left == ['head.1.weight', 'head.1.bias'] and len(taken.loaded) == len(shapes) - 2


def test_the_start_of_training_takes_a_publishers_file(tmp_path, tensors):
    net = get_model(RESNET, pretrained_base=False, nclass=2)
    taken = warm_start(net, write_torch_file(tmp_path / 'x.pth', tensors), 'body')
    assert taken.left == ['output.weight', 'output.bias']
    np.testing.assert_array_equal(net.layer1[0].bn1.gamma.data().asnumpy(), tensors['layer1.0.bn1.weight'])


# Rows of the index.

ROWS = [row for row in read_index().rows if row.format != 'params']
READ_HERE = [row for row in ROWS if row.format in FAMILIES and row.kind == 'actions']
COVERED = {(row.format, row.model) for row in READ_HERE} - set(CASES)


def test_formats_of_the_index_are_those_that_are_read():
    assert set(INDEXED) == set(FORMATS)
    assert {row.model for row in ROWS if row.kind == 'actions'} <= set(list_models())


@pytest.mark.parametrize('format, model', sorted(COVERED))
def test_every_other_row_of_the_index_fills_its_network(format, model, skeletons):
    net = skeletons(model)
    tensors, numbers = published(net, format)
    body_only = not any(row.head for row in READ_HERE if (row.format, row.model) == (format, model))
    arrays, shapes = convert_arrays(tensors, net, 'x.pth', ignore_head=body_only).arrays, shapes_of(net)
    for key, number in numbers.items():
        if not (body_only and key.startswith(net.head_prefixes)):
            assert arrays[key].shape == shapes[key] and arrays[key].flat[0] == number


def test_a_row_says_how_its_file_is_read():
    card = model_card('c3d_ucf101')
    row, = (row for row in ROWS if row.model == 'c3d_ucf101')
    reading = reading_of(row, card)
    theirs, ours = reading['classes']
    assert ours == class_names('ucf101') and theirs[34:36] == ['Hammering', 'HammerThrow']
    assert [number for number in range(101) if theirs[number] != ours[number]] == [34, 35, 46, 47]
    assert sorted(theirs) == sorted(ours)
    assert (reading['format'], reading['channels']) == ('mmaction2-c3d', 'rgb')
    others = [row for row in ROWS if row.model == 'resnet50_v1b_kinetics400']
    assert all(reading_of(row, model_card(row.model))['classes'] is None for row in others) and others


def test_timms_vgg_is_read_although_its_layers_are_convolutions(skeletons):
    net = skeletons('vgg16_ucf101')
    tensors, numbers = published(net, 'torchvision-vgg16')
    names = {'classifier.0': 'pre_logits.fc1', 'classifier.3': 'pre_logits.fc2', 'classifier.6': 'head.fc'}
    timm = {}
    for name, tensor in tensors.items():
        layer, _, part = name.rpartition('.')
        timm[f'{names.get(layer, layer)}.{part}'] = tensor
    fc1 = np.zeros((4096, 512, 7, 7), np.float32)
    fc1[5] = np.arange(512 * 49).reshape(512, 7, 7)
    timm |= {'pre_logits.fc1.weight': fc1, 'pre_logits.fc2.weight': timm['pre_logits.fc2.weight'][:, :, None, None]}
    arrays = convert_arrays(timm, net, 'x.safetensors').arrays
    assert (arrays['features.31.weight'][5] == np.arange(512 * 49)).all()
    assert arrays['features.33.weight'].shape == (4096, 4096)
    assert arrays['features.33.weight'][0, 0] == numbers['features.33.weight']
    assert arrays['output.weight'][0, 0] == numbers['output.weight']
