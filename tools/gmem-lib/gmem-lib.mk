# SPDX-License-Identifier: GPL-2.0-only
# What the Makefiles of gmem-policies and gmem-trace have in common. They set SRC, OUTPUT and
# UAPI, and include this. It builds gmem-lib into the objects LIB_OBJS.
#
# What must be given, or found at its default in the repository's build/:
#   OUTPUT          where products go
#   KERNEL_TREE     kernel tree, for its tools/include/uapi
#   LIBBPF_INCLUDE  directory that has bpf/*.h
#   LIBBPF_A        libbpf.a
#   VMLINUX_H       vmlinux.h of the kernel that is run
#   BPFTOOL         for the skeletons

TOP		:= $(abspath $(dir $(lastword $(MAKEFILE_LIST)))/../..)
LIB		:= $(TOP)/tools/gmem-lib
KERNEL_TREE	?= $(TOP)/build/linux
LIBBPF_INCLUDE	?= $(TOP)/build/tools/bpftool/libbpf/include
LIBBPF_A	?= $(TOP)/build/tools/bpftool/libbpf/libbpf.a
VMLINUX_H	?= $(TOP)/build/tools/vmlinux.h
BPFTOOL		?= $(TOP)/build/tools/bpftool/bpftool
CLANG		?= clang-19
PREFIX		?= /usr/local

O		:= $(abspath $(OUTPUT))
UAPI_HEADERS	:= $(addprefix $(O)/uapi/linux/,$(UAPI))

CFLAGS		?= -O2 -g
ALL_CFLAGS	:= -std=gnu11 -D_GNU_SOURCE -Wall -Wextra $(CFLAGS) -isystem $(O)/uapi \
		   -isystem $(LIBBPF_INCLUDE) -I$(LIB)
LIBS		:= $(LIBBPF_A) -ljson-c -lelf -lz

# The command by which anybody compiles a policy; the warnings are for our programs.
BPF_CC		= $(CLANG) -g -O2 -target bpf -mcpu=v3 -fms-extensions -Wno-microsoft-anon-tag
BPF_WARN	:= -Wall -Wextra -Wno-unused-parameter -Werror

LIB_OBJS	:= $(patsubst $(LIB)/%.c,$(O)/lib/%.o,$(wildcard $(LIB)/*.c))

.PHONY: all install clean
.DELETE_ON_ERROR:
.SECONDARY:

all:

$(O)/lib/%.o: $(LIB)/%.c $(LIB)/gmem-lib.h $(UAPI_HEADERS)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

# libbpf's headers need newer ones than the machine may have.
$(O)/uapi/linux/%.h: $(KERNEL_TREE)/tools/include/uapi/linux/%.h
	@mkdir -p $(@D)
	cp $< $@
