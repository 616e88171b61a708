# Two commands: `make quickstart` runs the whole chain on the built-in sample, `make test` checks everything.
# Each makes its own virtual environment on first use. `make quickstart PIP="--index-url ..."` passes options to pip.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP ?=
OUT ?= quickstart-out

.PHONY: quickstart test lint clean
.DELETE_ON_ERROR:

quickstart: .venv/ready
	.venv/bin/pubmedbert quickstart --out $(OUT)

test: .venv-dev/ready lint
	.venv-dev/bin/python -m pytest -n 2 --dist worksteal

lint: .venv-dev/ready
	.venv-dev/bin/ruff check .
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/mypy
	.venv-dev/bin/lint-imports

.venv/ready: EXTRA = train
.venv-dev/ready: EXTRA = dev
.venv/ready .venv-dev/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("pubmedbert needs Python 3.11 or newer, not " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP) --constraint constraints.txt --editable '.[$(EXTRA)]'
	touch $@

clean:
	rm -rf .venv .venv-dev .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis $(OUT)
