"""Checkpoints of YouTube-8M's TensorFlow programs: names, averages, quantized variables, and what is refused."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from tf_checkpoint_writer import write_checkpoint

from gluon_action.errors import ModelError, WeightsError
from gluon_action.feature_architecture import Architecture
from gluon_action.model_zoo.frame_features import build, key_of, variables
from gluon_action.model_zoo.frame_features.stored.reading import read_stored
from gluon_action.model_zoo.frame_features.stored.writing import write_stored
from gluon_action.model_zoo.importers.formats import tensorflow
from gluon_action.model_zoo.importers.youtube8m import read_network

TINY = dict(frame_features=True, feature_names='rgb,audio', feature_sizes='4,3', num_classes=3, max_frames=9)
MODELS = [dict(model='FrameLevelLogisticModel'), dict(model='GRUbidirect', lstm_cells=4, gating=True),
          dict(model='Lstmbidirect', lstm_cells=4, video_level_classifier_model='LogisticModel'),
          dict(model='NeXtVLADModel', nextvlad_cluster_size=4, nextvlad_hidden_size=8, groups=2, gating_reduction=2),
          dict(model='attention_frames_v0'), dict(model='LogisticModel', frame_features=False)]


def architecture_of(options):
    return Architecture(**{**TINY, **options})


def drawn(architecture, seed=0):
    """Values of all variables, by TensorFlow's names."""
    rng = np.random.default_rng(seed)
    return {name: (rng.uniform(0.5, 1, shape) if name.endswith('variance') else rng.normal(size=shape) * 0.5
                   ).astype(np.float32) for name, shape in variables(architecture).items()}


def as_trained(values, scope='tower/'):
    """What a training saves: the variables, Adam's state, counters."""
    saved = {'global_step': np.array(1234, np.int64), 'beta1_power': np.float32(0.9), 'beta2_power': np.float32(0.9)}
    for name, value in values.items():
        saved[scope + name] = value
        if 'moving_' not in name:
            saved |= {f'{scope}{name}/{slot}': value + 7 for slot in ('Adam', 'Adam_1')}
    return saved


@pytest.mark.parametrize('scope', ['tower/', ''])
@pytest.mark.parametrize('options', MODELS)
def test_a_training_becomes_a_stored_model(tmp_path, options, scope):
    architecture = architecture_of(options)
    values = drawn(architecture)
    prefix = write_checkpoint(tmp_path / 'model.ckpt-1234', as_trained(values, scope))
    found = read_network(prefix, architecture)
    assert found.step == 1234 and not found.averaged
    assert found.conversion.arrays.keys() == {key_of(name) for name in values}
    assert all((found.conversion.arrays[key_of(name)] == value).all() for name, value in values.items())
    assert {note for _, _, key, note in found.conversion.rows if key is None} == {
        'slot of the optimizer', 'counter of steps'}
    stored = read_stored(write_stored(tmp_path / 'ours' / 'inference_model', [(architecture, found.conversion.arrays)]))
    net = build(architecture)
    for key, parameter in net._collect_params_with_prefix().items():
        parameter.set_data(mx.nd.array(found.conversion.arrays[key]))
    x = mx.nd.random.normal(shape=(2, architecture.length, architecture.width))
    np.testing.assert_allclose(stored.build()(x).asnumpy(), net(x).asnumpy(), atol=1e-6)


def test_moving_averages_are_taken_unless_they_are_not_wanted(tmp_path):
    architecture = architecture_of(MODELS[0])
    values = drawn(architecture)
    saved = as_trained(values)
    saved |= {f'tower/{name}/ExponentialMovingAverage': value + 1 for name, value in values.items()}
    prefix = write_checkpoint(tmp_path / 'model.ckpt', saved)
    for averages in (True, False):
        found = read_network(prefix, architecture, averages=averages)
        assert found.averaged is averages
        for name, value in values.items():
            np.testing.assert_allclose(found.conversion.arrays[key_of(name)], value + averages)
        assert len(found.conversion.rows) == len(saved)


def test_only_what_is_used_is_read(tmp_path, monkeypatch):
    architecture, read = architecture_of(MODELS[0]), []
    monkeypatch.setattr(tensorflow, '_value', lambda *given, was=tensorflow._value: (read.append(given[-1].name),
                                                                                    was(*given))[1])
    read_network(write_checkpoint(tmp_path / 'model.ckpt', as_trained(drawn(architecture))), architecture)
    assert sorted(read) == ['global_step', 'tower/fully_connected/biases', 'tower/fully_connected/weights']


def quantized(values, name):
    """What quantize.py makes of one variable."""
    value = values.pop(name)
    space = np.linspace(value.min(), value.max(), 256).astype(np.float32)
    numbers = np.abs(value[..., None] - space).argmin(-1).astype(np.uint8)
    return {f'tower/{name}_quants': numbers, f'tower/{name}_space': space}, space[numbers]


def test_quantized_variables_stay_quantized(tmp_path):
    architecture = architecture_of(MODELS[1])
    values = drawn(architecture)
    names = ['rnn/multi_rnn_cell/cell_0/gru_cell/gates/kernel', 'gating_weights_2']
    changed, expected = zip(*(quantized(values, name) for name in names))
    half = values.pop('gates/weights').astype(np.float16)
    saved = {f'tower/{name}': value for name, value in values.items()} | changed[0] | changed[1]
    prefix = write_checkpoint(tmp_path / 'quantized', {**saved, 'tower/gates/weightsfloat16': half})
    found = read_network(prefix, architecture)
    stored = read_stored(write_stored(tmp_path / 'inference_model', [(architecture, found.conversion.arrays)]))
    assert stored.quantized and found.step == 0
    parameters = dict(stored.members[0].parameters())
    assert parameters.keys() == {key_of(name) for name in variables(architecture)}
    for name, value in zip((*names, 'gates/weights'), (*expected, half)):
        np.testing.assert_array_equal(parameters[key_of(name)], value)
    assert stored.members[0].arrays['gates.weights'].dtype == np.float16


def test_cells_are_found_by_the_names_of_older_versions(tmp_path):
    architecture = architecture_of(MODELS[2])
    values = drawn(architecture)
    older = {name.replace('cell/kernel', 'cell/weights').replace('cell/bias', 'cell/biases'): value
             for name, value in values.items()}
    assert older.keys() != values.keys()
    found = read_network(write_checkpoint(tmp_path / 'model.ckpt', older), architecture)
    assert all((found.conversion.arrays[key_of(name)] == value).all() for name, value in values.items())


@pytest.mark.parametrize('trained, flags, message', [
    ({'lstm_cells': 6}, {}, 'gates/kernel is 10 x 6, by the flags it is 9 x 4; .*; and 13 more; pass the flags that it '
     'was trained with$'),
    ({'gating': False}, {}, 'it lacks 2 of .* variables .gating_weights_2, gating_biases.; pass the flags that it was '
     'trained with; its names are those of --gating=False'),
    ({'video_level_classifier_model': 'LogisticModel', 'model': 'Lstmbidirect', 'gating': False}, {},
     'is not GRUbidirect as the flags make it: .*its names are those of .*--model=Lstmbidirect'),
    ({}, {'moe_prob_gating': True}, 'its names are those of --moe_prob_gating=False'),
    ({'gating': False}, {'moe_prob_gating': True, 'gating_remove_diag': True},
     'lacks 7 of .*its names are those of --moe_prob_gating=False --gating=False'),
    ({}, {'moe_prob_gating': True, 'moe_prob_gating_input': 'input'}, 'names are those of --moe_prob_gating=False')])
def test_another_network_is_refused_and_the_flags_are_named(tmp_path, trained, flags, message):
    base = MODELS[1]
    prefix = write_checkpoint(tmp_path / 'model.ckpt', as_trained(drawn(architecture_of({**base, **trained}))))
    with pytest.raises(WeightsError, match=message):
        read_network(prefix, architecture_of({**base, **flags}))


@pytest.mark.parametrize('change, message', [
    ({'tower/strange': np.zeros(2, np.float32)}, r'1 variables are not of this network \(tower/strange\)'),
    ({'fully_connected/biases': np.zeros(3, np.float32)}, 'and tower/fully_connected/biases are both for'),
    ({'tower/fully_connected/biases': np.zeros(3, np.int32)}, 'biases holds int32, it should be float32'),
    ({'tower/fully_connected/biases_quants': np.zeros(3, np.float32)}, 'holds float32, it should be uint8'),
    ({'tower/fully_connected/biases_quants': np.zeros(3, np.uint8), 'tower/fully_connected/biases_space': None},
     'lacks 1 of 2 variables .fully_connected/biases'),
    ({'tower/fully_connected/biases_quants': np.zeros(3, np.uint8),
      'tower/fully_connected/biases_space': np.zeros(16, np.float32)}, 'biases_space is 16, by the flags it is 256')])
def test_what_does_not_fit_is_refused(tmp_path, change, message):
    architecture = architecture_of(MODELS[0])
    saved = as_trained(drawn(architecture))
    if any('quants' in name for name in change):
        saved = {name: value for name, value in saved.items() if 'biases' not in name}
        change = {'tower/fully_connected/biases_space': np.zeros(256, np.float32), **change}
    change = {name: value for name, value in change.items() if value is not None}
    prefix = write_checkpoint(tmp_path / 'model.ckpt', {**saved, **change})
    with pytest.raises(WeightsError, match=message):
        read_network(prefix, architecture)


def test_a_network_that_there_is_not_is_refused(tmp_path):
    prefix = write_checkpoint(tmp_path / 'model.ckpt', {'x': np.zeros(1, np.float32)})
    with pytest.raises(ModelError, match='--model is one of'):
        read_network(prefix, architecture_of({'model': 'NetVLAD'}))
