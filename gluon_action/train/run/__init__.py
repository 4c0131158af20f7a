"""A run: the steps that all share, and what it leaves on disk: folder, checkpoints, log, plots."""

#: What a run writes under names of its own, beside parameters, checkpoints, TensorBoard's events and the log.
RUN_FILES = ('config.json', 'metrics.jsonl', 'history.png', 'failures.jsonl', 'best.params', 'report.html',
             'validation_scores.npz')
