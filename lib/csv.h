/* CSV (RFC 4180) by libcsv, UTF-8 with or without BOM, or CP932; CRLF or LF.
 *
 * Reading finds the encoding from the first bytes (BOM, valid UTF-8, else CP932) and hands out rows
 * of UTF-8 cells.  CP932 is decoded by glibc's "CP932" (not SHIFT_JIS); a character of the private
 * use area (外字) is kept and marked, so that a person can look at it.
 * The converter is loaded by csv_prepare, before the sandbox closes the file system. */
#ifndef VRS_LIB_CSV_H
#define VRS_LIB_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buffer.h"
#include "lib/err.h"

enum csv_encoding { CSV_UNDECIDED, CSV_UTF8, CSV_CP932 };

struct csv_row {
    uint64_t number; /* the row a spreadsheet shows: the header is 1 */
    size_t cells;
    char **cell;    /* UTF-8, NUL-terminated; borrowed for the call */
    bool has_gaiji; /* a private-use character is inside */
};

/* Return VRS_OK to go on; anything else stops the reading and is returned by csv_feed. */
typedef enum vrs_err csv_row_fn(const struct csv_row *row, void *arg);

struct csv_reader;

void csv_prepare(void);
struct csv_reader *csv_reader_open(csv_row_fn *fn, void *arg);
void csv_reader_close(struct csv_reader **r);
/* ERR_F007 when the bytes are neither; bounded: 64 cells a row, 4 KiB a cell (ERR_R180). */
VRS_CHECK enum vrs_err csv_feed(struct csv_reader *r, const void *p, size_t n);
VRS_CHECK enum vrs_err csv_end(struct csv_reader *r); /* the last row without a line end */
enum csv_encoding csv_encoding(const struct csv_reader *r);

/* Writing.  Machine files are byte-exact to their layout; copies for people have BOM + CRLF and
 * cells that begin with = + - @ TAB or CR get a leading apostrophe. */
enum csv_audience { CSV_FOR_MACHINES, CSV_FOR_PEOPLE };
void csv_write_bom(struct buffer *b, enum csv_audience a);
void csv_write_row(struct buffer *b, enum csv_audience a, const char *const *cells, size_t n);

/* UTF-8 → CP932 for a download; characters that cannot be written become 〓 and are counted. */
VRS_CHECK enum vrs_err csv_to_cp932(const char *utf8, size_t n, struct buffer *out,
                                    size_t *replaced);

#endif
