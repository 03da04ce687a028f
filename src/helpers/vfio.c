// SPDX-License-Identifier: GPL-2.0
/*
 * Files of VFIO: for src/glue/vfio.rs.
 */
#include <linux/module.h>
#include <linux/vfio.h>
#include "helpers.h"

bool kvm_arm_is_vfio_file(struct file *file)
{
	/* Nobody has such a file while VFIO is not loaded. */
	bool (*is_valid)(struct file *file) = symbol_get(vfio_file_is_valid);
	bool result;

	if (!is_valid)
		return false;
	result = is_valid(file);
	symbol_put(vfio_file_is_valid);
	return result;
}
