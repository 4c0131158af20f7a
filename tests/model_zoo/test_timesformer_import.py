"""TimeSformer's released files and image weights: every tensor accounted for, embeddings resized, nothing run."""
import pickle
import shutil

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from reference_timesformer import forward
from released_timesformer import released, values_of
from torch_file_writer import Raw, write_old_torch_file, write_torch_file

from gluon_action.cli import import_weights
from gluon_action.cli.command import run
from gluon_action.errors import WeightsError
from gluon_action.model_zoo import get_model, load_weights
from gluon_action.model_zoo.importers import convert, load_any
from gluon_action.model_zoo.timesformer import nearest
from gluon_action.train.run.warm_start import warm_start

SMALL = {'pretrained_base': False, 'input_size': 24, 'clip_length': 4, 'nclass': 5}
RUN_A_COMMAND = b'cposix\nsystem\n(X\x0d\x00\x00\x00touch ran-itttR'


def build(**options):
    return get_model('timesformer_small_custom', **{**SMALL, **options})


@pytest.fixture(scope='module')
def untouched():
    """A small network that no test may change."""
    return build()


def image_values(net, classes=7):
    """Random values of a ViT of the network's shape, by timm's names, and by the network's keys."""
    theirs, ours = values_of(net)
    kept = {name for name in theirs if 'temporal' not in name and name != 'time_embed' and not name.startswith('head.')}
    rng = np.random.default_rng(3)
    theirs = {name: array for name, array in theirs.items() if name in kept}
    head = {'head.weight': rng.normal(size=(classes, 96)).astype('float32'), 'head.bias': np.zeros(classes, 'float32')}
    return {**theirs, **head}, {key: array for key, array in ours.items()
                                if 'temporal' not in key and key != 'time_embed' and not key.startswith('head.')}


@pytest.mark.parametrize('write, prefix', [(write_torch_file, 'model.'), (write_torch_file, ''),
                                           (write_torch_file, 'module.model.'), (write_old_torch_file, 'model.')])
def test_a_released_file_is_imported_and_scores_as_it_should(write, prefix, tmp_path):
    net = build()
    theirs, ours = values_of(net)
    conversion = load_any(net, write(tmp_path / 'TimeSformer.pyth', released(theirs, prefix)))
    assert conversion.format == 'TimeSformer' and conversion.arrays.keys() == ours.keys()
    for key, array in conversion.arrays.items():
        np.testing.assert_array_equal(array, ours[key], err_msg=key)
    kept = prefix.removeprefix('module.')
    assert {name: key for name, _, key, _ in conversion.rows if key} == {
        kept + name: key for name, key in zip(theirs, ours)}
    assert {name for name, _, key, _ in conversion.rows if key is None} == {'epoch', 'cfg', 'optimizer_state'}
    assert f'{len(ours)} variables used, 3 unused; {len(ours)} parameters' in conversion.table()
    clip = np.random.default_rng(1).normal(size=(1, 3, 4, 24, 24)).astype('float32')
    want = forward(clip, ours, attention='divided', heads=6, patch=8)[1]
    assert np.abs(net(mx.nd.array(clip)).asnumpy() - want).max() <= 1e-4 * np.abs(want).max()


def resized(time, places, frames, side):
    """Embeddings for `frames` and `side` x `side` places, looked up one by one."""
    had, old = time.shape[1], round((places.shape[1] - 1) ** 0.5)
    wanted = np.stack([time[0, frame * had // frames] for frame in range(frames)])
    grid = [places[0, 1 + (row * old // side) * old + column * old // side]
            for row in range(side) for column in range(side)]
    return wanted[None], np.stack([places[0, 0], *grid])[None]


@pytest.mark.parametrize('frames, size', [(8, 48), (2, 8), (6, 24), (4, 32)])
def test_embeddings_of_other_clips_are_resized(frames, size, untouched, tmp_path):
    theirs, ours = values_of(untouched)
    net = build(clip_length=frames, input_size=size)
    conversion = convert(write_torch_file(tmp_path / 'x.pyth', released(theirs)), net)
    time, places = resized(ours['time_embed'], ours['pos_embed'], frames, size // 8)
    np.testing.assert_array_equal(conversion.arrays['time_embed'], time)
    np.testing.assert_array_equal(conversion.arrays['pos_embed'], places)
    notes = {key: note for _, _, key, note in conversion.rows}
    assert notes['time_embed'] == (f'resized from 4 to {frames} frames, nearest' if frames != 4 else '')
    assert notes['pos_embed'] == (
        f'resized from 3 x 3 to {size // 8} x {size // 8} places, nearest in both directions' if size != 24 else '')
    assert set(notes.values()) <= {notes['time_embed'], notes['pos_embed'], '', 'beside the weights'}


def test_parameters_of_other_clips_are_resized_too(untouched, tmp_path, caplog):
    untouched.save_parameters(str(tmp_path / 'x.params'))
    net = build(clip_length=8, input_size=32)
    with caplog.at_level('INFO'):
        load_weights(net, tmp_path / 'x.params')
    time, places = (untouched.time_embed.data().asnumpy(), untouched.pos_embed.data().asnumpy())
    time, places = resized(time, places, 8, 4)
    np.testing.assert_array_equal(net.time_embed.data().asnumpy(), time)
    np.testing.assert_array_equal(net.pos_embed.data().asnumpy(), places)
    assert 'pos_embed is resized from 3 x 3 to 4 x 4 places' in caplog.text


def test_the_nearest_place_is_rounded_as_pytorch_does():
    # Of torch 2.13, torch.nn.functional.interpolate(torch.arange(float(length))[None, None], size=wanted).
    assert nearest(8, 12).tolist() == [0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7]
    assert nearest(14, 5).tolist() == [0, 2, 5, 8, 11]
    assert nearest(3, 3).tolist() == [0, 1, 2] and nearest(1, 4).tolist() == [0] * 4


@pytest.mark.parametrize('write', [write_torch_file, write_old_torch_file])
def test_weights_of_images_start_a_network_that_sees_each_frame_as_vit_does(write, tmp_path):
    net = build()
    theirs, ours = image_values(net)
    source = write(tmp_path / 'deit.pth', {'model': theirs})
    with pytest.raises(WeightsError, match=r'trained on 7 classes, this network has 5; .*--new-head'):
        convert(source, net)
    conversion = load_any(net, source, ignore_head=True)
    assert conversion.format == 'ViT for images'
    table = {key: (name, note) for name, _, key, note in conversion.rows if key}
    assert table['blocks.2.temporal_attn.qkv.weight'] == (
        'blocks.2.attn.qkv.weight', 'attention along time starts as that along space')
    assert table['blocks.0.temporal_norm1.gamma'][0] == 'blocks.0.norm1.weight'
    assert table['time_embed'] == table['blocks.3.temporal_fc.bias'] == ('', '0: time starts without a say')
    assert {key for name, _, key, note in conversion.rows if note == 'the head is left out'} == {None}
    for key, array in conversion.arrays.items():
        wanted = ours.get(key.replace('temporal_', ''), np.zeros_like(array))
        np.testing.assert_array_equal(array, wanted, err_msg=key)
    frame = np.random.default_rng(1).normal(size=(1, 3, 1, 24, 24)).astype('float32')
    head = {f'head.{part}': getattr(net.head, part).data().asnumpy() for part in ('weight', 'bias')}
    want = forward(frame, {**ours, **head}, attention='space_only', heads=6, patch=8)[1]
    got = net(mx.nd.array(np.repeat(frame, 4, axis=2))).asnumpy()
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()


def test_a_layer_between_features_and_image_scores_is_named_and_left(untouched, tmp_path):
    theirs, _ = image_values(untouched)
    theirs |= {'pre_logits.fc.weight': np.ones((96, 96), 'float32'), 'pre_logits.fc.bias': np.ones(96, 'float32')}
    rows = convert(write_torch_file(tmp_path / 'x.pth', theirs), untouched, ignore_head=True).rows
    assert {name: note for name, _, key, note in rows if key is None} == {
        'pre_logits.fc.weight': 'a layer between features and the scores of images',
        'pre_logits.fc.bias': 'a layer between features and the scores of images',
        'head.weight': 'the head is left out', 'head.bias': 'the head is left out'}


@pytest.mark.parametrize('change, message', [
    (lambda names: names.pop('model.blocks.3.temporal_fc.bias'), r'1 are missing in the file \(blocks.3.temporal_fc'),
    (lambda names: names.update({'model.dist_token': np.ones((1, 1, 96), 'float32')}),
     r'1 of 90 variables are not of TimeSformer \(model.dist_token\)'),
    (lambda names: names.update({'model.blocks.4.norm1.weight': np.ones(96, 'float32')}),
     r'1 are not in the network \(blocks.4.norm1.gamma\); TimeSformer is for timesformer_\*'),
    (lambda names: names.update({'model.pos_embed': np.ones((1, 12, 96), 'float32')}),
     r'pos_embed is \(1, 12, 96\) in the file and \(1, 10, 96\) in the network'),
    (lambda names: names.update({'model.patch_embed.proj.weight': np.ones((96, 3, 16, 16), 'float32')}),
     r'patch_embed.proj.weight is \(96, 3, 16, 16\) in the file')])
def test_what_does_not_fit_is_refused_by_name(change, message, untouched, tmp_path):
    content = released(values_of(untouched)[0])
    change(content['model_state'])
    with pytest.raises(WeightsError, match=message):
        convert(write_torch_file(tmp_path / 'x.pyth', content), untouched)


def test_time_is_not_lost_without_a_word(untouched, tmp_path):
    source = write_torch_file(tmp_path / 'x.pyth', released(values_of(untouched)[0]))
    from gluon_action.model_zoo.timesformer import TimeSformer
    joint = TimeSformer(5, attention='joint', patch=8, dim=96, depth=4, heads=6)
    joint.plan_for(4, 24, 24)
    with pytest.raises(WeightsError, match=r'32 are not in the network \(blocks.0.temporal_norm1.gamma'):
        convert(source, joint)


def malicious(kind, path, theirs):
    """A file that would run a command when Python's pickle reads it."""
    if kind == 'plain':
        path.write_bytes(pickle.dumps(Command()))
    else:
        write = write_torch_file if kind == 'zip' else write_old_torch_file
        write(path, {**released(theirs), 'cfg': Raw(RUN_A_COMMAND)})
    return path


class Command:
    def __reduce__(self):
        import posix
        return posix.system, ('touch ran-it',)


@pytest.mark.parametrize('kind', ['zip', 'old', 'plain'])
def test_a_file_that_would_run_something_is_refused_and_says_what(kind, untouched, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = malicious(kind, tmp_path / 'x.pyth', values_of(untouched)[0])
    with pytest.raises(WeightsError, match=r'x\.pyth: it would load posix.system and run it.*Nothing was run'):
        convert(source, untouched)
    argv = [str(source), '--model', 'timesformer_small_custom', '--out', str(tmp_path / 'x.params')]
    assert run(import_weights.parse_args, import_weights.main, argv) == 1
    assert 'posix.system' in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {'x.pyth'}


@pytest.mark.parametrize('options, message', [
    ({'magic': 77}, 'a pickle, but not of torch.save'),
    ({'version': 7}, 'in version 7 of its format; 1001 can be read'),
    ({'keys': ['0']}, 'its list of storages is not that of its tensors'),
    ({'counts': [5, 3]}, 'storage 0 has 5 numbers instead of 4')])
def test_damaged_files_of_old_pytorch_are_refused(options, message, untouched, tmp_path):
    content = {'a.weight': np.ones(4, 'float32'), 'b.weight': np.ones(3, 'float32')}
    with pytest.raises(WeightsError, match=message):
        convert(write_old_torch_file(tmp_path / 'x.pth', content, **options), untouched)


def test_torn_files_of_old_pytorch_are_refused_wherever_they_end(untouched, tmp_path):
    content = write_old_torch_file(tmp_path / 'x.pth', {'a.weight': np.ones(4, 'float32')}).read_bytes()
    for end in range(1, len(content), 7):
        (tmp_path / 'y.pth').write_bytes(content[:end])
        with pytest.raises(WeightsError, match='y.pth'):
            convert(tmp_path / 'y.pth', untouched)


def test_old_files_of_either_byte_order_hold_the_same(untouched, tmp_path):
    theirs, ours = values_of(untouched)
    for big_endian in (False, True):
        source = write_old_torch_file(tmp_path / 'x.pth', released(theirs), big_endian=big_endian)
        arrays = convert(source, untouched).arrays
        assert all((arrays[key] == ours[key]).all() for key in ours)


def test_the_command_writes_parameters_and_prints_the_table(tmp_path, capsys):
    net = build(clip_length=8, input_size=112)
    theirs, ours = values_of(build())
    source, out = write_torch_file(tmp_path / 'x.pyth', released(theirs)), tmp_path / 'made' / 'x.params'
    argv = [str(source), '--model', 'timesformer_small_custom', '--num-classes', '3', '--out', str(out)]
    assert run(import_weights.parse_args, import_weights.main, argv) == 1
    assert 'trained on 5 classes, this network has 3' in capsys.readouterr().err and not out.exists()
    assert run(import_weights.parse_args, import_weights.main, [*argv, '--new-head']) == 0
    printed = capsys.readouterr().out
    for part in ('model.head.weight', 'the head is left out', 'resized from 4 to 8 frames', 'optimizer_state',
                 'resized from 3 x 3 to 14 x 14 places', f'Parameters of timesformer_small_custom: {out}'):
        assert part in printed
    load_weights(net, out, ignore_head=True)
    assert (net.blocks[3].attn.qkv.weight.data().asnumpy() == ours['blocks.3.attn.qkv.weight']).all()
    assert mx.nd.load(str(out))['head.weight'].shape == (3, 96)
    shutil.rmtree(tmp_path / 'made')


def test_training_starts_from_a_released_file(tmp_path):
    theirs, ours = values_of(build())
    source = write_torch_file(tmp_path / 'x.pyth', released(theirs))
    net = build(nclass=2, clip_length=8)
    head = net.head.weight.data().asnumpy()
    with pytest.raises(WeightsError, match='5 classes'):
        warm_start(net, source)
    taken = warm_start(net, source, 'body')
    assert taken.left == ['head.weight', 'head.bias'] and (net.head.weight.data().asnumpy() == head).all()
    assert (net.blocks[1].temporal_fc.weight.data().asnumpy() == ours['blocks.1.temporal_fc.weight']).all()
    assert net.time_embed.shape == (1, 8, 96)
