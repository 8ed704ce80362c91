/* The access log: nothing empty, nothing lost, nothing changed unseen (C60, C73, S3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sqlite3.h>

#include "partitions/access_log.h"
#include "partitions/person.h"
#include "tests/lib/stand.h"

static struct stand stand;
static struct partition *p;
static struct vrs_fault fault;

static void ok(enum vrs_err e) {
    if (e != VRS_OK)
        print_error("%s: %s\n", err_name(e), fault.text);
    assert_int_equal(e, VRS_OK);
}

static void open_partition(void) {
    ok(partition_open(&store_sqlite, stand.partitions, "131032", stand.ring, STORE_CREATE, &p,
                      &fault));
    ok(partition_begin(p));
}

static int set_up(void **state) {
    (void)state;
    stand_open(&stand, 1 << KEY_RECORDS | 1 << KEY_LOG);
    open_partition();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    partition_close(&p);
    stand_close(&stand);
    return 0;
}

static uint64_t append(const char *act) {
    const struct log_entry e = {.actor = {.user = "minato-1", .terminal = "lgwan-131032"},
                                .act = act,
                                .purpose = "vaccination_record",
                                .result = "ok"};
    uint64_t seq;
    ok(access_log_append(p, &e, &seq));
    return seq;
}

static enum vrs_err keep(const struct log_read *e, void *arg) {
    char *out = arg;
    (void)snprintf(out, 400, "%s/%s/%s/%s/%s/%s/%s", e->user, e->section, e->terminal, e->purpose,
                   e->addressee, e->four_items, e->detail);
    return VRS_OK;
}

static void no_item_is_ever_empty(void **state) {
    (void)state;
    char text[400] = "";
    struct person x;
    person_init(&x);
    (void)snprintf(x.addressee, sizeof x.addressee, "131030000001");
    (void)snprintf(x.name, sizeof x.name, "髙﨑　花子");
    (void)snprintf(x.address, sizeof x.address, "港区三田");
    x.sex = SEX_FEMALE;
    ok(clock_parse_date("1962-03-04", &x.birth));
    const struct log_entry e = {.actor = {.user = "minato-1"},
                                .act = "resident.read",
                                .person = &x,
                                .subjects = &x.id,
                                .subject_count = 1};
    ok(access_log_append(p, &e, NULL));
    ok(access_log_read(p, 0, 10, keep, text));
    assert_string_equal(text, "minato-1/-/-/-/131030000001/髙﨑　花子|1962-03-04|女|港区三田/-");
    memset(text, 0, sizeof text);
    ok(access_log_of_person(p, &x.id, keep, text));
    assert_true(text[0] != '\0');
    ok(partition_commit(p));
    ok(partition_begin(p));
    assert_false(stand_holds(stand.partitions, "minato-1", 8));
}

static enum vrs_err count(const struct log_read *e, void *arg) {
    (void)e;
    ++*(int *)arg;
    return VRS_OK;
}

static void an_entry_about_many_is_found_by_each(void **state) {
    (void)state;
    struct record_id who[3];
    int n = 0;
    for (int i = 0; i < 3; i++)
        record_id_new(&who[i]);
    const struct log_entry e = {.act = "resident.search", .subjects = who, .subject_count = 3};
    ok(access_log_append(p, &e, NULL));
    ok(access_log_of_person(p, &who[2], count, &n));
    assert_int_equal(n, 1);
}

static void the_sequence_has_no_gap_after_an_undo(void **state) {
    (void)state;
    struct log_head head;
    uint64_t bad;
    assert_int_equal(append("a"), 1);
    ok(partition_savepoint(p));
    assert_int_equal(append("undone"), 2);
    ok(partition_rollback_to(p));
    assert_int_equal(append("b"), 2);
    ok(access_log_verify(p, NULL, &head, &bad));
    assert_int_equal(head.size, 2);
}

static void sql(const char *statement) {
    sqlite3 *db;
    char path[160];
    (void)snprintf(path, sizeof path, "%s/131032.db", stand.partitions);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, statement, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", statement, sqlite3_errmsg(db));
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* Writes five entries, lets somebody with the file at hand change it, and asks the verifier. */
static enum vrs_err after(const char *statement, uint64_t *bad) {
    struct log_head head, seen;
    for (int i = 0; i < 5; i++)
        (void)append("entry");
    ok(access_log_head(p, &seen));
    ok(partition_commit(p));
    partition_close(&p);
    if (statement != NULL)
        sql(statement);
    open_partition();
    return access_log_verify(p, &seen, &head, bad);
}

static void an_untouched_log_verifies(void **state) {
    (void)state;
    uint64_t bad = 99;
    assert_int_equal(after(NULL, &bad), VRS_OK);
    assert_int_equal(bad, 0);
}

static void what_was_done_to_it_is_found(void **state) {
    static const struct {
        const char *sql;
        uint64_t bad;
    } attacks[] = {
        {"UPDATE access_log SET blob=zeroblob(length(blob)) WHERE ord=3", 3},
        {"DELETE FROM access_log WHERE ord=3", 3},
        {"DELETE FROM access_log WHERE ord=5", 5}, /* cut off: only the outside head shows it */
        {"UPDATE access_log SET i1=zeroblob(32) WHERE ord=4", 4},
        {"UPDATE access_log SET ord=9 WHERE ord=5", 5},
    };
    for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++) {
        uint64_t bad = 0;
        print_message("%s\n", attacks[i].sql);
        assert_int_equal(after(attacks[i].sql, &bad), ERR_TAMPERED);
        assert_int_equal(bad, attacks[i].bad);
        (void)tear_down(state);
        (void)set_up(state);
    }
}

static void a_new_epoch_names_the_last_head(void **state) {
    (void)state;
    const struct log_actor who = {.user = "operator"};
    struct log_head before, head;
    uint64_t bad;
    char text[400] = "";
    (void)append("a");
    ok(access_log_head(p, &before));
    ok(access_log_open_epoch(p, &who, "backup-1"));
    ok(access_log_verify(p, &before, &head, &bad));
    assert_string_not_equal(head.epoch, before.epoch);
    ok(access_log_read(p, 1, 10, keep, text));
    assert_non_null(strstr(text, "after 1 "));
    assert_non_null(strstr(text, "backup-1"));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(no_item_is_ever_empty),
        CASE(an_entry_about_many_is_found_by_each),
        CASE(the_sequence_has_no_gap_after_an_undo),
        CASE(an_untouched_log_verifies),
        CASE(what_was_done_to_it_is_found),
        CASE(a_new_epoch_names_the_last_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
