/* HTTP client by libcurl multi on the event loop: mutual TLS, own authority, connection reuse,
 * bounded bodies and an overall deadline for each request.  One client belongs to one loop. */
#ifndef VRS_LIB_CLIENT_H
#define VRS_LIB_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct event_base;
struct client;

struct client_options {
    const char *base_url; /* "https://127.0.0.1:8445" */
    const char *ca_file;
    const char *cert_file; /* own certificate, NULL for none */
    const char *key_file;
    bool plain_loopback; /* development: also http:// to a loopback address, without ca_file */
    size_t max_reply_bytes;
    int64_t max_connections;
};

struct client_reply {
    enum vrs_err err; /* VRS_OK: an HTTP answer came (look at status); ERR_TIMEOUT: unknown;
                         ERR_INSIDE_AWAY: could not connect; ERR_PROTOCOL: too big, bad TLS */
    bool sent;        /* false: the request surely never left */
    int status;
    const char *content_type; /* borrowed for the call, "" when absent */
    const void *body;         /* borrowed for the call */
    size_t len;
    int64_t retry_after_ms; /* -1 when absent */
    const char *date;       /* Date header, "" when absent */
};

typedef void client_done_fn(const struct client_reply *reply, void *arg);

struct client_call {
    const char *method;
    const char *path;
    const char *content_type;
    const char *const *headers; /* "Name: value", NULL-terminated, or NULL */
    const void *body;           /* copied */
    size_t len;
    int64_t timeout_ms;
    client_done_fn *done; /* once, on the loop */
    void *arg;
};

VRS_CHECK enum vrs_err client_open(struct event_base *base, const struct client_options *o,
                                   struct client **out, struct vrs_fault *fault);
/* Cancels what is in flight: `done` is not called for it. */
void client_close(struct client **c);
VRS_CHECK enum vrs_err client_start(struct client *c, const struct client_call *call);
size_t client_in_flight(const struct client *c);

#endif
