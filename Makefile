# What people type. `make` alone lists it.
.DEFAULT_GOAL := help
.PHONY: help run demo check quick test conformance soak bench sim tools clean

PYTHON ?= python3
export PYTHON

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

run: need-python ## everything on this machine: nats-server, a local model, the broker, a first job; Ctrl-C stops it
	@exec $(PYTHON) scripts/run.py

demo: need-python ## a tour that proves the point: cut readers, kill -9, idempotency, costs; every claim is checked
	@exec $(PYTHON) scripts/demo.py

check: need-python ## format, clippy without warnings, tidy, schemas, docs, the convention of the guides' code blocks
	cargo fmt --all --check -- src/provider/vendor/*.rs
	cargo clippy --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --quiet
	cargo test --quiet --test tidy --test schemas
	$(PYTHON) scripts/guide_blocks.py
	@echo "make check: all rules hold"

quick: need-python ## what most changes need, in five minutes: units, log, HTTP, NATS, simulation, tidy
	@exec $(PYTHON) scripts/suite.py quick

test: need-python ## every test, on a real nats-server and a real sled; then on a real model the demo, every wire form, answers cut in the middle, the official client libraries, every code block of the guides, all that /openapi.json allows, the Durable Streams protocol's own tests
	@exec $(PYTHON) scripts/suite.py

conformance: need-python ## the Durable Streams protocol's own tests alone, on a broker of their own
	@exec $(PYTHON) scripts/conformance.py

soak: ## the long forms of the tests: 200 kills, tens of gigabytes, every cut; 40 minutes and 10 GB of disk
	@nats=$$(scripts/tools.sh nats) && NATS_SERVER=$$nats FOREBAY_SOAK=1 FOREBAY_ALL_CUTS=1 cargo test --release --no-fail-fast -- --include-ignored
	@echo "make soak: everything passed"

sim: ## the simulation alone; SEED=N repeats one
	SEED=$(SEED) cargo test --test sim -- --nocapture

bench: ## measures the release build, one JSON and one table in bench-results/; then the decoders
	cargo build --release
	@nats=$$(scripts/tools.sh nats) && NATS_SERVER=$$nats target/release/forebay bench
	cargo test --release --quiet --test providers nanoseconds -- --ignored --nocapture

tools: ## fetches nats-server and the local model into .forebay/tools
	@scripts/tools.sh

clean: ## removes what was built and what ran; fetched tools stay
	cargo clean
	rm -rf .forebay/data .forebay/nats .forebay/demo .forebay/forms .forebay/continue .forebay/sdk .forebay/guides .forebay/openapi .forebay/conformance .forebay/logs bench-results

need-python:
	@command -v $(PYTHON) >/dev/null || { echo "forebay: python3 is missing: install Python 3.10 or newer" >&2; exit 1; }
