/* What a run asks when it posts no doses: one path, or the lines of a file as bodies of one path. */
#ifndef TESTS_LOAD_ASK_H
#define TESTS_LOAD_ASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buffer.h"
#include "lib/err.h"
#include "tests/load/options.h"

struct asks;
VRS_CHECK enum vrs_err asks_open(const struct load_options *o, struct asks **out,
                                 struct vrs_fault *fault);
void asks_close(struct asks **a);
/* The n-th request; `header`: "" or whole lines; `key` goes with what is posted. */
void asks_write(const struct asks *a, uint64_t n, const char *host, const char *header,
                const char *key, struct buffer *out);
/* Without --expect any answer is right: a ceiling.  Otherwise 2xx with that text in it. */
bool asks_right(const struct asks *a, int status, const char *text, size_t len);

#endif
