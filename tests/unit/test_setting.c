// needs: vrs-server/setting.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/lib/room.h"
#include "vrs-server/setting.h"

static int64_t value_of(enum setting s) {
    int64_t value = -1;
    room_ok(setting_get(room.partition, s, &value));
    return value;
}

static void test_defaults_and_changes(void **state) {
    (void)state;
    uint64_t version = 0;
    for (int s = 0; s < SETTING_COUNT; s++) {
        int64_t standard, lowest, highest;
        enum setting found;
        setting_bounds((enum setting)s, &standard, &lowest, &highest);
        assert_true(lowest <= standard && standard <= highest);
        assert_int_equal(value_of((enum setting)s), standard);
        assert_true(setting_by_name(setting_name((enum setting)s), &found));
        assert_int_equal(found, s);
    }
    room_ok(settings_version(room.partition, &version));
    assert_int_equal(version, 1);
    room_ok(setting_put(room.partition, SETTING_TOTP_FOR_NUMBER, 1));
    room_ok(setting_put(room.partition, SETTING_PASSWORD_MAX_AGE_DAYS, 90));
    room_commit();
    room_ok(setting_put(room.partition, SETTING_PASSWORD_MAX_AGE_DAYS, 60));
    assert_int_equal(value_of(SETTING_TOTP_FOR_NUMBER), 1);
    assert_int_equal(value_of(SETTING_PASSWORD_MAX_AGE_DAYS), 60);
    assert_int_equal(value_of(SETTING_SESSIONS_PER_USER), 1);
    room_ok(settings_version(room.partition, &version));
    assert_int_equal(version, 4);
}

static void test_out_of_bounds(void **state) {
    (void)state;
    enum setting s;
    assert_false(setting_by_name("no_such_setting", &s));
    assert_int_equal(setting_put(room.partition, SETTING_TOTP_FOR_NUMBER, 2), ERR_BAD_FIELD);
    assert_int_equal(setting_put(room.partition, SETTING_TOTP_FOR_NUMBER, -1), ERR_BAD_FIELD);
    /* C123: the legal floor of five years */
    for (int64_t years = 1; years < 5; years++)
        assert_int_equal(setting_put(room.partition, SETTING_RETENTION_YEARS, years),
                         ERR_BAD_FIELD);
    room_ok(setting_put(room.partition, SETTING_RETENTION_YEARS, 5));
    room_ok(setting_put(room.partition, SETTING_RETENTION_YEARS, 0));
    assert_int_equal(value_of(SETTING_TOTP_FOR_NUMBER), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        ROOM_TEST(test_defaults_and_changes),
        ROOM_TEST(test_out_of_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
