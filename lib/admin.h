/* The admin listener of a daemon, on loopback only: is it alive, is it ready, what does it count.
 *
 *     GET /healthz   200 {"status":"ok","program":…,"date":…}, the date being Japan's today
 *     GET /readyz    200 {"status":"ready"}, or 503 with what `ready` found missing
 *     GET /metrics   Prometheus text */
#ifndef VRS_LIB_ADMIN_H
#define VRS_LIB_ADMIN_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"
#include "lib/route.h"

struct http_server;
struct http_listener;

struct admin_options {
    const char *program;
    const char *address; /* NULL: 127.0.0.1; refused outside loopback */
    int port;            /* 0: any free port */
    /* Called on the loop.  True: ready.  False: `why` names what is missing, without personal
     * data ("number_away").  NULL: always ready. */
    bool (*ready)(void *arg, char *why, size_t cap);
    void *arg;
};

extern const struct route admin_routes[]; /* for --print-routes */

/* `o` is borrowed for as long as the server lives. */
VRS_CHECK enum vrs_err admin_listen(struct http_server *s, const struct admin_options *o,
                                    struct http_listener **out, struct vrs_fault *fault);

#endif
