/* One keep-alive connection to a program under test: TLS 1.3 with an own certificate, or (for the
 * peers of the bench) plain HTTP; one request at a time.  It connects when a request needs it and
 * says how each request ended; it never repeats one by itself.  Everything belongs to the loop's
 * thread. */
#ifndef TESTS_LOAD_CONN_H
#define TESTS_LOAD_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct event_base;
struct conn;
struct conn_target; /* address, authority and own certificate; shared by many connections */

struct conn_reply {
    bool complete;    /* false: lost or timed out; body holds what had come until then */
    int status;       /* 0: no head came, or nothing was asked */
    const char *body; /* NUL-terminated, borrowed for the call */
    size_t len;
};

/* Once a conn_send, from the loop, never from within conn_send.  May call conn_send again. */
typedef void conn_done_fn(struct conn *c, const struct conn_reply *r, void *arg);

/* `url`: "https://127.0.0.1:8443", numeric; "http://…" is plain and needs no files. */
VRS_CHECK enum vrs_err conn_target_open(const char *url, const char *ca_file, const char *cert_file,
                                        const char *key_file, struct conn_target **out,
                                        struct vrs_fault *fault);
void conn_target_close(struct conn_target **t);
const char *conn_target_authority(const struct conn_target *t);

/* NULL when out of memory. */
struct conn *conn_new(struct event_base *base, const struct conn_target *t, conn_done_fn *done,
                      void *arg);
void conn_free(struct conn *c); /* NULL is fine; `done` is not called any more */
/* Copies the request.  With len 0 it only connects. */
void conn_send(struct conn *c, const void *request, size_t len, int64_t timeout_ms);
bool conn_is_open(const struct conn *c);
/* So many connections had to be opened until now. */
uint64_t conn_handshakes(const struct conn_target *t);

#endif
