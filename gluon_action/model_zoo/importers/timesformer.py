"""Names of the authors' TimeSformer (facebookresearch/TimeSformer), and of ViT for images (timm, DeiT)."""
from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np

from .conversion import Names, Row

_NAME = re.compile(
    r'cls_token|pos_embed|time_embed|(patch_embed\.proj|norm|head)\.(weight|bias)'
    r'|blocks\.\d+\.(norm[12]|temporal_norm1|(temporal_)?attn\.(qkv|proj)|temporal_fc|mlp\.fc[12])\.(weight|bias)')
_NORM = re.compile(r'(norm\d?)\.(weight|bias)$')
_BATCH_NORM = {'weight': 'gamma', 'bias': 'beta'}


def recognises(names: Collection[str]) -> bool:
    """Return whether these are names of such a file, with or without ``model.`` in front."""
    return any({f'{start}patch_embed.proj.weight', f'{start}blocks.0.norm1.weight',
                f'{start}blocks.0.attn.qkv.weight'} <= set(names) for start in ('', 'model.'))


def names(variables: Collection[str]) -> Names:
    """Return the mapping of the names of a file to parameters."""
    clips = any('.temporal_' in name for name in variables) or any(name.endswith('time_embed') for name in variables)
    return Names('TimeSformer' if clips else 'ViT for images', 'timesformer_*', _place, constants={},
                 from_tensorflow=False, complete=_complete)


def _place(name: str) -> tuple[str | None, str] | None:
    name = name.removeprefix('model.')
    if name.startswith('pre_logits.'):
        return None, 'a layer between features and the scores of images'
    if not _NAME.fullmatch(name):
        return None
    return _NORM.sub(lambda match: f'{match[1]}.{_BATCH_NORM[match[2]]}', name), ''


def _complete(arrays: dict[str, np.ndarray], params: dict, rows: list[Row]) -> list[Row]:
    """Give a network that attends along time what a file without such attention lacks, as the authors' code does.

    Attention along time starts as that along space, and what leads from it to the patches at 0, so that the network
    starts as the one that the file is of.
    """
    if any('.temporal_' in key for key in arrays):
        return []
    added, sources = [], {key: (name, shape) for name, shape, key, _ in rows}
    for key, parameter in params.items():
        space = key.replace('temporal_', '')
        if key in arrays:
            continue
        if space != key and space in arrays:
            arrays[key] = arrays[space].copy()
            added.append((*sources[space], key, 'attention along time starts as that along space'))
        elif key == 'time_embed' or '.temporal_fc.' in key:
            arrays[key] = np.zeros(parameter.shape, np.float32)
            added.append(('', parameter.shape, key, '0: time starts without a say'))
    return added
