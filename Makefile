# Needs Python 3.11 or later and make; everything else goes into .venv.
PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin

.PHONY: demo test lint bench

$(BIN)/creagen-installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@

demo: $(BIN)/creagen-installed
	$(BIN)/python train.py names_lstm $(DEMO_FLAGS)
	$(BIN)/python sample.py runs/names_lstm --num 10
	$(BIN)/python sample.py runs/names_lstm --num 10 --label female
	$(BIN)/python evaluate.py runs/names_lstm --fast
	@echo
	@echo "How creative it is, in pictures: open runs/names_lstm/report.html"
	@echo
	@echo "Next, with '. $(BIN)/activate':"
	@echo "  python sample.py runs/names_lstm --num 10 --label male --prompt Mar --temperature 0.8"
	@echo "  python train.py names_transformer"
	@echo "  python train.py shakespeare_transformer --data.path YOUR.txt --run runs/mine"

test: $(BIN)/creagen-installed
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

lint: $(BIN)/creagen-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

bench:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[test,bench]'
	$(BIN)/python -m benchmarks.decoding --batches 1
