/* Does somebody try coupon numbers one after the other?  The log never holds a search term; that a
 * term stands within NEAR of the same user's one before is said there ("near"), and no more. */
#ifndef VRS_SERVER_LOG_NEAR_H
#define VRS_SERVER_LOG_NEAR_H

#include <stdbool.h>

enum { NEAR = 10 };

/* Loop thread.  Ten digits; not the same number again. */
bool near_last_coupon(const char *user, const char *coupon);

#endif
