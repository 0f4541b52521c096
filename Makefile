# SPDX-License-Identifier: GPL-2.0-only
# gmem-bpf: guest_memfd, traced and programmed with BPF. "make help" says what there is.

MAKEFLAGS += --no-print-directory
KERNEL ?= normal
TIME ?= 600
# Elapsed times count from here, whatever number of steps follow.
export GMEM_T0 := $(shell date +%s)

.PHONY: help demo test test-debug test-pristine fuzz bench bench-compare check check-patches kernel kernel-debug kernel-off \
	kernel-pristine tools image shell refresh-patches reset-kernel deps prepare clean distclean
.NOTPARALLEL:

help: ## these lines
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|' 2>/dev/null || \
		sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1: \2/p' Makefile
	@echo
	@echo "  KERNEL_SRC=PATH  a kernel tree or tarball of your own    JOBS=N  compile so many at once"
	@echo "  T=REGEX          only these tests (make test)            FULL=1  the long ones too"
	@echo "  MACHINES=N       share the tests out to so many machines, that run at once (4 GiB and a CPU each; as many as fit)"
	@echo "  UNTIL=SECONDS    skip tests that have not begun by then (since 1970: date +%s)"
	@echo '  TIME=SECONDS     how long (make fuzz); SEED=N: of which run'
	@echo '  ARGS="..."       options of scripts/bench, check, check-patches, of gmem_fuzz (ARGS=--help lists them)'

demo: kernel tools image ## build all, boot it, load a policy, trace VMs that convert memory, draw it
	@scripts/demo

test: kernel tools image ## build all, boot it, run the tests
	@scripts/test normal

test-debug: kernel-debug kernel tools image ## the same on a kernel with KASAN, lockdep and others
	@scripts/test debug

test-pristine: kernel-pristine kernel tools image ## upstream's tests on the base kernel without us
	@T="$${T:-^upstream/}" scripts/test pristine

fuzz: kernel tools image ## random operations on guest memory, for TIME=600 seconds (KERNEL=debug: that kernel)
	@scripts/boot --kernel $(KERNEL) --timeout $$(($(TIME) * 2 + 900)) --log build/logs/console-fuzz.log \
		--env TIME_SCALE=$(if $(filter debug,$(KERNEL)),8,1) --env SEED=$(SEED) \
		-- /opt/gmem/tests/t-fuzz.sh --seconds $(TIME) $(ARGS)

bench: $(if $(NATIVE),tools,kernel-pristine kernel tools image) ## what guest_memfd costs in instructions, beside the base kernel (NATIVE=1: on this machine)
	@scripts/bench $(if $(NATIVE),--native) $(ARGS)

bench-compare: ## what costs more in NEW=FILE than in OLD=FILE: directories or summary.json of make bench
	@[ -n "$(OLD)" ] && [ -n "$(NEW)" ] || { echo "make bench-compare OLD=FILE NEW=FILE" >&2; exit 2; }
	@scripts/bench-report --compare $(OLD) $(NEW) $(ARGS)

check: deps ## style, documents, scripts; sparse, if the kernel is built
	@scripts/check $(ARGS)

check-patches: deps ## does each patch build by itself?
	@scripts/check-patches $(ARGS)

kernel: deps ## the kernel that is booted: base + overlay + patches
	@scripts/build-kernel normal

kernel-debug: deps ## the same with every checker on
	@scripts/build-kernel debug

kernel-off: deps ## the same with GMEM_BPF=n
	@scripts/build-kernel off

kernel-pristine: deps ## the base kernel alone, in build/pristine
	@scripts/build-kernel pristine

tools: deps kernel ## bpftool, the policies, the tracer, the selftests
	@scripts/build-tools

image: deps ## the root file system of the booted machine
	@scripts/image >/dev/null

shell: kernel tools image ## a root shell in the booted machine (KERNEL=debug: that kernel)
	@scripts/boot --kernel $(KERNEL) --interactive

refresh-patches: ## commits in build/linux become patches/
	@scripts/refresh-patches

reset-kernel: ## throw away edits and commits in build/linux
	@scripts/prepare --reset

prepare: deps ## the kernel tree in build/linux, not built
	@scripts/prepare

deps: ## install what is needed (as root, or with sudo)
	@scripts/deps

clean: ## remove what was compiled
	rm -rf build/linux/out* build/pristine/out* build/check-patches/out* build/stage-* build/tools build/bench \
		build/logs build/accel build/*.config build/run.* build/check.*

distclean: ## remove build/ (downloads and the compiler's cache stay in ~/.cache/gmem-bpf)
	rm -rf build
