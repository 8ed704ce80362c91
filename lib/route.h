/* Routes as data: the one table that drives dispatch, the OpenAPI comparison and the generated
 * isolation matrix.  What is not in the table does not exist (404). */
#ifndef VRS_LIB_ROUTE_H
#define VRS_LIB_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct http_request;

enum route_method { ROUTE_GET, ROUTE_POST, ROUTE_PUT, ROUTE_PATCH, ROUTE_DELETE, ROUTE_HEAD };

enum route_flag {
    ROUTE_NO_LOGIN = 1 << 0,     /* no session needed (log-in itself, public files, admin) */
    ROUTE_IDEMPOTENT = 1 << 1,   /* Idempotency-Key required */
    ROUTE_IF_MATCH = 1 << 2,     /* If-Match required */
    ROUTE_NUMBER = 1 << 3,       /* touches 個人番号 */
    ROUTE_CROSS = 1 << 4,        /* may reach another municipality's partition */
    ROUTE_STREAM_BODY = 1 << 5,  /* reserved */
    ROUTE_SYSTEM_CLIENT = 1 << 6 /* open to allow-listed system clients without a session */
};

struct route {
    enum route_method method;
    const char *path;  /* "/v1/residents/{id}:flag"; {x} matches one segment without ':' */
    const char *right; /* right needed, NULL: any session */
    unsigned flags;
    size_t max_body_bytes; /* 0: the listener's default */
    void (*handle)(struct http_request *rq);
    const char *summary; /* one line, English: openapi */
};

enum { ROUTE_MAX_PARAMS = 4 };

struct route_match {
    const struct route *route; /* NULL: none */
    bool other_method;         /* the path exists with another method: 405 */
    struct {
        const char *name; /* borrowed from the table: ends at '}' */
        char value[80];
    } param[ROUTE_MAX_PARAMS];
    size_t params;
};

/* `path` is already percent-decoded and has no query. Segments longer than 79 bytes do not match.*/
void route_find(const struct route *routes, enum route_method method, const char *path,
                struct route_match *out);
const char *route_method_name(enum route_method m);
bool route_method_by_name(const char *name, enum route_method *out);
/* One line a route: METHOD path right flags — what `--print-routes` of a daemon prints and the
 * matrix and OpenAPI tests read. */
void route_print(const char *listener, const struct route *routes);

#endif
