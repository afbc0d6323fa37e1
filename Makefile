# Every target sets up what it needs. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(firstword $(foreach name,python3.11 python3,$(shell command -v $(name) 2>/dev/null)))
EXTRAS ?=
IMAGE ?= serve
TORCH_INDEX ?=
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# What is installed stays: only `make setup EXTRAS=…` takes the other one.
INSTALLED := $(patsubst $(VENV)/.ready-%,%,$(firstword $(wildcard $(VENV)/.ready-*)))
SETUP := $(or $(if $(filter setup,$(MAKECMDGOALS)),$(EXTRAS)),$(INSTALLED),cpu)
READY := $(VENV)/.ready-$(SETUP)
LOCK := requirements/dev.lock

.PHONY: help setup demo test test-fast test-deploy test-docs soak train export serve models bench bench-gpu bench-peers bench-training compare docs notebooks image up down hooks lint lint-deploy type format lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  ARGS='…' goes to the command: make train ARGS='model=bert data=reviews'"

setup: $(READY) ## make .venv with the locked dependencies (EXTRAS=gpu for CUDA; TORCH_INDEX=URL for another index of torch)

$(READY): $(LOCK) requirements/torch.lock pyproject.toml
	@case "$(SETUP)" in cpu | gpu) ;; *) echo "error: EXTRAS=$(SETUP): must be cpu or gpu" >&2; exit 2 ;; esac
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo "error: PYTHON=$(PYTHON): Python 3.11 is needed; name it: make setup PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { echo "error: $(PYTHON) has no ensurepip; install its venv package (Debian: python3.11-venv)" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked dependencies into $(VENV) (a minute or two, once)" >&2
	@# Both builds of ONNX Runtime own one module, so whichever is removed takes it along.
	@$(PIP) uninstall -qq --yes $(if $(filter gpu,$(SETUP)),onnxruntime,onnxruntime-gpu)
	@$(PIP) install --quiet --no-deps --requirement $(if $(filter gpu,$(SETUP)),<(grep -v '^onnxruntime==' $(LOCK)),$(LOCK))
	@$(PIP) install --quiet --constraint $(LOCK) --requirement requirements/torch.lock $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
ifeq ($(SETUP),gpu)
	@$(PIP) install --quiet --constraint $(LOCK) --editable '.[gpu]'
	@$(BIN)/python -c 'import sys, torch; sys.exit(torch.version.cuda is None)' \
	  || { echo "error: EXTRAS=gpu, but pip took the CPU build of torch; make clean, then name an index of the CUDA build: make setup EXTRAS=gpu TORCH_INDEX=URL" >&2; exit 2; }
endif
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -c 'import torch, onnxruntime; print("torch", torch.__version__, "· onnxruntime", onnxruntime.__version__)' >&2
	@rm -f $(VENV)/.ready-*
	@touch $@

demo: $(READY) ## train, export, register, serve and ask: the whole line on real digits
	@$(BIN)/python examples/demo.py $(ARGS)

test: $(READY) ## the test suite, but for what soak, test-deploy and test-docs run
	@$(BIN)/python -m compileall -q bundle optimize serving trainer  # for the hundreds of processes to come
	@$(BIN)/python -m pytest -n 2 --no-loadscope-reorder $(ARGS)

soak: $(READY) ## the tests that take longest: kills, lost machines, other numbers of processes
	@$(BIN)/python -m pytest -m soak $(ARGS)

test-deploy: $(READY) ## the tests that build images or need Prometheus, podman and the like
	@$(BIN)/python -m pytest -m deploy $(ARGS)

test-fast: $(READY) ## the test suite without the slow tests
	@$(BIN)/python -m pytest -m 'not slow' $(ARGS)

docs: $(READY) ## build the site of docs/ into site/; a dead link is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict $(ARGS)

test-docs: $(READY) ## run the notebooks and the pages that are walked from top to bottom
	@$(BIN)/python -m pytest -m docs tests/docs $(ARGS)

notebooks: $(READY) ## run notebooks/; with their pictures they lie in outputs/notebooks
	@$(BIN)/python notebooks/run.py $(ARGS)

hooks: $(READY) ## let git run the linters before each commit
	@$(BIN)/pre-commit install --hook-type pre-commit --hook-type pre-push

train: $(READY) ## python train.py
	@$(BIN)/python train.py $(ARGS)

export: $(READY) ## python export.py (the latest run unless ARGS names another)
	@$(BIN)/python export.py $(ARGS)

serve: $(READY) ## python serve.py (ARGS='--model URI')
	@$(BIN)/python serve.py $(ARGS)

models: $(READY) ## python models.py (ARGS='list')
	@$(BIN)/python models.py $(ARGS)

bench: $(READY) ## measure: the server against stock LitServe, a bare Starlette and its bare engine
	@$(BIN)/python benchmarks/serving.py $(ARGS)

bench-peers: $(READY) ## measure: the server beside six others, each installed below benchmarks/peers/.venvs
	@$(BIN)/python -m benchmarks.peers.compare $(ARGS)

bench-gpu: $(READY) ## measure: ResNet-50 and BERT-base in torch, ONNX Runtime and TensorRT, and over HTTP, on a GPU
	@$(BIN)/python benchmarks/gpu.py $(ARGS)

bench-training: $(READY) ## measure: training against a hand-written loop and bare Lightning
	@$(BIN)/python benchmarks/training.py $(ARGS)

compare: $(READY) ## time one model in every runtime of this machine (ARGS='BUNDLE|model.onnx')
	@$(BIN)/python -m optimize.compare $(ARGS)

image: ## build a container image: IMAGE=serve, train or mlflow; EXTRAS=gpu (Docker, Podman or Buildah)
	@EXTRAS=$(or $(EXTRAS),cpu) deploy/docker/build.sh $(IMAGE) $(ARGS)

up: ## start the whole stack: server, MLflow, PostgreSQL, S3, Prometheus, Alertmanager, Grafana
	@deploy/compose/compose.sh up --detach $(ARGS)

down: ## stop it; what it stored stays (ARGS=--volumes throws that away)
	@deploy/compose/compose.sh down $(ARGS)

lint: $(READY) lint-deploy ## ruff, the import contracts, and the linters of what is not Python
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

FILES := git ls-files --cached --others --exclude-standard --
lint-deploy: $(READY) ## yamllint, shellcheck, hadolint and actionlint
	@$(FILES) '*.yaml' '*.yml' | xargs --no-run-if-empty $(BIN)/yamllint --strict
	@git grep --untracked --files-with-matches '^#!/.*sh$$' -- ':!*.py' | xargs --no-run-if-empty $(BIN)/shellcheck
	@$(FILES) '*Dockerfile*' | xargs --no-run-if-empty $(BIN)/hadolint
	@$(FILES) '.github/workflows/*.yml' | xargs --no-run-if-empty $(BIN)/actionlint

type: $(READY) ## mypy --strict
	@$(BIN)/mypy

format: $(READY) ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: ## resolve requirements/*.lock anew from pyproject.toml
	@PYTHON=$(PYTHON) requirements/lock.sh

clean: ## remove the environment, caches, outputs/, multirun/ and site/ (the registry mlflow.db stays)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis outputs multirun site notebooks/outputs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
