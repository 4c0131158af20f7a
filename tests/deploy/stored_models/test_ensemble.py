"""Ensembles say what their members say, by their weights, and cost what their members cost."""
import mxnet as mx
import numpy as np
import pytest
from feature_models import architecture, arrays_of, features, store

from gluon_action.deploy.stored_models.averages import average_models
from gluon_action.deploy.stored_models.ensemble import combine, costs
from gluon_action.deploy.stored_models.quantize import quantize_stored
from gluon_action.errors import CheckpointError, UsageError, WeightsError
from gluon_action.feature_architecture import Architecture
from gluon_action.model_zoo.frame_features.stored.reading import read_stored
from gluon_action.model_zoo.frame_features.stored.writing import write_stored
from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    """Two networks, one of them quantized, and one that takes other features."""
    folder = tmp_path_factory.mktemp('models')
    store(folder / 'a', seed=1)
    store(folder / 'b', seed=2)
    store(folder / 'c', 'LogisticModel')
    quantize_stored(folder / 'b', folder / 'q' / 'inference_model', min_elements=100)
    return folder


def scores(path):
    return read_stored(path).build()(mx.nd.array(features())).asnumpy().astype(np.float64)


def test_an_ensemble_is_the_weighted_sum_of_its_members(models, tmp_path):
    parts = combine([models / 'a', models / 'q' / 'inference_model', models / 'b'], tmp_path / 'e', [0.5, 0.2, 0.3])
    expected = 0.5 * scores(models / 'a') + 0.2 * scores(models / 'q') + 0.3 * scores(models / 'b')
    assert scores(tmp_path / 'e') == pytest.approx(expected, abs=1e-6)
    stored = read_stored(tmp_path / 'e')
    assert [member.quantized for member in stored.members] == [False, True, False]
    assert Architecture.read(tmp_path / 'e') == architecture()
    assert [(part.parameters, part.nbytes) for part in parts] == [(250, 1000), (250, 240 + 1024 + 40), (250, 1000)]
    assert [source['sha256'] for source in stored.about['from']] == [
        read_stored(models / name).sha256 for name in ('a', 'q', 'b')]
    assert sorted(path.name for path in (tmp_path / 'e').iterdir()) == [
        'inference_model.json', 'inference_model.params', 'model_flags.json']


def test_an_ensemble_of_ensembles_is_one_of_all(models, tmp_path):
    combine([models / 'a', models / 'b'], tmp_path / 'e', [0.25, 0.75])
    parts = combine([tmp_path / 'e', models / 'a'], tmp_path / 'f', [0.4, 0.6])
    assert read_stored(tmp_path / 'f').weights == pytest.approx([0.1, 0.3, 0.6])
    assert parts[0].model == '2 networks' and parts[0].parameters == 500
    assert scores(tmp_path / 'f') == pytest.approx(0.7 * scores(models / 'a') + 0.3 * scores(models / 'b'), abs=1e-6)


def test_rounded_weights_of_ensembles_do_not_add_up(models, tmp_path):
    rounded = [0.3333] * 3
    combine([models / 'a', models / 'b', models / 'q'], tmp_path / 'e', rounded)
    combine([tmp_path / 'e', models / 'a', models / 'b'], tmp_path / 'f', rounded)
    assert read_stored(tmp_path / 'f').weights == pytest.approx([1 / 9] * 3 + [1 / 3] * 2, rel=1e-14)


def test_weights_are_equal_by_default(models, tmp_path):
    combine([models / 'a', models / 'b'], tmp_path / 'e')
    assert read_stored(tmp_path / 'e').weights == [0.5, 0.5]


@pytest.mark.parametrize('names, weights, told', [
    (['a', 'b', 'q', 'nowhere'], [0.3333, 0.3333, 0.3334], '--weights: there are 4 models and 3 weights'),
    (['a', 'b'], [0.5, 0.6], '--weights: sum to 1.1, they must sum to 1'), (['a'], None, '--models: name two or more'),
    (['a', 'c'], None, r"--models .*c/inference_model: has feature_names='mean_rgb,mean_audio', and --models .*a/inf")])
def test_what_cannot_be_one_model_is_refused(models, tmp_path, names, weights, told):
    with pytest.raises(UsageError, match=told):
        combine([models / name for name in names], tmp_path / 'e', weights)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_there_is_named(models, tmp_path):
    with pytest.raises(WeightsError, match='--models .*nowhere: there is no stored model'):
        combine([models / 'a', models / 'nowhere'], tmp_path / 'e')


def test_what_is_quantized_in_part_is_not_quantized_again_and_that_part_is_named(models, tmp_path):
    combine([models / 'a', models / 'q'], tmp_path / 'e')
    combine([models / 'a', tmp_path / 'e'], tmp_path / 'nested')
    for name, part in (('e', models / 'q'), ('nested', tmp_path / 'e')):
        with pytest.raises(UsageError, match=rf'in part \({part}/inference_model\); combine models that are not'):
            quantize_stored(tmp_path / name, tmp_path / 'again')
    combine([models / 'a', models / 'b'], tmp_path / 'f')
    quantize_stored(tmp_path / 'f', tmp_path / 'g' / 'inference_model', min_elements=100)
    with pytest.raises(UsageError, match=rf'name the model that it was made of \({tmp_path}/f/inference_model\)'):
        quantize_stored(tmp_path / 'g', tmp_path / 'again')


def test_a_folder_that_exists_is_left_alone(models, tmp_path):
    (tmp_path / 'e').mkdir()
    with pytest.raises(UsageError, match='--save_folder .*e: exists'):
        combine([models / 'a', models / 'b'], tmp_path / 'e')
    assert list((tmp_path / 'e').iterdir()) == []


def test_one_that_is_too_large_is_not_written(models, tmp_path):
    combine([models / 'a', models / 'b'], tmp_path / 'e')
    size = (tmp_path / 'e' / 'inference_model.params').stat().st_size
    with pytest.raises(UsageError, match=rf'--max_model_bytes: .*have {size:,} bytes, 1 more(.*\n)*.*inference_model'):
        combine([models / 'a', models / 'b'], tmp_path / 'f', max_model_bytes=size - 1)
    assert [path.name for path in tmp_path.iterdir()] == ['e']
    combine([models / 'a', models / 'b'], tmp_path / 'f', max_model_bytes=size)


def test_the_table_says_what_each_part_costs(models, tmp_path):
    lines = costs(combine([models / 'a', models / 'q'], tmp_path / 'e', [0.75, 0.25])).splitlines()
    assert lines[0].split() == ['weight', 'parameters', 'bits', 'bytes', 'share', 'model']
    assert lines[1].split() == ['0.7500', '250', '32.0', '1,000', '43.4%', 'FrameLevelLogisticModel',
                                str(models / 'a' / 'inference_model')]
    assert lines[3].split() == ['1.0000', '500', '36.9', '2,304', '100.0%', 'together']


def test_the_mean_of_models_is_the_mean_of_each_number(models, tmp_path):
    prefix = average_models([models / 'a' / 'inference_model', models / 'b', models / 'b'], tmp_path / 'mean')
    assert prefix == tmp_path / 'mean' / 'inference_model'
    mean, first, second = (read_stored(path).members[0].arrays for path in (prefix, models / 'a', models / 'b'))
    for key, array in mean.items():
        assert array.dtype == np.float32
        assert array == pytest.approx((first[key].astype(np.float64) + 2 * second[key]) / 3, abs=1e-6)
    assert Architecture.read(tmp_path / 'mean') == architecture()


def test_the_mean_of_checkpoints_of_a_run(tmp_path):
    made, run = architecture(), tmp_path / 'run'
    run.mkdir()
    made.write(run)
    checkpoints = CheckpointDir(run / 'checkpoints')
    arrays = [arrays_of(made, seed) for seed in (1, 2)]
    paths = [checkpoints.save(step, {'params': params, 'loop': {}}) for step, params in enumerate(arrays)]
    average_models(paths, tmp_path / 'mean')
    mean = read_stored(tmp_path / 'mean').members[0]
    assert mean.architecture == made
    assert all(array == pytest.approx((arrays[0][key] + arrays[1][key]) / 2, abs=1e-6)
               for key, array in mean.arrays.items())
    (paths[1] / 'params.params').write_bytes(b'')
    with pytest.raises(CheckpointError, match='step-00000001 is refused'):
        average_models(paths, tmp_path / 'mean2')


def test_no_mean_is_taken_of_what_is_not_one_network(models, tmp_path):
    made = architecture(max_frames=9)
    write_stored(tmp_path / 'short', [(made, arrays_of(made))])
    for names, told in ((['a', 'q'], 'is quantized, and float32 is needed'), ([], 'name one model or more'),
                        (['a', tmp_path / 'short'], 'is another network than .*it has max_frames=9 and not 12'),
                        (['a', 'c'], "is another network than .*model='LogisticModel'")):
        with pytest.raises(UsageError, match=f'--models.*{told}'):
            average_models([models / name for name in names], tmp_path / 'mean')
    (tmp_path / 'there').mkdir()
    with pytest.raises(UsageError, match='--save_folder .*there: exists'):
        average_models([models / 'a'], tmp_path / 'there')
    assert not (tmp_path / 'mean').exists() and not list(tmp_path.glob('.part*'))
