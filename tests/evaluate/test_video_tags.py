"""GAP, MAP, Hit@1 and PERR against the definitions of YouTube-8M, written here entry by entry in Python."""
import itertools

import numpy as np
import pytest

from gluon_action.errors import UsageError
from gluon_action.evaluate.scores.video_tags import VideoTagScoring, average_precision, top_tags


def plain_average_precision(entries, positives):
    """Entries (score, hit), already in order."""
    hits = total = 0
    for rank, (_, hit) in enumerate(entries, 1):
        if hit:
            hits += 1
            total += hits / rank
    return total / positives if positives else 0.0


def plain_scores(probabilities, labels, top):
    """The four scores of videos without equal probabilities."""
    pool, by_class, hit_at_1, perr = [], [[] for _ in labels[0]], 0, 0
    for row, truth in zip(probabilities, labels):
        order = sorted(range(len(row)), key=lambda k: -row[k])
        hit_at_1 += truth[order[0]]
        wanted = order[:int(sum(truth))]
        perr += sum(truth[k] for k in wanted if row[k] > 0) / len(wanted) if wanted else 0
        for k in order[:top]:
            pool.append((row[k], truth[k]))
            by_class[k].append((row[k], truth[k]))
    precisions = [plain_average_precision(sorted(entries, reverse=True), sum(truth[k] for truth in labels))
                  for k, entries in enumerate(by_class)]
    there = [k for k in range(len(by_class)) if any(truth[k] for truth in labels)]
    return {'gap': plain_average_precision(sorted(pool, reverse=True), sum(map(sum, labels))),
            'map_2018': sum(precisions) / len(precisions), 'map': sum(precisions[k] for k in there) / len(there),
            'hit_at_1': hit_at_1 / len(labels), 'perr': perr / len(labels)}


def videos(count, classes, seed=0, labels=3):
    """Probabilities that differ, and labels that they tell a little of; the last class has none."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((count, classes)) < labels / classes).astype(np.float32)
    truth[0], truth[:, -1] = 0, 0
    probabilities = (np.argsort(rng.random(count * classes)).reshape(count, classes) + 1) / (count * classes + 1)
    return np.minimum(1, 0.7 * probabilities + 0.3 * truth * rng.random((count, classes))), truth


def summary(probabilities, labels, batches=(1000,), top=20):
    scores = VideoTagScoring(probabilities.shape[1], top)(len(batches))
    begin = 0
    for size in itertools.chain(batches, itertools.repeat(batches[-1])):
        scores.add(probabilities[begin:begin + size], labels[begin:begin + size])
        begin += size
        if begin >= len(labels):
            return scores.summary()


@pytest.mark.parametrize('count, classes, top', [(1, 21, 20), (37, 50, 20), (50, 7, 20), (64, 101, 3)])
def test_scores_are_those_of_the_definitions(count, classes, top):
    probabilities, labels = videos(count, classes)
    labels[0, 1] = 1
    found = summary(probabilities, labels, top=top)
    expected = plain_scores(probabilities.tolist(), labels.tolist(), top)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert found['gap_low'] == pytest.approx(found['gap'], abs=1e-12) == found['gap_high']


def test_scores_do_not_depend_on_the_sizes_of_batches():
    probabilities, labels = videos(50, 40)
    probabilities = np.round(probabilities, 2)
    whole = summary(probabilities, labels)
    assert all(summary(probabilities, labels, batches) == whole for batches in ((1,), (7,), (20, 3), (49,)))
    shuffled = np.random.default_rng(5).permutation(50)
    assert summary(probabilities[shuffled], labels[shuffled]) == pytest.approx(whole, abs=1e-12)


def test_gap_counts_labels_that_are_not_among_the_best():
    probabilities = np.array([[0.9, 0.8, 0.1]])
    assert summary(probabilities, np.array([[1., 0., 1.]]), top=2)['gap'] == 0.5
    assert summary(probabilities, np.array([[1., 0., 1.]]), top=3)['gap'] == pytest.approx((1 + 2 / 3) / 2)


def orders(probabilities, labels, top):
    """GAP of every order of all tags that agrees with the probabilities."""
    ways = []
    for row in probabilities:
        ways.append([order[:top] for order in itertools.permutations(range(len(row)))
                     if all(row[a] >= row[b] for a, b in itertools.pairwise(order))])
    for choice in itertools.product(*ways):
        pool = [(probabilities[n][k], labels[n][k]) for n, order in enumerate(choice) for k in order]
        for order in itertools.permutations(pool):
            if all(a[0] >= b[0] for a, b in itertools.pairwise(order)):
                yield plain_average_precision(order, sum(map(sum, labels)))


@pytest.mark.parametrize('seed', range(6))
def test_gap_with_equal_probabilities_lies_between_the_lowest_and_the_highest_order(seed):
    rng = np.random.default_rng(seed)
    probabilities, labels = rng.integers(1, 3, (2, 4)) / 4, rng.integers(0, 2, (2, 4)).astype(float)
    labels[0, 0] = 1
    found, all_orders = summary(probabilities, labels, top=3), list(orders(probabilities.tolist(), labels.tolist(), 3))
    assert found['gap_low'] == pytest.approx(min(all_orders), abs=1e-12)
    assert found['gap_high'] == pytest.approx(max(all_orders), abs=1e-12)
    # Each video has as many orders as it has equal tags, and each choice of its best as many orders of all of them.
    assert found['gap'] == pytest.approx(np.mean(all_orders), abs=1e-12)
    assert found['gap_low'] - 1e-12 <= found['gap'] <= found['gap_high'] + 1e-12


def test_a_model_that_says_the_same_of_all_classes_gains_nothing_by_their_numbers():
    labels = np.zeros((50, 100))
    labels[:, :20] = 1
    same = np.full((50, 100), 0.1)
    gap = summary(same, labels)['gap']
    assert gap == pytest.approx(summary(same, labels[:, ::-1])['gap'], abs=1e-12)
    assert gap == pytest.approx(0.2 * 0.2, abs=2e-3)  # a fifth of the hits, at a precision of a fifth


def test_average_precision_is_the_mean_over_the_orders_of_equal_scores():
    rng = np.random.default_rng(1)
    for _ in range(10):
        scores, hits = rng.integers(0, 3, 6) / 2, rng.random(6) < 0.5
        found = [plain_average_precision(order, 7) for order in itertools.permutations(zip(scores, hits))
                 if all(a[0] >= b[0] for a, b in itertools.pairwise(order))]
        assert average_precision(scores, hits, 7) == pytest.approx(np.mean(found), abs=1e-12)


def test_the_best_tags_are_in_order_and_of_equal_ones_the_first():
    scores = np.array([[0.5, 0.2, 0.5, 0.2, 0.9, 0.2], [0., 0., 0., 0., 0., 0.]], np.float32)
    classes, values = top_tags(scores, 4)
    assert classes.tolist() == [[4, 0, 2, 1], [0, 1, 2, 3]]
    assert values[0].tolist() == pytest.approx([0.9, 0.5, 0.5, 0.2])
    assert top_tags(scores, 20)[0].shape == (2, 6)
    rng = np.random.default_rng(0)
    for scores in (rng.random((50, 300)).astype(np.float32), rng.integers(0, 9, (50, 300)) / 9):
        assert np.array_equal(top_tags(scores)[0], np.argsort(-scores, axis=1, kind='stable')[:, :20])


def test_perr_takes_no_class_of_probability_zero_and_hit_the_first_of_equal_ones():
    labels = np.array([[1., 1., 0.], [0., 0., 0.]])
    found = summary(np.array([[0., 0.5, 0.], [1., 1., 1.]]), labels)
    assert found['perr'] == 0.25 and found['hit_at_1'] == 0.5
    # One label: the best tag alone counts, and of equal ones that is the first class.
    equal = np.full((1, 3), 0.1)
    assert [summary(equal, np.eye(3)[k:k + 1])['perr'] for k in range(3)] == [1, 0, 0]
    assert [summary(equal, np.eye(3)[k:k + 1])['hit_at_1'] for k in range(3)] == [1, 0, 0]


def test_perr_of_more_labels_than_tags_that_count_looks_further():
    probabilities, labels = videos(20, 12, labels=6)
    assert summary(probabilities, labels, top=2)['perr'] == \
        pytest.approx(plain_scores(probabilities.tolist(), labels.tolist(), 2)['perr'], abs=1e-12)
    labels[:] = 1
    probabilities[:, 3:] = 0
    assert summary(probabilities, labels, top=2)['perr'] == pytest.approx(3 / 12)


def test_labels_behind_which_a_teachers_predictions_stand_are_scored_alone():
    probabilities, labels = videos(9, 30)
    teacher = np.random.default_rng(2).random(labels.shape)
    assert summary(probabilities, np.concatenate([labels, teacher], axis=1)) == summary(probabilities, labels)


def test_nan_ranks_last_and_nothing_to_rank_gives_zero():
    probabilities, labels = videos(9, 30)
    broken, last = probabilities.copy(), probabilities.copy()
    broken[:, 3], last[:, 3] = np.nan, -1
    assert summary(broken, labels) == summary(last, labels) != summary(probabilities, labels)
    assert summary(probabilities, np.zeros_like(labels))['gap'] == 0


def test_what_could_not_be_read_counts_as_wrong_and_loss_is_a_mean_over_the_rest():
    probabilities, labels = videos(8, 30)
    scores = VideoTagScoring(30)(1)
    assert scores.scoring.best_metric == 'gap'
    scores.add(probabilities, labels, 4.0)
    full = scores.summary()
    scores.expected = 16
    found = scores.summary()
    assert found['hit_at_1'] == full['hit_at_1'] / 2 and found['perr'] == full['perr'] / 2
    assert found['gap'] == full['gap'] and found['loss'] == 0.5 and (found['count'], found['expected']) == (8, 16)


def test_other_shapes_and_no_videos_are_errors():
    with pytest.raises(UsageError, match=r'\(videos, 5\), got \(2, 4\) and \(2, 5\)'):
        VideoTagScoring(5)(1).add(np.zeros((2, 4)), np.zeros((2, 5)))
    with pytest.raises(UsageError, match='there is no video'):
        VideoTagScoring(5)(1).summary()
