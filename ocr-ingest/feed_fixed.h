/* Contractor files in fixed width: which bytes of a line are which field (option --layout).
 *
 *     ocr_line=1-18,vaccinated_on=19-26,lot=27-46,site=47-86
 *
 * Places are BYTES of the file as it was written, counted from 1, both ends inside: in a CP932 file,
 * which such layouts come from, a full-width character is two, so that byte and column are one.  A
 * line is made a row of CSV, so that encoding, 外字 and every check are those of a CSV file. */
#ifndef OCR_INGEST_FEED_FIXED_H
#define OCR_INGEST_FEED_FIXED_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buffer.h"

enum { FEED_FIXED_FIELDS = 13, FEED_FIXED_WIDTH = 256, FEED_FIXED_LINE = 4096 };

struct feed_fixed {
    size_t count;
    struct {
        int column; /* index into the names below, each once */
        size_t first, last;
    } field[FEED_FIXED_FIELDS];
};

/* In the order of feed_source's columns; NULL at the end. */
extern const char *const feed_fixed_names[];

/* False: not a layout; *wrong is the part that is none. */
bool feed_fixed_read(const char *layout, struct feed_fixed *out, const char **wrong);
/* Appends one CSV row: each field quoted, without the spaces around it; what a short line lacks is
 * empty. */
void feed_fixed_cut(const struct feed_fixed *f, const char *line, size_t len, struct buffer *out);

#endif
