/* Legal policies by date and municipality, from data/policies.json: which basis an inquiry may
 * stand on, the closed list of purposes, how long results and records are kept.  Read-only after loading. */
#ifndef VRS_SERVER_INQUIRIES_POLICY_H
#define VRS_SERVER_INQUIRIES_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/err.h"

struct policy_list;
VRS_CHECK enum vrs_err policy_list_open(const char *json_path, struct policy_list **out,
                                        struct vrs_fault *fault);
void policy_list_close(struct policy_list **l);
/* `kind` consent | statute, in force on `on` for the municipality: VRS_OK or ERR_BASIS_REFUSED. */
VRS_CHECK enum vrs_err policy_basis(const struct policy_list *l, const char *municipality,
                                    const char *kind, struct civil_date on);
/* ERR_PURPOSE unless the closed list has it for this use: "inquiry" "lookup" "search" "reveal". */
VRS_CHECK enum vrs_err policy_purpose(const struct policy_list *l, const char *purpose,
                                      const char *use);
/* How long `what` ("person", "provision", "access_log", "backup" …) is kept, in "years" or "days"; 0:
 * nothing is said. */
int64_t policy_retention(const struct policy_list *l, const char *municipality, const char *what,
                         const char *unit);
int64_t policy_result_days(const struct policy_list *l, const char *municipality);

#endif
