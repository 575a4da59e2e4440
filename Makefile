# The parameters the chapters run with: quick (their own defaults), or full or paper (see notebooks/params/).
PRESET ?= quick
PYTHON3 ?= python3
VENV ?= .venv
# The processes that run the tests side by side, each on one core.
WORKERS ?= 2
PY := $(VENV)/bin/python
NPM := $(shell command -v npm)

.PHONY: env book test lab results outputs bench clean

# everything the other targets need: the pinned packages, the module itself, a C++ compiler where there is none and, where
# npm is found, the page's scripts
env: $(VENV)/installed $(if $(NPM),book/node_modules/installed)

# the executed book, in book/_build/html
book: env
	$(PY) book/make.py book --preset $(PRESET)

# all checks; the book is built first because the page tests open it in a browser. A worker takes whole files, in their
# order: those with the longest tests come first.
test: book
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# copies of the chapters in JupyterLab, where the sliders compute live; edits stay in book/_build/lab
lab: env
	$(PY) book/lab.py

# the chapters' files under results/ with the parameters of PRESET, or all combinations of a grid of one's own:
#   make results PRESET=full
#   make results GRID=my_grid.yaml ARGS="--cores 4"
#   make results GRID=my_grid.yaml ARGS="--profile workflow/profiles/slurm"
results: env
	$(PY) workflow/engine.py $(if $(GRID),--grid "$(GRID)",--preset $(PRESET)) $(ARGS)

# the stored outputs of the checked cells in notebooks/, from chapters executed with their own defaults
outputs: env
	$(PY) book/make.py outputs

# timed side by side with what one would otherwise do, into benchmarks/*.md and .json: make bench ARGS="--cores 2"
bench: env
	$(PY) -m pip install -q -r benchmarks/requirements.txt
	$(PY) benchmarks/training.py $(ARGS)
	$(PY) benchmarks/attacks.py $(ARGS)
	$(PY) benchmarks/perturbation.py $(ARGS)
	$(PY) benchmarks/engine.py

# what was built, and the jobs of `make results`; the environment (.venv), the npm packages, results/ and what a reader
# wrote in the lab stay
clean:
	[ ! -d book/_build ] || find book/_build -mindepth 1 -maxdepth 1 ! -name lab -exec rm -rf {} +
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The last line builds the compiled way to train: by ziglang it takes a minute, once.
$(VENV)/installed: requirements.txt constraints.txt pyproject.toml
	@$(PYTHON3) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("This book needs Python 3.11 or newer, but $(PYTHON3) is " + sys.version.split()[0] + "; name a newer one with make PYTHON3=...")'
	$(PYTHON3) -m venv $(VENV)
	$(PY) -m pip install -r requirements.txt
	$(PY) -m pip install --no-deps --no-build-isolation -e .
	@command -v "$${CXX:-c++}" || command -v g++ || command -v clang++ || $(PY) -m pip install -c constraints.txt ziglang
	$(PY) -c 'from helpers.models import kernel; kernel.library()'
	touch $@

book/node_modules/installed: book/package.json book/package-lock.json
	cd book && npm ci --ignore-scripts
	touch $@
