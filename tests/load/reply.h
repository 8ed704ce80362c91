/* An HTTP/1.1 answer out of a growing buffer: Content-Length or chunked. */
#ifndef TESTS_LOAD_REPLY_H
#define TESTS_LOAD_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buffer.h"

enum reply_state { REPLY_HEAD, REPLY_BODY, REPLY_CHUNK, REPLY_TRAILER, REPLY_DONE, REPLY_BAD };

struct reply {
    enum reply_state state;
    struct buffer in; /* raw, from `at` on unread */
    size_t at;
    struct buffer body;
    int status;
    bool close; /* the server closes after this one */
    bool chunked;
    size_t left; /* of the body or of the chunk */
};

void reply_init(struct reply *r, size_t max_bytes);
void reply_fini(struct reply *r);
void reply_reset(struct reply *r); /* for the next answer */
/* Reads on after bytes were added to `in`. */
enum reply_state reply_read(struct reply *r);

/* The value of "name":"…" or "name":123 in flat compact JSON; false when absent or too long.  For
 * the known answers of the load test only, not a parser. */
bool reply_member(const char *json, size_t len, const char *name, char *out, size_t cap);

#endif
