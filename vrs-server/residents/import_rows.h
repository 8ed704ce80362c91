/* One row of an import file: read, checked, and (when committing) applied.  A
 * header line is required, with exactly the columns of its kind (import_rows.c); unknown or missing
 * ones refuse the file (C15). */
#ifndef VRS_SERVER_RESIDENTS_IMPORT_ROWS_H
#define VRS_SERVER_RESIDENTS_IMPORT_ROWS_H

#include "lib/csv.h"
#include "partitions/access_log.h"
#include "partitions/tally.h"
#include "vrs-server/server.h"

enum import_kind { IMPORT_RESIDENTS = 1, IMPORT_DOSES = 2 };
enum import_layout { LAYOUT_RESIDENTS, LAYOUT_DOSES, LAYOUT_DOSES_SPLIT };
enum row_result { ROW_NEW, ROW_CHANGED, ROW_SAME, ROW_REFUSED, ROW_RESULTS };
enum { IMPORT_NUMBERS = 1000 }; /* put at once, before the slice commits; a part has fewer rows */

/* Numbers that were drawn a row for and are put before the records commit (put-before-record). */
struct import_numbers {
    size_t count;
    struct record_id row[IMPORT_NUMBERS];
    struct record_id person[IMPORT_NUMBERS];
    struct personal_number number[IMPORT_NUMBERS];
};

/* What vrs-number said of the number of the row at hand: ERR_NOT_FOUND, or under which row it is. */
struct import_match {
    enum vrs_err err;
    struct record_id row;
};

struct import_context {
    struct server *server;
    struct partition *partition;
    unsigned worker_index;
    struct log_actor who;
    bool commit;               /* false: dry run, nothing is written */
    struct tally_batch *tally; /* commit only */
    struct import_numbers *numbers;
    const struct import_match *match; /* NULL: the row has no number */
    bool waiting_settled;             /* outcomes changed: kick the line after the commit */
    /* what became of the row */
    enum row_result result;
    enum vrs_err code;        /* VRS_OK, or why refused */
    const char *column;       /* Japanese name of the column, or "" */
    char note[1200];          /* warnings for a person, in Japanese: suspect rules, 外字 */
    struct record_id subject; /* person touched; has_subject */
    bool has_subject;
};

/* Which layout is this header line, and is it exactly that? ERR_F005 a column is missing, ERR_F006
 * order, name or an extra column; *column (borrowed static) names it. */
VRS_CHECK enum vrs_err import_header(enum import_kind kind, const struct csv_row *row,
                                     enum import_layout *layout, const char **column);
/* The valid 個人番号 of a row, its digits made ASCII in place; false when it has none. */
bool import_row_number(enum import_layout layout, const struct csv_row *row,
                       struct personal_number *out);
/* VRS_OK: x->result says what happened (also refused).  Other errors stop the import. */
VRS_CHECK enum vrs_err import_row(enum import_layout layout, const struct csv_row *row,
                                  struct import_context *x);
/* Before the slice commits: puts the drawn numbers durably. */
VRS_CHECK enum vrs_err import_put_numbers(struct import_context *x);

#endif
