// needs: vrs-server/right.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vrs-server/right.h"

#define BIT(r) ((right_mask)1 << (r))

static void test_names(void **state) {
    right_mask mask, again;
    char text[1024];
    (void)state;
    for (int r = 0; r < RIGHT_COUNT; r++) {
        enum right found;
        assert_true(right_by_name(right_name((enum right)r), &found));
        assert_int_equal(found, r);
        assert_true(right_mask_parse(right_name((enum right)r), &mask));
        assert_true(mask == BIT(r));
    }
    right_mask_format((BIT(RIGHT_COUNT)) - 1, text, sizeof text);
    assert_true(right_mask_parse(text, &again));
    assert_true(again == BIT(RIGHT_COUNT) - 1);
    assert_true(right_mask_parse("", &mask) && mask == 0);
    assert_true(right_mask_parse("  dose.read   log.read ", &mask));
    assert_true(mask == (BIT(RIGHT_DOSE_READ) | BIT(RIGHT_LOG_READ)));
    /* An unknown right is never passed over. */
    assert_false(right_mask_parse("dose.read dose.reed", &mask));
    assert_false(right_mask_parse("a_name_that_is_longer_than_any_right_could_ever_be", &mask));
}

static void test_needed(void **state) {
    right_mask mask = BIT(RIGHT_DOSE_READ);
    (void)state;
    assert_true(right_allows(0, NULL));
    assert_true(right_allows(mask, "dose.read"));
    assert_false(right_allows(0, "dose.read"));
    assert_false(right_allows(mask, "dose.correct"));
    assert_true(right_allows(mask, "dose.correct|dose.read"));
    assert_true(right_allows(mask, "dose.read|dose.correct"));
    assert_false(right_allows(mask, "erase|export"));
    /* default deny: what is not known is not allowed, not even beside what is there */
    assert_false(right_allows(~(right_mask)0, "dose.reed"));
    assert_false(right_allows(~(right_mask)0, "dose.read|dose.reed"));
    assert_false(right_allows(~(right_mask)0, ""));
    assert_true(right_known("dose.read|erase"));
    assert_false(right_known("dose.read|"
                             "erased"));
}

static void test_roles(void **state) {
    static const char *const bad[] = {"",
                                      "mayor",
                                      "system_client",
                                      "operator municipal_staff",
                                      "site_staff municipal_staff",
                                      "prefecture nation",
                                      "auditor municipal_approver",
                                      "municipal_staff mayor"};
    right_mask most, usual;
    enum role_reach reach;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(roles_rights(bad[i], &most, &usual, &reach));
        assert_true(most == 0 && usual == 0);
    }
    assert_true(roles_rights("municipal_staff", &most, &usual, &reach));
    assert_int_equal(reach, REACH_MUNICIPALITY);
    assert_true((usual & ~most) == 0 && usual != most && usual != 0);
    assert_true((most & (BIT(RIGHT_APPROVE_USER) | BIT(RIGHT_DOSE_POST))) == 0);
    right_mask staff = most;
    assert_true(roles_rights("municipal_staff municipal_approver", &most, &usual, &reach));
    assert_true((most & staff) == staff && (most & BIT(RIGHT_APPROVE_USER)) != 0);
    for (int i = 0; i < 2; i++) {
        assert_true(roles_rights(i == 0 ? "prefecture" : "nation", &most, &usual, &reach));
        assert_true(most == BIT(RIGHT_STATISTICS)); /* C06 */
    }
    assert_true(roles_rights("operator", &most, &usual, &reach));
    assert_true(most == 0 && reach == REACH_OPERATION); /* C10 */
    assert_true(roles_rights("auditor", &most, &usual, &reach));
    assert_true(most == (BIT(RIGHT_LOG_READ) | BIT(RIGHT_LOG_PROOF)));
}

static void test_separate(void **state) {
    (void)state;
    assert_true(rights_separate(BIT(RIGHT_STAFF) | BIT(RIGHT_ERASE) | BIT(RIGHT_EXPORT)));
    assert_true(rights_separate(BIT(RIGHT_APPROVE_USER) | BIT(RIGHT_ERASE_APPROVE) |
                                BIT(RIGHT_EXPORT_APPROVE)));
    assert_false(rights_separate(BIT(RIGHT_STAFF) | BIT(RIGHT_APPROVE_USER)));
    assert_false(rights_separate(BIT(RIGHT_ERASE) | BIT(RIGHT_ERASE_APPROVE)));
    assert_false(rights_separate(BIT(RIGHT_EXPORT) | BIT(RIGHT_EXPORT_APPROVE)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_needed),
        cmocka_unit_test(test_roles),
        cmocka_unit_test(test_separate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
