#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# rust-project.json names the module's crates, their dependencies, and files that are there.

# shellcheck source=tests/tools/common.sh
. "$(dirname "$0")/common.sh"

"$tree/tools/rust-analyzer"
"$tree/tools/in-root" python3 - "$tree/rust-project.json" <<-'PYTHON' || fail "rust-project.json is not right"
	import json, os, sys

	project = json.load(open(sys.argv[1]))
	crates = {crate["display_name"]: crate for crate in project["crates"]}
	assert os.path.isdir(project["sysroot"] + "/lib/rustlib"), project["sysroot"]
	for name, crate in crates.items():
	    assert os.path.isfile(crate["root_module"]), crate["root_module"]
	for name, needs in {
	    "armv7": {"bitflags"},
	    "machine": {"armv7", "bitflags"},
	    "kvm_arm": {"kernel", "kvm_bindings", "armv7", "machine"},
	}.items():
	    assert crates[name]["is_workspace_member"], name
	    assert 'CONFIG_ARM' in crates[name]["cfg"], name
	    for need in needs:
	        found = [dep["crate"] for dep in crates[name]["deps"] if dep["name"] == need]
	        assert found and project["crates"][found[0]]["display_name"] == need, (name, need)
PYTHON
"$tree/tools/rust-analyzer-server" --version
