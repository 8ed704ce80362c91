/* How many rows a second SQLite makes durable here when nothing else is in the way: one file, WAL,
 * synchronous=FULL, groups of 64 rows with one unique index, as the inbox and a partition have.
 *
 *     sqlite_ceiling FOLDER [SECONDS [ROWS_A_COMMIT]]   → one line of JSON */
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/crypto.h"

enum { SEALED_BYTES = 512, ID_BYTES = 16 };

static const char schema[] = "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;"
                             "PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;"
                             "PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0;"
                             "CREATE TABLE entry (seq INTEGER PRIMARY KEY, receipt BLOB NOT NULL "
                             "UNIQUE, sealed BLOB NOT NULL);";

static int commit_rows(sqlite3 *db, sqlite3_stmt *insert, unsigned rows) {
    static uint8_t sealed[SEALED_BYTES];
    uint8_t id[ID_BYTES];
    int status = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    for (unsigned i = 0; status == SQLITE_OK && i < rows; i++) {
        crypto_random(id, sizeof id);
        memcpy(sealed, id, sizeof id);
        (void)sqlite3_bind_blob(insert, 1, id, sizeof id, SQLITE_STATIC);
        (void)sqlite3_bind_blob(insert, 2, sealed, sizeof sealed, SQLITE_STATIC);
        status = sqlite3_step(insert) == SQLITE_DONE ? sqlite3_reset(insert) : SQLITE_ERROR;
    }
    return status == SQLITE_OK ? sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) : status;
}

static int measure(sqlite3 *db, int64_t seconds, unsigned rows) {
    sqlite3_stmt *insert = NULL;
    uint64_t commits = 0;
    int status = sqlite3_exec(db, schema, NULL, NULL, NULL);
    if (status == SQLITE_OK)
        status = sqlite3_prepare_v2(db, "INSERT INTO entry (receipt, sealed) VALUES (?1, ?2)", -1,
                                    &insert, NULL);
    int64_t start_us = clock_mono_us(), now_us = start_us;
    while (status == SQLITE_OK && now_us - start_us < seconds * 1000000) {
        status = commit_rows(db, insert, rows);
        commits++;
        now_us = clock_mono_us();
    }
    (void)sqlite3_finalize(insert);
    double took_s = (double)(now_us - start_us) / 1e6;
    if (status != SQLITE_OK || took_s <= 0) {
        (void)fprintf(stderr, "sqlite_ceiling: %s\n", sqlite3_errmsg(db));
        return 1;
    }
    (void)printf("{\"rows_a_commit\":%u,\"commits_per_s\":%.1f,\"rows_per_s\":%.1f}\n", rows,
                 (double)commits / took_s, (double)commits * rows / took_s);
    return 0;
}

int main(int argc, char **argv) {
    char path[4096], side[4200];
    sqlite3 *db = NULL;
    if (argc < 2) {
        (void)fprintf(stderr, "usage: sqlite_ceiling FOLDER [SECONDS [ROWS_A_COMMIT]]\n");
        return 2;
    }
    int64_t seconds = argc > 2 ? strtol(argv[2], NULL, 10) : 2;
    unsigned rows = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 64;
    (void)snprintf(path, sizeof path, "%s/ceiling.%ld.db", argv[1], (long)getpid());
    int status = sqlite3_open(path, &db) == SQLITE_OK ? measure(db, seconds, rows) : 1;
    (void)sqlite3_close(db);
    (void)unlink(path);
    (void)snprintf(side, sizeof side, "%s-wal", path);
    (void)unlink(side);
    return status;
}
