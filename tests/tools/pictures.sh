#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The pictures of the pages were made from the sources that are beside them, and the plots from the costs
# that are the baseline.

# shellcheck source=tests/tools/common.sh
. "$(dirname "$0")/common.sh"

"$tree/tools/pictures" --check
"$tree/tools/bench-plots" --check
