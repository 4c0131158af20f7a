"""What is extracted of a user's own videos: the options of ``extract_features``."""
from __future__ import annotations

import functools
from dataclasses import dataclass

from ...errors import UsageError
from ...options import option, yes_or_no
from .pca import FILES

#: Numbers of a frame's audio feature.
AUDIO_SIZE = 128

_said = functools.partial(option, underscores=True)


@dataclass(frozen=True)
class ExtractConfig:
    """What is extracted, of what, and by what.

    Raises
    ------
    UsageError
        For what cannot be.
    """

    input_videos_csv: str = _said('', 'list of videos, a line each: path,labels such as clips/a.mp4,52;3;10',
                                  required=True, metavar='FILE')
    output_tfrecords_file: str = _said('', 'the records are written to this file', required=True, metavar='FILE')
    frames_per_second: float = _said(1., 'frames that are taken of a second', common=True)
    max_frames: int = _said(300, 'no more frames of a video than these', least=1, common=True)
    skip_frame_level_features: bool = _said(
        False, 'write the means of the frames (mean_rgb, mean_audio) instead of the frames', type=yes_or_no, const=True)
    labels_feature_key: str = _said('labels', 'what labels are called in a record')
    image_feature_key: str = _said('rgb', 'what features of frames are called in a record')
    video_file_key_feature_key: str = _said(
        'id', 'what the path of a video is called in a record; readers look for id or video_id',
        '--video_file_key_feature_key', '--video_file_feature_key')
    insert_zero_audio_features: bool = _said(
        True, f'where there is no audio feature, add {AUDIO_SIZE} numbers that say so, for models that want both',
        type=yes_or_no, const=True)
    backbone: str = _said(
        'inceptionv3_kinetics400', 'network of frames whose features are taken', group='backbone', common=True)
    backbone_params: str = _said('', 'file of its parameters; by default those for ImageNet of its body',
                                 group='backbone', metavar='FILE', common=True)
    use_pretrained: bool = _said(False, "take the network's own published weights", group='backbone', type=yes_or_no,
                                 const=True)
    batch_size: int = _said(32, 'frames computed at a time', group='backbone', least=1)
    num_gpus: int = _said(0, '1 computes on a GPU', group='backbone', least=0)
    pca: str = _said('', f'PCA that features go through: a file of --fit_pca, or a folder with {", ".join(FILES)}',
                     group='PCA', metavar='PATH', common=True)
    model_dir: str = _said('~/yt8m', 'folder where --pca is looked for when neither it nor --fit_pca is given',
                           group='PCA', metavar='FOLDER')
    fit_pca: str = _said('', 'fit a PCA to the videos first, and write it to this file; one that was fitted to them '
                         'before is taken as it is', group='PCA', metavar='FILE', common=True)
    fit_pca_videos: int = _said(500, 'videos that it is fitted to, evenly out of the list', group='PCA', least=1)
    pca_size: int = _said(1024, 'components that are kept', group='PCA', least=1, common=True)
    audio_params: str = _said('', 'weights of VGGish, as published for TensorFlow (saved as PREFIX.index and data) or '
                              'PyTorch: audio features are made of the sound of videos', group='audio', metavar='FILE',
                              common=True)
    audio_pca: str = _said(
        '', 'its PCA, vggish_pca_params.npz as published', group='audio', metavar='FILE', common=True)
    on_error: str = _said('skip', 'what to do about a video that cannot be read: note it and continue, or stop',
                          '--on_error', '--on-error',
                          choices=('skip', 'raise'))

    def __post_init__(self):
        if not 0 < self.frames_per_second < float('inf'):
            raise UsageError(f'--frames_per_second must be above 0, got {self.frames_per_second}')
        if self.pca and self.fit_pca:
            raise UsageError('--pca: contradicts --fit_pca, which fits another one; leave out one of them')
        if bool(self.audio_params) != bool(self.audio_pca):
            raise UsageError('--audio_params and --audio_pca: go together; give both, or none for videos whose sound '
                             'does not matter')
        keys = [self.labels_feature_key, self.image_feature_key, self.video_file_key_feature_key, 'audio']
        if len(set(keys)) < len(keys) or '' in keys:
            raise UsageError('--labels_feature_key, --image_feature_key and --video_file_key_feature_key must be names '
                             f'that differ, and none of them audio; got {", ".join(map(repr, keys[:3]))}')
