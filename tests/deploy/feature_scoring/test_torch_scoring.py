"""Stored models scored by ``--engine torch``: the numbers and the files of MXNet."""
import json
import shutil

import numpy as np
import pytest
from feature_models import features, store
from feature_runs import records, trained
from small_networks import SMALL_FEATURES

torch = pytest.importorskip('torch', reason='needs PyTorch: make test-torch')

from gluon_action.cli import main as commands  # noqa: E402
from gluon_action.compute.on_mxnet.scorer import GluonScorer  # noqa: E402
from gluon_action.compute.on_torch.scorer import TorchScorer  # noqa: E402
from gluon_action.data.demo.frame_features import make_feature_records  # noqa: E402
from gluon_action.data.tfrecords.features.frame_features import FeatureRecords  # noqa: E402
from gluon_action.deploy.feature_scoring import scoring as scoring_module  # noqa: E402
from gluon_action.deploy.feature_scoring.distill_set import DistillSet, make_distill_set  # noqa: E402
from gluon_action.deploy.feature_scoring.evaluation import evaluate_stored  # noqa: E402
from gluon_action.deploy.feature_scoring.inference import Inference, infer  # noqa: E402
from gluon_action.deploy.feature_scoring.run_evaluation import evaluate_run  # noqa: E402
from gluon_action.deploy.feature_scoring.scoring import Scoring  # noqa: E402
from gluon_action.deploy.stored_models.ensemble import combine  # noqa: E402
from gluon_action.deploy.stored_models.quantize import quantize_stored  # noqa: E402
from gluon_action.errors import PartsError, UsageError  # noqa: E402
from gluon_action.evaluate.options.frame_features_config import FeatureEvaluation  # noqa: E402
from gluon_action.model_zoo import list_models, model_card  # noqa: E402
from gluon_action.unfinished import Shard  # noqa: E402

ENGINES = {'mxnet': GluonScorer, 'torch': TorchScorer}
NETWORKS = [name for name in list_models() if not model_card(name).input.is_video]
#: A network that draws frames, so that rounds differ.
DRAWS = {'model': 'NetVLADModelLF', 'netvlad_cluster_size': 4, 'netvlad_hidden_size': 6, 'iterations': 3}


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp('world')
    made = {name: make_feature_records(folder / name, videos=23, files=3, partition='validate', lengths=(1, 15),
                                       video_level=name == 'videos') for name in ('frames', 'videos')}
    store(folder / 'plain', seed=1)
    store(folder / 'draws', seed=2, scale=0.2, **DRAWS)  # variances stay positive
    store(folder / 'of_videos', 'MoeModel', seed=1)
    combine([folder / 'plain', folder / 'draws'], folder / 'sum', weights=[0.25, 0.75])
    quantize_stored(folder / 'draws', folder / 'quantized' / 'inference_model', min_elements=100)
    return folder, made


def scoring(world, model, engine, **more):
    return Scoring(str(world[0] / model), **{'num_readers': 0, 'batch_size': 5, 'engine': engine, **more})


def scored(asked, data):
    """Probabilities, by which scorer."""
    scorer = scoring_module._scorer(asked.open(), asked)
    return np.concatenate([scorer(part)() for part in (data[:2], data[2:])]), type(scorer)


def both(asked, data):
    found = {engine: scored(asked[engine], data) for engine in ENGINES}
    assert {engine: kind for engine, (_, kind) in found.items()} == ENGINES
    return [found[engine][0] for engine in ENGINES]


@pytest.mark.parametrize('name', NETWORKS)
def test_every_network_of_features_scores_as_by_mxnet(name, tmp_path):
    card = model_card(name)
    small = {key: value for key, value in SMALL_FEATURES.items() if key in card.supports}
    prefix = store(tmp_path / 'm', name, scale=0.2, **small)
    asked = {engine: Scoring(str(prefix), engine=engine) for engine in ENGINES}
    architecture = asked['torch'].open().architecture
    data = features(7, architecture.length, architecture.width)
    theirs, ours = both(asked, data)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    assert np.ptp(theirs, axis=0).max() > 0.01


@pytest.mark.parametrize('model', ['draws', 'sum', 'quantized'])
def test_the_mean_of_several_rounds_is_the_same(model, world):
    data, means = features(7), {}
    for rounds in (1, 3):
        theirs, ours = both({engine: scoring(world, model, engine, rounds=rounds) for engine in ENGINES}, data)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
        means[rounds] = ours
    assert np.abs(means[3] - means[1]).max() > 1e-3


def test_a_scorer_of_several_rounds_is_timed(world):
    asked = scoring(world, 'draws', 'torch', rounds=2)
    scorer = scoring_module._scorer(asked.open(), asked)
    assert scorer.seconds(features(2), 3, warmup=1) > 0


def table(path):
    """Ids and classes of a CSV, and the probabilities."""
    rows = [line.split(',') for line in path.read_text().splitlines()]
    pairs = [row[1].split() for row in rows[1:]]
    return [(row[0], pair[::2]) for row, pair in zip(rows[1:], pairs)], [list(map(float, pair[1::2])) for pair in pairs]


@pytest.mark.parametrize('model, kind', [('draws', 'frames'), ('sum', 'frames'), ('quantized', 'frames'),
                                         ('of_videos', 'videos')])
def test_tags_are_the_same(model, kind, world, tmp_path):
    for engine in ENGINES:
        infer(Inference(scoring(world, model, engine), world[1][kind].pattern, str(tmp_path / engine), 4))
    (videos, theirs), (ours_of, ours) = (table(tmp_path / engine) for engine in ENGINES)
    assert ours_of == videos and len(videos) == 23
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    manifests = [path.name.replace('torch', 'mxnet') for path in sorted(tmp_path.iterdir())]
    assert manifests[:len(manifests) // 2] == manifests[len(manifests) // 2:]


@pytest.mark.parametrize('name', ['inference', 'inference_gpu'])
def test_the_command_writes_the_same_tags(name, world, tmp_path):
    for engine in ENGINES:
        assert commands.main(['youtube8m', name, '--train_dir', str(world[0] / 'draws'), '--input_data_pattern',
                              world[1]['frames'].pattern, '--output_file', str(tmp_path / engine), '--engine', engine,
                              '--batch_size', '7']) == 0
    (videos, theirs), (ours_of, ours) = (table(tmp_path / engine) for engine in ENGINES)
    assert ours_of == videos
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_readers_are_forked_when_pytorch_has_computed_already(world, tmp_path, monkeypatch):
    """As for files beyond those that are opened together."""
    monkeypatch.setattr(scoring_module, '_TOGETHER', 1)
    for name, readers in (('many', 2), ('none', 0)):
        infer(Inference(scoring(world, 'draws', 'torch', num_readers=readers), world[1]['frames'].pattern,
                        str(tmp_path / name), 4))
    assert (tmp_path / 'many').read_bytes() == (tmp_path / 'none').read_bytes()


def test_an_interrupted_scoring_is_not_finished_by_the_other_engine(world, tmp_path):
    """What it then holds would be of neither."""
    def job(engine, shard):
        return Inference(scoring(world, 'plain', engine), world[1]['frames'].pattern, str(tmp_path / 'out.csv'),
                         shard=shard)
    infer(job('torch', Shard(1, 2)))
    with pytest.raises(PartsError, match='engine'):
        infer(job('mxnet', Shard(2, 2)))


@pytest.mark.parametrize('alone', [False, True], ids=['records', 'predictions alone'])
def test_distillation_sets_are_the_same(alone, world, tmp_path):
    for engine in ENGINES:
        make_distill_set(DistillSet(scoring(world, 'draws', engine), world[1]['frames'].pattern, str(tmp_path / engine),
                                    file_size=5, predictions_only=alone))
    theirs, ours = ([path.name for path in sorted((tmp_path / engine).iterdir())] for engine in ENGINES)
    assert ours == theirs

    def labels(engine):
        made = FeatureRecords(world[1]['frames'].pattern if alone else tmp_path / engine, num_classes=10, max_frames=12,
                              features=(('rgb', 16), ('audio', 8)), teacher=tmp_path / engine if alone else 'records')
        return np.array([made.load(index)[1] for index in range(len(made))])
    np.testing.assert_allclose(*(labels(engine) for engine in ENGINES), rtol=0, atol=6e-4 if alone else 1e-5)


def test_a_stored_model_has_the_same_scores(world):
    theirs, ours = (evaluate_stored(scoring(world, 'draws', engine), world[1]['frames'].pattern) for engine in ENGINES)
    assert ours == pytest.approx(theirs, abs=1e-5) and ours['count'] == 23


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp('run')
    trained(records(folder / 'records'), folder / 'run', engine='torch', ema_halflife=4., **DRAWS)
    return folder / 'run', records(folder / 'val', 13, 'validate')


@pytest.mark.parametrize('rounds', [1, 2])
def test_a_run_is_evaluated_as_by_mxnet(rounds, run, tmp_path):
    found = {}
    for engine in ENGINES:
        folder = shutil.copytree(run[0], tmp_path / engine)
        evaluate_run(FeatureEvaluation(train_dir=str(folder), eval_data_pattern=str(run[1]), run_once=True,
                                       batch_size=5, num_readers=0, num_gpu=0, n_rounds=rounds, engine=engine))
        found[engine] = json.loads((folder / 'eval.json').read_text()), {
            path.name for path in folder.iterdir() if not path.name.startswith('events')}
    (theirs, files), (ours, of_ours) = found.values()
    assert of_ours == files and ours['scores'] == pytest.approx(theirs['scores'], abs=1e-5)
    assert (ours['protocol'].pop('engine'), theirs['protocol'].pop('engine')) == ('torch', 'mxnet')
    assert ours['protocol'] == theirs['protocol']


def test_several_processes_are_refused(world, run, tmp_path, monkeypatch):
    """Each would score all of it."""
    for name, value in (('RANK', '0'), ('LOCAL_RANK', '0'), ('WORLD_SIZE', '2')):
        monkeypatch.setenv(name, value)
    for engine in ENGINES:
        with pytest.raises(UsageError, match='torchrun: has started 2 processes.*Start one process'):
            infer(Inference(scoring(world, 'plain', engine), world[1]['frames'].pattern, str(tmp_path / 'out.csv')))
        with pytest.raises(UsageError, match='torchrun: has started 2 processes.*Start one process'):
            evaluate_run(FeatureEvaluation(train_dir=str(run[0]), eval_data_pattern=str(run[1]), run_once=True,
                                           engine=engine))
    assert not list(tmp_path.iterdir())
