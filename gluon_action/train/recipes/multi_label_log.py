"""What the log of a run says where a video may have several labels: its mean average precision as well."""
from __future__ import annotations

from typing import Any

from ..run.history.log_style import LogStyle


class MultiLabelStyle(LogStyle):
    """GluonCV's lines and tags, and ``mAP``, by which the best epoch is chosen.

    GluonCV's ``acc-top1`` is the share of the videos whose best class is one of their labels.
    """

    def epoch_lines(self, record: dict[str, Any]) -> list[str]:
        """Lines for the record of an epoch."""
        lines = super().epoch_lines(record)
        if 'val_map' in record:
            lines[-1] += f' mAP={100 * record["val_map"]:.2f}'
        return lines

    def start_lines(self, record: dict[str, Any]) -> list[str]:
        """Lines for the record of the validation before the first epoch."""
        return [f'{line} mAP={100 * record["val_map"]:f}' for line in super().start_lines(record)]

    def epoch_scalars(self, record: dict[str, Any]) -> list[tuple[int, dict[str, float]]]:
        """Numbers of an epoch, each group with the step that TensorBoard shows it at."""
        groups = super().epoch_scalars(record)
        return groups + [(record['epoch'], {'val_map_epoch': 100 * record['val_map']})] * ('val_map' in record)
