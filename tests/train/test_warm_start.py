import numpy as np
import pytest

import gluon_action  # noqa: F401

# isort: split
import mxnet as mx
from inception import few_blocks
from loops import make_loop

from gluon_action.compute.losses import SigmoidCrossEntropy
from gluon_action.compute.on_mxnet.parameters import chosen_keys, freeze_statistics, trainable
from gluon_action.errors import UsageError, WeightsError
from gluon_action.files import file_sha256
from gluon_action.model_zoo import get_model
from gluon_action.nn import batch_norms
from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir
from gluon_action.train.run.warm_start import warm_start

CLASSES = 3


@pytest.fixture(scope='module', autouse=True)
def small_networks():
    with few_blocks():
        yield


def make_net(nclass=CLASSES, seed=0, **options):
    """S3D-G of few channels, whose batch normalisations are not as they start."""
    mx.random.seed(seed)
    net = get_model('s3dg_custom', nclass=nclass, clip_length=8, input_size=32, pretrained_base=False,
                    depth_multiplier=0.05, min_depth=2, **options)
    rng = np.random.default_rng(seed)
    for name, param in net._collect_params_with_prefix().items():
        if name.endswith(('running_mean', 'running_var', 'beta')):
            param.set_data(mx.nd.array(rng.uniform(0.5, 1.5, param.shape)))
    return net


def values(net):
    return {name: param.data().asnumpy() for name, param in net._collect_params_with_prefix().items()}


def heads(found):
    return {name for name in found if name.startswith('Logits.')}


def equal(a, b):
    return {name for name in a if a[name].shape == b[name].shape and (a[name] == b[name]).all()}


@pytest.fixture(scope='module')
def before():
    return make_net(seed=1)


@pytest.fixture(scope='module')
def sources(before, tmp_path_factory):
    """The same network as each thing that a run may start from."""
    folder = tmp_path_factory.mktemp('before')
    before.save_parameters(str(folder / 'net.params'))
    run = folder / 'run'
    params = values(before)
    CheckpointDir(run / 'checkpoints').save(3, {'params': {name: array + 1 for name, array in params.items()}})
    newest = CheckpointDir(run / 'checkpoints').save(5, {'params': params})
    (folder / 'only_best').mkdir()
    before.save_parameters(str(folder / 'only_best' / 'best.params'))
    return {'folder of a run': run, 'its checkpoints': run / 'checkpoints', 'one checkpoint': newest,
            'file': folder / 'net.params', 'folder with the best': folder / 'only_best'}


@pytest.mark.parametrize('kind', ['folder of a run', 'its checkpoints', 'one checkpoint', 'file',
                                  'folder with the best'])
def test_everything_is_taken_over_statistics_included(before, sources, kind):
    net = make_net(seed=2)
    assert len(equal(values(net), values(before))) < len(values(net)) / 2
    found = warm_start(net, sources[kind])
    assert equal(values(net), values(before)) == set(values(net)) == set(found.loaded) and not found.left
    assert len(found.sha256) == 64 and str(found.source) in str(found)
    if kind == 'file':
        assert found.sha256 == file_sha256(sources[kind])


def test_the_body_leaves_the_head_and_takes_one_of_any_number_of_classes(before, sources):
    net = make_net(nclass=7, seed=2)
    untouched = {name: values(net)[name] for name in heads(values(net))}
    found = warm_start(net, sources['file'], 'body')
    after = values(net)
    assert equal({n: after[n] for n in untouched}, untouched) == set(untouched) == set(found.left)
    assert equal(after, values(before)) >= set(after) - heads(after)
    assert 'start as they are (Logits.Conv3d_0c_1x1.' in str(found)


def test_the_head_alone_can_be_taken_over(before, sources):
    net = make_net(seed=2)
    untouched = values(net)
    assert set(warm_start(net, sources['folder of a run'], 'head').loaded) == heads(untouched)
    after, wanted = values(net), values(before)
    assert equal(after, wanted) >= heads(after)
    assert equal(after, untouched) >= set(after) - heads(after)


def test_a_head_of_other_classes_names_the_ways_out(sources):
    net = make_net(nclass=7)
    untouched = values(net)
    with pytest.raises(WeightsError, match=r'knows 3 classes and this network has 7.*i3d_convs.*--num_classes 3'):
        warm_start(net, sources['folder of a run'])
    assert equal(values(net), untouched) == set(untouched)


@pytest.mark.parametrize('name, told', [
    ('nowhere', 'nowhere does not exist; give the folder of a run'),
    ('empty', 'empty holds no parameters; give the folder of a run')])
def test_a_source_that_is_none_says_what_one_is(before, tmp_path, name, told):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(WeightsError, match=told):
        warm_start(before, tmp_path / name)


def test_another_network_is_refused(sources):
    with pytest.raises(WeightsError, match='of another network: 9 are not in the network'):
        warm_start(make_net(gating_startat='none'), sources['file'])
    with pytest.raises(WeightsError, match='shapes differ'):
        warm_start(get_model('s3dg_custom', nclass=CLASSES, clip_length=8, input_size=32, pretrained_base=False,
                             depth_multiplier=0.05, min_depth=5), sources['file'])


def test_parts_go_by_name_or_by_expression(before):
    everything = set(values(before))
    assert set(chosen_keys(before, 'all')) == everything
    assert set(chosen_keys(before, 'head')) == heads(everything)
    assert set(chosen_keys(before, 'body')) == everything - heads(everything)
    assert set(chosen_keys(before, r'^Mixed_5c\.')) == {name for name in everything if name.startswith('Mixed_5c.')}
    for wrong in ('no_such_layer', '('):
        with pytest.raises(UsageError, match='regular expression|fits no parameter'):
            chosen_keys(before, wrong)


def trained(net, which, update_statistics=False, steps=2):
    params = trainable(net, which, update_statistics=update_statistics)
    if not update_statistics:
        freeze_statistics(net, params)
    net.hybridize()
    loop = make_loop(net, loss=SigmoidCrossEntropy(), schedule=lambda update: 0.1, params=params, no_wd=True, l1=1e-3)
    rng = np.random.default_rng(0)

    class Batch:
        data = rng.normal(size=(2, 3, 8, 32, 32)).astype(np.float32)
        label = np.array([[1, 0, 0], [0, 1, 1]], np.float32)
        indices, failures = [0, 1], []

    for _ in range(steps):
        loop.step(Batch)
    loop.flush()
    return loop


def test_training_the_head_leaves_every_other_value_byte_for_byte():
    net = make_net()
    untouched = values(net)
    net(mx.nd.zeros((1, 3, 8, 32, 32)))
    loop = trained(net, 'head')
    after = values(net)
    assert {name for name in after if after[name].tobytes() != untouched[name].tobytes()} == heads(after)
    assert set(loop.learner.names) == heads(after)


def test_statistics_follow_the_batches_when_asked():
    net = make_net()
    untouched = values(net)
    trained(net, 'head', update_statistics=True)
    changed = set(values(net)) - equal(values(net), untouched)
    assert {name for name in changed if not name.startswith('Logits.')} == {
        name for name in untouched if name.endswith(('running_mean', 'running_var'))}


def test_a_part_that_is_trained_keeps_learning_its_statistics():
    net = make_net()
    untouched = values(net)
    trained(net, r'^(Mixed_5c|Logits)\.')
    changed = set(values(net)) - equal(values(net), untouched)
    assert all(name.startswith(('Mixed_5c.', 'Logits.')) for name in changed)
    assert {name for name in untouched if name.startswith('Mixed_5c.') and 'running' in name} <= changed


def test_freezing_counts_what_it_freezes():
    net = make_net()
    assert freeze_statistics(net, trainable(net, 'all')) == 0
    assert freeze_statistics(net) == len(batch_norms(net))


def test_what_cannot_be_trained_cannot_be_chosen():
    with pytest.raises(UsageError, match='nothing that can be trained'):
        trainable(make_net(), 'running_mean$')
