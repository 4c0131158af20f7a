"""Open a data set by the name that ``--dataset`` takes, and the augmentation that goes with a recogniser."""
from __future__ import annotations

import os
from pathlib import Path

from ..errors import UsageError, called

#: Names whose lists and folders have defaults under ~/.mxnet/datasets.
PRESETS = {'ucf101': 'UCF101', 'hmdb51': 'HMDB51', 'kinetics400': 'Kinetics400', 'kinetics700': 'Kinetics700',
           'somethingsomethingv1': 'SomethingSomethingV1', 'somethingsomethingv2': 'SomethingSomethingV2',
           'epic_kitchens': 'EpicKitchens'}
DEMOS = ('demo_appearance', 'demo_motion', 'demo_two_stream')


@called(train_list='setting', val_list='setting', class_names='classes', decode_timeout='timeout')
def open_dataset(name: str, *, train: bool, setting: str | None = None, data_dir: str | None = None,
                 modality: str = 'rgb', **options):
    """Open a video data set.

    Parameters
    ----------
    name : str
        One of `PRESETS` or `DEMOS`, or ``'custom'``.
    train : bool
        Take the training list and random segments; otherwise the validation list and segment centres.
    setting : str, optional
        The list. The presets and the demos have a default.
    data_dir : str, optional
        Folder that the list's paths start from; for a demo, the folder it is generated in. Of flow it is the folder
        that ``scripts/extract_flow.py`` wrote to; that of a demo is extracted into it when it is first asked for.
    modality : {'rgb', 'flow'}
        Pictures, or optical flow of the videos that the same list names.
    **options
        Further arguments of `VideoClsCustom`.

    Returns
    -------
    gluon_action.data.video_dataset.VideoClsCustom

    Raises
    ------
    UsageError
        For an unknown name, or ``'custom'`` without list and folder.
    """
    from .. import data
    root = os.path.expanduser(data_dir) if data_dir else None
    setting = os.path.expanduser(setting) if setting else None
    if name in DEMOS:
        from .demo.make import find_demo, make_demo, make_demo_flow
        place = Path(root or default_root(name))
        demo = find_demo(name, place) or make_demo(name, place, progress=True)
        setting = setting or (demo.train_list if train else demo.val_list)
        options.setdefault('classes', list(demo.classes))
        root = make_demo_flow(demo, progress=True) if modality == 'flow' else demo.video_dir
        return data.VideoClsCustom(root=str(root), setting=str(setting), train=train, modality=modality, **options)
    if name == 'custom':
        if not setting or root is None:
            raise UsageError('--dataset custom needs --data-dir and --train-list (training) or --val-list (validation)')
        return data.VideoClsCustom(root=root, setting=setting, train=train, modality=modality, **options)
    if name not in PRESETS:
        raise UsageError(f'unknown data set {name!r}; known: {", ".join([*PRESETS, *DEMOS, "custom"])}')
    places = {key: value for key, value in (('root', root), ('setting', setting)) if value is not None}
    return getattr(data, PRESETS[name])(train=train, modality=modality, **places, **options)


def default_root(name: str) -> str:
    """Folder of a data set under ``$MXNET_HOME`` (by default ``~/.mxnet``)."""
    home = os.environ.get('MXNET_HOME') or os.path.join(os.path.expanduser('~'), '.mxnet')
    return os.path.join(home, 'datasets', name)


def train_transform(data_aug: str, size: int, mean, std, *, new_height: int = 0, new_width: int = 0,
                    scale_ratios=(1.0, 0.875, 0.75, 0.66), more_fix_crop: bool = True, max_distort: int = 1,
                    flip_prob: float = 0.5, color_jitter: float = 0., rand_augment: float = 0.,
                    random_erasing: float = 0.):
    """Training augmentation by the name of ``--data-aug`` (GluonCV's v1 to v4).

    Parameters
    ----------
    data_aug : {'v1', 'v2', 'v3', 'v4'}
        Multi-scale crop; the same after resizing the short side to `new_height`; random short side between
        `new_height` and `new_width`, then a random crop; random resized crop.
    size : int
        Side of the square that comes out, in pixels.
    mean, std : sequence of float
        Per channel, on values in 0..1.
    color_jitter : float
        Strength of random changes of colour, see `VideoColorJitter`; 0 for none.
    rand_augment : float
        Magnitude of `VideoRandAugment`; 0 for none.
    random_erasing : float
        Share of videos that `VideoRandomErasing` changes; 0 for none.
    """
    from mxnet.gluon.data.vision.transforms import Compose

    from .transforms import video
    from .transforms.augmentation import VideoRandAugment, VideoRandomErasing
    square = (size, size)
    more = [transform() for wanted, transform in (
        (color_jitter, lambda: video.VideoColorJitter(mean, std, color_jitter)),
        (rand_augment, lambda: VideoRandAugment(mean, std, rand_augment)),
        (random_erasing, lambda: VideoRandomErasing(random_erasing))) if wanted]
    if more:
        crops = train_transform(data_aug, size, mean, std, new_height=new_height, new_width=new_width,
                                scale_ratios=scale_ratios, more_fix_crop=more_fix_crop, max_distort=max_distort,
                                flip_prob=flip_prob)
        return Compose([crops, *more])
    if data_aug == 'v1':
        return video.VideoGroupTrainTransform(square, scale_ratios, mean, std, more_fix_crop=more_fix_crop,
                                              max_distort=max_distort, prob=flip_prob)
    if data_aug == 'v2':
        return video.VideoGroupTrainTransformV2(square, _side(new_height, 'v2'), scale_ratios, mean, std,
                                                more_fix_crop=more_fix_crop, max_distort=max_distort, prob=flip_prob)
    if data_aug == 'v3':
        low, high = _side(new_height, 'v3'), _side(new_width, 'v3', '--new-width')
        if not size <= low <= high:
            raise UsageError(f'--data-aug v3 draws the short side from --new-height {low} to --new-width {high} and '
                             f'crops {size} from it: needs --input-size <= --new-height <= --new-width')
        return video.VideoGroupTrainTransformV3(square, low, high, mean, std, prob=flip_prob)
    if data_aug == 'v4':
        return video.VideoGroupTrainTransformV4(square, mean, std, prob=flip_prob)
    raise UsageError(f'--data-aug {data_aug!r} is unknown; known: v1, v2, v3, v4')


def _side(value: int, data_aug: str, flag: str = '--new-height') -> int:
    if value <= 0:
        raise UsageError(f'--data-aug {data_aug} needs {flag}, the side frames are resized to')
    return value
