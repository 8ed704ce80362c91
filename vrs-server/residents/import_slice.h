/* The rows of one part of a file, kept until all of them are read, so that vrs-number is asked once
 * for all their numbers: a question a row cost more than the row. */
#ifndef VRS_SERVER_RESIDENTS_IMPORT_SLICE_H
#define VRS_SERVER_RESIDENTS_IMPORT_SLICE_H

#include "vrs-server/residents/import_rows.h"

struct import_slice;

struct import_slice *import_slice_open(void);
void import_slice_close(struct import_slice **s); /* wipes; NULL is fine */
/* Copies the row. */
VRS_CHECK enum vrs_err import_slice_add(struct import_slice *s, const struct csv_row *row);
/* Hands each row to fn, in order, x->match beside it; stops at the first error.  Empty and wiped
 * afterwards. */
VRS_CHECK enum vrs_err import_slice_run(struct import_slice *s, enum import_layout layout,
                                        struct import_context *x, csv_row_fn *fn, void *arg);

#endif
