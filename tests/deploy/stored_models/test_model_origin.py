"""A model knows the backbone and PCA of the features it was trained on, and is not asked about others."""
import json
import shutil

import pytest
from feature_runs import records, state_of, trained

from gluon_action.data.tfrecords.features.origin import origin_of
from gluon_action.deploy.feature_scoring.distill_set import DistillSet, make_distill_set
from gluon_action.deploy.feature_scoring.evaluation import evaluate_stored
from gluon_action.deploy.feature_scoring.inference import Inference, infer
from gluon_action.deploy.feature_scoring.run_evaluation import evaluate_run
from gluon_action.deploy.feature_scoring.scoring import Scoring
from gluon_action.deploy.stored_models.averages import average_models
from gluon_action.deploy.stored_models.ensemble import combine
from gluon_action.deploy.stored_models.quantize import quantize_stored
from gluon_action.errors import UsageError
from gluon_action.evaluate.options.frame_features_config import FeatureEvaluation
from gluon_action.model_zoo.frame_features.stored.reading import read_stored
from gluon_action.train.recipes.frame_features.log import TagStyle

ONE = {'backbone': {'name': 'a', 'sha256': '11'}, 'pca': {'sha256': '22', 'size': 8}}
OTHER = {**ONE, 'pca': {'sha256': '33', 'size': 8}}


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Records of two origins and of none, and the folder of a run on the first."""
    folder = tmp_path_factory.mktemp('world')
    patterns = {}
    for name, origin in (('one', ONE), ('other', OTHER), ('plain', {})):
        patterns[name] = str(records(folder / name, 8, files=1, order_classes=0))
        (folder / f'{name}.manifest.json').write_text(json.dumps({'settings': origin}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TagStyle, 'plot', lambda *_: None)
        trained(patterns['one'], folder / 'run', num_epochs=1)
    evaluated(folder / 'run', patterns['one'])
    return folder, patterns


def evaluated(run, pattern):
    values = {'train_dir': str(run), 'eval_data_pattern': pattern, 'run_once': True, 'num_readers': 0}
    return evaluate_run(FeatureEvaluation(**values), values)


def scoring(model):
    return Scoring(str(model), num_readers=0)


def test_what_is_made_of_a_model_knows_it_too(world, tmp_path):
    run = world[0] / 'run'
    assert state_of(run)['features'] == ONE and read_stored(run).origin == ONE
    quantize_stored(run, tmp_path / 'q' / 'inference_model', min_elements=1)
    combine([run, tmp_path / 'q'], tmp_path / 'e')
    average_models([run, run / 'inference_model'], tmp_path / 'mean')
    average_models([next((run / 'checkpoints').glob('step-*'))], tmp_path / 'of_checkpoint')
    for model in ('q', 'e', 'mean', 'of_checkpoint'):
        assert read_stored(tmp_path / model).origin == ONE


def test_records_of_another_pca_are_not_scored(world, tmp_path):
    folder, patterns = world
    told = r'the records to be scored: features came through another PCA than those of --train_dir .*inference_model ' \
           r'\(sha256 33 instead of 22\)'
    with pytest.raises(UsageError, match=told):
        infer(Inference(scoring(folder / 'run'), patterns['other'], str(tmp_path / 'other.csv')))
    with pytest.raises(UsageError, match=told):
        evaluate_stored(scoring(folder / 'run'), patterns['other'])
    with pytest.raises(UsageError, match=told):
        evaluated(shutil.copytree(folder / 'run', tmp_path / 'run'), patterns['other'])
    assert not list(tmp_path.glob('other*'))
    for name in ('one', 'plain'):
        infer(Inference(scoring(folder / 'run'), patterns[name], str(tmp_path / f'{name}.csv')))


def test_records_of_two_pcas_are_not_trained_on_or_scored_together(world, tmp_path):
    folder, patterns = world
    both = f'{patterns["one"]},{patterns["other"]}'
    with pytest.raises(UsageError, match='another PCA than those of .*one'):
        trained(both, tmp_path / 'run')
    with pytest.raises(UsageError, match='another PCA than those of .*one'):
        infer(Inference(scoring(folder / 'run'), both, str(tmp_path / 'both.csv')))


def test_a_distillation_set_is_of_the_same_features(world, tmp_path):
    folder, patterns = world
    make_distill_set(DistillSet(scoring(folder / 'run'), patterns['one'], str(tmp_path / 'set')))
    made = [str(path) for path in (tmp_path / 'set').iterdir()]
    assert made and origin_of(made) == ONE


def test_models_of_two_pcas_are_not_added_up_or_averaged(world, tmp_path):
    folder, patterns = world
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TagStyle, 'plot', lambda *_: None)
        trained(patterns['other'], tmp_path / 'run', max_steps=1)
    evaluated(tmp_path / 'run', patterns['other'])
    for make in (combine, average_models):
        with pytest.raises(UsageError, match=r'--models .*: features came through another PCA than those of --models'):
            make([folder / 'run', tmp_path / 'run'], tmp_path / 'made')
