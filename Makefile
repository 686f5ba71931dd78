# Every task of the project; `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

DATA ?= data
LISTEN ?= 127.0.0.1:8080
KILLS ?= 300
WINDOWS ?= 1000000
STATIC_TARGET := $(shell uname -m)-unknown-linux-gnu
# Every binary of the suite, in one build: a part of the set would have other features of its libraries, and build them anew. The
# benchmark brings no feature (`dev/lint features`), so that its build adds its own crates and nothing else.
RELEASE := cargo build --release --locked --workspace --exclude bench --bins

.PHONY: help up fleet agent images openapi web test test-stack prove services services-down lint fmt bench prerequisites

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 16

up: prerequisites ## Build and start the suite on this machine, with this host's own agent (DATA=, LISTEN=)
	$(RELEASE)
	exec target/release/rollcall --data "$(DATA)" --listen "$(LISTEN)"

fleet: prerequisites ## Build and start the fleet composition on this machine, on real servers, until Ctrl-C (DIR=)
	$(RELEASE)
	exec dev/fleet

agent: prerequisites ## Build the agent as it is shipped: one small static binary
	RUSTFLAGS="-C target-feature=+crt-static" \
	    cargo build --profile agent --locked --package rollcall-agent --target $(STATIC_TARGET)
	@ls -l target/$(STATIC_TARGET)/agent/rollcall-agent

images: prerequisites ## Build the images of the Swarm's services and agent, from binaries of this host
	docker_swarm/images

openapi: prerequisites ## Write docs/openapi.json anew, after the handlers
	OPENAPI_REWRITE=1 cargo test --locked --package server-management --lib the_committed_document_is_this_one

web: ## Build the dashboard, web/dist, of web/src; whoever builds the suite needs no Node
	dev/web

test: prerequisites services ## Run every test, on the real servers too; whatever fails, the rest is run
	eval "$$(dev/services env)"; dev/test

test-stack: prerequisites ## Deploy the stack on a Swarm of this machine, behind a real Traefik, and check it (as root)
	docker_swarm/test/run

prove: prerequisites services ## What is too long for each change: hundreds of kills (KILLS=), a million windows of uptime (WINDOWS=), attacks at full size, the tests on a busy machine; over an hour
	$(RELEASE)
	eval "$$(dev/services env)"; ROLLCALL_KILLS=$(KILLS) dev/test simulator
	eval "$$(dev/services env)"; ROLLCALL_NOTIFICATIONS=5000 dev/test notifier
	eval "$$(dev/services env)"; ROLLCALL_HISTORIES=12500 dev/test fleet registry
	eval "$$(dev/services env)"; ROLLCALL_KILLS=$(KILLS) ROLLCALL_PROVE=1 ROLLCALL_BINARY=$(CURDIR)/target/release/rollcall dev/test standalone
	eval "$$(dev/services env)"; ROLLCALL_PROVE=1 ROLLCALL_WINDOWS=$(WINDOWS) dev/test history
	eval "$$(dev/services env)"; ROLLCALL_PROVE=1 ROLLCALL_KILLS=$(KILLS) dev/test server-management
	eval "$$(dev/services env)"; for round in 1 2 3; do dev/busy dev/test; done

services: ## Start RabbitMQ, PostgreSQL, Redis and Elasticsearch for tests, on loopback; a set AMQP_URL, … is used instead
	@dev/services start
	@dev/services status

services-down: ## End them, and drop their data
	@dev/services stop

lint: prerequisites ## Check formatting, lints, documentation, unused dependencies, scripts, the OpenAPI document, the dashboard and lengths of files
	dev/lint

fmt: ## Format the code
	cargo fmt --all

bench: prerequisites ## Measure, each figure beside its reference; prints tables (some minutes)
	bench/run

prerequisites:
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.95 or later, https://rustup.rs" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is missing: apt-get install build-essential, or your system's like" >&2; exit 1; }
