/* Timed throttling: so many tries in a window for one name (account, terminal, source …); it clears
 * by time, not by what happens next.  A bounded table: when it is full the oldest name goes.
 * One thread. */
#ifndef VRS_LIB_THROTTLE_H
#define VRS_LIB_THROTTLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct throttle;

struct throttle *throttle_open(size_t names, unsigned tries, int64_t window_ms);
void throttle_close(struct throttle **t);
/* Would one more try be allowed now?  *retry_ms (may be NULL): when not, how long to wait. */
bool throttle_allows(struct throttle *t, const char *name, int64_t *retry_ms);
void throttle_count(struct throttle *t, const char *name);     /* a try was made (or failed) */
void throttle_clear(struct throttle *t, const char *name);     /* as if none had been made */
void throttle_take_back(struct throttle *t, const char *name); /* a counted try was none */

#endif
