/* vrs-number on its socket (lib/local.h): the requests of a municipality that are readable in one
 * round run in one transaction, so that commits group by themselves. */
#ifndef VRS_SERVER_NUMBER_SERVE_H
#define VRS_SERVER_NUMBER_SERVE_H

#include <sys/types.h>

#include "vrs-server/number/area.h"

struct serve_options {
    uid_t peer_uid; /* vrs-server's */
    size_t max_connections;
    const char *facts; /* key=value lines that STATUS begins with, borrowed */
};

/* Until a signal.  Takes `listener`. */
VRS_CHECK enum vrs_err serve_run(int listener, const struct serve_options *o, struct area *a,
                                 struct vrs_fault *fault);

#endif
