/* What may be a password: twelve characters or more (a passphrase up to 256), none of the known ones
 * of data/passwords.txt — as it stands, doubled, with digits and signs around it, or with 0 for o and
 * the like — and not just the user's ID or the town's name with a little around it.  Nothing else is
 * asked for: no kinds of characters, no regular change.  Read-only after loading. */
#ifndef VRS_SERVER_ACCOUNTS_PASSWORD_RULE_H
#define VRS_SERVER_ACCOUNTS_PASSWORD_RULE_H

#include "lib/err.h"
#include "ocr-ingest/coupon.h"

enum { PASSWORD_MIN_CHARS = 12, PASSWORD_MAX_CHARS = 256, PASSWORD_MAX_BYTES = 1024 };

struct password_rules;

VRS_CHECK enum vrs_err password_rules_open(const char *path, struct password_rules **out,
                                           struct vrs_fault *fault);
void password_rules_close(struct password_rules **r);
/* VRS_OK or ERR_PASSWORD_WEAK.  `town` may be NULL. */
VRS_CHECK enum vrs_err password_rule_check(const struct password_rules *r, const char *password,
                                           const char *user, const struct municipality *town);

#endif
