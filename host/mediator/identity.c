// SPDX-License-Identifier: MIT
/* UUIDs as text, and in the security labels of QEMU processes. */
#include "host/mediator/internal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

void med_uuid_text(const uint8_t u[16], char ret[37])
{
	snprintf(ret, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1],
		 u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
}

enum med_label med_label_compare(const char *label, const uint8_t uuid[16])
{
	const char *at = strstr(label, "libvirt-");
	char text[37];

	/* other labels name no VM: "unconfined", or SELinux's "system_u:system_r:svirt_t:s0:c1,c2" */
	if (!at || strlen(at + 8) < 36)
		return MED_LABEL_NONE;
	med_uuid_text(uuid, text);
	return strncasecmp(at + 8, text, 36) == 0 ? MED_LABEL_RIGHT : MED_LABEL_WRONG;
}
