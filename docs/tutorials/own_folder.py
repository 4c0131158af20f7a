"""
Train on a folder of your own videos
====================================

A folder for each class is all that is needed. This page starts from a network that was trained on other classes, and
teaches it two new ones with a few videos each; then it looks at what came of it.
"""
# %%
# A folder for each class
# -----------------------
# As you would have them from a phone or a camera, in ``train`` and ``val``. Here the videos are generated, and sorted
# into two classes that the network does not know: things that rise, and things that sink, at any speed.
import json
import os
import shlex
import shutil
import tempfile
from pathlib import Path

from gluon_action.cli.main import main
from gluon_action.data.demo.make import make_demo

os.chdir(tempfile.mkdtemp())
demo = make_demo('demo_motion', 'generated', train_per_class=16, val_per_class=8, num_frames=36, seed=5)
for split, listed in (('train', demo.train_list), ('val', demo.val_list)):
    for line in listed.read_text().splitlines():
        source = demo.video_dir / line.split()[0]
        target = Path('videos', split, 'rising' if 'Up' in source.name else 'sinking', source.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, target)
print(*(f'{folder}: {len(list(folder.iterdir()))} videos' for folder in sorted(Path('videos').glob('*/*'))), sep='\n')


def gluon_action(command):
    """Run a command as you would type it in a shell."""
    print('$ gluon-action', command)
    assert main(shlex.split(command)) == 0


# %%
# Train
# -----
# ``gluon-action train videos`` would do; it would take a ResNet, and weights for it where they are on the machine.
# Here the start is the small network of the package, which has learnt four other classes: a new head, and everything
# else from its weights. What is not said comes from a recipe for few videos: the rate, averages of the weights, and
# that the best parameters are never worse than the start.
gluon_action('train videos --model s3dg_small_demo_motion --use-pretrained --new-length 8 --input-size 56 '
             '--data-aug v3 --new-height 60 --new-width 72 --num-epochs 4 --save-dir runs/mine -j 0')
pictures = ['runs/mine/history.png']

# %%
# The run says what it trained on, and what was chosen.
config = json.loads(Path('runs/mine/config.json').read_text())
print({name: config[name] if name in config else config['config'][name] for name in ('lr', 'num_epochs', 'batch_size')})
print(*sorted(path.name for path in Path('runs/mine').iterdir()), sep='\n')
history = [json.loads(line) for line in Path('runs/mine/metrics.jsonl').read_text().splitlines()]
accuracies = [record['val_top1'] for record in history if 'val_top1' in record]

# %%
# Use it
# ------
# The folder of the run is all that other commands need.
video = next(Path('videos/val/rising').iterdir())
gluon_action(f'predict runs/mine {video} --overlay seen.gif')
pictures = ['seen.gif']
