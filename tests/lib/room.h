/* One municipality's partition in a throw-away folder, with a transaction open: what tests of the
 * typed records stand on.  One at a time. */
#ifndef TESTS_LIB_ROOM_H
#define TESTS_LIB_ROOM_H

#include "lib/clock.h"
#include "partitions/partition.h"
#include "tests/lib/stand.h"

struct room {
    struct stand stand;
    struct partition *partition;
    struct vrs_fault fault;
    char file[192];
};
extern struct room room;

int room_set_up(void **state); /* for cmocka_unit_test_setup_teardown */
int room_tear_down(void **state);
#define ROOM_TEST(f) cmocka_unit_test_setup_teardown(f, room_set_up, room_tear_down)

void room_ok(enum vrs_err e); /* fails the test with the error's name */
void room_commit(void);       /* and begins the next transaction */
void room_close(void);        /* commits and closes: nothing stands in a journal any more */
void room_open(void);
/* What an operator with the file in hand could do: each statement runs on the closed file, and must
 * change a row unless it reads or creates. The first column of the last row comes back. */
int64_t room_raw(const char *sql);

/* Whether the sealed bytes that a row had stand anywhere in the folder: room_keep copies them. */
struct room_seal {
    uint8_t bytes[64];
};
void room_keep(enum store_table t, const struct record_id *id, struct room_seal *out);
bool room_holds(const struct room_seal *s);

struct civil_date room_day(const char *text);

#endif
