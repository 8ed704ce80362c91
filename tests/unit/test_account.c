// needs: vrs-server/accounts/account.c vrs-server/right.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "partitions/fields.h"
#include "tests/lib/room.h"
#include "vrs-server/accounts/account.h"

static struct municipality_list *towns;

static void in_days(int n, char out[11]) {
    clock_format_date((struct civil_date){clock_today_jst().days + n}, out);
}

static struct application asked(const char *user, const char *person, const char *roles,
                                const char *rights, int days) {
    struct application a = {.state = APPLICATION_OPEN, .applied_ms = clock_now_ms()};
    record_id_new(&a.id);
    (void)snprintf(a.account.user, sizeof a.account.user, "%s", user);
    (void)snprintf(a.account.person_name, sizeof a.account.person_name, "%s", person);
    (void)snprintf(a.account.roles, sizeof a.account.roles, "%s", roles);
    (void)snprintf(a.account.rights, sizeof a.account.rights, "%s", rights);
    (void)snprintf(a.account.municipality, sizeof a.account.municipality, "131032");
    (void)snprintf(a.account.password_hash, sizeof a.account.password_hash, "a hash");
    (void)snprintf(a.applicant, sizeof a.applicant, "office");
    in_days(days, a.account.valid_until);
    return a;
}

static enum vrs_err check(struct application *a) {
    const char *field = NULL;
    return application_check(room.partition, a, towns, &field);
}

static enum vrs_err approve(struct application *a, const char *by, bool bootstrap) {
    enum vrs_err e = application_put(room.partition, a);
    return e == VRS_OK ? application_approve(room.partition, a, towns, by, bootstrap) : e;
}

/* The first approver, by bootstrap. */
static void set_up_chief(void) {
    struct application a = asked("chief", "課長", "municipal_approver", "user.approve", 300);
    room_ok(approve(&a, "second operator", true));
}

static void test_four_eyes(void **state) {
    (void)state;
    struct application first =
        asked("chief", "課長", "municipal_approver", "user.approve log.read", 300);
    assert_int_equal(approve(&first, "chief", false), ERR_FORBIDDEN); /* nobody is there yet */
    first = asked("chief", "課長", "municipal_approver", "user.approve log.read", 300);
    assert_int_equal(approve(&first, "office", true), ERR_FORBIDDEN); /* filed it */
    first = asked("chief", "課長", "municipal_approver", "user.approve log.read", 300);
    room_ok(approve(&first, "second operator", true));

    struct application a = asked("clerk", "担当", "municipal_staff", "dose.read", 300);
    assert_int_equal(approve(&a, "second operator", true), ERR_FORBIDDEN); /* one is there now */
    a = asked("clerk", "担当", "municipal_staff", "dose.read", 300);
    assert_int_equal(approve(&a, "nobody", false), ERR_FORBIDDEN);
    a = asked("clerk", "担当", "municipal_staff", "dose.read", 300);
    room_ok(approve(&a, "chief", false));
    assert_int_equal(application_approve(room.partition, &a, towns, "chief", false), ERR_CONFLICT);
    a = asked("clerk", "担当", "municipal_staff", "dose.read export", 300);
    assert_int_equal(approve(&a, "clerk", false), ERR_FORBIDDEN);
    struct application own = asked("chief-2", "課長", "municipal_staff", "export", 300);
    assert_int_equal(approve(&own, "chief", false), ERR_FORBIDDEN); /* the same person */
    struct account made;
    room_ok(account_get(room.partition, "clerk", &made));
    assert_string_equal(made.approved_by, "chief");
    assert_string_equal(made.rights, "dose.read");
    assert_int_equal(strlen(made.application), 32);
}

/* What nobody decided on in its time is filed again. */
static void test_an_application_lapses(void **state) {
    const int64_t days_ms = APPLICATION_VALID_DAYS * INT64_C(86400000);
    (void)state;
    set_up_chief();
    struct application a = asked("clerk", "担当", "municipal_staff", "dose.read", 300);
    a.applied_ms -= days_ms;
    assert_false(application_open(&a));
    assert_int_equal(approve(&a, "chief", false), ERR_CONFLICT);
    assert_int_equal(application_refuse(room.partition, &a, "chief", "too late"), ERR_CONFLICT);
    struct account made;
    assert_int_equal(account_get(room.partition, "clerk", &made), ERR_NOT_FOUND);
    struct application open = asked("clerk-2", "別の担当", "municipal_staff", "dose.read", 300);
    uint64_t wiped;
    room_ok(application_put(room.partition, &open));
    room_ok(applications_wipe_lapsed(room.partition, &wiped));
    assert_int_equal(wiped, 1);
    room_ok(application_get(room.partition, &a.id, &a));
    assert_string_equal(a.account.password_hash, "");
    room_ok(application_get(room.partition, &open.id, &open));
    assert_string_equal(open.account.password_hash, "a hash");
    room_ok(applications_wipe_lapsed(room.partition, &wiped));
    assert_int_equal(wiped, 0);
    a = asked("clerk", "担当", "municipal_staff", "dose.read", 300);
    a.applied_ms -= days_ms - 60000;
    assert_true(application_open(&a));
    room_ok(approve(&a, "chief", false));
}

static void test_bounds(void **state) {
    (void)state;
    struct application a = asked("clerk", "担当", "municipal_staff", "dose.read", 366);
    room_ok(check(&a));
    a = asked("clerk", "担当", "municipal_staff", "dose.read", 367);
    assert_int_equal(check(&a), ERR_BAD_FIELD); /* C44 */
    a = asked("clerk", "担当", "municipal_staff", "dose.read", -1);
    assert_int_equal(check(&a), ERR_BAD_FIELD);
    a = asked("x", "担当", "municipal_staff", "dose.read", 30);
    assert_int_equal(check(&a), ERR_BAD_FIELD);
    a = asked("clerk", "担当", "municipal_staff", "", 30);
    room_ok(check(&a));
    assert_string_equal(a.account.rights, "resident.read dose.read"); /* the modest default */
    a = asked("clerk", "担当", "nation", "statistics", 30);
    assert_int_equal(check(&a), ERR_NO_SUCH_MUNICIPALITY);
    a.account.municipality[0] = '\0';
    room_ok(check(&a));
    a = asked("watcher", "監査", "auditor", "", 30);
    a.account.municipality[0] = '\0';
    assert_int_equal(check(&a), ERR_BAD_FIELD); /* no scope */
    static const char *const scopes[] = {"131032", "131032 142051", "*"};
    for (size_t i = 0; i < sizeof scopes / sizeof *scopes; i++) {
        (void)snprintf(a.account.scope, sizeof a.account.scope, "%s", scopes[i]);
        room_ok(check(&a));
    }
    static const char *const wrong[] = {"131033", "131032,142051", "13", "131032 ", "* 131032"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        (void)snprintf(a.account.scope, sizeof a.account.scope, "%s", wrong[i]);
        assert_int_equal(check(&a), ERR_BAD_FIELD);
    }
}

static void test_extension(void **state) {
    (void)state;
    set_up_chief();
    struct application a = asked("clerk", "担当", "municipal_staff", "dose.read", 100);
    room_ok(approve(&a, "chief", false));
    struct account before, after;
    room_ok(account_get(room.partition, "clerk", &before));
    before.used_ms = 42;
    before.totp_on = true;
    room_ok(account_mark(room.partition, &before));
    a = asked("clerk", "担当", "municipal_staff", "dose.read export", 300);
    a.account.password_hash[0] = '\0';
    room_ok(approve(&a, "chief", false));
    room_ok(account_get(room.partition, "clerk", &after));
    assert_int_equal(after.used_ms, 42);
    assert_true(after.totp_on);
    assert_string_equal(after.password_hash, "a hash");
    assert_string_equal(after.rights, "dose.read export");
    assert_true(strcmp(after.valid_until, before.valid_until) > 0);
    /* C49: another person, and anybody once it is left */
    a = asked("clerk", "別人", "municipal_staff", "dose.read", 100);
    assert_int_equal(check(&a), ERR_CONFLICT);
    in_days(-1, after.left_on);
    after.state = ACCOUNT_DISABLED;
    room_ok(account_put(room.partition, &after));
    a = asked("clerk", "担当", "municipal_staff", "dose.read", 100);
    assert_int_equal(check(&a), ERR_CONFLICT);
}

static void test_ends_by_itself(void **state) {
    (void)state;
    struct account a = {.state = ACCOUNT_ACTIVE};
    in_days(0, a.valid_until);
    assert_true(account_lives(&a));
    in_days(-1, a.valid_until);
    assert_false(account_lives(&a)); /* C45 */
    in_days(5, a.valid_until);
    a.state = ACCOUNT_DISABLED;
    assert_false(account_lives(&a));
}

/* As a newer program, or a mistaken hand, could have left it: a right that this one does not know. */
static void plant(const char *user, const char *roles, const char *rights) {
    static const struct field members[] = {FIELD(1, FIELD_TEXT, struct account, user),
                                           FIELD(3, FIELD_TEXT, struct account, municipality),
                                           FIELD(5, FIELD_TEXT, struct account, roles),
                                           FIELD(6, FIELD_TEXT, struct account, rights),
                                           FIELD(9, FIELD_TEXT, struct account, approved_by),
                                           {0}};
    struct account a = {.municipality = "131032", .approved_by = "chief"};
    struct record r;
    (void)snprintf(a.user, sizeof a.user, "%s", user);
    (void)snprintf(a.roles, sizeof a.roles, "%s", roles);
    (void)snprintf(a.rights, sizeof a.rights, "%s", rights);
    record_init(&r);
    record_id_new(&r.id);
    r.state = ACCOUNT_ACTIVE;
    fields_encode(members, &a, &r.text);
    room_ok(partition_blind(room.partition, "user", user, strlen(user), &r.index[0]));
    room_ok(record_insert(room.partition, TABLE_ACCOUNT, &r));
    record_fini(&r);
}

static void test_unknown_right_stops(void **state) {
    static const struct {
        const char *roles, *rights;
    } bad[] = {{"municipal_staff", "dose.read dose.forget"},
               {"municipal_staff operator", "dose.read"},
               {"municipal_staff", "user.approve"},
               {"municipal_staff municipal_approver", "staff.manage user.approve"},
               {"nation", "statistics"}}; /* in a municipality */
    struct vrs_fault fault = {0};
    (void)state;
    set_up_chief();
    plant("sound", "municipal_staff", "dose.read");
    room_ok(accounts_check(room.partition, &fault));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct record_id id;
        struct account a;
        memset(&fault, 0, sizeof fault);
        plant("spoilt", bad[i].roles, bad[i].rights);
        assert_int_equal(accounts_check(room.partition, &fault), ERR_CONFIG);
        assert_non_null(strstr(fault.text, "account spoilt"));
        room_ok(account_get(room.partition, "spoilt", &a));
        assert_int_equal(account_put(room.partition, &a), ERR_BAD_FIELD); /* nor written again */
        id = a.id;
        room_ok(record_remove(room.partition, TABLE_ACCOUNT, &id));
    }
    room_ok(accounts_check(room.partition, &fault));
}

static int open_towns(void **state) {
    struct vrs_fault fault = {0};
    (void)state;
    return municipality_list_open("data/municipalities.csv", &towns, &fault) == VRS_OK ? 0 : -1;
}

static int close_towns(void **state) {
    (void)state;
    municipality_list_close(&towns);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        ROOM_TEST(test_four_eyes),      ROOM_TEST(test_an_application_lapses),
        ROOM_TEST(test_bounds),         ROOM_TEST(test_extension),
        ROOM_TEST(test_ends_by_itself), ROOM_TEST(test_unknown_right_stops),
    };
    return cmocka_run_group_tests(tests, open_towns, close_towns);
}
