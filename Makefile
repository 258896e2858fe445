# Every target does its own set-up from nothing. Downloads and builds are kept in the user's cache folder.
SHELL := /bin/bash
.DELETE_ON_ERROR:
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/curation-operator
TESTS ?= tests/unit tests/integration
WORKERS ?= 4
FACES ?= 1
PLUGIN ?= 1
# The tests start hundreds of processes: what one has compiled is not compiled again by each of them.
unexport PYTHONDONTWRITEBYTECODE
# By themselves where TESTS names no others: to start an operator for each of these tests costs more than the test.
ALL := $(filter file,$(origin TESTS))
FACED := tests/integration/faces
# One event loop for all tests, so that an operator can serve several of them.
LENT := --lend-operators 25 -o asyncio_default_test_loop_scope=session -o asyncio_default_fixture_loop_scope=session

.PHONY: help demo recording test unit one controlplane lint format generate verify audit modules bench gauntlet neighbours faces guards gitops certmanager registry helm chart release plugin krew e2e compat lock clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): requirements/dev.txt pyproject.toml
	@echo "set-up: Python environment in $(VENV) (once; about a minute the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q operator
	@touch $@

demo: $(READY) ## Run the main job on a real local API server (KEEP=1 leaves it up; CLUSTER=current: on your cluster).
	@$(BIN)/python -m demo $(if $(KEEP),--keep) $(if $(CLUSTER),--cluster "$(CLUSTER)")

recording: $(READY) ## docs/demo.svg: the demo's output as a picture, from a run that goes well.
	@$(BIN)/python -m hack.recording

test: $(READY) ## Unit and integration tests, the latter on a real local API server.
	@$(BIN)/python -m testing.controlplane build --tests > /dev/null
	@failed=0; \
	$(if $(ALL),$(BIN)/python -m pytest $(FACED) -n $(WORKERS) --dist worksteal $(LENT) || failed=$$?;) \
	$(BIN)/python -m pytest $(TESTS) -n $(WORKERS) --dist worksteal $(if $(ALL),--ignore $(FACED)) || failed=$$?; \
	exit $$failed

unit: $(READY) ## Unit tests only.
	@$(BIN)/python -m pytest tests/unit -n $(WORKERS)

one: $(READY) ## One test, file or folder: make one T=tests/unit/lifecycle/test_fence.py K=word.
	@$(BIN)/python -m pytest $(T) $(if $(K),-k "$(K)")

gauntlet: $(READY) faces guards neighbours ## Fault tests: killed processes, lost answers, floods; the faces in all variants; without each guard.
	@$(BIN)/python -m pytest tests/gauntlet -n $(WORKERS) --dist worksteal

# One after the other: each is compared with the same flood in a namespace that is not served.
neighbours: $(READY) ## One namespace floods in each way that is known, another one works.
	@$(BIN)/python -m testing.controlplane build --tests > /dev/null
	@$(BIN)/python -m pytest tests/neighbours $(if $(K),-k "$(K)")

gitops: $(READY) ## The promises about GitOps under Flux' real controllers (built once: 13 minutes of processor time).
	@$(BIN)/python -m testing.controlplane build --tests > /dev/null
	@$(BIN)/python -m testing.gitops build > /dev/null
	@$(BIN)/python -m pytest tests/gitops_kit -o asyncio_default_fixture_loop_scope=session \
		-o asyncio_default_test_loop_scope=session

certmanager: $(READY) ## The webhook's certificate from the real cert-manager (built once: 5 minutes of processor time).
	@$(BIN)/python -m testing.controlplane build --tests > /dev/null
	@$(BIN)/python -m testing.certmanager > /dev/null
	@$(BIN)/python -m pytest tests/certmanager_kit

registry: $(READY) ## Modules in three languages, pushed to a real registry and signed by the real cosign (built once: 9 minutes).
	@$(BIN)/python -m testing.controlplane build --tests > /dev/null
	@$(BIN)/python -m testing.registry build > /dev/null
	@$(BIN)/python -m pytest tests/registry_kit

helm: $(READY) ## Write the whole Helm chart to dist/chart, for `helm install`.
	@$(BIN)/python -m hack.chart

chart: $(READY) ## Helm chart, overlays and one-file manifests on a real API server, by the real Helm (built once: 4 minutes).
	@$(BIN)/python -m testing.controlplane build --tests > /dev/null
	@$(BIN)/python -m pytest tests/chart -n 2

# URL is where the files will be, such as https://.../releases/download/v0.1.0: for the manifest of krew. PLUGIN= leaves
# the archive of kubectl-curation out.
release: $(READY) ## Make in dist/ what of a release needs no registry: manifests, chart, wheel, plugin (IMAGE=NAME:TAG URL=...).
	@$(BIN)/python -m hack.release $(if $(IMAGE),--image "$(IMAGE)") $(if $(URL),--url "$(URL)") $(if $(PLUGIN),,--without-plugin)

plugin: $(READY) ## kubectl-curation as an archive that needs no Python, in dist/plugin, and its tests (3 minutes of processor time).
	@$(BIN)/python -m hack.krew archive
	@$(BIN)/python -m pytest tests/plugin_kit $(if $(K),-k "$(K)")

krew: $(READY) ## The manifest of krew, of the archives in FOLDER (dist/plugin) that will be at URL=...
	@$(BIN)/python -m hack.krew manifest $(if $(FOLDER),--out "$(FOLDER)") --url "$(URL)"

faces: $(READY) ## The nine faces in all variants, FACES=50 times in a row.
	@$(BIN)/python -m testing.controlplane build --tests > /dev/null
	@$(BIN)/python -m pytest tests/integration/faces --all-variants --count $(FACES) --repeat-scope session \
		-n $(WORKERS) --maxfail 1 $(LENT)

guards: $(READY) ## Take each guard of the fence off the source, and see a test fail.
	@$(BIN)/python -m testing.controlplane build --tests > /dev/null
	@$(BIN)/python -m hack.guards -n $(WORKERS)

# NODE=<folder of a node kit> (KEEP=1 leaves the node up), or IMAGE=<image> for the cluster of the current KUBECONFIG.
# E2E holds options of pytest; SESSIONS=<image> is that of the sample session service.
e2e: $(READY) ## The operator as it is installed, on a real node: NODE=... or IMAGE=...
	@$(BIN)/python -m hack.e2e $(if $(NODE),--node "$(NODE)" $(if $(KEEP),--keep),$(if $(IMAGE),--image "$(IMAGE)" $(if $(SESSIONS),--sessions-image "$(SESSIONS)"))) $(E2E)

# K8S=1.35.4: an API server of that version, built once; without it the pinned one. PLAIN=1: only as the version comes,
# without feature gates. COMPAT holds options of pytest.
compat: $(READY) ## The tests of a Kubernetes version: K8S=1.35.4 (TO=1.36.3: the one to upgrade it to).
	@$(BIN)/python -m testing.controlplane build --controllers $(if $(K8S),--release $(K8S)) > /dev/null
	@CURATION_COMPAT="$(K8S)" CURATION_COMPAT_TO="$(TO)" CURATION_COMPAT_WITHOUT_SWITCHES="$(PLAIN)" $(BIN)/python -m pytest tests/compat $(COMPAT)

# BENCH holds options. BENCH=compare OTHER=<commit>: this build and that of another commit, in turns (with more options:
# BENCH="compare --jobs 50"). BENCH=full: growth, soak and batch/v1 Job too, which takes an hour or more.
bench: $(READY) ## Throughput, latency, scale, failover; BENCH=full: all; BENCH=compare OTHER=<commit>: two builds in turns.
	$(if $(filter compare,$(BENCH)),@test -n "$(OTHER)" || { echo "error: BENCH=compare needs OTHER=<commit>" >&2; exit 2; })
	@$(BIN)/python -m testing.controlplane build --tests > /dev/null
	@$(BIN)/python -m $(if $(filter compare,$(BENCH)),bench.compare --other "$(OTHER)" $(filter-out compare,$(BENCH)),bench $(patsubst full,--full,$(BENCH)))

controlplane: $(READY) ## Find, fetch or build etcd, kube-apiserver and kubectl; the last line is their folder.
	@$(BIN)/python -m testing.controlplane build

lint: $(READY) ## ruff, mypy and the layers.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(READY) ## Format and fix what can be fixed.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

generate: $(READY) ## Write the CRDs and JSON Schemas from the models.
	@$(BIN)/python -m hack.generate
	@$(BIN)/python -m hack.metrics_reference

verify: $(READY) ## Fail if what is generated differs from the sources.
	@$(BIN)/python -m hack.generate --check
	@$(BIN)/python -m hack.metrics_reference --check
	@$(BIN)/python -m hack.modules check

modules: $(READY) ## Build the shipped modules (needs Rust; one of your own: curation-operator build FOLDER OUT).
	@$(BIN)/python -m hack.modules build

audit: $(READY) ## Known vulnerabilities of what the image holds; says so where their database cannot be reached.
	@$(BIN)/python -m hack.audit

lock: $(READY) ## Write the requirement locks from pyproject.toml.
	@for set in "runtime pyproject.toml" "dev pyproject.toml --group dev" "build --group build" "plugin --group plugin"; do \
		set -- $$set; name=$$1; shift; \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
			--no-header "$$@" -o requirements/$$name.txt; done

clean: ## Remove the environment and the caches of this checkout.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
