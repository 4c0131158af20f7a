"""What was made of a list of videos, counted: clips, files and labels, and what was left out."""
from __future__ import annotations

import itertools

from ...lists.parts_of_videos import AnnotatedVideos
from .manifest import Manifest
from .plan import Part, Shard


def report_text(report: dict) -> str:
    """Put a report into lines for reading."""
    splits = report['splits']
    width = max(len('all clips'), *map(len, report['classes']))
    lines = ['  '.join([' ' * width, *(f'{name:>9}' for name in splits)]),
             '  '.join([f'{"all clips":<{width}}', *(f'{split["clips"]:9d}' for split in splits.values())])]
    for name in (*report['classes'], *(['(no label)'] if any('(no label)' in split['clips_per_label']
                                                             for split in splits.values()) else ())):
        lines.append('  '.join([f'{name:<{width}}', *(f'{split["clips_per_label"].get(name, 0):9d}'
                                                      for split in splits.values())]))
    for name, split in splits.items():
        lines.append(f'{name}: {split["clips"]} clips of {split["videos"]} videos in {split["files"]} files, '
                     f'{split["bytes"] / 1e6:.1f} MB')
        without = [label for label in report['classes'] if not split['clips_per_label'].get(label)]
        if without:
            lines.append(f'{name}: no clip of {", ".join(without[:8])}{" ..." * (len(without) > 8)}')
    if report['annotations']['overlapping']:
        pairs = report['annotations']['overlapping']
        lines.append(f'parts that overlap and have other labels: {len(pairs)}, first {pairs[0]}; each clip has the '
                     'labels of its own row only')
    for skip in report['skipped'][:10]:
        lines.append(f'skipped {skip["where"]}: {skip["reason"]}')
    if len(report['skipped']) > 10:
        lines.append(f'and {len(report["skipped"]) - 10} more')
    return '\n'.join(lines)


def report_of(about: dict, videos: AnnotatedVideos, parts: list[Part], shards: list[Shard], manifest: Manifest,
              skipped: list[dict], verified: bool) -> dict:
    """What `make_clip_records` returns."""
    splits = {}
    for split in videos.splits:
        files = [manifest.files[shard.name] for shard in shards if shard.split == split]
        names = [*videos.classes, '(no label)']
        counts = {name: sum(file['labels'].get(str(label), 0) for file in files) for label, name in enumerate(names)}
        splits[split or 'all'] = {
            'videos': len({part.annotation.path for part in parts if part.annotation.split == split}),
            'clips': sum(file['clips'] for file in files), 'files': len(files),
            'bytes': sum(file['bytes'] for file in files),
            'clips_per_label': {name: count for name, count in counts.items() if count or name != '(no label)'}}
    broken = [skip for shard in shards for skip in manifest.files[shard.name]['skipped']]
    return {'settings': about['settings'],
            'annotations': {'sha256': videos.sha256, 'parts': len(videos.annotations),
                            'overlapping': _overlapping(parts)},
            'classes': videos.classes, 'clips': sum(split['clips'] for split in splits.values()),
            'splits': splits, 'skipped': skipped + broken, 'verified': verified}


def _overlapping(parts: list[Part]) -> list[str]:
    """Pairs of parts of a video that share frames and not labels, by their places in the list."""
    pairs = []
    ordered = sorted(parts, key=lambda part: (part.annotation.path, part.frames.start))
    for _, found in itertools.groupby(ordered, key=lambda part: part.annotation.path):
        furthest, *others = found
        for part in others:
            if part.frames.start < furthest.frames.stop and part.annotation.labels != furthest.annotation.labels:
                pairs.append(f'{furthest.annotation.where} and {part.annotation.where}')
            furthest = max(furthest, part, key=lambda part: part.frames.stop)
    return pairs
