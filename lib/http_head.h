/* The strict reading of one request head (RFC 9110, 9112).  It stands before libevent's parser,
 * which then sees only heads that mean one thing: bare LF, folded lines, control characters, two
 * lengths, a length beside a transfer coding, a missing host and encoded dots are refused here.
 * No I/O: tests and the fuzz target feed it bytes. */
#ifndef VRS_LIB_HTTP_HEAD_H
#define VRS_LIB_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/route.h"

enum { HTTP_MAX_FIELDS = 64 };

struct http_field {
    const char *name;
    const char *value;
};

struct http_head { /* all text is NUL-terminated, in the caller's copy of the head */
    enum route_method method;
    bool http11;
    bool keep_alive;
    bool absolute; /* the target named `authority` and `scheme_tls` */
    bool scheme_tls;
    const char *authority;
    const char *path;  /* decoded; begins with '/' */
    const char *query; /* as sent but checked, "" when absent */
    const char *host;
    bool chunked;
    bool has_length;
    uint64_t length; /* bytes of the body, 0 unless has_length */
    bool expect_continue;
    struct http_field field[HTTP_MAX_FIELDS];
    size_t fields;
};

enum http_scan { HTTP_SCAN_MORE, HTTP_SCAN_END, HTTP_SCAN_BAD };

/* Looks for the end of a head in p[0..n), going on from *at (0 for a new head).  HTTP_SCAN_END
 * leaves the length of the head, with its empty line, in *at. */
enum http_scan http_head_scan(const uint8_t *p, size_t n, size_t *at);

/* Reads a whole head of n bytes (as http_head_scan found it), which is written over.  On error the
 * fault text says what was wrong, without anything that was sent. */
VRS_CHECK enum vrs_err http_head_read(char *p, size_t n, struct http_head *out,
                                      struct vrs_fault *fault);

/* Percent-decoding in place, '+' as space when `plus`.  False on a bad sequence, NUL, or a control
 * character. */
VRS_CHECK bool http_decode(char *s, bool plus);
/* Field by name, any case; NULL when absent. */
const char *http_head_field(const struct http_head *head, const char *name);

#endif
