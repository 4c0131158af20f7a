"""Stored models are read as they were written, or refused with the reason."""
import json
from dataclasses import replace

import mxnet as mx
import numpy as np
import pytest
from feature_models import architecture, arrays_of, features, store

from gluon_action.errors import GluonActionError, OutputError, UsageError, WeightsError
from gluon_action.model_zoo.frame_features.network import construct
from gluon_action.model_zoo.frame_features.stored.prefix import prefix_of
from gluon_action.model_zoo.frame_features.stored.reading import read_stored
from gluon_action.model_zoo.frame_features.stored.writing import check_common, check_weights, write_stored


def scores(net, data):
    return net(mx.nd.array(data)).asnumpy()


def plain_scores(arrays, data):
    """FrameLevelLogisticModel in float64."""
    data = data.astype(np.float64)
    lengths = np.sqrt((data ** 2).sum(axis=2, keepdims=True))
    frames = data / np.maximum(lengths, 1e-6)
    mean = frames.sum(axis=1) / (lengths > 0).sum(axis=1)
    logits = mean @ arrays['fully_connected.weights'] + arrays['fully_connected.biases']
    return 1 / (1 + np.exp(-logits))


def test_a_network_is_built_as_it_was_stored(tmp_path):
    made = architecture()
    arrays = arrays_of(made)
    prefix = write_stored(tmp_path / 'run' / 'inference_model', [(made, arrays)], about={'from': 'somewhere'})
    assert prefix == tmp_path / 'run' / 'inference_model'
    stored = read_stored(prefix)
    assert stored.architecture == made and stored.about == {'from': 'somewhere'} and stored.weights == [1]
    assert not stored.quantized and stored.single('--ema_source').arrays.keys() == arrays.keys()
    assert scores(stored.build(), features()) == pytest.approx(plain_scores(arrays, features()), abs=1e-6)


def test_a_sum_is_what_its_members_say_by_their_weights(tmp_path):
    made = architecture()
    first, second = arrays_of(made, 1), arrays_of(made, 2)
    stored = read_stored(write_stored(tmp_path / 'both', [(made, first), (made, second)], [0.25, 0.75]))
    expected = 0.25 * plain_scores(first, features()) + 0.75 * plain_scores(second, features())
    net = stored.build()
    assert scores(net, features()) == pytest.approx(expected, abs=1e-6)
    net.hybridize()
    assert scores(net, features()) == pytest.approx(expected, abs=1e-6)
    assert net.num_classes == 10 and len(stored.members) == 2


def test_quantized_arrays_are_restored_by_their_levels(tmp_path):
    made = architecture()
    arrays = arrays_of(made)
    levels = np.linspace(-3, 3, 256).astype(np.float32)
    quants = np.arange(240, dtype=np.uint8).reshape(24, 10)
    kept = {'fully_connected.weights_quants': quants, 'fully_connected.weights_space': levels,
            'fully_connected.biases': arrays['fully_connected.biases'].astype(np.float16)}
    stored = read_stored(write_stored(tmp_path / 'q', [(made, kept)]))
    member, = stored.members
    assert stored.quantized and member.count == 250 and member.nbytes == 240 + 1024 + 20
    restored = dict(member.parameters())
    assert all(array.dtype == np.float32 for array in restored.values())
    assert np.array_equal(restored['fully_connected.weights'], levels[quants])
    assert scores(stored.build(), features()) == pytest.approx(plain_scores(restored, features()), abs=1e-6)


def test_a_folder_and_each_of_the_files_name_a_model(tmp_path):
    prefix = store(tmp_path)
    assert {prefix_of(path) for path in (tmp_path, prefix, f'{prefix}.params', f'{prefix}.json')} == {prefix}
    assert prefix_of(tmp_path / 'v1.params') == tmp_path / 'v1.params'
    assert read_stored(tmp_path).sha256 == read_stored(prefix).sha256


def test_what_is_quantized_or_a_sum_is_nothing_to_train_from(tmp_path):
    made = architecture()
    half = {key: array.astype(np.float16) for key, array in arrays_of(made).items()}
    stored = read_stored(write_stored(tmp_path / 'h', [(made, half)], about={'from': 'runs/a/inference_model'}))
    with pytest.raises(UsageError, match=r'--ema_source .*h: is quantized.*quantized from \(runs/a/inference_model\)'):
        stored.single('--ema_source')
    with pytest.raises(UsageError, match='is a sum of 2 networks'):
        read_stored(write_stored(tmp_path / 's', [(made, arrays_of(made))] * 2)).single('--ema_source')


def test_how_frames_are_drawn_may_be_said_anew(tmp_path):
    stored = read_stored(store(tmp_path, iterations=3))
    drawing = stored.drawing({'sample_all': True, 'iterations': 5})
    assert (drawing.architecture.sample_all, drawing.architecture.iterations) == (True, 5)
    assert stored.architecture.iterations == 3 and drawing.sha256 == stored.sha256


@pytest.mark.parametrize('weights, told', [
    ([0.3333, 0.3333, 0.3334], 'there are 4 models and 3 weights'), ([0.25] * 5, 'there are 4 models and 5 weights'),
    ([0.3, 0.3, 0.3, 0.3], r'sum to 1.2, they must sum to 1; scaled they are 0.2500 0.2500 0.2500 0.2500'),
    ([0, 0, 0, 0], 'sum to 0, they must sum to 1$'), ([1, 1, 0, -1], 'each is a number of 0 or more, got 1, 1, 0, -1'),
    ([float('nan'), 0, 0, 1], 'each is a number of 0 or more')])
def test_weights_are_as_many_as_models_and_sum_to_one(weights, told):
    with pytest.raises(UsageError, match=f'--weights: {told}'):
        check_weights(weights, 4)


def test_weights_may_be_rounded_and_are_equal_by_default():
    assert check_weights([0.3333, 0.3333, 0.3334], 3) == [0.3333, 0.3333, 0.3334]
    assert check_weights([0.3333] * 3, 3) == pytest.approx([1 / 3] * 3, rel=1e-15)
    assert check_weights([0.33335, 0.33335, 0.3334], 3) == pytest.approx([0.33335 / 1.0001] * 2 + [0.3334 / 1.0001])
    assert check_weights(None, 4) == [0.25] * 4
    with pytest.raises(UsageError, match='at least one member'):
        check_weights(None, 0)


@pytest.mark.parametrize('change, told', [
    ({'feature_names': 'audio,rgb'}, "feature_names='audio,rgb'"), ({'feature_sizes': '8,16'}, "feature_sizes='8,16'"),
    ({'num_classes': 9}, 'num_classes=9'), ({'max_frames': 300}, 'frames=300')])
def test_members_take_the_same_input(change, told):
    made = architecture()
    with pytest.raises(UsageError, match=f'b: has {told}, and a has'):
        check_common(made, [made, replace(made, **change)], ['a', 'b'])
    with pytest.raises(UsageError, match=f'member 1: has {told}, and member 0 has'):
        write_stored('nowhere', [(made, {}), (replace(made, **change), {})])
    check_common(made, [replace(made, iterations=7, moe_num_mixtures=9)])


def test_what_is_there_is_replaced_only_when_asked(tmp_path):
    prefix = store(tmp_path)
    made = architecture()
    with pytest.raises(UsageError, match=r'inference_model.params is there already'):
        write_stored(prefix, [(made, arrays_of(made, 5))])
    write_stored(prefix, [(made, arrays_of(made, 5))], overwrite=True)
    assert np.array_equal(read_stored(prefix).members[0].arrays['fully_connected.biases'],
                          arrays_of(made, 5)['fully_connected.biases'])


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OutputError, match='file: cannot be made'):
        write_stored(tmp_path / 'file' / 'm', [(architecture(), {'a.b': np.zeros(1, np.float32)})])


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def change_one_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def edit(**changes):
    def apply(path):
        about = json.loads(path.read_text())
        about.update(changes)
        path.write_text(json.dumps(about))
    return apply


@pytest.mark.parametrize('name, spoil, told', [
    ('.params', cut, r'is not what inference_model.json vouches for \(bytes'),
    ('.params', change_one_byte, r'is not what inference_model.json vouches for \(sha256'),
    ('.json', lambda path: path.write_text('[]'), 'is no stored model, or a damaged one'),
    ('.json', lambda path: path.write_text('{'), 'is no stored model, or a damaged one'),
    ('.json', edit(format=9), 'is of format 9, this program reads 1'),
    ('.json', edit(members=[]), 'is no stored model, or a damaged one'),
    ('.json', edit(members=[{'architecture': {'model': 'LogisticModel', 'depth': 3}, 'weight': 1}]), 'has depth'),
    ('.json', lambda path: path.unlink(), 'there is a inference_model.params, but no inference_model.json'),
    ('.params', lambda path: path.unlink(), 'there is a inference_model.json, but no inference_model.params')])
def test_what_is_damaged_is_refused(tmp_path, name, spoil, told):
    prefix = store(tmp_path)
    spoil(prefix.with_name(prefix.name + name))
    with pytest.raises(GluonActionError, match=told):
        read_stored(prefix, '--model')


def test_what_is_no_stored_model_is_told_from_what_may_become_one(tmp_path):
    with pytest.raises(WeightsError, match=r'--model .*nothing/inference: there is no stored model; inference.params'):
        read_stored(tmp_path / 'nothing' / 'inference', '--model')
    (tmp_path / 'inference_model.index').write_text('')
    with pytest.raises(WeightsError, match='is a checkpoint of TensorFlow; .*import_checkpoint.py'):
        read_stored(tmp_path)
    (tmp_path / 'inference_model.index').unlink()
    (tmp_path / 'checkpoints').mkdir()
    with pytest.raises(WeightsError, match=f'has no inference_model yet; .*--train_dir={tmp_path}'):
        read_stored(tmp_path)


def test_parameters_of_another_network_are_refused_when_it_is_built(tmp_path):
    made = architecture()
    arrays = arrays_of(made)
    del arrays['fully_connected.biases']
    with pytest.raises(WeightsError, match='1 are missing in the file'):
        read_stored(write_stored(tmp_path / 'a', [(made, arrays)])).build()
    with pytest.raises(WeightsError, match='member 1 is not of'):
        read_stored(write_stored(tmp_path / 'b', [(made, arrays_of(made)), (made, arrays)])).build()


def test_nothing_is_drawn_to_build_what_is_stored(tmp_path, monkeypatch):
    prefix = store(tmp_path)
    monkeypatch.setattr(mx.random, 'seed', lambda *_: pytest.fail('was seeded'))
    net = read_stored(prefix).build([mx.cpu(0), mx.cpu(1)])
    assert net._collect_params_with_prefix()['fully_connected.biases'].list_ctx() == [mx.cpu(0), mx.cpu(1)]
    assert type(net) is type(construct(architecture()))
