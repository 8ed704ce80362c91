/* How many rows a second SQLite makes durable here when nothing else is in the way: one file, WAL,
 * synchronous=FULL, groups of 64 rows with one unique index, as the inbox and a partition have.  More
 * indexes are over blind values, too: what a record that is found by several keys costs at least.
 *
 *     sqlite_ceiling FOLDER [SECONDS [ROWS_A_COMMIT [INDEXES]]]   → one line of JSON */
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/crypto.h"

enum { SEALED_BYTES = 512, ID_BYTES = 16, MOST_INDEXES = 32 };

static const char settings[] = "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;"
                               "PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;"
                               "PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0;";

/* The table, its indexes and what fills it. */
static int prepare(sqlite3 *db, unsigned indexes, sqlite3_stmt **insert) {
    sqlite3_str *table = sqlite3_str_new(db), *row = sqlite3_str_new(db);
    sqlite3_str_appendf(table, "%sCREATE TABLE entry (seq INTEGER PRIMARY KEY", settings);
    sqlite3_str_appendf(row, "INSERT INTO entry VALUES (NULL");
    for (unsigned i = 0; i < indexes; i++) {
        sqlite3_str_appendf(table, ", i%u BLOB NOT NULL UNIQUE", i);
        sqlite3_str_appendf(row, ", ?%u", i + 2);
    }
    sqlite3_str_appendf(table, ", sealed BLOB NOT NULL)");
    sqlite3_str_appendf(row, ", ?1)");
    char *table_sql = sqlite3_str_finish(table), *row_sql = sqlite3_str_finish(row);
    int status = table_sql != NULL ? sqlite3_exec(db, table_sql, NULL, NULL, NULL) : SQLITE_NOMEM;
    if (status == SQLITE_OK)
        status = row_sql != NULL ? sqlite3_prepare_v2(db, row_sql, -1, insert, NULL) : SQLITE_NOMEM;
    sqlite3_free(table_sql);
    sqlite3_free(row_sql);
    return status;
}

static int commit_rows(sqlite3 *db, sqlite3_stmt *insert, unsigned rows, unsigned indexes) {
    static uint8_t sealed[SEALED_BYTES], key[MOST_INDEXES][ID_BYTES];
    int status = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    for (unsigned i = 0; status == SQLITE_OK && i < rows; i++) {
        crypto_random(key, indexes * sizeof key[0]);
        memcpy(sealed, &i, sizeof i);
        (void)sqlite3_bind_blob(insert, 1, sealed, sizeof sealed, SQLITE_STATIC);
        for (unsigned k = 0; k < indexes; k++)
            (void)sqlite3_bind_blob(insert, (int)k + 2, key[k], ID_BYTES, SQLITE_STATIC);
        status = sqlite3_step(insert) == SQLITE_DONE ? sqlite3_reset(insert) : SQLITE_ERROR;
    }
    return status == SQLITE_OK ? sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) : status;
}

static int measure(sqlite3 *db, int64_t seconds, unsigned rows, unsigned indexes) {
    sqlite3_stmt *insert = NULL;
    uint64_t commits = 0;
    int status = prepare(db, indexes, &insert);
    int64_t start_us = clock_mono_us(), now_us = start_us;
    while (status == SQLITE_OK && now_us - start_us < seconds * 1000000) {
        status = commit_rows(db, insert, rows, indexes);
        commits++;
        now_us = clock_mono_us();
    }
    (void)sqlite3_finalize(insert);
    double took_s = (double)(now_us - start_us) / 1e6;
    if (status != SQLITE_OK || took_s <= 0) {
        (void)fprintf(stderr, "sqlite_ceiling: %s\n", sqlite3_errmsg(db));
        return 1;
    }
    (void)printf(
        "{\"rows_a_commit\":%u,\"indexes\":%u,\"commits_per_s\":%.1f,\"rows_per_s\":%.1f}\n", rows,
        indexes, (double)commits / took_s, (double)commits * rows / took_s);
    return 0;
}

int main(int argc, char **argv) {
    char path[4096], side[4200];
    sqlite3 *db = NULL;
    int64_t seconds = argc > 2 ? strtol(argv[2], NULL, 10) : 2;
    unsigned rows = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 64;
    unsigned indexes = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 1;
    if (argc < 2 || indexes > MOST_INDEXES) {
        (void)fprintf(stderr, "usage: sqlite_ceiling FOLDER [SECONDS [ROWS_A_COMMIT [INDEXES]]]\n");
        return 2;
    }
    (void)snprintf(path, sizeof path, "%s/ceiling.%ld.db", argv[1], (long)getpid());
    int status = sqlite3_open(path, &db) == SQLITE_OK ? measure(db, seconds, rows, indexes) : 1;
    (void)sqlite3_close(db);
    (void)unlink(path);
    (void)snprintf(side, sizeof side, "%s-wal", path);
    (void)unlink(side);
    return status;
}
