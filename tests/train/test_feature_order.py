"""What only the order of frames tells is learnt by networks that look at it, and by no others."""
import mxnet as mx
import numpy as np
import pytest
from feature_runs import CLASSES, SIZES, records, trained

from gluon_action.data.tfrecords.features.frame_features import FeatureRecords
from gluon_action.deploy.feature_scoring.run_evaluation import evaluate_run
from gluon_action.evaluate.options.frame_features_config import FeatureEvaluation
from gluon_action.model_zoo.frame_features.stored.reading import read_stored
from gluon_action.train.recipes.frame_features.log import TagStyle

FRAMES = 10
RATE = {'base_learning_rate': 0.03, 'num_epochs': 8, 'batch_size': 16, 'max_frames': FRAMES}
LOOKS, BLIND = 'GruModel', 'FrameLevelLogisticModel'
SMALL = {LOOKS: {'gru_cells': 12, 'gru_layers': 1, 'video_level_classifier_model': 'LogisticModel'}, BLIND: {}}


@pytest.fixture(scope='module')
def patterns(tmp_path_factory):
    folder, settings = tmp_path_factory.mktemp('order'), {'lengths': (5, FRAMES)}
    return records(folder, 240, **settings), records(folder, 200, 'validate', **settings)


def scored(model, patterns, folder):
    """Which videos have the first of the two order classes, of those with either; and what is said for it over it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TagStyle, 'plot', lambda *_: None)
        trained(patterns[0], folder, model=model, **RATE, **SMALL[model])
    evaluation = {'train_dir': str(folder), 'build_only': True, 'run_once': True, 'num_gpu': 0}
    evaluate_run(FeatureEvaluation(**evaluation), evaluation)
    videos = FeatureRecords(patterns[1], features=SIZES, num_classes=CLASSES, max_frames=FRAMES)
    read = [videos.load(index) for index in range(len(videos))]
    labels = np.stack([label for _, label in read])
    net = read_stored(folder).build(mx.cpu())
    scores = net(mx.nd.array(np.concatenate([features for features, _ in read]))).asnumpy()
    mean_told = [scores[labels[:, 0] == has, 0].mean() for has in (1, 0)]
    assert mean_told[0] > mean_told[1] + 0.2  # it learnt what there was to learn
    ordered = labels[:, -2:].any(1)
    return labels[ordered, -2] == 1, (scores[:, -2] - scores[:, -1])[ordered]


def test_a_network_that_looks_at_the_order_tells_forwards_from_backwards(patterns, tmp_path):
    first, scores = scored(LOOKS, patterns, tmp_path)
    assert ((scores > 0) == first).mean() > 0.95


def test_a_network_that_does_not_scores_both_alike(patterns, tmp_path):
    first, scores = scored(BLIND, patterns, tmp_path)
    assert len(first) > 50 and 0.35 < ((scores > 0) == first).mean() < 0.65
    np.testing.assert_allclose(np.sort(scores[first]), np.sort(scores[~first]), atol=1e-5)  # the same frames
