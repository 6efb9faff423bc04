# SPDX-License-Identifier: Apache-2.0
# The short commands. CMake does the work, through the presets release (build/release) and dev (build/dev, sanitizers).

PREFIX ?= /usr
DESTDIR ?=
NPROC ?= $(shell nproc)
export NPROC
cxx_files = git ls-files '*.cc' '*.h' '*.c'

.DEFAULT_GOAL := help
.PHONY: help deps build image demo cluster-demo conformance test bench fmt lint install clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'
	@echo "Variables: NPROC (jobs at a time, now $(NPROC)), DESTDIR and PREFIX (of install, now $(PREFIX)),"
	@echo "  IMAGE (of image: NAME:TAG), IPTABLES=no (an image without iptables, for modes ipvs and nftables)"

deps: ## install the Debian packages that building needs
	@tools/setup/deps.sh build

build: deps ## build the release binary, build/release/sluice, and its manual pages
	@tools/setup/build.sh release sluice man

image: ## build, then make a container image in build/image, without a container engine
	@tools/setup/deps.sh build image
	@tools/setup/build.sh release sluice
	@tools/image/build.py $(if $(IMAGE),--name "$(IMAGE)") $(if $(filter no,$(IPTABLES)),--without-iptables)

demo: ## build, then walk through a mode switch in a lab of network namespaces
	@echo "make: the demo builds Sluice, a few minutes the first time, then runs sluice lab walkthrough"
	@$(MAKE) --no-print-directory build
	@build/release/sluice lab walkthrough </dev/null
	@tools/setup/demo-ipvs.sh "$(CURDIR)/build/release/sluice"

cluster-demo: ## walk through a mode switch by kubectl, in a real Kubernetes in network namespaces (Kubernetes is built once, then cached)
	@tools/setup/cluster.sh >/dev/null
	@$(MAKE) --no-print-directory image
	@tools/cluster/demo.sh build/release/sluice build/image/sluice.tar

conformance: ## run Kubernetes' own tests of Services in such a cluster, for each mode and for the real kube-proxy: an hour and more
	@tools/setup/cluster.sh >/dev/null
	@$(MAKE) --no-print-directory image
	@tools/cluster/conformance.sh build/release/sluice build/image/sluice.tar

test: ## build and run all tests, with real Kubernetes programs (built once, then cached)
	@tools/setup/run-tests.sh

bench: build ## compare speed and memory with the real kube-proxy 1.20.2, half an hour and more
	@tools/setup/deps.sh build test
	@cmake --build build/release --target bench

fmt: ## format the C and C++ sources
	@tools/setup/deps.sh lint
	@$(cxx_files) | xargs -r clang-format-19 -i

lint: ## check format, shell scripts, spelling, headers by themselves, locks (clang), and the sources with clang-tidy
	@tools/setup/deps.sh build lint
	@$(cxx_files) | xargs -r clang-format-19 --dry-run --Werror
	@git ls-files '*.sh' .ci/run | xargs -r shellcheck -x
	@git ls-files | xargs -r codespell
	@cmake --preset dev -DCMAKE_EXPORT_COMPILE_COMMANDS=ON
	@cmake --build build/dev --target all_verify_interface_header_sets --parallel $(NPROC)
	@cmake --preset clang
	@cmake --build build/clang --target sluice --parallel $(NPROC)
	@run-clang-tidy-19 -quiet -p build/dev -j $(NPROC)

install: build ## install the release build under $(DESTDIR)$(PREFIX)
	@DESTDIR="$(DESTDIR)" cmake --install build/release --prefix "$(PREFIX)"
	@test -x "$(DESTDIR)$(PREFIX)/bin/sluice"

clean: ## remove what was built; the cache of tools/setup stays
	rm -rf build
