"""``gluon-action youtube8m COMMAND`` and ``scripts/youtube8m/``: from records of features to a submission."""

#: name, which is also the script's -> (module of this package, what it does)
COMMANDS: dict[str, tuple[str, str]] = {
    'extract_features': ('extract_features', 'features of your own videos as records'),
    'import_checkpoint': ('import_checkpoint', 'a TensorFlow checkpoint of YouTube-8M as a train_dir'),
    'train': ('train', 'train a network on features of videos or of their frames'),
    'train_distill': ('train_distill', 'train a student on labels and on what a teacher says of the same videos'),
    'eval': ('eval', 'write the model of a run as inference_model, and score it'),
    'merge': ('merge', 'join what --shard I/N of several processes made, and prove that nothing is missing'),
    'quantize': ('quantize', 'a smaller copy of a trained model: 8 bits a number, or float16'),
    'graph_ensemble': ('graph_ensemble', 'several trained models as one'),
    'weights_average': ('weights_average', 'the mean of the weights of several models of one network'),
    'inference': ('inference', 'the tags of videos as the CSV of a submission'),
    'inference_gpu': ('inference_gpu', 'the same on a GPU'),
    'prepare_distill_dataset': ('prepare_distill_dataset', "records with a teacher's predictions, to train a student"),
    'eval_custom': ('eval_custom', 'what any stored model scores, quantized or an ensemble as well'),
}
