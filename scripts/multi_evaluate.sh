#!/usr/bin/env bash
# Score the sample by every stream with every set of published weights, one file in out/ each, as kinetics-i3d does.
# What is given goes to evaluate_sample.py: scripts/multi_evaluate.sh --checkpoint_dir kinetics-i3d/data/checkpoints
# PYTHON=.venv/bin/python chooses the interpreter, OUT=elsewhere the folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${OUT:-out}
mkdir -p "$out"

evaluate() {  # name of the file, then flags
  local file="$out/$1.txt"
  "${PYTHON:-python}" "$here/evaluate_sample.py" "${@:2}" > "$file.part" || { rm "$file.part"; exit 1; }
  mv "$file.part" "$file"
  echo "$file"
}

for stream in joint flow rgb; do
  evaluate "imagenet_$stream" --imagenet_pretrained true --eval_type "$stream" "$@"
done
for stream in joint flow rgb rgb600; do
  evaluate "no_imagenet_$stream" --imagenet_pretrained false --eval_type "$stream" "$@"
done
