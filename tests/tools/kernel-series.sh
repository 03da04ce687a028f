#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The series of patches that puts KVM into a kernel tree (make patches) applies to the stock kernel's source, and passes
# checkpatch.pl and rustfmtcheck. The kernel itself is built by `make test-in-tree`.

# shellcheck source=tests/tools/common.sh
. "$(dirname "$0")/common.sh"

"$tree/tools/patches" || fail "the series is not good"

series=$target/patches/series
[ "$(find "$series" -name '*.patch' | wc -l)" = "$(($(find "$tree/contrib/tree/patches" -name '*.txt' | wc -l) + 1))" ] ||
	fail "not one patch for each file of contrib/tree/patches, and a cover letter"
! grep -q '[*][*][*]' "$series"/0000-*.patch || fail "the cover letter has no text"
grep -q '^Subject: \[PATCH 00/[0-9]*\] KVM: ' "$series"/0000-*.patch || fail "the cover letter has no subject"
