"""Tables of the models of the zoo, from their cards."""
from __future__ import annotations

from collections.abc import Iterable

from ..weights import Index, read_index
from .registry import ModelCard

_HEAD = """# Model zoo

Generated from the cards of the models by `gluon-action list-models --markdown > model_zoo.md`; a test fails when it is
stale.

`get_model(name, nclass=..., num_segments=...)` returns a network by name. Published weights and accuracies are
GluonCV's, on the files that it lists, and for TimeSformer its authors'; they were not measured again here. Top-1 is in percent; the protocol is
segments x crops of a test video, whose scores are averaged. A model without a tag has no published weights:
`pretrained=True` is an error, training starts from ImageNet (`pretrained_base=True`) where there is a network to start
from or, for `*_custom`, from the Kinetics400 weights of the same network.

## Weights of others

`gluon-action import-weights SOURCE --model NAME --out FILE.params` reads these without TensorFlow or PyTorch, and runs
nothing that is in a file. Their scores are what their publishers give; they were not measured again here.

| weights | for | published top-1 / top-5 |
|---|---|---|
| DeepMind's [kinetics-i3d](https://github.com/google-deepmind/kinetics-i3d), `data/checkpoints/rgb_imagenet` | `i3d_rgb_kinetics400` | 71.1 / 89.3 on the Kinetics test set, as the next four |
| `rgb_scratch` | `i3d_rgb_kinetics400` | 68.4 / 88.0 |
| `flow_imagenet` | `i3d_flow_kinetics400` | 63.4 / 84.9 |
| `flow_scratch` | `i3d_flow_kinetics400` | 61.5 / 83.4 |
| both streams, from ImageNet / from scratch | | 74.2 / 91.3, 71.6 / 90.0 |
| `rgb_scratch_kin600` (Kinetics600) | `i3d_rgb_kinetics600` | - |
| torchvision's [S3D](https://download.pytorch.org/models/s3d-d76dad2f.pth) | `s3d_kinetics400` | 68.368 / 88.05 on validation clips of 128 frames at 15 a second |
| the authors' [TimeSformer](https://github.com/facebookresearch/TimeSformer), `TimeSformer_divST_8x32_224_K400.pyth`; `..._K600.pyth`; `TimeSformer_divST_8_224_SSv2.pyth` | `timesformer_divst_8x32_kinetics400`; `..._kinetics600`; `..._ssv2` | 77.9 / 93.2; 79.1 / 94.4; 59.1 / 85.6, one clip x 3 crops, as the next two |
| `TimeSformer_divST_16x16_448_K400.pyth`; `..._K600.pyth`; `TimeSformer_divST_16_448_SSv2.pyth` | `timesformer_divst_16x16_448_kinetics400`; `..._kinetics600`; `..._ssv2` | 79.6 / 94.0; 81.8 / 95.8; 61.8 / 86.9 |
| `TimeSformer_divST_96x4_224_K400.pyth`; `..._K600.pyth`; `TimeSformer_divST_64_224_SSv2.pyth` | `timesformer_divst_96x4_kinetics400`; `..._kinetics600`; `timesformer_divst_64_ssv2` | 80.6 / 94.7; 82.2 / 95.6; 62.0 / 87.5 |
| torchvision's R(2+1)D-18; R(2+1)D-34 of IG-65M | `r2plus1d_resnet18_kinetics400`; `r2plus1d_ig65m_resnet34_kinetics400` | 67.5 / 86.2; - |
| mmaction2's TSN, C2D, I3D, SlowOnly, C3D, TimeSformer | `resnet*_v1b_*`, `c2d_*`, `i3d_resnet50_v1_*`, `i3d_heavy_*`, `slowonly_*`, `c3d_ucf101`, `timesformer_*` | as its model zoo says |
| pytorchvideo's SlowFast, Slow, I3D | `slowfast_*`, `slowonly_*`, `i3d_8x8_*` | as its model zoo says |
| Hugging Face's TimeSformer | `timesformer_divst_*` | as the authors' |
| ResNet, GoogLeNet, Inception v3, VGG16 for images, of torchvision and timm | `resnet*_v1b_*`, `inceptionv1_*`, `inceptionv3_*`, `vgg16_*`, with `--new-head` | - |
| ViT-B/16 for images, as timm and DeiT publish it (no distilled ones) | `timesformer_*`, with `--new-head` | - |

TimeSformer's embeddings are fitted to the network: those of places as a square, rows and columns each by itself, those
of frames along time, both from the nearest. That is what the authors' network does with clips of another size; the
function with which they start training takes places from the nearest in one line of all of them, which tears rows
apart. Weights of images have no attention along time: it starts as that along space, with 0 behind it, so that the
network scores a clip of one picture as the image network does.

No Kinetics weights of S3D-G in slim's names are public. Checkpoints that were trained with slim's `i3d.py` or `s3dg.py`
can be imported; moving averages are taken where they were saved.
"""  # noqa: E501  (rows of a table)
_COLUMNS = ('Name', 'Data set', 'Classes', 'Input', 'Top-1', 'Protocol', 'Segments in training', 'Tag')


def markdown(cards: Iterable[ModelCard]) -> str:
    """Return ``model_zoo.md``: one table a family, one row a published file, or a model that has none."""
    cards, index = list(cards), read_index()
    parts = [_HEAD]
    for family in dict.fromkeys(card.family for card in cards):
        members = [card for card in cards if card.family == family]
        options = set().union(*(card.supports for card in members))
        sources = ', '.join(dict.fromkeys(card.source for card in members))
        licences = ', '.join(dict.fromkeys(row.licence for card in members for row in index.rows_of(card.name)))
        parts += [f'## {family}', '', f'Source: {sources}. Licence of the weights: {licences or "-"}. '
                  f'Options: {", ".join(f"`{option}`" for option in sorted(options))}.', '',
                  _row(_COLUMNS), _row(['---'] * len(_COLUMNS))]
        parts += [_row(cells) for card in members for cells in _cells(card, index)]
        parts.append('')
    return '\n'.join(parts)


def table(cards: Iterable[ModelCard]) -> str:
    """Return lines for a terminal: one a model, with the accuracy of its first published file."""
    rows = [('name', 'data set', 'classes', 'input', 'top-1', 'protocol', 'tag')]
    index = read_index()
    for card in cards:
        name, dataset, classes, size, top1, protocol, _, tag = _cells(card, index)[0]
        rows.append((name.strip('`'), dataset, classes, size, top1, protocol, tag.strip('`')))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return '\n'.join('  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def _cells(card: ModelCard, index: Index) -> list[tuple[str, ...]]:
    first = (f'`{card.name}`', card.dataset, str(card.num_classes), 'x'.join(map(str, card.input_shape()[1:])))
    results = [('-' if row.top1 is None else f'{row.top1:g}', row.protocol or '-', str(row.segments or 1),
                f'`{row.tag}`') for row in index.rows_of(card.name)]
    return [first + result for result in results or [('-', '-', '-', '-')]]


def _row(cells: Iterable[str]) -> str:
    return '| ' + ' | '.join(cells) + ' |'
