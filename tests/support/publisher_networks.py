"""The publishers' own networks, in PyTorch, with random weights and statistics; each needs their package."""
import importlib
import sys
import types
from pathlib import Path

import pytest


def torchvision_models():
    """Its models; versions that do not match PyTorch lack operators, which the models do not need."""
    torch = pytest.importorskip('torch')
    known = torch.library.register_fake

    def register_fake(name, *args, **kwargs):
        return (lambda function: function) if str(name).startswith('torchvision::') else known(name, *args, **kwargs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.library, 'register_fake', register_fake)
        return pytest.importorskip('torchvision').models


def of_images(name, classes=400):
    extra = {'googlenet': {'transform_input': False, 'aux_logits': True},
             'inception_v3': {'transform_input': False, 'aux_logits': True}}.get(name, {})
    if extra:
        extra['init_weights'] = False
    return getattr(torchvision_models(), name)(weights=None, num_classes=classes, **extra)


def of_videos(name):
    return getattr(torchvision_models().video, name)(weights=None)


def pytorchvideo(name):
    torchvision_models()  # which it imports
    return getattr(pytest.importorskip('pytorchvideo.models.hub'), name)(pretrained=False)


def hugging_face():
    transformers = pytest.importorskip('transformers')
    return transformers.TimesformerForVideoClassification(transformers.TimesformerConfig(
        image_size=32, num_frames=4, num_labels=400, attention_type='divided_space_time'))


def randomised(model, seed=0):
    """Give it statistics and scales as training leaves them: none is 0 or 1."""
    import torch
    torch.manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if hasattr(module, 'running_var') and module.running_var is not None:
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
            if module.__class__.__name__.startswith(('BatchNorm', 'LayerNorm')):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
        for name, parameter in model.named_parameters():
            if 'embed' in name or 'token' in name:
                parameter.normal_(0, 0.3)
    return model.eval()


def ig65m(_):
    """R(2+1)D-34 as its authors correct torchvision's: wider second convolutions of a stage, another epsilon."""
    resnet, torch = torchvision_models().video.resnet, pytest.importorskip('torch')
    model = resnet.VideoResNet(resnet.BasicBlock, [resnet.Conv2Plus1D] * 4, [3, 4, 6, 3], resnet.R2Plus1dStem)
    for stage, width in ((model.layer2, 128), (model.layer3, 256), (model.layer4, 512)):
        stage[0].conv2[0] = resnet.Conv2Plus1D(width, width, width * 9 // 4)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.eps = 1e-3
    return model


# configuration -> file, class, its arguments, width of the features
_TIMESFORMER = {'num_frames': 4, 'img_size': 32, 'patch_size': 16}
_I3D = {'depth': 50, 'pretrained2d': False, 'conv1_kernel': (5, 7, 7), 'conv1_stride_t': 2, 'pool1_stride_t': 2,
        'conv_cfg': {'type': 'Conv3d'}, 'norm_eval': False,
        'inflate': ((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0))}
_SLOW = {'pretrained': None, 'lateral': False, 'conv1_kernel': (1, 7, 7), 'conv1_stride_t': 1, 'pool1_stride_t': 1,
         'inflate': (0, 0, 1, 1), 'norm_eval': False}
MMACTION2 = {
    'tsn': ('resnet', 'ResNet', {'depth': 50, 'norm_eval': False}, 2048),
    'i3d': ('resnet3d', 'ResNet3d', _I3D, 2048),
    'i3d-heavy': ('resnet3d', 'ResNet3d', {**_I3D, 'inflate': (1, 1, 1, 1), 'conv1_stride_t': 1, 'pool1_stride_t': 1,
                                           'with_pool2': True}, 2048),
    'i3d-nl': ('resnet3d', 'ResNet3d', {
        **_I3D, 'non_local': ((0, 0, 0), (0, 1, 0, 1), (0, 1, 0, 1, 0, 1), (0, 0, 0)),
        'non_local_cfg': {'sub_sample': True, 'use_scale': False, 'norm_cfg': {'type': 'BN3d', 'requires_grad': True},
                          'mode': 'embedded_gaussian'}}, 2048),
    'slowonly-50': ('resnet3d_slowonly', 'ResNet3dSlowOnly', {'depth': 50, **_SLOW}, 2048),
    'slowonly-101': ('resnet3d_slowonly', 'ResNet3dSlowOnly', {'depth': 101, **_SLOW}, 2048),
    'c3d': ('c3d', 'C3D', {}, 4096),
    **{f'timesformer-{kind}': ('timesformer', 'TimeSformer', {**_TIMESFORMER, 'attention_type': kind}, 768)
       for kind in ('divided_space_time', 'joint_space_time', 'space_only')},
}


def mmaction2(name, classes=400):
    """A network of mmaction2 with its head; its package is read past the files that import what its wheel lacks."""
    torch, package = pytest.importorskip('torch'), pytest.importorskip('mmaction')
    file, kind, arguments, width = MMACTION2[name]
    for part in ('models', 'models.backbones', 'models.utils', 'models.common'):
        full = f'mmaction.{part}'
        if full not in sys.modules:
            sys.modules[full] = types.ModuleType(full)
            sys.modules[full].__path__ = [str(Path(package.__file__).parent / part.replace('.', '/'))]
    # TimeSformer's blocks are looked up by name among what is registered.
    importlib.import_module('mmengine.registry').init_default_scope('mmaction')
    importlib.import_module('mmaction.models.common.transformer')
    backbone = getattr(importlib.import_module(f'mmaction.models.backbones.{file}'), kind)

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.cls_head = backbone(**arguments), torch.nn.Module()
            self.cls_head.fc_cls = torch.nn.Linear(width, classes)

        def forward(self, x):
            x = self.backbone(x)
            return self.cls_head.fc_cls(x.flatten(2).mean(2) if x.ndim > 2 else x)
    return Network()
