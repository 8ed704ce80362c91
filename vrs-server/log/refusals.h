/* Refusals of those who are not logged in — no session, an ended one, a revoked certificate, a
 * throttled log-in — leave entries like any others, in the log of the terminal's municipality (the
 * registry's where there is none).  Whoever holds a certificate could fill a disk with them; so a
 * terminal has so many entries of a kind in a window, and what comes above is counted: the number
 * stands in the next entry of that kind ("more=n"), or in one of its own soon after the window.
 * A crash loses a count that was not written yet, never an entry.  Loop thread only. */
#ifndef VRS_SERVER_LOG_REFUSALS_H
#define VRS_SERVER_LOG_REFUSALS_H

#include "vrs-server/server.h"

struct refusals;

VRS_CHECK enum vrs_err refusals_open(struct server *s, struct refusals **out);
void refusals_close(struct refusals **r);
/* True: the refusal gets an entry, and *more before it got none.  `most` entries a window. */
bool refusals_take(struct refusals *r, const char *municipality, const char *terminal,
                   enum vrs_err why, unsigned most, uint64_t *more);
/* Counts whose window has passed become entries: now and then. */
void refusals_tick(struct refusals *r);

#endif
