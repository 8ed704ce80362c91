/* What was acknowledged, on the disk before it counts: one line a receipt,
 *     <idempotency key> <receipt id> <outcome> <HTTP status> <ocr line> <date>
 * appended with one write(2), so that it survives the generator; verified against the server later.
 * Synthetic coupons only: the file holds them in clear. */
#ifndef TESTS_LOAD_JOURNAL_H
#define TESTS_LOAD_JOURNAL_H

#include <stddef.h>

#include "lib/err.h"

enum {
    JOURNAL_KEY = 37,
    JOURNAL_RECEIPT = 65,
    JOURNAL_OUTCOME = 32,
    JOURNAL_LINE = 19,
    JOURNAL_DAY = 11
};

struct journal_entry {
    char key[JOURNAL_KEY];
    char receipt[JOURNAL_RECEIPT];
    char outcome[JOURNAL_OUTCOME];
    char line[JOURNAL_LINE];
    char day[JOURNAL_DAY]; /* vaccinated_on */
    int status;
};

struct journal;
VRS_CHECK enum vrs_err journal_open(const char *path, struct journal **out,
                                    struct vrs_fault *fault);
void journal_close(struct journal **j);
VRS_CHECK enum vrs_err journal_add(struct journal *j, const struct journal_entry *e);
/* All whole lines, as an array that the caller frees; a last line that was cut off was never
 * counted. */
VRS_CHECK enum vrs_err journal_read(const char *path, struct journal_entry **out, size_t *count,
                                    struct vrs_fault *fault);

#endif
