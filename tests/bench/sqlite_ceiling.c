/* How many rows a second SQLite makes durable here when nothing else is in the way: WAL,
 * synchronous=FULL, groups of rows with unique indexes (64 and one, as the inbox and a partition have,
 * if not told otherwise).  More indexes are over blind values, too: what a record that is found by
 * several keys costs at least.  More files take a commit each in turn, as those of municipalities do;
 * nothing is moved out of their journals meanwhile.
 *
 *     sqlite_ceiling FOLDER [SECONDS [ROWS_A_COMMIT [INDEXES [FILES]]]]   → one line of JSON */
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/crypto.h"

enum { SEALED_BYTES = 512, ID_BYTES = 16, MOST_INDEXES = 32, ROWS_BEFORE = 100 };

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

struct file {
    char path[4096];
    sqlite3 *db;
    sqlite3_stmt *insert;
};

static int commit_in_turn(struct file *file, unsigned files, int64_t seconds, unsigned rows,
                          unsigned indexes) {
    uint64_t commits = 0;
    int status = SQLITE_OK;
    int64_t start_us = clock_mono_us(), now_us = start_us;
    double cpu_s = (double)clock();
    while (status == SQLITE_OK && now_us - start_us < seconds * 1000000) {
        const struct file *f = &file[commits % files];
        status = commit_rows(f->db, f->insert, rows, indexes);
        if (status != SQLITE_OK)
            (void)fprintf(stderr, "sqlite_ceiling: %s\n", sqlite3_errmsg(f->db));
        commits++;
        now_us = clock_mono_us();
    }
    cpu_s = ((double)clock() - cpu_s) / CLOCKS_PER_SEC;
    double took_s = (double)(now_us - start_us) / 1e6;
    (void)printf("{\"rows_a_commit\":%u,\"indexes\":%u,\"files\":%u,\"commits_per_s\":%.1f,\"rows_"
                 "per_s\":%.1f,\"cpu_ms\":%.5f}\n",
                 rows, indexes, files, (double)commits / took_s, (double)commits * rows / took_s,
                 1000 * cpu_s / ((double)commits * rows));
    return status;
}

static int open_file(struct file *f, const char *folder, unsigned n, unsigned rows,
                     unsigned indexes) {
    (void)snprintf(f->path, sizeof f->path, "%s/ceiling.%ld.%u.db", folder, (long)getpid(), n);
    int status = sqlite3_open(f->path, &f->db);
    if (status == SQLITE_OK)
        status = prepare(f->db, indexes, &f->insert);
    /* A journal that is written over, not one that grows; and begun: its head has a sync of its own. */
    if (status == SQLITE_OK)
        status = commit_rows(f->db, f->insert, 2 * rows + ROWS_BEFORE, indexes);
    if (status == SQLITE_OK)
        status = sqlite3_wal_checkpoint_v2(f->db, NULL, SQLITE_CHECKPOINT_RESTART, NULL, NULL);
    if (status == SQLITE_OK)
        status = commit_rows(f->db, f->insert, 1, indexes);
    if (status != SQLITE_OK)
        (void)fprintf(stderr, "sqlite_ceiling: %s: %s\n", f->path, sqlite3_errstr(status));
    return status;
}

static void remove_file(struct file *f) {
    char side[sizeof f->path + 4];
    (void)sqlite3_finalize(f->insert);
    (void)sqlite3_close(f->db);
    (void)unlink(f->path);
    (void)snprintf(side, sizeof side, "%s-wal", f->path);
    (void)unlink(side);
}

static unsigned number(int argc, char **argv, int n, unsigned otherwise) {
    return argc > n ? (unsigned)strtoul(argv[n], NULL, 10) : otherwise;
}

int main(int argc, char **argv) {
    unsigned seconds = number(argc, argv, 2, 2);
    unsigned rows = number(argc, argv, 3, 64);
    unsigned indexes = number(argc, argv, 4, 1);
    unsigned files = number(argc, argv, 5, 1);
    if (argc < 2 || indexes > MOST_INDEXES || files == 0) {
        (void)fprintf(stderr,
                      "usage: sqlite_ceiling FOLDER [SECONDS [ROWS_A_COMMIT [INDEXES [FILES]]]]\n");
        return 2;
    }
    struct file *file = calloc(files, sizeof *file);
    int status = file != NULL ? SQLITE_OK : SQLITE_NOMEM;
    unsigned opened = 0;
    while (status == SQLITE_OK && opened < files) {
        status = open_file(&file[opened], argv[1], opened, rows, indexes);
        opened++;
    }
    if (status == SQLITE_OK)
        status = commit_in_turn(file, files, seconds, rows, indexes);
    while (opened > 0)
        remove_file(&file[--opened]);
    free(file);
    return status == SQLITE_OK ? 0 : 1;
}
