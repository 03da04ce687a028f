// SPDX-License-Identifier: GPL-2.0
/*
 * The tracepoints of include/trace.h, and what Rust calls when one is on.
 */
#include <linux/module.h>

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include "trace.h"
