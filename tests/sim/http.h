/* A request of lib/http.h in the simulation: one that came over the line (line.c), or a clerk's
 * (clerk.c), whose answer goes to `answered`. */
#ifndef TESTS_SIM_HTTP_H
#define TESTS_SIM_HTTP_H

#include "lib/http.h"

struct post;

struct http_request {
    void *arg; /* http_arg */
    uint8_t *body;
    size_t len;
    struct post *post; /* of the line; NULL: the answer goes nowhere */
    /* e: VRS_OK, or the problem.  The body is borrowed. */
    void (*answered)(struct http_request *rq, enum vrs_err e, const void *body, size_t len);
    void *own, *context;
    struct arena *arena;
    const struct route *route;
};

#endif
