# Builds, runs and tests plaudit. `make help` lists the targets; each line comes from a `##` comment below.

# Python 3.11 or newer that can make virtual environments; choose another with `make PYTHON=/path/to/python3 ...`.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$python; break; }; done)
STORE  ?= sqlite:plaudit.db
LISTEN ?= 127.0.0.1:50051
HTTP   ?= 127.0.0.1:8080
JOBS   ?= 3
KILLS  ?= 200
EXAMPLES ?= 20000
STEPS ?= 20000
STRINGS ?= 100000
ROUNDS ?= 12
NEIGHBOUR_ROUNDS ?= 3
NEIGHBOUR_STORES ?=
GROWTH_ROUNDS ?= 5
GROWTH_ROWS ?= 10000000
GROWTH_STORES ?= build/growth
MINUTES ?= 60
# Builds of PostgreSQL for `make test-postgres-versions`.
BUILDS ?= 14 15 16 17 18 18-without-icu
POSTGRES_TESTS ?= tests/postgres
# Where `make proto` writes.
PROTO_OUT ?= client
# Languages that `make test-polyglot` must not leave out.
REQUIRED  ?=

BIN       := .venv/bin
PROTO_BIN := .venv-proto/bin
PROTOS     = $(sort $(wildcard proto/plaudit/v1/*.proto))
# Stamps: an environment is made again only when its inputs have changed.
RUN_READY   := .venv/ready-to-run
DEV_READY   := .venv/ready-to-develop
PROTO_READY := .venv-proto/ready
FLOOR_READY := .venv-floor/ready
REFERENCE_READY := .venv-reference/ready

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

##@ Use

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z][a-z-]*:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nSet STORE, LISTEN, HTTP, JOBS or PYTHON to change what the targets use, for example `make run LISTEN=127.0.0.1:6000`.\n'

.PHONY: run
run: $(RUN_READY) ## Install and start the server on its embedded store
	@printf '%s\n' \
		'Starting plaudit on $(LISTEN), HTTP on $(HTTP), with the store $(STORE). Stop it with Ctrl-C; the store is kept.' \
		'Next, in another terminal: $(BIN)/python with the ten lines of README.md; or `make demo`.'
	@exec $(BIN)/plaudit-server serve --store '$(STORE)' --listen '$(LISTEN)' --http-listen '$(HTTP)'

.PHONY: demo
demo: $(RUN_READY) ## Run the example with a server of its own on a temporary store
	@$(BIN)/python examples/demo.py

##@ Develop

.PHONY: test
test: $(DEV_READY) $(PROTO_READY) ## Run the tests; ARGS='tests/unit -k name' runs some of them
	@$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

.PHONY: lint
lint: $(DEV_READY) breaking ## Check style, types, import directions and the protos
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf format proto --diff --exit-code

.PHONY: types
types: $(DEV_READY) ## Check the types of the examples and of the docs' code as users do: mypy and pyright, strict (needs Node)
	@$(BIN)/python -m tests.packaging.docs_code build/docs
	@MYPYPATH=client:server $(BIN)/mypy build/docs
	@$(BIN)/pyright

.PHONY: format
format: $(DEV_READY) ## Format Python and protos
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/buf format proto --write

.PHONY: proto
proto: $(PROTO_READY) ## Generate the stubs in client/plaudit/v1 from proto/
	@rm -f $(PROTO_OUT)/plaudit/v1/*_pb2*.py*
	@# Only files named *_service.proto get gRPC stubs: for the others they would be empty.
	PATH="$(CURDIR)/$(PROTO_BIN):$$PATH" $(PROTO_BIN)/python -m grpc_tools.protoc -Iproto -Ithird_party \
		--python_out=$(PROTO_OUT) --mypy_out=quiet:$(PROTO_OUT) $(PROTOS)
	PATH="$(CURDIR)/$(PROTO_BIN):$$PATH" $(PROTO_BIN)/python -m grpc_tools.protoc -Iproto -Ithird_party \
		--grpc_python_out=$(PROTO_OUT) --mypy_grpc_out=quiet:$(PROTO_OUT) $(filter %_service.proto,$(PROTOS))

.PHONY: breaking
breaking: $(DEV_READY) ## Fail when protos break clients of the last release (proto/released.binpb)
	$(BIN)/buf breaking proto --against proto/released.binpb

.PHONY: release-image
release-image: $(DEV_READY) breaking ## Write proto/released.binpb from the protos as they are now
	$(BIN)/buf build proto --exclude-source-info --output proto/released.binpb

.PHONY: test-polyglot
test-polyglot: $(DEV_READY) ## Play the same conversation in each installed language (REQUIRED='go node' must be installed)
	@PLAUDIT_TEST_LANGUAGES='$(REQUIRED)' $(BIN)/python -m pytest tests/polyglot/test_languages.py $(ARGS)

.PHONY: test-http
test-http: $(DEV_READY) ## Run Connect's conformance suite and the npm clients, in Node and Chromium, against the HTTP port
	@$(BIN)/python -m pytest tests/polyglot/connect $(ARGS)

.PHONY: test-range
test-range: $(DEV_READY) ## Test the wheel on the oldest and newest dependencies, on each installed Python
	@$(BIN)/python -m pytest tests/polyglot/test_range.py $(ARGS)

.PHONY: test-reference
test-reference: $(REFERENCE_READY) ## Compare agreement with krippendorff, irrCAC, scikit-learn, statsmodels and scipy
	@.venv-reference/bin/python -m pytest tests/reference $(ARGS)

.PHONY: test-postgres
test-postgres: $(DEV_READY) ## Run the long tests on PostgreSQL: a temporary cluster or PLAUDIT_TEST_POSTGRES=postgresql://...
	@CI=$(or $(CI),true) PLAUDIT_TEST_KILLS=$$(($(KILLS) / 4)) PLAUDIT_TEST_DATABASE_KILLS=$$(($(KILLS) / 10)) \
		PLAUDIT_TEST_ROLLOUTS=$$(($(KILLS) / 10)) \
		PLAUDIT_TEST_ROWS=$$(($(KILLS) * 5000)) PLAUDIT_TEST_MODEL_RUNS=$(KILLS) PLAUDIT_EXAMPLES=$$(($(EXAMPLES) / 10)) \
		$(BIN)/python -m pytest --timeout=0 tests/postgres $(ARGS)

.PHONY: test-postgres-versions
test-postgres-versions: $(DEV_READY) ## Run the tests on PostgreSQL 14 to 18, fetched once by mvn and pip; BUILDS='14 16' runs some
	@for build in $(BUILDS); do \
		programs=$$($(BIN)/python -m tests.postgres.builds $$build) && echo "PostgreSQL $$build" && \
		CI=$(or $(CI),true) PLAUDIT_TEST_POSTGRES_BIN=$$programs $(BIN)/python -m pytest -n $(JOBS) $(POSTGRES_TESTS) $(ARGS) || exit 1; \
	done

.PHONY: test-citus
test-citus: $(DEV_READY) ## Move shards and lose a worker under load on the Citus cluster of PLAUDIT_TEST_CITUS=postgresql://...
	@$(BIN)/python -m pytest -p no:randomly -q tests/cluster $(ARGS)

.PHONY: test-model
test-model: $(DEV_READY) ## Run the generated tests with many examples (EXAMPLES=20000): queries, refs, JSON, stores
	@PLAUDIT_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -n $(JOBS) --timeout=0 tests/unit tests/client $(ARGS)
	@PLAUDIT_EXAMPLES=$$(($(EXAMPLES) / 100)) $(BIN)/python -m pytest --timeout=0 tests/store/test_model.py $(ARGS)

.PHONY: test-moving
test-moving: $(DEV_READY) ## Kill imports of other systems, exports and their processes again and again (KILLS=200: 20 each)
	@CI=$(or $(CI),true) PLAUDIT_TEST_IMPORT_KILLS=$$(($(KILLS) / 10)) PLAUDIT_TEST_EXPORT_KILLS=$(KILLS) \
		$(BIN)/python -m pytest --timeout=0 -q tests/importers/test_kills.py tests/client/test_export.py $(ARGS)

.PHONY: test-definitions
test-definitions: $(DEV_READY) ## Run the long tests of definitions on both engines (STEPS=20000), four servers for 60 s
	@CI=$(or $(CI),true) PLAUDIT_TEST_DEFINITION_STEPS=$(STEPS) PLAUDIT_TEST_CAMPAIGN_SECONDS=60 $(BIN)/python -m pytest \
		-p no:randomly --timeout=0 -q -s tests/conformance/test_definitions.py tests/postgres/test_definitions.py \
		tests/store/test_definition_machine.py tests/postgres/test_definition_machine.py \
		tests/postgres/test_definition_campaign.py $(ARGS)

.PHONY: test-faults
test-faults: $(DEV_READY) ## Run the long tests of crashes, disk faults and restarts (KILLS=200)
	@PLAUDIT_TEST_KILLS=$(KILLS) PLAUDIT_TEST_RESTARTS=$$(($(KILLS) / 10)) PLAUDIT_TEST_AWAY_SECONDS=6 PLAUDIT_TEST_DISK_EVERY=1 \
		PLAUDIT_TEST_CHANGES=$$(($(KILLS) * 500)) PLAUDIT_TEST_RECONNECTS=$(KILLS) \
		$(BIN)/python -m pytest tests/faults $(ARGS)
	@PLAUDIT_TEST_JUDGED=$$(($(KILLS) * 250)) $(BIN)/python -m pytest tests/packaging/test_python_examples.py -k judge

.PHONY: test-watch
test-watch: $(DEV_READY) ## Run long watches over the HTTP port (MINUTES=60), and one whose link is cut
	@PLAUDIT_TEST_WATCH_SECONDS=$$(($(MINUTES) * 60)) $(BIN)/python -m pytest -p no:randomly -q tests/faults/test_http_watch.py $(ARGS)

.PHONY: test-relay
test-relay: $(DEV_READY) ## Kill a relay ten times while a receiver fails 2 % of 12,000 deliveries
	@PLAUDIT_TEST_RELAY_KILLS=10 PLAUDIT_TEST_RELAY_CHANGES=12000 $(BIN)/python -m pytest --timeout=0 tests/relay -k kills $(ARGS)

.PHONY: test-attacks
test-attacks: $(DEV_READY) ## Run the long tests of attacks and overload (STRINGS=100000, ROUNDS=12)
	@PLAUDIT_TEST_STRINGS=$$(($(STRINGS) / 14)) PLAUDIT_TEST_ATTACK_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest -p no:randomly --timeout=0 -s tests/attacks $(ARGS)

.PHONY: test-neighbours
test-neighbours: $(DEV_READY) ## Run attacks with legal requests beside another caller (NEIGHBOUR_ROUNDS=3 NEIGHBOUR_STORES=…)
	@PLAUDIT_TEST_NEIGHBOUR_ROUNDS=$(NEIGHBOUR_ROUNDS) PLAUDIT_TEST_NEIGHBOUR_STORES=$(NEIGHBOUR_STORES) \
		$(BIN)/python -m pytest -p no:randomly --timeout=0 --tb=line -q tests/neighbours $(ARGS)

.PHONY: test-growth
test-growth: $(DEV_READY) ## Measure 10,000,000 rows beside 1,000,000 on both engines (GROWTH_STORES=build/growth keeps 25 GB)
	@PLAUDIT_TEST_GROWTH_ROUNDS=$(GROWTH_ROUNDS) PLAUDIT_TEST_GROWTH_ROWS=$(GROWTH_ROWS) PLAUDIT_TEST_GROWTH_STORES=$(GROWTH_STORES) \
		$(BIN)/python -m pytest -p no:randomly --timeout=0 --tb=short -q tests/growth $(ARGS)

.PHONY: test-floor
test-floor: $(FLOOR_READY) ## Run the tests on the oldest versions that pyproject.toml allows
	@.venv-floor/bin/python -m pytest -n $(JOBS) --ignore=tests/packaging --ignore=tests/faults --ignore=tests/postgres \
		--ignore=tests/attacks --ignore=tests/neighbours --ignore=tests/growth $(ARGS)

.PHONY: test-wheel
test-wheel: $(DEV_READY) ## Install the built wheel into a new environment and import its public names
	@rm -rf build/wheel && mkdir -p build/wheel
	@$(call PINNED,constraints.txt) $(BIN)/python -m build --wheel --outdir build/wheel .
	@$(PYTHON) -m venv build/wheel/venv
	@$(call PINNED,constraints.txt) build/wheel/venv/bin/python -m pip install --quiet build/wheel/plaudit-*.whl
	@cd build/wheel && venv/bin/python -m pip check && venv/bin/python -W error -c \
		'import plaudit.v1; [getattr(plaudit, name) for name in plaudit.__all__]; print("the wheel imports:", plaudit.__file__)'
	@# Every command of the client alone says what it lacks, if it lacks anything.
	@for command in build/wheel/venv/bin/plaudit*; do $$command --help >build/wheel/printed 2>&1 || \
		grep -q "pip install 'plaudit\[" build/wheel/printed || { cat build/wheel/printed >&2; exit 1; }; done
	@! build/wheel/venv/bin/plaudit-server serve >build/wheel/printed 2>&1
	@grep -q "pip install 'plaudit\[server\]'" build/wheel/printed || { cat build/wheel/printed >&2; exit 1; }

.PHONY: bench
bench: $(DEV_READY) ## Measure speed and size beside controls; ARGS='--only creates --rounds 3' runs some, --list lists all
	@$(BIN)/python -m tests.bench $(ARGS)

.PHONY: bench-peers
bench-peers: $(DEV_READY) ## Measure MLflow's and Phoenix's servers beside plaudit; installs them into build/, once
	@$(BIN)/python -m tests.bench --peers $(ARGS)

.PHONY: dist
dist: $(DEV_READY) ## Build the wheel and the source archive into dist/
	$(BIN)/python -m build

.PHONY: clean
clean: ## Remove the environments and everything that was built (no store)
	rm -rf .venv .venv-proto .venv-floor .venv-reference build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# The environments. The variables make constraints apply to the build's own requirements too.
PINNED  = PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=$(1) PIP_BUILD_CONSTRAINT=constraints.txt
INSTALL = $(call PINNED,constraints.txt) $(BIN)/python -m pip install --quiet

MAKE_VENV = if test -z '$(PYTHON)'; then \
	echo 'plaudit needs Python 3.11 or newer with its venv module; none was found.' \
		'Install one, or name it: make PYTHON=/path/to/python3' >&2; exit 1; fi; \
	$(PYTHON) -c 'import sys; sys.exit("plaudit needs Python 3.11 or newer, and $(PYTHON) is %d.%d" \
		% sys.version_info[:2] if sys.version_info < (3, 11) else 0)' && $(PYTHON) -m venv

.venv/bin/python:
	@$(MAKE_VENV) .venv

$(RUN_READY): pyproject.toml constraints.txt | .venv/bin/python
	@echo 'Installing plaudit into .venv (only this once) ...'
	@$(INSTALL) --editable '.[server]'
	@touch $@

$(DEV_READY): pyproject.toml constraints.txt | .venv/bin/python
	@echo 'Installing plaudit and its development tools into .venv (only this once) ...'
	@$(INSTALL) --editable '.[dev]'
	@touch $@ $(RUN_READY)

$(PROTO_READY): proto/requirements.txt
	@echo 'Installing the stub generator into .venv-proto (only this once) ...'
	@$(MAKE_VENV) .venv-proto
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(PROTO_BIN)/python -m pip install --quiet --requirement proto/requirements.txt
	@touch $@

# irrCAC without what it asks for: it pins a scipy that newer Pythons cannot install, and works with any.
$(REFERENCE_READY): pyproject.toml constraints.txt tests/reference/requirements.txt
	@echo 'Installing what agreement is compared with into .venv-reference (this once) ...'
	@$(MAKE_VENV) .venv-reference
	@$(call PINNED,constraints.txt) .venv-reference/bin/python -m pip install --quiet --editable '.[server]' \
		--requirement tests/reference/requirements.txt
	@$(call PINNED,constraints.txt) .venv-reference/bin/python -m pip install --quiet --no-deps irrcac==0.4.4
	@touch $@

# The oldest version where constraints-floor.txt has one, the pinned version for everything else.
$(FLOOR_READY): pyproject.toml constraints.txt constraints-floor.txt
	@echo 'Installing the oldest versions allowed into .venv-floor (only this once) ...'
	@$(MAKE_VENV) .venv-floor
	@awk -F== 'NR == FNR { floor[$$1] } NR == FNR || !($$1 in floor)' constraints-floor.txt constraints.txt > .venv-floor/constraints.txt
	@$(call PINNED,.venv-floor/constraints.txt) .venv-floor/bin/python -m pip install --quiet --editable '.[server,jwt,postgres,schema,tracing,test]'
	@touch $@
