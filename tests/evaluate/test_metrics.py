import numpy as np
import pytest

from gluon_action.errors import UsageError
from gluon_action.evaluate.scores import metrics
from gluon_action.evaluate.scores.metrics import ClassificationMeter


def scores_and_labels(n=200, k=7, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    scores = rng.normal(size=(n, k)).astype(np.float32)
    scores[np.arange(n), labels] += 1
    return scores, labels


def filled(scores, labels, k, **kwargs):
    meter = ClassificationMeter(k, **kwargs)
    meter.update(scores, labels, loss_sum=float(metrics.cross_entropy(scores, labels).sum()))
    return meter


def test_top_k_and_confusion_equal_mxnet_and_counting_by_hand():
    import mxnet as mx
    scores, labels = scores_and_labels()
    meter = filled(scores, labels, 7)
    top1, top5 = mx.metric.Accuracy(), mx.metric.TopKAccuracy(5)
    top1.update(mx.nd.array(labels), mx.nd.array(scores))
    top5.update(mx.nd.array(labels), mx.nd.array(scores))
    assert meter.top(1) == pytest.approx(top1.get()[1], abs=1e-9)
    assert meter.top(5) == pytest.approx(top5.get()[1], abs=1e-9)
    predicted = scores.argmax(axis=1)
    for i in range(7):
        for j in range(7):
            assert meter.confusion[i, j] == ((labels == i) & (predicted == j)).sum()
    assert meter.per_class()[3] == pytest.approx((predicted[labels == 3] == 3).mean())
    assert meter.mean_class() == pytest.approx(np.mean([(predicted[labels == c] == c).mean() for c in range(7)]))


def test_loss_equals_gluons_softmax_cross_entropy():
    import mxnet as mx
    scores, labels = scores_and_labels()
    expected = mx.gluon.loss.SoftmaxCrossEntropyLoss()(mx.nd.array(scores), mx.nd.array(labels)).mean().asscalar()
    assert filled(scores, labels, 7).loss == pytest.approx(expected, rel=1e-5)
    probabilities = np.exp(metrics.log_softmax(scores)).astype(np.float32)
    assert metrics.cross_entropy(probabilities, labels, True).mean() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('cut', [0, 1, 37, 199, 200])
def test_merged_meters_of_parts_equal_the_meter_of_the_whole(cut):
    scores, labels = scores_and_labels()
    whole = filled(scores, labels, 7)
    parts = filled(scores[:cut], labels[:cut], 7).merge(filled(scores[cut:], labels[cut:], 7))
    assert np.array_equal(whole.confusion, parts.confusion)
    assert [parts.top(1), parts.top(5), parts.mean_class()] == [whole.top(1), whole.top(5), whole.mean_class()]
    assert parts.loss == pytest.approx(whole.loss, rel=1e-12)


def test_meters_of_other_classes_cannot_be_merged():
    with pytest.raises(UsageError, match='3 and 4 classes'):
        ClassificationMeter(3).merge(ClassificationMeter(4))


def test_a_failed_video_counts_as_wrong_everywhere_but_in_the_loss():
    scores = np.array([[2., 1.], [0., 3.], [4., 0.]])
    meter = filled(scores, [0, 1, 0], 2)
    loss = meter.loss
    meter.add_failures([1])
    assert (meter.n_expected, meter.n_scored) == (4, 3)
    assert meter.top(1) == 0.75
    assert meter.top(5) == 0.75
    assert meter.per_class().tolist() == [1., 0.5]
    assert meter.mean_class() == 0.75
    assert meter.loss == loss


def test_top_5_of_fewer_classes_is_top_of_all():
    meter = ClassificationMeter(3)
    meter.update(np.array([[3., 2., 1.], [3., 2., 1.]]), [2, 1])
    assert meter.top(1) == 0
    assert meter.top(5) == 1


def test_classes_without_videos_are_nan_and_left_out_of_the_mean():
    meter = ClassificationMeter(3)
    meter.update(np.eye(3)[[0, 2]], [0, 2])
    assert np.isnan(meter.per_class()[1])
    assert meter.mean_class() == 1


def test_equal_scores_go_to_the_lower_class_number():
    scores = np.zeros((2, 4))
    assert metrics.predicted_classes(scores).tolist() == [0, 0]
    assert metrics.true_class_ranks(scores, np.array([0, 3])).tolist() == [0, 3]


def test_nan_scores_are_never_right():
    meter = ClassificationMeter(3)
    meter.update(np.array([[np.nan, 1., 2.], [np.nan] * 3, [np.nan, 5., 1.]]), [0, 0, 1])
    assert meter.hits[1].tolist() == [0, 1, 0]
    assert meter.hits[5].tolist() == [0, 1, 0]


def test_an_empty_meter_has_no_accuracy():
    meter = ClassificationMeter(3)
    assert all(np.isnan(value) for value in (meter.top(1), meter.mean_class(), meter.loss))
    assert meter.top_confusions() == []


@pytest.mark.parametrize('labels', [[3], [-1], [0.5], [[0]]])
def test_labels_out_of_range_are_refused_with_the_flag_that_helps(labels):
    with pytest.raises(UsageError, match=r'0\.\.2.*--label-base 1'):
        ClassificationMeter(3).update(np.zeros((1, 3)), labels)


def test_scores_of_another_number_of_classes_are_refused():
    with pytest.raises(UsageError, match=r'shape \(2, 4\)'):
        ClassificationMeter(3).update(np.zeros((2, 4)), [0, 1])


def test_top_confusions_are_sorted_by_count_then_class():
    meter = ClassificationMeter(3)
    meter.update(np.eye(3)[[1, 1, 2, 0, 0]], [0, 0, 0, 1, 2])
    assert [(c.true, c.predicted, c.count) for c in meter.top_confusions()] == [(0, 1, 2), (0, 2, 1), (1, 0, 1),
                                                                                (2, 0, 1)]
    assert meter.top_confusions(1)[0].share == pytest.approx(2 / 3)


def test_the_share_of_a_confusion_is_of_all_videos_of_the_class_with_those_that_failed():
    meter = ClassificationMeter(3)
    meter.update(np.eye(3)[[1, 0, 2]], [0, 0, 1])
    meter.add_failures([0, 0, 1])
    assert [(c.true, c.predicted, c.share) for c in meter.top_confusions()] == [(0, 1, 1 / 4), (1, 2, 1 / 2)]


def test_twenty_confusions_are_told_unless_more_are_asked_for():
    meter = ClassificationMeter(30)
    meter.update(np.eye(30)[(np.arange(30) + 1) % 30], np.arange(30))
    assert len(meter.top_confusions()) == 20 and len(meter.top_confusions(25)) == 25


def test_multi_label_average_precision_on_a_ranking_worked_out_by_hand():
    # Class 0 ranks + - + -: precision 1/1 and 2/3. Class 1 ranks - + - -: 1/2. Class 2 has no positive.
    scores = np.array([[.9, .1, 0.], [.8, .9, 0.], [.7, .8, 0.], [.6, .2, 0.]])
    targets = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0], [0, 0, 0]])
    found = metrics.multi_label_scores(scores, targets)
    assert found.average_precision[:2] == pytest.approx([(1 + 2 / 3) / 2, 1 / 2])
    assert np.isnan(found.average_precision[2])
    assert found.mean_average_precision == pytest.approx((5 / 6 + 1 / 2) / 2)
    assert found.hit_at == {1: 0.5, 5: 0.5}


def test_multi_label_sample_that_failed_is_retrieved_never():
    found = metrics.multi_label_scores(np.array([[1., 0.], [np.nan, np.nan]]), np.array([[1, 0], [1, 1]]))
    assert found.average_precision.tolist() == [0.5, 0.]
    assert found.hit_at[5] == 0.5
