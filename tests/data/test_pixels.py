"""Clips that travel as pixels of 8 bits and are scaled at the end have the numbers that workers would have made."""
import numpy as np
import pytest
from videos import write_video

from gluon_action.data.by_name import train_transform
from gluon_action.data.loading.epoch_order import EpochOrder
from gluon_action.data.loading.loader import VideoLoader
from gluon_action.data.transforms import functional as F
from gluon_action.data.transforms import video
from gluon_action.data.transforms.scaling import Scaling
from gluon_action.data.video_dataset import VideoClsCustom
from gluon_action.errors import UsageError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp('pixels')
    for number in range(3):
        write_video(root / f'{number}.mp4', 12, size=(64, 48))
    (root / 'list.txt').write_text(''.join(f'{number}.mp4 {number % 2}\n' for number in range(3)))
    return root


def opened(folder, data_aug='v1', **options):
    transform = train_transform(data_aug, 32, MEAN, STD, new_height=40, new_width=44)
    return VideoClsCustom(str(folder), str(folder / 'list.txt'), transform=transform, data_aug=data_aug, **options)


@pytest.mark.parametrize('channels, mean, std, top', [(3, MEAN, STD, 255.), (2, 0.5, 0.25, 255.), (3, 0., 1., 1.)])
@pytest.mark.parametrize('flip', [False, True])
def test_scaled_pixels_are_the_numbers_of_a_tensor(channels, mean, std, top, flip):
    clip = np.random.default_rng(0).integers(0, 256, (5, 20, 30, channels), dtype=np.uint8)
    expected = F.to_tensor(clip, mean, std, top, flip)
    pixels, scaling = F.to_pixels(clip, flip), Scaling(mean, std, top)
    assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
    np.testing.assert_array_equal(scaling(pixels), expected)
    factor, offset = scaling.affine(channels)
    there = pixels * factor[None, :, None, None] + offset[None, :, None, None]
    np.testing.assert_allclose(there, expected, rtol=1e-6, atol=1e-6 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize('data_aug', ['v1', 'v2', 'v3', 'v4'])
def test_a_data_set_gives_pixels_that_become_its_clips(folder, data_aug):
    videos = opened(folder, data_aug, new_length=4)
    pixels = videos.as_pixels()
    for epoch in range(3):
        clip, label = videos.load(1, epoch=epoch)
        there, same = pixels.load(1, epoch=epoch)
        assert there.dtype == np.uint8 and there.shape == clip.shape == (1, 3, 4, 32, 32) and label == same
        np.testing.assert_array_equal(pixels.scaling(there), clip)
    assert videos.scaling is None and videos.load(0)[0].dtype == np.float32  # which is as it was


@pytest.mark.parametrize('num_workers', [0, 2])
def test_batches_of_pixels_are_a_quarter_of_the_bytes_and_become_the_same_numbers(folder, num_workers):
    videos = opened(folder, num_segments=3)
    with VideoLoader(EpochOrder(videos), 2, shuffle=True, seed=1) as numbers, \
            VideoLoader(EpochOrder(videos.as_pixels()), 2, shuffle=True, seed=1, num_workers=num_workers) as pixels:
        for one, other in zip(numbers.epoch(1), pixels.epoch(1), strict=True):
            assert other.data.dtype == np.uint8 and 4 * other.data.nbytes == one.data.nbytes
            scaled = other.scaled()
            np.testing.assert_array_equal(scaled.data, one.data)
            assert scaled.scaling is None and one.scaling is None and scaled.indices == one.indices
            assert one.scaled() is one


@pytest.mark.parametrize('transform', [None, video.VideoToTensor(),
                                       train_transform('v1', 32, MEAN, STD, random_erasing=1.)])
def test_transforms_that_do_not_end_by_scaling_are_refused(folder, transform):
    videos = VideoClsCustom(str(folder), str(folder / 'list.txt'), transform=transform)
    with pytest.raises(UsageError, match='pixels can be sent where the transform ends by scaling them'):
        videos.as_pixels()
