/* The doses of a run: the n-th is always the same coupon, turn and day; its key is random. */
#ifndef TESTS_LOAD_DOSE_H
#define TESTS_LOAD_DOSE_H

#include <stdint.h>

#include "lib/buffer.h"
#include "lib/err.h"
#include "tests/load/options.h"

struct doses;
VRS_CHECK enum vrs_err doses_open(const struct load_options *o, struct doses **out,
                                  struct vrs_fault *fault);
void doses_close(struct doses **d);
uint64_t doses_count(const struct doses *d); /* coupons × turns */
bool doses_same_town(const struct doses *d, uint64_t a, uint64_t b);
void doses_line(const struct doses *d, uint64_t n, char out[19]);
void doses_day(const struct doses *d, uint64_t n, char out[11]);
/* The JSON of POST /v1/doses, with `key` of one line of :batch. */
void doses_write(const struct doses *d, uint64_t n, const char *key, struct buffer *out);
void doses_new_key(char out[37]); /* UUIDv4 */

#endif
