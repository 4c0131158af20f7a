"""The record of what a network of features takes makes its input, and is refused where it is damaged."""
import json

import numpy as np
import pytest

from gluon_action.data.feature_input import FeatureInput, reference_features
from gluon_action.errors import BundleError, UsageError
from gluon_action.input_kind import FEATURES

RECORD = FeatureInput((('rgb', 3), ('audio', 2)), frames=4)


def test_bytes_become_features_and_zeros_follow():
    stored = np.arange(10, dtype=np.uint8).reshape(2, 5) * 25
    made = RECORD.apply(stored)
    assert made.dtype == np.float32 and made.shape == (1, 4, 5) == RECORD.shape(1)
    assert made[0, :2] == pytest.approx(stored * (4 / 255) + 4 / 512 - 2, abs=1e-6)
    assert (made[0, 2:] == 0).all()
    assert RECORD.apply(np.zeros((9, 5), np.uint8)).shape == (1, 4, 5)
    assert RECORD.input is FEATURES and RECORD.rows == 1 and RECORD.shape(7) == (7, 4, 5)


def test_a_record_is_read_as_it_was_written():
    assert FeatureInput.from_json(json.loads(json.dumps(RECORD.to_json()))) == RECORD
    whole = FeatureInput((('mean_rgb', 3),), frames=1, of_frames=False)
    assert FeatureInput.from_json(json.loads(json.dumps(whole.to_json()))) == whole


@pytest.mark.parametrize('change, told', [
    ({'features': []}, 'features must be pairs'), ({'features': [['rgb', 0]]}, 'features must be pairs'),
    ({'features': [['rgb']]}, 'features must be pairs'), ({'features': 7}, 'features must be pairs'),
    ({'features': [['', 3]]}, 'features must be pairs'), ({'frames': 0}, 'frames must be a whole number from 1'),
    ({'frames': 1.5}, 'frames must be'), ({'frames': True}, 'frames must be'), ({'frames': 10 ** 9}, 'frames must be'),
    ({'of_frames': False}, 'frames must be 1 for features of whole videos'),
    ({'of_frames': 1}, 'of_frames must be true or false'), ({'more': 1}, 'has the fields layout, features')])
def test_a_damaged_record_is_refused(change, told):
    with pytest.raises(BundleError, match=f'there.json: .*{told}'):
        FeatureInput.from_json({**RECORD.to_json(), **change}, 'there.json')


def test_features_of_whole_videos_are_floats_as_they_are():
    videos = FeatureInput((('mean_rgb', 3), ('mean_audio', 2)), frames=1, of_frames=False)
    stored = np.array([[0.5, -3, 0, 7, 1]], np.float32)
    made = videos.apply(stored)
    assert made.shape == (1, 1, 5) == videos.shape(1) and np.array_equal(made[0], stored)
    for wrong in (np.zeros((1, 5), np.uint8), np.zeros((2, 5), np.float32), np.zeros((1, 4), np.float32)):
        with pytest.raises(UsageError, match=r'features must be floats \(1, 5\) of a video'):
            videos.apply(wrong)
    made = reference_features(videos)
    assert made.dtype == np.float32 and made.shape == (1, 5) and np.array_equal(made, reference_features(videos))


@pytest.mark.parametrize('stored', [np.zeros((2, 5), np.float32), np.zeros((2, 4), np.uint8), np.zeros(5, np.uint8),
                                    np.zeros((0, 5), np.uint8)])
def test_what_are_no_features_is_refused(stored):
    with pytest.raises(UsageError, match=r'features must be uint8 \(n, 5\)'):
        RECORD.apply(stored)


@pytest.mark.parametrize('frames, length', [(300, 20), (12, 9), (2, 2), (1, 1)])
def test_the_reference_is_shorter_than_the_input_where_it_can_be(frames, length):
    record = FeatureInput((('rgb', 3),), frames)
    made = reference_features(record)
    assert made.shape == (length, 3) and np.array_equal(made, reference_features(record)) and made.std() > 0
