"""Generated features: what their mean tells, what only their order tells, and that they repeat."""
import hashlib
from pathlib import Path

import numpy as np
import pytest

from gluon_action.data.demo.frame_features import (
    LEAST_ORDERED,
    FeatureDemo,
    make_feature_demo,
    make_feature_records,
)
from gluon_action.data.tfrecords.features.frame_features import FeatureRecords
from gluon_action.errors import OutputError, UsageError

SIZES = (('rgb', 8), ('audio', 4))
SMALL = dict(sizes=SIZES, lengths=(1, 20))


def opened(made, demo=None, **options):
    demo = demo or FeatureDemo(**SMALL)
    return FeatureRecords(made.pattern, features=demo.sizes, num_classes=demo.classes, **options)


def digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob('*')) if path.is_file()}


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """600 videos: the records as they are read, (N, 300, 12), and what is true of them."""
    truth = make_feature_records(tmp_path_factory.mktemp('features'), videos=600, **SMALL)
    records = opened(truth)
    read = [records.load(index) for index in range(len(records))]
    return truth, np.stack([features[0] for features, _ in read]), np.stack([labels for _, labels in read])


def test_records_hold_what_is_told_of_them(made):
    truth, features, labels = made
    assert [path.name for path in truth.paths] == ['train00.tfrecord', 'train01.tfrecord', 'train02.tfrecord']
    assert len(set(truth.ids)) == 600 == len(features) and (labels == truth.labels).all()
    assert (features.any(-1).sum(1) == truth.num_frames).all()
    assert (truth.num_frames.min(), truth.num_frames.max()) == (1, 20)
    counts = truth.labels.sum(1)
    assert counts.min() == 1 and counts.max() >= 4 and 1.5 < counts.mean() < 3.5
    shares = truth.labels[:, :6].mean(0)
    assert shares[0] > 2 * shares[5] > 0  # the first classes are the most frequent


def test_what_has_an_order_comes_twice_with_the_same_frames_in_another_order(made):
    truth, features, labels = made
    order = truth.labels[:, 6:]
    twins = np.flatnonzero(order[::2].any(1)) * 2
    assert 150 < 2 * len(twins) < 450 and (order[::2].any(1) == order[1::2].any(1)).all()
    for one in twins:
        length = truth.num_frames[one]
        assert length >= LEAST_ORDERED
        np.testing.assert_array_equal(features[one, :length], features[one + 1, :length][::-1])
        assert (features[one] != features[one + 1]).any()
        np.testing.assert_array_equal(labels[one, :6], labels[one + 1, :6])
        assert order[one].argmax() // 2 == order[one + 1].argmax() // 2 and order[one].sum() == 1
        assert order[one].argmax() != order[one + 1].argmax()
    assert 0.3 < (order[twins].argmax(1) % 2).mean() < 0.7  # the number of a video does not tell which way it goes


def fitted(inputs, targets):
    """Scores of the last third by least squares on the others."""
    rows = np.c_[inputs, np.ones(len(inputs))]
    half = len(rows) * 2 // 3
    return rows[half:] @ np.linalg.lstsq(rows[:half], targets[:half], rcond=None)[0], targets[half:]


def test_means_tell_the_first_classes_and_not_one_order_from_another(made):
    truth, features, labels = made
    means = features.sum(1) / truth.num_frames[:, None]
    scores, true = fitted(means, labels)
    for label in range(6):
        assert scores[true[:, label] == 1, label].mean() > scores[true[:, label] == 0, label].mean() + 0.3
    pair = true[:, 6:8].any(1)
    forwards, backwards = (scores[pair & (true[:, label] == 1), 6:8] for label in (6, 7))
    assert abs(forwards[:, 0].mean() - backwards[:, 0].mean()) < 0.02


def test_the_order_tells_the_last_classes(made):
    truth, features, labels = made
    number = np.arange(features.shape[1])
    ramp = np.where(number < truth.num_frames[:, None], 2 * number - truth.num_frames[:, None] + 1, 0)
    slopes = (features * ramp[..., None]).sum(1) / truth.num_frames[:, None] ** 2
    scores, true = fitted(slopes, labels[:, 6:] @ np.array([[1, 0], [-1, 0], [0, 1], [0, -1.]]))
    for pair in (0, 1):
        there = true[:, pair] != 0
        assert (np.sign(scores[there, pair]) == true[there, pair]).mean() > 0.95


def test_equal_settings_give_equal_bytes_and_other_seeds_and_partitions_others(tmp_path):
    for name, settings in (('a', {}), ('b', {}), ('c', {'seed': 1}), ('d', {'partition': 'validate'})):
        make_feature_records(tmp_path / name, videos=20, **SMALL, **settings)
    a, b, c, d = (digests(tmp_path / name) for name in 'abcd')
    assert a == b and a.keys() == c.keys() and not set(a.values()) & {*c.values(), *d.values()}
    assert list(d) == ['validate00.tfrecord', 'validate01.tfrecord', 'validate02.tfrecord']


def test_videos_of_one_partition_are_not_those_of_another(tmp_path):
    train, validate = (make_feature_records(tmp_path, videos=20, partition=name, **SMALL)
                       for name in ('train', 'validate'))
    first, second = ({records.load(index)[0][0, 0].tobytes() for index in range(20)}
                     for records in map(opened, (train, validate)))
    assert not first & second


def alone(made, settings):
    """The first frame of a video that has the first class only."""
    index = int(np.flatnonzero((made.labels[:, 0] == 1) & (made.labels.sum(1) == 1))[0])
    return opened(made, FeatureDemo(**settings)).load(index)[0][0, 0]


def test_two_fifths_of_the_classes_are_of_order_unless_told():
    assert [FeatureDemo(classes=count).order_classes for count in (1, 2, 3, 4, 5, 8, 9, 10, 25, 3862)] == [
        0, 0, 2, 2, 2, 4, 4, 4, 10, 1544]
    assert (FeatureDemo().mean_classes, FeatureDemo(order_classes=0).mean_classes) == (6, 10)


def test_partitions_have_the_same_classes_and_other_seeds_others(tmp_path):
    settings = dict(sizes=(('rgb', 40),), lengths=(5, 9), noise=0.)
    train, test, other = (alone(make_feature_records(tmp_path / str(seed), videos=300, partition=name, labelled=True,
                                                     seed=seed, **settings), settings)
                          for name, seed in (('train', 0), ('test', 0), ('train', 1)))
    assert np.corrcoef(train, test)[0, 1] > 0.99 and abs(np.corrcoef(train, other)[0, 1]) < 0.5


def test_a_share_of_the_labels_is_dropped_and_nothing_else(tmp_path):
    whole, part = (make_feature_records(tmp_path / name, videos=400, drop_labels=share, **SMALL)
                   for name, share in (('whole', 0.), ('part', 0.3)))
    assert (whole.labels == part.labels).all()
    read = [[records.load(index) for index in range(400)] for records in map(opened, (whole, part))]
    assert all((one[0] == other[0]).all() for one, other in zip(*read))
    kept = np.stack([label for _, label in read[1]])
    assert (kept <= whole.labels).all() and 0.66 < kept.sum() / whole.labels.sum() < 0.74


def test_the_test_partition_has_no_labels(tmp_path):
    made = make_feature_records(tmp_path, videos=4, partition='test', **SMALL)
    assert np.isnan(opened(made, need_labels=False).load(0)[1]).all() and made.labels.any()


def test_means_of_the_same_videos_are_the_other_level(tmp_path):
    frames = make_feature_records(tmp_path / 'frame', videos=30, **SMALL)
    means = make_feature_records(tmp_path / 'video', videos=30, video_level=True, **SMALL)
    one = opened(frames)
    other = FeatureRecords(means.pattern, features=(('mean_rgb', 8), ('mean_audio', 4)), num_classes=10,
                           frame_level=False)
    for index in range(30):
        rows = one.load(index)[0][0, :frames.num_frames[index]].astype(float)
        np.testing.assert_allclose(other.load(index)[0][0, 0], rows.mean(0), rtol=1e-5, atol=1e-6)
    assert frames.ids == means.ids and (frames.labels == means.labels).all()


@pytest.mark.parametrize('settings', [
    dict(classes=1), dict(classes=2, order_classes=2), dict(classes=3862, videos=3), dict(sizes=(('rgb', 1),)),
    dict(lengths=(1, 1)), dict(lengths=(300, 300), videos=4), dict(videos=1, files=1), dict(order_classes=0)])
def test_any_numbers_will_do(tmp_path, settings):
    made = make_feature_records(tmp_path, **{'videos': 9, **SMALL, **settings})
    demo = FeatureDemo(**{name: value for name, value in {**SMALL, **settings}.items() if name not in
                          ('videos', 'files')})
    records = opened(made, demo)
    assert len(records) == len(made.ids)
    assert (np.stack([records.load(index)[1] for index in range(len(records))]) == made.labels).all()


@pytest.mark.parametrize('settings, told', [
    (dict(partition='dev'), "partition must be one of train, validate, test, got 'dev'"),
    (dict(videos=0), 'got 0 videos, 3 files'), (dict(videos=2), 'got 2 videos, 3 files'),
    (dict(drop_labels=1.), 'drop_labels must be at least 0 and less than 1, got 1.0'),
    (dict(order_classes=3), 'order_classes must be an even number from 0 to 10, got 3'),
    (dict(order_classes=12), 'from 0 to 10, got 12'), (dict(classes=0), 'classes must be 1 or more'),
    (dict(sizes=()), 'sizes must name'), (dict(lengths=(0, 3)), 'lengths must be'),
    (dict(lengths=(4, 3)), 'lengths must be'), (dict(noise=-1.), 'noise must be 0 or more'), (dict(seed=-1), 'seed')])
def test_what_cannot_be_is_refused(tmp_path, settings, told):
    with pytest.raises(UsageError, match=told):
        make_feature_records(tmp_path / 'x', **settings)
    assert not (tmp_path / 'x').exists()


def test_records_that_are_there_are_not_mixed_with_others(tmp_path):
    make_feature_records(tmp_path, videos=9, files=9, **SMALL)
    with pytest.raises(OutputError, match='train00.tfrecord: exists'):
        make_feature_records(tmp_path, videos=9, **SMALL)


def test_a_whole_data_set_has_partitions_on_both_levels_and_is_made_once(tmp_path):
    data = make_feature_demo(tmp_path / 'demo', videos=20, drop_labels=0.5, **SMALL)
    before = digests(tmp_path)
    assert {name[:-len('00.tfrecord')] for name in before if name.endswith('.tfrecord')} == {
        f'demo/{level}/{partition}' for level in ('frame', 'video') for partition in ('train', 'validate', 'test')}
    assert make_feature_demo(tmp_path / 'demo', videos=20, drop_labels=0.5, **SMALL) == data
    assert digests(tmp_path) == before
    with pytest.raises(OutputError, match="made with other settings.*'drop_labels': 0.5"):
        make_feature_demo(tmp_path / 'demo', videos=20, **SMALL)
    (tmp_path / 'thesis').mkdir()
    with pytest.raises(OutputError, match='thesis exists and was not made by this command'):
        make_feature_demo(tmp_path / 'thesis', videos=20, **SMALL)
    assert digests(tmp_path) == before


def test_the_command_says_where_everything_is(tmp_path, capsys):
    from gluon_action.cli.command import run
    from gluon_action.cli.make_demo_data import main, parse_args
    flags = f'demo_features --root {tmp_path} --videos 12 --max-frames 5'.split()
    assert run(parse_args, main, flags) == 0
    printed = capsys.readouterr().out
    assert '12 training videos, 6 classes that their means tell, 4 that only the order' in printed
    assert str(tmp_path / 'demo_features' / 'video' / 'validate*.tfrecord') in printed
    for argv, told in ((['demo_features', '--size', '48'], '--size: is about videos, and none are made'),
                       (['demo_motion', '--noise', '1'], '--noise: is about demo_features, and none are made'),
                       (['demo_features', '--feature-sizes', '3'], '--feature_sizes')):
        assert run(parse_args, main, ['--root', str(tmp_path / 'no'), *argv]) == 2
        assert told in capsys.readouterr().err


def test_a_demo_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(UsageError):
        make_feature_demo(tmp_path / 'demo', videos=0)
    assert not list(tmp_path.iterdir())
