"""
TimeSformer on clips of long videos
===================================

Epic-Kitchens has long recordings as folders of frames, and lists that say which action happens from which frame to
which. ``gluon-action video-action-classifier`` fine-tunes TimeSformer [Bertasius21]_ on them with the flags of
PyTorch Lightning's Trainer, and leaves its best epoch as a bundle. Here it trains a small one, without a download, on
recordings that are generated.
"""
# %%
# Recordings, and what happens in them
# ------------------------------------
# Each recording has four actions, one after the other, as frames; the list has a row for each.
import json
import os
import re
import shlex
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from gluon_action.cli.main import main

os.chdir(tempfile.mkdtemp())
ACTIONS = ('close drawer', 'open drawer')


def record(folder, number, rng):
    """Write the frames of a recording, in which a drawer opens and closes twice, and return its rows of the list."""
    person, rows, written = f'P{1 + number // 2:02d}', [], 0
    place = folder / person / f'{person}_{number:02d}'
    place.mkdir(parents=True)
    for action in range(4):
        opens = (number + action) % 2
        start = written + 1
        for step in range(16):
            part = step / 15 if opens else 1 - step / 15
            picture = rng.integers(30, 80, (48, 48, 3), dtype=np.uint8)
            picture[8:14 + round(26 * part), 10:38] = 210
            written += 1
            Image.fromarray(picture).save(place / f'frame_{written:010d}.jpg', quality=92)
        rows.append(f'{person},{place.name},{start},{written},{ACTIONS[opens]}')
    return rows


for split, numbers in (('train', range(12)), ('val', range(12, 18))):
    rows = [row for number in numbers for row in record(Path('data', split), number, np.random.default_rng(number))]
    Path('data', f'{split}_action_classes.csv').write_text(
        '\n'.join(['participant_id,video_id,start_frame,stop_frame,action_class', *rows, '']))
Path('data', 'class_names.json').write_text(json.dumps({name: number for number, name in enumerate(ACTIONS)}))
print(*Path('data/train_action_classes.csv').read_text().splitlines()[:5], sep='\n')

# %%
# A few frames of the first action.
frames = sorted(Path('data/train').rglob('*.jpg'))[:16:5]
figure, axes = plt.subplots(1, len(frames), figsize=(8, 2.2))
for place, path in zip(axes, frames):
    place.imshow(plt.imread(path))
    place.set_title(path.stem, fontsize=8)
    place.axis('off')
figure.tight_layout()


# %%
# Train
# -----
# On a GPU, and with the file of the authors' weights as ``--checkpoint``, it would be the large network that is the
# default.
def gluon_action(command):
    """Run a command as you would type it in a shell."""
    print('$ gluon-action', command)
    assert main(shlex.split(command)) == 0


gluon_action('video-action-classifier --data_path data --model timesformer_small_custom --input_size 32 --batch_size 8 '
             '--max_epochs 10 --optimizer adamw --learning_rate 1e-3 --log_every_n_steps 0 --num_workers 0 '
             '--flip_prob 0 --gpus 0')
run = Path('lightning_logs/version_0')
pictures = [str(run / 'history.png')]

# %%
# What it learnt
# --------------
# The best epoch lies in ``checkpoints`` as parameters, as a bundle, and as a single ONNX file.
print(*sorted(path.name for path in (run / 'checkpoints').iterdir()), sep='\n')
history = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
accuracies = [record['val_top1'] for record in history if 'val_top1' in record]
print('validation:', *(f'{accuracy:.2f}' for accuracy in accuracies))

# %%
# Predict
# -------
# The action of a recording that it has never seen, drawn onto it. The ONNX file describes itself and needs no MXNet.
model = next(path for path in (run / 'checkpoints').iterdir() if re.search(r'\.onnx$', path.name))
recording = sorted(path for path in Path('data/val').glob('*/*'))[0]
gluon_action(f'test-video-action-classifier --video_path {recording} --onnx {model} --class_names_path '
             'data/class_names.json')
pictures = [f'{recording}.gif']

# %%
# .. [Bertasius21] Gedas Bertasius, Heng Wang, Lorenzo Torresani. Is Space-Time Attention All You Need for Video
#    Understanding? ICML 2021, arXiv:2102.05095.
