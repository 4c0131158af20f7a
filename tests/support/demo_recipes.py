"""Trainings on generated videos that reach more than 95 %, as the pages print them."""

#: What `make demo` runs: frames of `demo_appearance`.
FRAMES = dict(model='resnet18_v1b_custom', pretrained_base=False, use_tsn=True, num_segments=3, input_size=64,
              data_aug='v3', new_height=64, new_width=74, dropout=0., batch_size=16, lr=0.02, warmup_epochs=1,
              lr_mode='cosine', num_epochs=14, num_workers=2, log_interval=0)

#: What docs/clip_networks.md prints: clips of `demo_motion`.
CLIPS = dict(pretrained_base=False, new_length=12, input_size=56, data_aug='v3', new_height=56, new_width=64,
             flip_prob=0., dropout=0., batch_size=16, lr=0.02, warmup_epochs=1, lr_mode='cosine', num_epochs=10,
             num_workers=1, log_interval=0)
