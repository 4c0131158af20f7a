"""The zoo's networks score as those of the publishers whose weights they load.

Needs torch beside the project, and of torchvision, pytorchvideo, transformers and mmaction2 (with mmengine, and
mmcv-lite below 2.2) what is to be compared: what is missing is skipped.
"""
import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest
from publisher_networks import hugging_face, ig65m, mmaction2, of_images, of_videos, pytorchvideo, randomised

from gluon_action.model_zoo import get_model
from gluon_action.model_zoo.importers import load_any

pytestmark = pytest.mark.slow

IMAGE, SLOWFAST = (3, 224, 224), (3, 40, 224, 224)
# their network -> its constructor, the zoo's, the size of an input
NETWORKS = {
    'resnet18': (of_images, 'resnet18_v1b_kinetics400', IMAGE),
    'resnet50': (of_images, 'resnet50_v1b_kinetics400', IMAGE),
    'googlenet': (of_images, 'inceptionv1_kinetics400', IMAGE),
    'inception_v3': (of_images, 'inceptionv3_kinetics400', (3, 299, 299)),
    'vgg16': (of_images, 'vgg16_kinetics400', IMAGE),
    'r2plus1d_18': (of_videos, 'r2plus1d_resnet18_kinetics400', (3, 8, 56, 56)),
    'ig65m': (ig65m, 'r2plus1d_ig65m_resnet34_kinetics400', (3, 8, 56, 56)),
    's3d': (of_videos, 's3d_kinetics400', (3, 14, 224, 224)),
    'slow_r50': (pytorchvideo, 'slowonly_8x8_resnet50_kinetics400', (3, 8, 224, 224)),
    'i3d_r50': (pytorchvideo, 'i3d_8x8_resnet50_kinetics400', (3, 8, 224, 224)),
    'slowfast_r50': (pytorchvideo, 'slowfast_8x8_resnet50_kinetics400', SLOWFAST),
    'tsn': (mmaction2, 'resnet50_v1b_kinetics400', IMAGE),
    'i3d': (mmaction2, 'i3d_resnet50_v1_kinetics400', (3, 16, 64, 64)),
    'i3d-heavy': (mmaction2, 'i3d_heavy_resnet50_kinetics400', (3, 8, 64, 64)),
    'i3d-nl': (mmaction2, 'i3d_nl5_resnet50_v1_kinetics400', (3, 16, 64, 64)),
    'slowonly-50': (mmaction2, 'slowonly_4x16_resnet50_kinetics400', (3, 4, 64, 64)),
    'slowonly-101': (mmaction2, 'slowonly_8x8_resnet101_kinetics400', (3, 4, 64, 64)),
    'c3d': (mmaction2, 'c3d_ucf101', (3, 16, 112, 112)),
    'timesformer-divided_space_time': (mmaction2, 'timesformer_divst_8x32_kinetics400', (3, 4, 32, 32)),
    'timesformer-joint_space_time': (mmaction2, 'timesformer_jointst_8x32_kinetics400', (3, 4, 32, 32)),
    'timesformer-space_only': (mmaction2, 'timesformer_spaceonly_8x32_kinetics400', (3, 4, 32, 32)),
    'timesformer': (lambda _: hugging_face(), 'timesformer_divst_8x32_kinetics400', (3, 4, 32, 32)),
}


def scores_of(model, name, x):
    """What their network says of the zoo's input."""
    import torch
    x = torch.from_numpy(x)
    if name == 'slowfast_r50':  # the slow pathway first; here the frames of the fast one are
        x = [x[:, :, 32:], x[:, :, :32]]
    elif name == 'timesformer':
        return model(x.transpose(1, 2)).logits.numpy()
    return model(x).numpy()


@pytest.mark.parametrize('wrapped', ['torch', 'safetensors'])
@pytest.mark.parametrize('name', NETWORKS)
def test_scores_are_the_publishers(name, wrapped, tmp_path):
    build, ours, size = NETWORKS[name]
    model = randomised(build(name))
    import torch
    path = tmp_path / 'weights'
    if wrapped == 'torch':
        torch.save({'model_state': model.state_dict()}, path)
    else:
        pytest.importorskip('safetensors.torch').save_file(model.state_dict(), path)
    options = {'clip_length': size[1]} if len(size) == 4 else {}
    if name == 'i3d-nl':
        options['sub_sample'] = True
    net = get_model(ours, pretrained_base=False, input_size=size[-1], nclass=400, **options)
    load_any(net, path)
    x = np.random.default_rng(0).standard_normal((1, *size)).astype(np.float32)
    with torch.no_grad():
        want = scores_of(model, name, x)
    got = net(mx.nd.array(x)).asnumpy()
    off = np.abs(got - want).max() / want.std()
    print(f'{name}: {off:.1e}')
    assert off < (2e-5 if name == 'c3d' else 1e-5)  # C3D's sums are the longest: 8.5e-6 was seen
