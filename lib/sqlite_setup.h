/* How SQLite is set up, for the process and for a connection; inside sqlite_file.c.  Answers are
 * SQLite's own codes. */
#ifndef VRS_LIB_SQLITE_SETUP_H
#define VRS_LIB_SQLITE_SETUP_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/buffer.h"

struct sqlite3;

/* Wiping allocator, opening without access times, SQLite's log into ours. Once, before any other
 * use of SQLite in the process; thread-safe. */
int sqlite_setup_process(void);
/* Sets every setting of the discipline and reads it back.  On failure *name says which one and
 * `got` what it reads as (SQLITE_ERROR: another value than was set). */
int sqlite_setup_connection(struct sqlite3 *db, bool read_only, const char **name, char *got,
                            size_t cap);
int sqlite_setup_describe(struct sqlite3 *db, struct buffer *out); /* name=value lines */
/* The first column of the first row, as text; "" when there is none. */
int sqlite_setup_read(struct sqlite3 *db, const char *sql, char *out, size_t cap);

#endif
