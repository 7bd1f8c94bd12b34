# SPDX-License-Identifier: MIT
# Thin: Meson builds (see meson.build), tests/check.py tests, tools/demo.py shows.
BUILD ?= build
PREFIX ?= /usr
PY := /usr/bin/python3

.PHONY: all deps build demo check check-long bench install deb clean

all: build

deps:
	@tools/deps.sh build

build: deps
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD) --prefix $(PREFIX) >/dev/null
	@echo "building in $(BUILD)/"
	@ninja --quiet -C $(BUILD)

demo:
	@tools/deps.sh build vm
	@$(MAKE) --no-print-directory build
	@$(PY) tools/demo.py --build $(BUILD)

check:
	@tools/deps.sh build vm check
	@$(PY) tests/check.py quick

check-long:
	@tools/deps.sh build vm check
	@$(PY) tests/check.py long

bench: build
	@$(PY) bench/run.py --build $(BUILD) $(if $(JSON),--json $(JSON))

install: build
	meson install -C $(BUILD) --no-rebuild

deb:
	@tools/deps.sh build deb
	packaging/debian/build.sh

clean:
	rm -rf $(BUILD) build-*
