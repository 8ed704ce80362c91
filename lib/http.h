/* HTTP/1.1 server: libevent's evhttp behind our own types, with its holes closed (docs/decisions:
 * HTTP layer), so that it can be exchanged when measurement asks for it.
 *
 * One server runs on one event loop thread.  A listener has its own TLS context (or none: admin on
 * loopback), its own routes and limits.  Handlers get a complete request (headers and body within
 * the limits), and answer exactly once, now or later, from the loop thread.  When the client goes
 * away before the answer, the answer is dropped silently; the request stays valid until answered.
 */
#ifndef VRS_LIB_HTTP_H
#define VRS_LIB_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/arena.h"
#include "lib/buffer.h"
#include "lib/err.h"
#include "lib/route.h"

struct event_base;
struct http_server;
struct http_listener;
struct http_request;
struct tls_server;
struct tls_peer;

struct http_limits {      /* zero means the default in brackets */
    size_t header_bytes;  /* 16 KiB */
    size_t body_bytes;    /* 1 MiB; a route may allow more */
    int64_t handshake_ms; /* 10 s, whole handshake */
    int64_t header_ms;    /* 10 s, from the first byte to the end of the headers */
    int64_t body_ms;      /* 60 s, whole body */
    int64_t idle_ms;      /* 75 s between requests */
    int64_t age_ms;       /* 1 h, then closed after the answer */
    size_t connections;   /* 12000; above it the oldest idle is closed, else refused */
};

/* What happens below a request and somebody may want to count. */
enum http_trouble {
    HTTP_TROUBLE_HANDSHAKE, /* TLS failed: no certificate, one of another authority, no common suite */
    HTTP_TROUBLE_MALFORMED, /* a head that is no HTTP, or over the limits */
    HTTP_TROUBLE_SLOW,   /* ended by a deadline: handshake, head, body, or a reader that stopped */
    HTTP_TROUBLE_CROWDED /* a connection ended because there are too many */
};

struct http_listener_options {
    const char *name;             /* "terminals", "public", "line", "lgwan", "admin" */
    const char *address;          /* numeric; never 0.0.0.0 or :: unless allow_any */
    int port;                     /* 0: any free port */
    const struct tls_server *tls; /* NULL: plain (loopback only, refused elsewhere) */
    const struct route *routes;   /* ends with a zeroed entry */
    struct http_limits limits;
    bool allow_any;
    /* Called before every handler with route and peer known; false: it has answered (or will).
     * NULL: none.  So that no handler can be reached past the program's gates. */
    bool (*gate)(struct http_request *rq);
    /* Answers a request for which there is no route (ERR_NOT_FOUND, ERR_NO_METHOD; http_route is
     * NULL then), so that the program can put it on record.  NULL: the plain problem. */
    void (*unrouted)(struct http_request *rq, enum vrs_err e);
    /* Told of each trouble, on the loop; `address` of the peer, `why` in English. NULL: nobody. */
    void (*trouble)(void *arg, enum http_trouble what, const char *address, const char *why);
    void *arg; /* http_arg() of its requests */
};

/* A new event base as this layer likes it: changes to the poll set are handed to the kernel once a
 * turn (a fifth less CPU a request).  Any other base works too.  NULL when out of memory. */
struct event_base *http_base_open(void);
VRS_CHECK enum vrs_err http_server_open(struct event_base *base, struct http_server **out);
/* Stops accepting, lets answers in flight finish for at most grace_ms, closes everything.  Call it
 * after the loop has ended: it runs the loop itself for the grace.  Requests that are still
 * unanswered stay valid until they are answered (their answer goes nowhere). */
void http_server_close(struct http_server **s, int64_t grace_ms);
VRS_CHECK enum vrs_err http_listen(struct http_server *s, const struct http_listener_options *o,
                                   struct http_listener **out, struct vrs_fault *fault);
int http_listener_port(const struct http_listener *l);
size_t http_connections(const struct http_server *s); /* from any thread */

/* --- the request, borrowed until it is answered --- */
const struct route *http_route(const struct http_request *rq);
const char *http_method(const struct http_request *rq); /* "GET" … */
const char *http_path(const struct http_request *rq);   /* decoded, without the query */
void *http_arg(const struct http_request *rq);
struct arena *http_arena(struct http_request *rq);                        /* lives until answered */
const char *http_header(const struct http_request *rq, const char *name); /* NULL: absent */
const char *http_param(const struct http_request *rq, const char *name);  /* {id} of the route */
const char *http_query(const struct http_request *rq, const char *name);  /* decoded, NULL absent */
const void *http_body(const struct http_request *rq, size_t *len);        /* contiguous */
const char *http_peer_address(const struct http_request *rq);
const struct tls_peer *http_tls_peer(const struct http_request *rq); /* NULL: no certificate */
int64_t http_started_us(const struct http_request *rq);              /* monotonic */
/* Per-request pointer for the program's own context (session …). */
void http_set_context(struct http_request *rq, void *ctx);
void *http_context(const struct http_request *rq);

/* --- the answer; each of these ends the request --- */
void http_set_header(struct http_request *rq, const char *name, const char *value);
/* Copies the body. Adds Date, Content-Length, Cache-Control: no-store, nosniff, HSTS. */
void http_reply(struct http_request *rq, int status, const char *content_type, const void *body,
                size_t len);
void http_reply_json(struct http_request *rq, int status, const char *json, size_t len);
/* RFC 9457.  `detail_ja` NULL takes the list's text; `extra` (NULL or a jansson object, borrowed)
 * adds members such as candidates, row, column, field. Adds Retry-After when retryable. */
struct json_t;
void http_problem(struct http_request *rq, enum vrs_err e, const char *detail_ja,
                  const struct json_t *extra);
/* Like http_problem with the fault's text as "field" where the error is about a field. */
void http_problem_fault(struct http_request *rq, const struct vrs_fault *fault);

/* --- streamed answers (NDJSON, CSV): begin, chunks, end.  `writable` is called on the loop when
 * the peer has taken what was sent, so that a slow reader never fills memory; when the client went
 * away http_stream_alive is false and chunks are dropped: still call end. --- */
void http_stream_begin(struct http_request *rq, int status, const char *content_type,
                       void (*writable)(struct http_request *rq, void *arg), void *arg);
void http_stream_chunk(struct http_request *rq, const void *p, size_t n);
bool http_stream_alive(const struct http_request *rq);
void http_stream_end(struct http_request *rq);

#endif
