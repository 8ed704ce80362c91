/* Which right may use a number for which purpose: a closed table, checked before any look-up. */
#ifndef VRS_SERVER_NUMBER_ACCESS_H
#define VRS_SERVER_NUMBER_ACCESS_H

#include "vrs-server/number/number.h"

/* VRS_OK, ERR_FORBIDDEN (right missing or not for this verb; reveal without a user) or ERR_PURPOSE.
 * "" counts as missing.  Verbs outside the table (erase, list, backup …) never return a number and
 * pass. */
VRS_CHECK enum vrs_err number_access_check(enum number_verb verb, const char *right,
                                           const char *purpose, const char *user);

#endif
