"""The options of a network of features: one spelling, the file that keeps them, and what a stored model decides."""
import json

import pytest

from gluon_action.errors import ModelError, UsageError
from gluon_action.feature_architecture import DEAD
from gluon_action.input_kind import parse_features
from gluon_action.model_zoo import model_card
from gluon_action.model_zoo.frame_features import Architecture, options_without_effect
from gluon_action.model_zoo.frame_features.network import NETWORKS
from gluon_action.options import options_of

NETVLAD = dict(model='NetVLADModelLF', frame_features=True, feature_names='rgb,audio', feature_sizes='1024,128')


@pytest.mark.parametrize('names, sizes, features', [
    ('rgb, audio', '1024, 128', (('rgb', 1024), ('audio', 128))), ('audio ,rgb', '128,1024', (
        ('audio', 128), ('rgb', 1024))), ('rgb', ' 8 ', (('rgb', 8),))])
def test_features_have_one_spelling(names, sizes, features):
    assert parse_features(names, sizes) == features
    architecture = Architecture(feature_names=names, feature_sizes=sizes)
    assert architecture.features == features and architecture.width == sum(size for _, size in features)
    assert ' ' not in architecture.feature_names + architecture.feature_sizes


@pytest.mark.parametrize('names, sizes, message', [
    ('rgb,audio', '1024', "--feature_names 'rgb,audio' has 2 and --feature_sizes '1024' 1"),
    ('rgb,', '1024,128', '--feature_names: names that differ'),
    ('rgb,rgb', '2,2', '--feature_names: names that differ'),
    ('rgb', '0', '--feature_sizes: whole numbers from 1'), ('rgb', '1e3', '--feature_sizes: whole numbers from 1')])
def test_features_that_do_not_match_their_sizes_are_refused(names, sizes, message):
    with pytest.raises(UsageError, match=message):
        Architecture(feature_names=names, feature_sizes=sizes)


def test_options_are_the_originals_flags():
    options = options_of(Architecture)
    assert options['netvlad_cluster_size'].flag == '--netvlad_cluster_size'
    assert options['moe_prob_gating'].const is True and options['moe_prob_gating'].type('false') is False
    assert (Architecture().iterations, Architecture().moe_l2, Architecture().dbof_cluster_size) == (30, 1e-8, 8192)


def test_the_file_keeps_all_options_and_the_originals_five(tmp_path):
    given = Architecture(**NETVLAD, netvlad_cluster_size=256, gating=True, moe_l2=1e-6, hidden_size=7)
    given.write(tmp_path)
    record = json.loads((tmp_path / 'model_flags.json').read_text())
    assert {name: record[name] for name in ('model', 'feature_sizes', 'feature_names', 'frame_features',
                                            'label_loss')} == {**NETVLAD, 'label_loss': 'CrossEntropyLoss'}
    assert Architecture.read(tmp_path) == Architecture(**NETVLAD, netvlad_cluster_size=256, gating=True, moe_l2=1e-6)


def test_the_originals_file_is_read(tmp_path):
    (tmp_path / 'model_flags.json').write_text(json.dumps({
        'model': 'NetVLADModelLF', 'feature_sizes': '1024, 128', 'feature_names': 'rgb, audio', 'frame_features': True,
        'label_loss': 'CrossEntropyLoss'}))
    assert Architecture.read(tmp_path) == Architecture(**NETVLAD)


@pytest.mark.parametrize('text, message', [
    (None, 'model_flags.json: cannot be read'), ('{', 'is no JSON'), ('{"a": 1}', 'says no model'),
    ('{"model": "MoeModel", "novel": 1}', 'has novel, which this version does not know'),
    ('{"model": "MoeModel", "iterations": "30"}', "iterations is a int, got '30'"),
    ('{"model": "MoeModel", "iterations": true}', 'iterations is a int, got True'),
    ('{"model": "MoeModel", "gating": 1}', 'gating is a bool, got 1'),
    ('{"model": "MoeModel", "moe_l2": 1}', None)])
def test_a_file_that_is_none_is_refused_by_name(tmp_path, text, message):
    if text is not None:
        (tmp_path / 'model_flags.json').write_text(text)
    if message is None:
        assert Architecture.read(tmp_path).moe_l2 == 1
    else:
        with pytest.raises(ModelError, match=message):
            Architecture.read(tmp_path)


@pytest.mark.parametrize('options, message', [
    ({'iterations': 0}, '--iterations must be 1 or more, got 0'), ({'drop_rate': 1.}, '--drop_rate is at least 0 and'),
    ({'moe_low_rank_gating': 0}, '--moe_low_rank_gating is a rank from 1, or -1'),
    ({'dbof_pooling_method': 'sum'}, "--dbof_pooling_method is one of max, average, got 'sum'"),
    ({'moe_prob_gating': True, 'moe_prob_gating_input': 'input', 'gating_remove_diag': True},
     '--gating_remove_diag with --moe_prob_gating_input=input')])
def test_what_no_network_can_have_is_refused(options, message):
    with pytest.raises(ModelError, match=message):
        Architecture(**options)


def test_the_stored_model_decides_but_for_the_frames_that_are_drawn():
    stored = Architecture(**NETVLAD, netvlad_cluster_size=256, iterations=300)
    same, warnings = stored.merged({'feature_names': 'rgb, audio', 'feature_sizes': '1024, 128',
                                    'netvlad_cluster_size': 256, 'batch_size': 160, 'base_learning_rate': 0.1})
    assert same == stored and warnings == []
    merged, warnings = stored.merged({'video_level_classifier_model': 'LogisticModel', 'netvlad_cluster_size': 64,
                                      'sample_all': True})
    assert merged.sample_all and merged.netvlad_cluster_size == 256
    assert len(warnings) == 1 and '--video_level_classifier_model LogisticModel (stored: MoeModel)' in warnings[0]
    assert '--netvlad_cluster_size 64 (stored: 256)' in warnings[0]


def test_what_changes_nothing_is_noted():
    assert Architecture().notes() == []
    notes = Architecture(vlagd=True, netvlad_dimred=8, sample_all=True).notes()
    assert [note.split()[0] for note in notes] == ['--vlagd', '--netvlad_dimred', '--sample_all']
    assert notes[-1] == '--sample_all draws each of the 300 frames, so --iterations 30 became 300'
    assert Architecture(sample_all=True).drawn_frames == 300
    assert Architecture(sample_all=True, iterations=300).notes() == []


class _Watched(Architecture):
    """Remembers which of its options are looked at."""

    def __getattribute__(self, name):
        if name in options_of(Architecture) and 'seen' in vars(type(self)):
            type(self).seen.add(name)
        return super().__getattribute__(name)


@pytest.mark.parametrize('name', sorted(NETWORKS))
def test_a_network_has_the_options_that_it_looks_at(name):
    looked_at = set()
    for more in ({'video_level_classifier_model': 'LogisticModel', 'netvlad_add_batch_norm': False},
                 {'moe_prob_gating': True, 'gating': True}, {'sample_all': True, 'fc_dimred': False}):
        watched = type('Watched', (_Watched,), {})(**{'model': name, 'num_classes': 5, **model_card(name).defaults,
                                                      **more})
        type(watched).seen = set()
        NETWORKS[name](watched)
        looked_at |= type(watched).seen
    options = set(options_of(Architecture))
    asked = {'model', 'frame_features', 'num_classes', 'max_frames', 'label_loss'}
    assert looked_at - asked <= model_card(name).supports
    assert model_card(name).supports - looked_at <= {'batch_norm_decay'}
    assert set(options_without_effect(name, options)) == options - asked - set(DEAD) - model_card(name).supports


def test_nothing_is_said_of_options_of_an_unknown_network():
    assert options_without_effect('NoModel', {'gating'}) == []
    assert options_without_effect('DbofModel', {'lstm_cells', 'gating', 'iterations', 'vlagd', 'batch_size'}) == [
        'gating', 'lstm_cells']
