"""How much of its statistics batch normalisation keeps at a step, in every network of features."""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd
from reference_frame_features import arrays_of, network, videos

from gluon_action.errors import ModelError
from gluon_action.model_zoo import get_model, model_card
from gluon_action.model_zoo.frame_features import Architecture
from gluon_action.model_zoo.frame_features.network import NETWORKS

SMALL = {'feature_sizes': '6,4', 'iterations': 5, 'netvlad_cluster_size': 4, 'netvlad_hidden_size': 6,
         'fv_cluster_size': 4, 'fv_hidden_size': 6, 'dbof_cluster_size': 8, 'dbof_hidden_size': 6, 'lstm_cells': 4,
         'gru_cells': 4, 'nextvlad_cluster_size': 4, 'nextvlad_hidden_size': 8, 'groups': 2, 'gating_reduction': 2,
         'moe_prob_gating': True}
NORMALISED = sorted(name for name in NETWORKS if 'batch_norm_decay' in model_card(name).supports)


def small(name, **options):
    card = model_card(name)
    own = {key: value for key, value in (SMALL | options).items() if key in card.supports}
    return Architecture(**{'model': name, 'num_classes': 5, 'max_frames': 8, **card.defaults, **own})


def statistics_around_a_step(architecture):
    """Running statistics, before and after."""
    net, before = network(architecture)
    x = mx.nd.array(videos(architecture, lengths=(1, 1, 1) if architecture.length == 1 else (2, 8, 5)))
    mx.random.seed(3)
    with autograd.record():
        out = net(x)
    out.backward()
    after = arrays_of(net)
    return {key: (before[key], after[key]) for key in after if '.running_' in key}


@pytest.mark.parametrize('name', NORMALISED)
def test_statistics_after_a_step_follow_the_decay(name):
    of_the_batch = statistics_around_a_step(small(name, batch_norm_decay=0))
    kept = statistics_around_a_step(small(name, batch_norm_decay=0.25))
    assert kept
    for key, (before, after) in kept.items():
        batch = of_the_batch[key][1]
        assert not np.allclose(batch, before)
        np.testing.assert_allclose(after, 0.25 * before + 0.75 * batch, rtol=1e-5, atol=1e-6, err_msg=key)


def test_only_networks_with_batch_normalisation_have_the_option():
    assert set(NETWORKS) - set(NORMALISED) == {'LogisticModel', 'FrameLevelLogisticModel'}
    assert not any('.running_' in key for name in set(NETWORKS) - set(NORMALISED) for key in network(small(name))[1])


def test_the_zoo_has_the_option():
    net = get_model('MoeModel', nclass=5, feature_sizes='6,4', moe_prob_gating=True, batch_norm_decay=0.25)
    assert [layer._kwargs['momentum'] for layer in net.batch_norms()] == [0.25]


def test_another_decay_fits_what_is_stored():
    stored = Architecture(batch_norm_decay=0.5)
    merged, warnings = stored.merged({'batch_norm_decay': 0.9})
    assert (merged.batch_norm_decay, warnings) == (0.9, [])
    assert stored.merged({})[0].batch_norm_decay == 0.5


@pytest.mark.parametrize('decay, told', [(1., 'less than 1, got 1.0'), (-0.1, 'must be 0 or more'),
                                         (float('nan'), '--batch_norm_decay')])
def test_decays_that_are_no_shares_are_refused(decay, told):
    with pytest.raises(ModelError, match=told):
        Architecture(batch_norm_decay=decay)
