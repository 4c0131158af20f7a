"""What options are called elsewhere: a name that a command does not know may be that of another toolkit."""
from __future__ import annotations

import difflib
from collections.abc import Mapping

#: Names of one thing, without the dashes of flags; whichever of them a command has is what was meant.
SAME = tuple(map(str.split, (
    'save_dir out output output_dir out_dir o html work_dir log_dir',
    'lr base_learning_rate learning_rate base_lr initial_lr',
    'num_epochs epochs max_epochs max_epoch n_epochs total_epochs',
    'batch_size batch batch_sizes train_batch_size videos_per_gpu samples_per_gpu',
    'num_workers num_data_workers workers n_workers data_workers workers_per_gpu',
    'wd weight_decay', 'num_gpus gpus gpu n_gpus devices', 'num_cpus cpus cpu', 'model arch network net backbone',
    'input_size image_size img_size crop_size resolution', 'new_length clip_length clip_len num_frames',
    'new_step clip_stride frame_interval frame_stride sampling_rate', 'lr_mode scheduler lr_scheduler lr_policy',
    'lr_decay gamma lr_gamma', 'lr_decay_epoch milestones lr_steps', 'warmup_epochs warmup',
    'optimizer optim', 'clip_norm grad_clip max_grad_norm gradient_clip_val',
    'accumulate accumulation_steps gradient_accumulation_steps accumulate_grad_batches update_freq',
    'resume_params checkpoint_path checkpoint ckpt weights load_from', 'use_pretrained pretrained',
    'use_amp amp fp16 bf16 mixed_precision',
    'label_smoothing smoothing', 'dropout dropout_ratio drop_rate', 'patience early_stopping early_stop_patience',
    'num_classes nclass n_classes nb_classes', 'seed random_seed', 'data_dir data_root data_path root',
    'train_list train_file train_csv', 'val_list val_file val_csv test_list')))


def meant(typed: str, names: Mapping[str, str]) -> list[str]:
    """Return what a name may mean: all that is the same under other names, else the one that comes closest.

    Parameters
    ----------
    typed : str
        With or without dashes before it.
    names : mapping of str to str
        What there is -> what a message calls it.
    """
    typed, there = _plain(typed), {_plain(name): said for name, said in names.items()}
    same = [said for name, said in there.items() if any({typed, name} <= {*group} for group in SAME)]
    if same:
        return list(dict.fromkeys(same))
    # What comes closest to the name of something that there is not here means none of what there is.
    elsewhere = {name: next((there[known] for known in group if known in there), '')
                 for group in SAME for name in group}
    pool = {**elsewhere, **there}
    return [pool[name] for name in difflib.get_close_matches(typed, pool, n=1) if pool[name]]


def _plain(name: str) -> str:
    return name.lstrip('-').replace('-', '_')
