# `make run` and `make test` are all there is to know; the rest is for daily work.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The config that `make run` runs.
CONFIG ?= cafe.ron

.PHONY: help
help: ## say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

.PHONY: run
run: prerequisites ## build cafe and run the services of cafe.ron (or CONFIG=FILE) until Ctrl-C
	@cargo run --quiet --locked -- run $(CONFIG)

.PHONY: test
test: prerequisites test-prerequisites ## format, lints, documentation and every test
	@# Warnings are errors here and nowhere else: a newer compiler must not break a user's build.
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	if cargo nextest --version >/dev/null 2>&1; then \
	    echo "cargo nextest run --locked"; \
	    cargo nextest run --locked 2>&1 | tee "$$log"; \
	else \
	    echo "cargo test --locked"; \
	    cargo test --locked 2>&1 | tee "$$log"; \
	fi; \
	echo "make test: format, lints, documentation and tests are good:"; \
	grep -E '^ *Summary|^test result:' "$$log" | grep -v ' 0 passed; 0 failed; 0 ignored' || true

.PHONY: test-system
test-system: prerequisites ## the tests in a virtual machine with systemd and cgroups (minutes; as root, on Debian)
	cargo build --locked
	tests/system/run

# What is fuzzed (a file of fuzz/targets), and for how long.
TARGET ?= config
SECONDS_OF_FUZZING ?= 60

.PHONY: fuzz
fuzz: prerequisites ## fuzz what cafe reads of others: TARGET=config, units, notify, log_line or log_files
	@if ! cargo fuzz --version >/dev/null 2>&1; then \
	    echo "fuzzing needs cargo-fuzz: cargo install --locked cargo-fuzz" >&2; exit 1; \
	fi
	@# The sanitizers are unstable options of the compiler.
	RUSTC_BOOTSTRAP=1 cargo fuzz run $(TARGET) -- -max_total_time=$(SECONDS_OF_FUZZING) -timeout=10

.PHONY: bench
bench: prerequisites ## measure cafe against its peers; writes docs/benchmarks.md (takes long)
	@if [ -f bench/supervisors.py ]; then python3 bench/supervisors.py; else bench/logs.sh; fi

.PHONY: fmt
fmt: ## format the sources
	@cargo fmt

# Where things go. DESTDIR is put in front of all paths, for packages.
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR ?=

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

# What is installed: an optimised cafe, built if it must be, or the one that is named here.
BINARY ?= $(TARGET_DIR)/release/cafe
BUILT := $(if $(filter $(TARGET_DIR)/release/cafe,$(BINARY)),release)

.PHONY: release
release: prerequisites ## build an optimised cafe, in target/release/
	cargo build --release --locked

.PHONY: install
install: $(BUILT) ## build an optimised cafe and install it with its unit for systemd, manual and completions
	@test -x '$(BINARY)' || { echo "there is no program $(BINARY)" >&2; exit 1; }
	@to='$(DESTDIR)$(PREFIX)'; pages=$$(mktemp -d); trap 'rm -rf "$$pages"' EXIT; \
	'$(BINARY)' man | gzip -9n >"$$pages/cafe.1.gz"; \
	for shell in bash zsh fish; do '$(BINARY)' completions $$shell >"$$pages/$$shell"; done; \
	sed 's|/usr/bin/cafe|$(PREFIX)/bin/cafe|; s|/etc/cafe|$(SYSCONFDIR)/cafe|g' systemd/cafe.service >"$$pages/cafe.service"; \
	install -D -m 755 '$(BINARY)' "$$to/bin/cafe"; \
	install -D -m 644 "$$pages/cafe.service" "$$to/lib/systemd/system/cafe.service"; \
	install -D -m 644 systemd/cafe.socket "$$to/lib/systemd/system/cafe.socket"; \
	install -D -m 644 systemd/cafe.sysusers "$$to/lib/sysusers.d/cafe.conf"; \
	install -D -m 644 systemd/cafe.tmpfiles "$$to/lib/tmpfiles.d/cafe.conf"; \
	install -D -m 644 "$$pages/cafe.1.gz" "$$to/share/man/man1/cafe.1.gz"; \
	install -D -m 644 "$$pages/bash" "$$to/share/bash-completion/completions/cafe"; \
	install -D -m 644 "$$pages/zsh" "$$to/share/zsh/site-functions/_cafe"; \
	install -D -m 644 "$$pages/fish" "$$to/share/fish/vendor_completions.d/cafe.fish"; \
	install -D -m 644 cafe.ron "$$to/share/doc/cafe/examples/cafe.ron"; \
	install -d '$(DESTDIR)$(SYSCONFDIR)/cafe/conf.d'; \
	if [ ! -e '$(DESTDIR)$(SYSCONFDIR)/cafe/cafe.ron' ]; then \
	    install -m 644 systemd/cafe.ron '$(DESTDIR)$(SYSCONFDIR)/cafe/cafe.ron'; \
	fi; \
	echo "installed in $$to; the services go into $(SYSCONFDIR)/cafe/cafe.ron"
	@if [ -z '$(DESTDIR)' ] && [ -d /run/systemd/system ]; then \
	    systemd-sysusers cafe.conf; systemd-tmpfiles --create cafe.conf; systemctl daemon-reload; \
	    echo "start it now and with the machine: systemctl enable --now cafe"; \
	fi

.PHONY: uninstall
uninstall: ## remove what `make install` installed, but for the config, the state and the logs
	@if [ -z '$(DESTDIR)' ] && [ -d /run/systemd/system ] && systemctl is-active --quiet cafe; then \
	    echo "cafe runs: systemctl disable --now cafe" >&2; exit 1; \
	fi
	@cd '$(DESTDIR)$(PREFIX)' && rm -f bin/cafe lib/systemd/system/cafe.service lib/systemd/system/cafe.socket lib/sysusers.d/cafe.conf \
	    lib/tmpfiles.d/cafe.conf share/man/man1/cafe.1.gz share/bash-completion/completions/cafe \
	    share/zsh/site-functions/_cafe share/fish/vendor_completions.d/cafe.fish share/doc/cafe/examples/cafe.ron

.PHONY: deb
deb: prerequisites ## build a Debian package, in target/debian/
	@if ! cargo deb --version >/dev/null 2>&1; then \
	    echo "a Debian package is made by cargo-deb: cargo install --locked cargo-deb" >&2; exit 1; \
	fi
	@$(MAKE) --no-print-directory install BINARY='$(BINARY)' DESTDIR=target/package PREFIX=/usr
	cargo deb --locked --no-build --no-strip

.PHONY: clean
clean: ## remove what was built
	@cargo clean

# ---- what must be there ----

# Node is not needed: this version has no web pages.
.PHONY: prerequisites
prerequisites:
	@if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then \
	    echo "cafe needs Rust, which is not here: https://rustup.rs" >&2; exit 1; \
	fi; \
	wanted=$$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml); \
	found=$$(rustc --version | cut -d ' ' -f 2); \
	if [ "$$(printf '%s\n' "$$wanted" "$${found%%-*}" | sort -V | head -n 1)" != "$$wanted" ]; then \
	    echo "cafe needs Rust $$wanted or newer, this is $$found: rustup update stable" >&2; exit 1; \
	fi; \
	if ! command -v cc >/dev/null; then \
	    echo "cafe needs a C compiler, which Rust links with: apt-get install gcc libc6-dev" >&2; exit 1; \
	fi

.PHONY: test-prerequisites
test-prerequisites:
	@if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then \
	    echo "the tests need rustfmt and clippy: rustup component add rustfmt clippy" >&2; exit 1; \
	fi
