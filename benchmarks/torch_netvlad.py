"""NetVLAD for YouTube-8M in PyTorch, from its paper's code: what this project's is compared with.

Nothing here comes from `gluon_action`, so equal outputs mean something. Keys of parameters are this project's, for
`load` of `torch_twins`. Sources: arXiv:1706.06905, antoine77340/Youtube-8M-WILLOW, google/youtube-8m.
"""
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

MIXTURES = 2


def weights(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) / shape[-2] ** 0.5)


def normalised(width: int) -> nn.Module:
    return nn.BatchNorm1d(width, eps=1e-3, momentum=1e-3)


class NetVLAD(nn.Module):
    """Features of frames (N, T, D) to probabilities (N, K), gated; rgb and audio, which has half of the clusters."""

    def __init__(self, clusters: int, hidden: int, classes: int, sizes: tuple[int, int] = (1024, 128)):
        super().__init__()
        self.sizes, self.classes = sizes, classes
        self.input_bn = normalised(sum(sizes))
        self.video_VLAD, self.audio_VLAD = Pooling(sizes[0], clusters), Pooling(sizes[1], clusters // 2)
        width = sizes[0] * clusters + sizes[1] * (clusters // 2)
        self.hidden1_weights, self.hidden1_biases = weights(width, hidden), nn.Parameter(torch.zeros(hidden))
        self.gating_weights_2, self.gating_bn = weights(hidden, hidden), normalised(hidden)
        self.gates = nn.ParameterDict({'weights': weights(hidden, classes * (MIXTURES + 1))})
        self.experts = nn.ParameterDict({'weights': weights(hidden, classes * MIXTURES),
                                         'biases': nn.Parameter(torch.zeros(classes * MIXTURES))})
        self.gating_prob_weights, self.gating_prob_bn = weights(classes, classes), normalised(classes)

    def penalty(self):
        """L2 of gates and experts."""
        return 0.5e-8 * (self.gates['weights'].square().sum() + self.experts['weights'].square().sum())

    def forward(self, x):
        """Score videos that have as many frames as are drawn, T; in training they are drawn at random."""
        videos, frames, width = x.shape
        if self.training:
            counts = (x.abs().sum(-1) > 0).sum(1, keepdim=True)
            drawn = (torch.rand(videos, frames) * counts).long()
            x = torch.gather(x, 1, drawn[:, :, None].expand(-1, -1, width))
        x = self.input_bn(functional.normalize(x, dim=-1).view(-1, width))
        rgb, audio = x.split(self.sizes, 1)
        x = torch.cat([self.video_VLAD(rgb, videos), self.audio_VLAD(audio, videos)], 1)
        x = torch.addmm(self.hidden1_biases, x, self.hidden1_weights)
        x = x * torch.sigmoid(self.gating_bn(x @ self.gating_weights_2))
        gates = torch.softmax((x @ self.gates['weights']).view(-1, MIXTURES + 1), -1)
        experts = torch.sigmoid(torch.addmm(self.experts['biases'], x, self.experts['weights']).view(-1, MIXTURES))
        p = (gates[:, :MIXTURES] * experts).sum(1).view(-1, self.classes)
        return p * torch.sigmoid(self.gating_prob_bn(p @ self.gating_prob_weights))


class Pooling(nn.Module):
    """Frames (NT, D) of N videos to their VLAD (N, DK)."""

    def __init__(self, size: int, clusters: int):
        super().__init__()
        self.cluster_weights, self.cluster_bn = weights(size, clusters), normalised(clusters)
        self.cluster_weights2 = weights(1, size, clusters)

    def forward(self, x, videos: int):
        """Pool frames."""
        size, clusters = self.cluster_weights.shape
        shares = torch.softmax(self.cluster_bn(x @ self.cluster_weights), -1).view(videos, -1, clusters)
        sums = torch.matmul(shares.transpose(1, 2), x.view(videos, -1, size)).transpose(1, 2)
        vlad = sums - shares.sum(1, keepdim=True) * self.cluster_weights2
        return functional.normalize(functional.normalize(vlad, dim=1).reshape(videos, -1), dim=1)
