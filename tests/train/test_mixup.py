import numpy as np
import pytest

from gluon_action.errors import UsageError
from gluon_action.train.mixup import MixUp


def test_mixup_mixes_samples_and_labels_alike():
    data = np.repeat(np.eye(5, dtype=np.float32), 3, axis=0)
    mixed, label = MixUp(num_classes=5, alpha=1.0)(data, np.arange(5.), np.random.default_rng(1), rows_per_sample=3)
    assert mixed.shape == data.shape and mixed.dtype == label.dtype == np.float32
    assert np.allclose(mixed, np.repeat(label, 3, axis=0), atol=1e-6)
    assert np.allclose(label.sum(axis=1), 1, atol=1e-6) and (label.max(axis=1) < 1).any()


@pytest.mark.parametrize('alpha', (0.2, 1.0, 9.0))
def test_the_weight_of_a_mixture_is_drawn_from_the_beta_distribution_of_alpha(alpha):
    """Both of its arguments are alpha: half of the weights lie below a half, and they spread as they should."""
    rng, mix = np.random.default_rng(4), MixUp(num_classes=2, alpha=alpha)
    found = []
    while len(found) < 400:
        mixed = mix(np.array([[0.], [1.]]), np.array([0, 1]), rng)[1][0]
        if mixed[1] != 0 or mixed[0] != 1:  # a sample that is mixed with itself tells nothing
            found.append(mixed[0])
    assert np.mean(found) == pytest.approx(0.5, abs=0.06)
    assert np.var(found) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.2)


def test_mixup_keeps_the_segments_of_a_sample_in_place():
    data = np.array([[0.0], [1.0], [10.0], [11.0]])
    mixed, _ = MixUp(num_classes=2, alpha=1.0)(data, np.array([0, 1]), np.random.default_rng(3), rows_per_sample=2)
    assert np.allclose(mixed[1::2] - mixed[::2], 1, atol=1e-5)


def test_mixup_is_off_from_its_last_epoch_on_and_labels_stay_dense():
    data, label = np.array([[1.0], [2.0]]), np.array([1., 0.])
    mix = MixUp(num_classes=2, alpha=1.0, until_epoch=4)
    same, dense = mix(data, label, np.random.default_rng(0), epoch=4)
    assert (same == data).all() and dense.tolist() == [[0, 1], [1, 0]]
    changed, _ = mix(data, label, np.random.default_rng(0), epoch=3)
    assert not np.allclose(changed, data)


def test_mixup_depends_on_its_generator_alone():
    data, label = np.random.default_rng(0).random((4, 3)), np.arange(4)
    first, second = (MixUp(4)(data, label, np.random.default_rng(7)) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, second))


def test_an_alpha_that_is_not_above_0_is_refused():
    with pytest.raises(UsageError, match='mixup-alpha'):
        MixUp(3, alpha=0)
