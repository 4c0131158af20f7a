"""TimeSformer written down again with NumPy in float64, frame by frame: what the zoo's is compared with."""
from __future__ import annotations

import math

import numpy as np

_ERF = np.vectorize(math.erf, otypes=[np.float64])


def random_parameters(net, seed=0):
    """Give every parameter of `net` random values, and return them by key."""
    import mxnet as mx
    rng = np.random.default_rng(seed)
    arrays = {}
    for key, parameter in net._collect_params_with_prefix().items():
        spread = 0.2 if len(parameter.shape) < 2 else 1 / math.sqrt(np.prod(parameter.shape[1:]))
        array = rng.normal(float(key.endswith('gamma')), spread, parameter.shape).astype('float32')
        if key.endswith('embed') or key == 'cls_token':
            array = rng.normal(0, 0.5, parameter.shape).astype('float32')
        parameter.initialize(mx.init.Zero(), force_reinit=True)
        parameter.set_data(mx.nd.array(array))
        arrays[key] = array
    return arrays


def forward(clips, arrays, *, attention, heads, patch):
    """Return the features (N, D) and the scores (N, K) of clips (N, 3, T, H, W)."""
    arrays = {key: np.asarray(array, np.float64) for key, array in arrays.items()}
    depth = 1 + max(int(key.split('.')[1]) for key in arrays if key.startswith('blocks.'))
    features = np.stack([clip_features(np.asarray(clip, np.float64), arrays, attention, heads, patch, depth)
                         for clip in clips])
    return features, dense(features, arrays, 'head')


def clip_features(clip, arrays, attention, heads, patch, depth):
    """Class token, (D,), of one clip (3, T, H, W)."""
    token = arrays['cls_token'][0, 0] + arrays['pos_embed'][0, 0]
    tokens = np.stack([frame_tokens(clip[:, frame], arrays, patch) for frame in range(clip.shape[1])])
    if attention == 'space_only':
        frames = [np.concatenate([token[None], frame]) for frame in tokens]
        for number in range(depth):
            frames = [plain_block(frame, Part(arrays, f'blocks.{number}.'), heads) for frame in frames]
        return norm(np.mean([frame[0] for frame in frames], axis=0), arrays, 'norm')
    tokens = tokens + arrays['time_embed'][0][:, None]
    if attention == 'joint':
        line = np.concatenate([token[None], *tokens])
        for number in range(depth):
            line = plain_block(line, Part(arrays, f'blocks.{number}.'), heads)
        return norm(line[0], arrays, 'norm')
    for number in range(depth):
        token, tokens = divided_block(token, tokens, Part(arrays, f'blocks.{number}.'), heads)
    return norm(token, arrays, 'norm')


def frame_tokens(frame, arrays, patch):
    """Tokens (S, D) of a frame (3, H, W), row by row, with the embedding of their places."""
    weight, bias = arrays['patch_embed.proj.weight'], arrays['patch_embed.proj.bias']
    tokens = [np.tensordot(weight, frame[:, top:top + patch, left:left + patch], 3) + bias
              for top in range(0, frame.shape[1], patch) for left in range(0, frame.shape[2], patch)]
    return np.stack(tokens) + arrays['pos_embed'][0, 1:]


def plain_block(tokens, part, heads):
    """ViT's block on one sequence (L, D)."""
    tokens = tokens + attend(norm(tokens, part, 'norm1'), part, 'attn', heads)
    return tokens + mlp(norm(tokens, part, 'norm2'), part)


def divided_block(token, tokens, part, heads):
    """Time, then space: a class token (D,) and patches (T, S, D)."""
    tokens = tokens.copy()
    for place in range(tokens.shape[1]):
        seen = attend(norm(tokens[:, place], part, 'temporal_norm1'), part, 'temporal_attn', heads)
        tokens[:, place] += dense(seen, part, 'temporal_fc')
    seen = np.stack([attend(norm(np.concatenate([token[None], frame]), part, 'norm1'), part, 'attn', heads)
                     for frame in tokens])
    token, tokens = token + seen[:, 0].mean(axis=0), tokens + seen[:, 1:]
    return token + mlp(norm(token, part, 'norm2'), part), tokens + mlp(norm(tokens, part, 'norm2'), part)


class Part(dict):
    """The parameters whose keys begin in a certain way, by the rest of their keys."""

    def __init__(self, arrays, start):
        super().__init__({key.removeprefix(start): array for key, array in arrays.items() if key.startswith(start)})


def attend(tokens, part, name, heads):
    """Self-attention of one sequence (L, D), head by head."""
    width = tokens.shape[1] // heads
    query, key, value = np.split(dense(tokens, part, f'{name}.qkv'), 3, axis=1)
    seen = []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        likeness = np.exp(query[:, own] @ key[:, own].T / math.sqrt(width))
        seen.append(likeness / likeness.sum(axis=1, keepdims=True) @ value[:, own])
    return dense(np.concatenate(seen, axis=1), part, f'{name}.proj')


def mlp(tokens, part):
    hidden = dense(tokens, part, 'mlp.fc1')
    return dense(hidden * (1 + _ERF(hidden / math.sqrt(2))) / 2, part, 'mlp.fc2')


def dense(x, part, name):
    return x @ part[f'{name}.weight'].T + part[f'{name}.bias']


def norm(x, part, name):
    centred = x - x.mean(axis=-1, keepdims=True)
    return (centred / np.sqrt((centred ** 2).mean(axis=-1, keepdims=True) + 1e-6) * part[f'{name}.gamma']
            + part[f'{name}.beta'])
