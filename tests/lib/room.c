#include "tests/lib/room.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <sqlite3.h>

struct room room;

static const char code[] = "131032";

void room_ok(enum vrs_err e) {
    if (e != VRS_OK)
        print_error("%s: %s\n", err_name(e), room.fault.text);
    assert_int_equal(e, VRS_OK);
}

void room_open(void) {
    room_ok(partition_open(&store_sqlite, room.stand.partitions, code, room.stand.ring,
                           STORE_CREATE, &room.partition, &room.fault));
    room_ok(partition_begin(room.partition));
}

void room_close(void) {
    room_ok(partition_commit(room.partition));
    partition_close(&room.partition);
}

void room_commit(void) {
    room_ok(partition_commit(room.partition));
    room_ok(partition_begin(room.partition));
}

int room_set_up(void **state) {
    (void)state;
    memset(&room, 0, sizeof room);
    stand_open(&room.stand, 1U << KEY_RECORDS | 1U << KEY_LOG);
    (void)snprintf(room.file, sizeof room.file, "%s/%s.db", room.stand.partitions, code);
    room_open();
    return 0;
}

int room_tear_down(void **state) {
    (void)state;
    partition_close(&room.partition);
    stand_close(&room.stand);
    return 0;
}

int64_t room_raw(const char *sql) {
    sqlite3 *db = NULL;
    sqlite3_stmt *stmt = NULL;
    int64_t value = 0;
    int rc;
    bool was_open = room.partition != NULL;
    if (was_open)
        room_close();
    assert_int_equal(sqlite3_open_v2(room.file, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    for (const char *rest = sql; *rest != '\0';) {
        if (sqlite3_prepare_v2(db, rest, -1, &stmt, &rest) != SQLITE_OK)
            fail_msg("%s", sqlite3_errmsg(db));
        bool changes = sqlite3_strnicmp(sqlite3_sql(stmt), "CREATE", 6) != 0 &&
                       sqlite3_stmt_readonly(stmt) == 0;
        while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
            value = sqlite3_column_int64(stmt, 0);
        if (rc != SQLITE_DONE)
            fail_msg("%s", sqlite3_errmsg(db));
        (void)sqlite3_finalize(stmt);
        if (changes && sqlite3_changes(db) == 0)
            fail_msg("changed nothing: %s", sql);
    }
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    if (was_open)
        room_open();
    return value;
}

void room_keep(enum store_table t, const struct record_id *id, struct room_seal *out) {
    struct store_row row;
    room_ok(store_sqlite.get(partition_store(room.partition), t, id->bytes, &row));
    assert_true(row.blob_len >= sizeof out->bytes);
    memcpy(out->bytes, row.blob + row.blob_len - sizeof out->bytes, sizeof out->bytes);
}

bool room_holds(const struct room_seal *s) {
    return stand_holds(room.stand.dir, s->bytes, sizeof s->bytes);
}

struct civil_date room_day(const char *text) {
    struct civil_date d;
    room_ok(clock_parse_date(text, &d));
    return d;
}
