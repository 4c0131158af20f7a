# `make demo` and `make test` set up everything they need; every other target is for people who change the project.
# Paths are relative, so that the checkout may live in a folder whose name has spaces.
PYTHONS := python3.13 python3.12 python3.11 python3
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
# The newest supported Python that is there, unless PYTHON= says which.
PYTHON ?= $(shell for p in $(PYTHONS); do $$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
VENV := .venv
PY := $(VENV)/bin/python
CONSTRAINTS := constraints.txt
# What README.md installs in an environment of one's own: its examples export, and docs/ serve a page.
README_EXTRAS := cpu+onnx+serve
DEMO_DIR := runs/demo
# PYTHON= on the command line is about the environment: one that is there with another Python must not be taken for it.
ifeq ($(origin PYTHON)$(wildcard $(PY))$(filter clean,$(MAKECMDGOALS)),command line$(PY))
ifneq ($(shell $(PYTHON) -V),$(shell $(PY) -V))
$(error $(VENV) has $(shell $(PY) -V), $(PYTHON) is $(shell $(PYTHON) -V): rm -r $(VENV) first)
endif
endif
# A process a core, each with one thread; a process that is done takes tests over from others.
IN_PARALLEL := -n auto --maxprocesses 8 --dist worksteal
DEMO_NET := --model resnet18_v1b_custom --use-tsn --input-size 64
.DEFAULT_GOAL := help

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

$(PY):
	@$(or $(PYTHON),false) -c '$(SUPPORTED)' || { echo "Python 3.11, 3.12 or 3.13 is needed," \
	  "$(if $(PYTHON),$(PYTHON) is $$($(PYTHON) -V 2>&1 | tail -n 1),none is here):" \
	  "on Debian or Ubuntu apt-get install python3 python3-venv, elsewhere make PYTHON=/path/to/python3.13" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "could not make a virtual environment; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }

# The stamp of an extra is newer than what decides its content, so a second run installs nothing.
# Python 3.13 gets MXNet by itself, because the wheel asks for a NumPy older than that Python (pyproject.toml).
# GluonCV asks for opencv-python, which fails without the system's libGL; the headless build must be the one that is left.
$(VENV)/.installed-%: $(PY) pyproject.toml setup.py $(CONSTRAINTS)
	$(PY) -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[$(subst +,$(comma),$*)]'
	$(PY) -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) --no-deps mxnet
	@$(PY) -c 'import cv2.version as v; assert v.headless' 2>/dev/null || $(PY) -m pip install --quiet --disable-pip-version-check \
	  --force-reinstall --no-deps -c $(CONSTRAINTS) opencv-python-headless
	@touch $@
comma := ,

.PHONY: setup
setup: $(VENV)/.installed-$(README_EXTRAS)  ## make .venv and install the CPU build, and what exports and serves

# ResNet-18 TSN from scratch on generated videos: data, training, testing, and where the pictures are.
.PHONY: demo
demo: $(VENV)/.installed-$(README_EXTRAS)  ## set up, then train and test a recogniser on generated videos
	$(PY) scripts/train_recognizer.py --dataset demo_appearance --data-dir $(DEMO_DIR)/videos \
	  $(DEMO_NET) --num-segments 3 --no-pretrained-base --dropout 0 --data-aug v3 --new-height 64 --new-width 74 \
	  --batch-size 16 --lr 0.02 --warmup-epochs 1 --lr-mode cosine --num-epochs 14 --log-interval 10 -j 2 \
	  --save-dir $(DEMO_DIR)/train --resume auto
	$(PY) scripts/test_recognizer.py --dataset demo_appearance --data-dir $(DEMO_DIR)/videos \
	  $(DEMO_NET) --num-segments 5 --three-crop --new-height 0 --new-width 0 -j 2 \
	  --resume-params $(DEMO_DIR)/train/best.params --save-dir $(DEMO_DIR)/test --overwrite
	@echo 'Look at $(DEMO_DIR)/train/report.html and $(DEMO_DIR)/test/report.html'

.PHONY: test
test: $(VENV)/.installed-cpu+test  ## set up and pass the tests
	$(PY) -m pytest $(IN_PARALLEL)

.PHONY: test-slow
test-slow: $(VENV)/.installed-cpu+test  ## the tests marked slow
	$(PY) -m pytest -m slow --timeout 1800 $(IN_PARALLEL)

.PHONY: test-torch
test-torch: $(VENV)/.installed-cpu+test+torch  ## install PyTorch too, and the tests of what it computes
	$(PY) -m pytest tests/compute/on_torch tests/train/test_torch*.py tests/deploy/feature_scoring/test_torch*.py -m 'slow or not slow' --timeout 1800 $(IN_PARALLEL)

.PHONY: parity
parity: $(VENV)/.installed-cpu+test  ## export every model of the zoo and compare it with its network
	$(PY) -m pytest tests/deploy/test_parity.py -m 'slow or not slow' --timeout 1800

.PHONY: docs
docs: $(VENV)/.installed-cpu+docs  ## build docs/_build/html and run the tutorials; a warning is an error
	@rm -rf docs/api  # pages of modules that are gone would fail
	$(PY) -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# TensorFlow, which only benchmarks/frame_features.py compares with, asks for other versions of what $(VENV) has.
$(VENV)-tensorflow/.installed: $(PY)
	$(PY) -m venv $(VENV)-tensorflow
	$(VENV)-tensorflow/bin/pip install --quiet --disable-pip-version-check tensorflow-cpu==2.21.0
	@touch $@

.PHONY: bench
bench: $(VENV)/.installed-cpu+bench+onnx $(VENV)-tensorflow/.installed  ## ratios against GluonCV, PyTorch and TensorFlow, measured in turn on this machine
	$(PY) benchmarks/train_step.py
	$(PY) benchmarks/loader.py
	$(PY) benchmarks/multiview.py
	$(PY) benchmarks/clip_networks.py
	$(PY) benchmarks/torch_engine.py
	$(PY) benchmarks/deploy_speed.py
	$(PY) benchmarks/predict_stream.py
	$(PY) benchmarks/frame_features.py
	$(PY) benchmarks/feature_networks.py

.PHONY: lint
lint: $(VENV)/.installed-cpu+dev  ## ruff over everything
	$(PY) -m ruff check .

.PHONY: clean
clean:  ## remove what the targets made, the virtual environment included
	rm -rf $(VENV) $(VENV)-tensorflow runs docs/_build docs/gallery docs/api docs/commands build dist *.egg-info
