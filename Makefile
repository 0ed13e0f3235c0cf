# make demo   installs, draws a small EmoSet, trains a generator and an understanding model on it, measures both, writes a report
# make loop   lets each half of what make demo made improve the other, and measures it
# make app    installs, and serves a page in a browser on what make demo made; RUN=folder names another run
# make test   installs and runs the tests
# make lint   ruff: errors and format
# make bench  times against plain loops on a dataset of EmoSet's real size; METADATA=folder says where its metadata lie
# make clean  removes .venv and what make demo wrote
# PYTHON=     the interpreter that .venv is made with, 3.11 or newer

PYTHON ?= python3
METADATA ?= ../shared/emoset
RUN ?= runs/demo
BIN := .venv/bin
INSTALLED := .venv/installed-with-$(subst /,-,$(PYTHON))

WITH_APP := .venv/installed-app-with-$(subst /,-,$(PYTHON))

.PHONY: install demo loop app test lint bench clean

install: $(INSTALLED)

# The mark is made last: an interrupted installation starts again.
$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c '' || { echo "error: '$(PYTHON)' is no interpreter that runs; name one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $$($(PYTHON) --version 2>&1) is too old; this project needs 3.11 or newer: make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e .
	touch $@

# The page's packages, which nothing else needs.
$(WITH_APP): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e .[app]
	touch $@

demo: install
	$(BIN)/python demo/run.py

loop: install
	$(BIN)/python loop/main.py --config config/demo.yaml
	$(BIN)/python loop/teach.py --config config/demo.yaml

app: $(WITH_APP)
	$(BIN)/python app/main.py run=$(RUN)

# Two at a time, a thread each.
test: $(WITH_APP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: install
	@test -f "$(METADATA)/index.csv.gz" || { echo "error: no published metadata in $(METADATA); make bench METADATA=folder" >&2; exit 1; }
	$(BIN)/python benchmarks/dataset_balance.py $(METADATA) data/bench

clean:
	rm -rf .venv data/drawn runs/demo
