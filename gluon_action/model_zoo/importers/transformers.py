"""Names of TimeSformer, as its authors, Hugging Face and mmaction2 publish it, and of ViT for images."""
from __future__ import annotations

import numpy as np

from ..timesformer import time_from_space
from .conversion import Row
from .family import Family

_BLOCK = ('norm1|norm2|temporal_norm1|attn.qkv|attn.proj|temporal_attn.qkv|temporal_attn.proj|temporal_fc|mlp.fc1|'
          'mlp.fc2')


def _complete(arrays: dict[str, np.ndarray], params: dict, rows: list[Row]) -> list[Row]:
    """Give a network that attends along time what a file without such attention lacks, as the authors' code does."""
    added, sources = [], {key: (name, shape) for name, shape, key, _ in rows}
    for key, (array, source) in time_from_space(arrays, params).items():
        arrays[key] = array
        name, shape = sources[source] if source else ('', array.shape)
        added.append((name, shape, key, 'attention along time starts as that along space' if source else
                      '0: time starts without a say'))
    return added


_RULES = (
    ('{name:cls_token|pos_embed|time_embed}', '{name}'), ('{layer:patch_embed.proj|norm|head}', '{layer}'),
    (f'blocks.{{block}}.{{layer:{_BLOCK}}}', 'blocks.{block}.{layer}'),
    ('pre_logits.{any:**}', None, 'a layer between features and the scores of images'))
_SIGNATURE = ('patch_embed.proj.weight', 'blocks.0.norm1.weight', 'blocks.0.attn.qkv.weight')

TIMESFORMER = Family('timesformer', 'TimeSformer', 'timesformer_*',
                     (*_SIGNATURE, '{any:time_embed|blocks.0.temporal_attn.qkv.weight}'), _RULES, prefix='model.',
                     complete=_complete)
VIT = Family('vit', 'ViT for images', 'timesformer_*', _SIGNATURE, _RULES, prefix='model.', complete=_complete)

HUGGING_FACE = Family(
    'huggingface-timesformer', "Hugging Face's TimeSformer", 'timesformer_divst_*',
    ('timesformer.embeddings.cls_token', 'timesformer.encoder.layer.0.attention.attention.qkv.weight'),
    (('timesformer.embeddings.{name:cls_token|position_embeddings=pos_embed|time_embeddings=time_embed}', '{name}'),
     ('timesformer.embeddings.patch_embeddings.projection', 'patch_embed.proj'),
     ('timesformer.encoder.layer.{block}.{layer:attention.attention.qkv=attn.qkv|attention.output.dense=attn.proj|'
      'temporal_attention.attention.qkv=temporal_attn.qkv|temporal_attention.output.dense=temporal_attn.proj|'
      'temporal_layernorm=temporal_norm1|temporal_dense=temporal_fc|layernorm_before=norm1|layernorm_after=norm2|'
      'intermediate.dense=mlp.fc1|output.dense=mlp.fc2}', 'blocks.{block}.{layer}'),
     ('timesformer.layernorm', 'norm'), ('classifier', 'head')))

_FIRST = ('blocks.{block}.temporal_attn.', 'blocks.{block}.attn.')  # of two attentions, or the only one
_LAYER = 'backbone.transformer_layers.layers.{block}'

MMACTION2 = Family(
    'mmaction2-timesformer', "mmaction2's TimeSformer", 'timesformer_*',
    ('backbone.cls_token', 'backbone.patch_embed.projection.weight'),
    (('backbone.{name:cls_token|pos_embed|time_embed}', '{name}'),
     ('backbone.patch_embed.projection', 'patch_embed.proj'), ('backbone.norm', 'norm'), ('cls_head.fc_cls', 'head'),
     (f'{_LAYER}.attentions.0.attn.in_proj_{{part:weight|bias}}', tuple(f'{first}qkv.{{part}}' for first in _FIRST)),
     (f'{_LAYER}.attentions.1.attn.in_proj_{{part:weight|bias}}', 'blocks.{block}.attn.qkv.{part}'),
     (f'{_LAYER}.attentions.0.attn.out_proj', tuple(f'{first}proj' for first in _FIRST)),
     (f'{_LAYER}.attentions.{{layer:0.norm=temporal_norm1|0.temporal_fc=temporal_fc|1.norm=norm1|1.attn.out_proj=attn.proj}}',
      'blocks.{block}.{layer}'),
     (f'{_LAYER}.{{layer:norms.0=norm1|norms.1=norm2|ffns.0.norm=norm2|ffns.0.layers.0.0=mlp.fc1|ffns.0.layers.1=mlp.fc2}}',
      'blocks.{block}.{layer}')))

FAMILIES = (TIMESFORMER, VIT, HUGGING_FACE, MMACTION2)
