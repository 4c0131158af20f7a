"""Quantized models hold the nearest of 256 levels; what that cost is measured against the plain definitions."""
import json
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest
import quantize_full_size
from feature_models import architecture, arrays_of, features, store

from gluon_action.cli import main as commands
from gluon_action.deploy.stored_models import quantize
from gluon_action.deploy.stored_models.quantize import (
    METHODS,
    kmeans_levels,
    quantile_levels,
    quantize_array,
    quantize_stored,
    uniform_levels,
)
from gluon_action.errors import UsageError, WeightsError
from gluon_action.model_zoo.frame_features.stored.prefix import files_of
from gluon_action.model_zoo.frame_features.stored.reading import read_stored
from gluon_action.model_zoo.frame_features.stored.writing import write_stored

LEVELS = {'quant_uniform': uniform_levels, 'quant_kmeans': kmeans_levels, 'quant_quantile': quantile_levels}


def gaussian(size=30000, seed=0):
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


@pytest.mark.parametrize('how', LEVELS)
@pytest.mark.parametrize('size', [1, 2, 300, 30001])
def test_each_value_takes_the_nearest_level(how, size, monkeypatch):
    monkeypatch.setattr(quantize, '_AT_ONCE', 1000)
    values = gaussian(size) * 3 + 1
    arrays, loss = quantize_array(values.reshape(1, -1), how, 'w')
    levels = arrays['w_space']
    assert arrays['w_quants'].dtype == np.uint8 and arrays['w_quants'].shape == (1, size)
    assert levels.dtype == np.float32 and levels.shape == (256,)
    errors = np.abs(values.astype(np.float64)[:, None] - levels)
    taken = errors[np.arange(size), arrays['w_quants'][0]]
    assert np.array_equal(taken, errors.min(axis=1))
    assert loss.rmse == pytest.approx(np.sqrt((taken ** 2).mean()) / (values.std(dtype=np.float64) or 1), rel=1e-4)
    assert loss.largest == pytest.approx(taken.max() / (values.std(dtype=np.float64) or 1), rel=1e-4)
    assert (loss.before, loss.after, loss.shape) == (4 * size, size + 1024, (1, size))


def test_levels_close_together_and_far_from_zero_are_told_apart():
    values = (1000 + np.random.default_rng(1).random(20000)).astype(np.float32)
    arrays, _ = quantize_array(values, 'quant_uniform', 'w')
    errors = np.abs(values.astype(np.float64)[:, None] - arrays['w_space'])
    assert np.array_equal(errors[np.arange(20000), arrays['w_quants']], errors.min(axis=1))


def test_uniform_levels_are_equally_far_apart_from_end_to_end():
    values = gaussian()
    assert uniform_levels(values) == pytest.approx(
        [values.min() + k * (float(values.max()) - values.min()) / 255 for k in range(256)], abs=1e-6)


def test_values_half_way_between_uniform_levels_do_not_go_astray():
    # Where rounding decides, on either side of the middle and at the ends.
    levels = np.linspace(-1, 1, 256)
    middles = (levels[1:] + levels[:-1]) / 2
    values = np.sort(np.concatenate([levels, *(np.nextafter(middles, side) for side in (-2, 2)), middles])
                     ).astype(np.float32)
    quants = quantize_array(values, 'quant_uniform', 'w')[0]['w_quants']
    assert (np.diff(quants.astype(int)) >= 0).all() and set(quants.tolist()) == set(range(256))


def test_quantile_levels_are_quantiles():
    values = gaussian(10007)
    assert quantile_levels(values) == pytest.approx(np.quantile(values.astype(np.float64), np.linspace(0, 1, 256)),
                                                    abs=1e-6)


def lloyd(values, centres, rounds=60):
    """Plain k-means on a line."""
    for _ in range(rounds):
        nearest = np.abs(values[:, None] - centres).argmin(axis=1)
        centres = np.array([values[nearest == k].mean() if (nearest == k).any() else centres[k]
                            for k in range(len(centres))])
    return centres


def squares(values, centres):
    return (np.abs(values[:, None] - centres).min(axis=1) ** 2).mean()


def test_kmeans_levels_leave_no_more_squares_than_plain_kmeans():
    values = gaussian(9000).astype(np.float64)
    plain = lloyd(values, np.quantile(values, (np.arange(256) + 0.5) / 256))
    found = kmeans_levels(values.astype(np.float32)).astype(np.float64)
    assert squares(values, found) <= squares(values, plain)
    # They are the means of what is nearest to them, as far as a histogram can tell.
    assert squares(values, lloyd(values, found, 1)) >= 0.995 * squares(values, found)


@pytest.mark.parametrize('kinds', [(-7.5, 0, 0.25, 1000), tuple(1.02 ** np.arange(200))])
def test_kmeans_finds_what_few_values_are(kinds):
    few = np.repeat(np.array(kinds, np.float32), 20)
    arrays, loss = quantize_array(few, 'quant_kmeans', 'w')
    assert arrays['w_space'][arrays['w_quants']] == pytest.approx(few, rel=1e-6) and loss.largest < 1e-6


@pytest.mark.parametrize('how', METHODS)
def test_a_constant_stays_what_it_is(how):
    arrays, loss = quantize_array(np.full((3, 4), 0.5, np.float32), how, 'w')
    if how == 'float16':
        assert arrays['w'].dtype == np.float16 and (arrays['w'] == 0.5).all()
    else:
        assert (arrays['w_space'][arrays['w_quants']] == 0.5).all() and arrays['w_quants'].max() == 0
    assert loss.rmse == loss.largest == 0


@pytest.mark.parametrize('how, rmse, largest', [
    ('quant_uniform', 0.0105, 0.018), ('quant_kmeans', 0.0068, 0.7), ('quant_quantile', 0.035, 1.),
    ('float16', 3e-4, 2e-3)])
def test_errors_of_gaussian_weights_are_as_small_as_they_are_known_to_be(how, rmse, largest):
    loss = quantize_array(gaussian(300000), how, 'w')[1]
    assert 0 < loss.rmse <= 1.15 * rmse and loss.largest <= 1.15 * largest


def test_arrays_of_more_elements_are_quantized_and_others_kept(tmp_path):
    prefix = store(tmp_path / 'run', seed=3)
    original = read_stored(prefix).members[0].arrays
    told = []
    report = quantize_stored(tmp_path / 'run', tmp_path / 'q' / 'inference_model', min_elements=239,
                             progress=told.append)
    stored = read_stored(tmp_path / 'q')
    assert stored.quantized and stored.members[0].arrays.keys() == {
        'fully_connected.weights_quants', 'fully_connected.weights_space', 'fully_connected.biases'}
    assert np.array_equal(stored.members[0].arrays['fully_connected.biases'], original['fully_connected.biases'])
    assert told == report.losses and [loss.key for loss in told] == ['fully_connected.weights']
    assert report.untouched == 1 and report.prefix == tmp_path / 'q' / 'inference_model'
    assert (report.before, report.after) == tuple(files_of(path)[0].stat().st_size for path in (prefix, report.prefix))
    assert stored.about['from'] == str(prefix) and stored.about['quantized'] == {
        'transform_type': 'quant_uniform', 'min_elements': 239}
    quantize_stored(tmp_path / 'run', tmp_path / 'none' / 'm', min_elements=240)
    assert not read_stored(tmp_path / 'none' / 'm').quantized


@pytest.mark.parametrize('least, told', [(240, 'no array has more elements, so nothing is smaller; pass fewer'),
                                         (239, '1 arrays are larger than before')])
def test_who_gains_nothing_is_told_which_flag_decides_it(tmp_path, capsys, least, told):
    store(tmp_path / 'run')
    assert commands.main(['youtube8m', 'quantize', '--transform_type=quant_uniform', f'--model={tmp_path}/run',
                          f'--savefile={tmp_path}/q', f'--min_elements={least}']) == 0
    assert f'--min_elements {least}: {told}' in capsys.readouterr().out


@pytest.mark.parametrize('how, most', [('quant_uniform', 0.02), ('quant_kmeans', 0.02), ('quant_quantile', 0.1),
                                       ('float16', 1e-3)])
def test_a_quantized_network_says_nearly_the_same(tmp_path, how, most):
    store(tmp_path / 'run', num_classes=300)
    quantize_stored(tmp_path / 'run', tmp_path / 'q', how, min_elements=100)
    before, after = (read_stored(tmp_path / name).build()(mx.nd.array(features())).asnumpy() for name in ('run', 'q'))
    assert 0 < np.abs(before - after).max() < most


def test_members_of_a_sum_are_quantized_each(tmp_path):
    made = architecture()
    write_stored(tmp_path / 's', [(made, arrays_of(made, 1)), (made, arrays_of(made, 2))], [0.25, 0.75])
    report = quantize_stored(tmp_path / 's', tmp_path / 'q', min_elements=100)
    stored = read_stored(tmp_path / 'q')
    assert stored.weights == [0.25, 0.75] and len(report.losses) == 2
    assert all(member.quantized for member in stored.members)


def test_what_cannot_be_quantized_is_refused(tmp_path):
    store(tmp_path / 'run')
    quantize_stored(tmp_path / 'run', tmp_path / 'q', min_elements=100)
    for model, savefile, options, told in (
            ('q', 'r', {}, r'--model .*q: is quantized already; name the model .*run/inference_model'),
            ('run', 'q', {}, '--savefile .*q: q.params is there already'),
            ('run', 'r', {'how': 'int4'}, '--transform_type: is one of'),
            ('run', 'r', {'min_elements': -1}, '--min_elements: must be 0 or more')):
        with pytest.raises(UsageError, match=told):
            quantize_stored(tmp_path / model, tmp_path / savefile, **options)
    with pytest.raises(WeightsError, match='--model .*nothing: there is no stored model'):
        quantize_stored(tmp_path / 'nothing', tmp_path / 'r')
    assert not (tmp_path / 'r.params').exists()


@pytest.mark.parametrize('value, how, told', [
    (np.nan, 'quant_uniform', 'not finite'), (np.inf, 'float16', 'not finite'), (-np.inf, 'quant_kmeans', 'not finite'),
    (7e4, 'float16', 'beyond 65504')])
def test_numbers_that_have_no_place_are_named(value, how, told):
    values = gaussian(100)
    values[50] = value
    with pytest.raises(WeightsError, match=f'model, dense.weights: holds numbers.*{told}'):
        quantize_array(values, how, 'dense.weights', 'model, dense.weights')


@pytest.mark.slow
def test_a_third_of_a_billion_weights_are_quantized_in_a_minute_and_three_gigabytes(tmp_path):
    """Arrays of the shapes of the winners' largest network; the second process is measured."""
    for step in ('write', 'quantize'):
        answer = subprocess.run([sys.executable, quantize_full_size.__file__, step, str(tmp_path)], capture_output=True,
                                text=True)
        assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    print(found)
    assert found['before'] > 4 * 321_528_380 and found['after'] < 1.01 * 322e6
    assert found['seconds'] < 60 and found['peak'] < 3 * 2 ** 30
