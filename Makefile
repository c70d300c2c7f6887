PYTHON ?= python3
VENV ?= .venv
PEOPLE ?= 5000
SEED ?= 7
WORKERS ?= 2
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
export SPARK_LOCAL_IP := 127.0.0.1
export PYSPARK_PYTHON := $(abspath $(BIN)/python)
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: help setup check-tools jars jars-s3 demo test test-all real real-ml bench bench-identity lint lock clean
help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

check-tools:
	@$(PYTHON) -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 12)))' 2>/dev/null || \
	  { echo "Python 3.11 or 3.12 is needed: install it or give PYTHON=/path/to/python3.11" >&2; exit 1; }
	@java -version 2>&1 | grep -qE 'version "(1[7-9]|2[0-9])' || \
	  { echo "Java 17 or newer is needed on PATH (Spark runs on it): install a JDK 17" >&2; exit 1; }

$(STAMP): requirements.lock requirements-installer.lock pyproject.toml
	@$(MAKE) --no-print-directory check-tools
	$(PYTHON) -m venv $(VENV)-uv
	$(VENV)-uv/bin/python -m pip install -q --require-hashes -r requirements-installer.lock
	test -x $(BIN)/python || $(VENV)-uv/bin/uv venv -q --python $(PYTHON) $(VENV)
	VIRTUAL_ENV=$(abspath $(VENV)) $(VENV)-uv/bin/uv pip sync -q --compile-bytecode --require-hashes requirements.lock
	$(BIN)/python -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "cdp_spark_here.pth").write_text("$(CURDIR)\n")'
	printf '#!%s\nimport sys\nfrom cdp_spark.cli import main\nsys.exit(main())\n' "$(abspath $(BIN))/python" > $(BIN)/cdp && chmod +x $(BIN)/cdp
	touch $(STAMP)

setup: $(STAMP) jars ## install the locked packages and JARs
jars: $(STAMP)
	@$(BIN)/python -m cdp_spark.jars fetch core
jars-s3: $(STAMP)
	@$(BIN)/python -m cdp_spark.jars fetch core s3


demo: setup ## generate a retailer and run every step on it (PEOPLE=5000 SEED=7)
	$(BIN)/cdp demo run --out build/demo --people $(PEOPLE) --seed $(SEED)

# two at a time, each file in one process: a Spark on tiny data keeps one core busy
RUN_TESTS := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
test: $(STAMP) jars-s3 ## the tests but those marked slow (WORKERS=2 processes)
	$(RUN_TESTS) -m "not slow" $(PYTEST)
test-all: $(STAMP) jars-s3 ## every test, also the slow ones: histories replayed, crashes, many days
	$(RUN_TESTS) $(PYTEST)

real: setup ## the same steps on real data in ../shared/data, where it is there
	$(BIN)/python -m tests.real.run

bench: setup ## seconds a step, memory, and growth from 1x to 10x people (PEOPLE=5000)
	$(BIN)/python -m tests.benchmarks.run --people $(PEOPLE)

# Airflow lives in an environment of its own: its Spark provider brings another pyspark.
AIRFLOW := .venv-airflow
$(AIRFLOW)/.stamp: dags/requirements.lock $(STAMP)
	$(VENV)-uv/bin/uv venv -q --clear --python $(PYTHON) $(AIRFLOW)
	VIRTUAL_ENV=$(abspath $(AIRFLOW)) $(VENV)-uv/bin/uv pip sync -q --compile-bytecode --require-hashes dags/requirements.lock
	touch $@
airflow-env: $(AIRFLOW)/.stamp
test-airflow-short: airflow-env jars-s3 ## every DAG imports and equals the steps (seconds)
	$(BIN)/python -m pytest tests/test_airflow.py
test-airflow: airflow-env jars-s3 ## every DAG equals the steps; a whole DAG run; a task and Airflow itself killed
	CDP_LONG=1 $(BIN)/python -m pytest tests/test_airflow.py
test-postgres: jars-s3 ## a PostgreSQL on loopback as a source, and behind MLflow (needs its programs, skips without)
	$(BIN)/python -m cdp_spark.jars fetch jdbc
	CDP_LONG=1 $(BIN)/python -m pytest tests/test_jdbc.py
airflow: airflow-env setup ## a local Airflow with the DAGs and a Spark connection (build/airflow)
	@$(BIN)/python -m tests.airflow.serve
lock-airflow: $(STAMP)
	$(VENV)-uv/bin/uv pip compile -q --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	  dags/requirements.in -o dags/requirements.lock --custom-compile-command "make lock-airflow"
FAULTS := tests/test_faults.py tests/test_outages.py
test-faults: airflow-env jars-s3 ## a matrix: every write of every step killed; disk, store, worker, memory, clock, Airflow
	CDP_LONG=1 $(BIN)/python -m pytest $(FAULTS) tests/test_airflow.py $(PYTEST)
test-faults-short: jars-s3 ## the part of the matrix that needs a landing only (minutes): a kill, a disk, S3, memory
	CDP_LONG=1 $(BIN)/python -m pytest $(FAULTS) -k "landing or disk or store or memory" $(PYTEST)
ship: $(STAMP) ## the package and what it needs as one archive for a cluster's workers (build/cdp.tar.gz)
	$(BIN)/python -m cdp_spark.ship build/cdp.tar.gz
demo-cluster: jars-s3 ## the demo by spark-submit on a standalone cluster with an S3 lake; equal to the local run (PEOPLE=300)
	@$(BIN)/python -m tests.cluster.demo --people $(if $(filter command% environment%,$(origin PEOPLE)),$(PEOPLE),300)
bench-scale: setup ## cost, memory and shuffle a step over growing numbers of people (SIZES="5000 50000 500000")
	$(BIN)/python -m tests.benchmarks.scale --sizes $(or $(SIZES),5000 50000 500000)
bench-watch: setup ## from new rows in a file to who they are: `cdp watch` on a second day (PEOPLE=5000)
	$(BIN)/python -m tests.benchmarks.watch --people $(PEOPLE)
.PHONY: bench-scale bench-watch test-postgres test-airflow-short airflow-env test-airflow airflow lock-airflow test-faults test-faults-short ship demo-cluster

real-ml: $(STAMP) ## models on real tables in ../shared/data, where they are there, beside what they have to reach
	$(BIN)/python -W ignore -m tests.real.ml

real-identity: setup ## people found in the data sets of ../shared/data/identity, by its evaluator (NAMES="febrl3 cora")
	$(BIN)/python -W ignore -m tests.real.identity $(NAMES)

bench-identity: setup ## components against plain GraphFrames, then a whole resolve: ratios in one run (EDGES="1000000 4000000" KEYS=5000000)
	$(BIN)/python -m tests.benchmarks.identity --edges $(or $(EDGES),1000000 4000000) --keys $(or $(KEYS),5000000)

bench-identity-match: setup ## our scoring of candidate pairs beside Splink's on Spark, ratio in one run
	$(BIN)/python -m tests.benchmarks.matching

bench-ml: setup ## features of 12 dates in one job, scoring by 300 trees: ratios in one run (PEOPLE_ML=1000000)
	$(BIN)/python -W ignore -m tests.benchmarks.ml --people $(or $(PEOPLE_ML),1000000)
.PHONY: bench-ml real-identity
test-delivery-faults: jars-s3 ## a delivery killed at every point, two at once, a full disk
	CDP_LONG=1 $(BIN)/python -m pytest tests/test_delivery_faults.py
bench-activation: setup ## deliveries against Spark writing the same columns as plain Parquet, ratios of one run (MEMBERS=1000000)
	$(BIN)/python -m tests.benchmarks.activation --members $(or $(MEMBERS),1000000)
.PHONY: test-delivery-faults bench-activation

lint: $(STAMP) ## ruff
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

lock: $(STAMP) ## resolve the locked packages anew
	$(VENV)-uv/bin/uv pip compile -q --universal --generate-hashes --no-emit-index-url --python-version 3.11 --extra test \
	  pyproject.toml -o requirements.lock --custom-compile-command "make lock"

clean: ## remove what was built, not what was installed
	rm -rf build .pytest_cache .ruff_cache spark-warehouse
