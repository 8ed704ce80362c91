// needs: vrs-server/inquiries/allow_list.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "vrs-server/inquiries/allow_list.h"

#define ROW(asker, provider, from, to, items)                                                      \
    "{\"business\":\"transfer_in\",\"asker\":\"" asker "\",\"provider\":\"" provider               \
    "\",\"from\":\"" from "\",\"to\":" to ",\"items\":[" items "]}"
#define LIST(rows) "{\"format\":\"vrs-allow-list/1\",\"version\":3,\"entries\":[" rows "]}"

static const char text[] = LIST(ROW("*", "*", "2021-04-12", "null", "\"lot\",\"site\"") "," ROW(
    "462012", "*", "2021-04-12", "null",
    "\"lot\"") "," ROW("*", "142051", "2021-04-12", "null",
                       "") "," ROW("462012", "131032", "2022-01-01", "\"2022-12-31\"", "\"site\""));

static struct civil_date day(const char *s) {
    struct civil_date d;
    assert_int_equal(clock_parse_date(s, &d), VRS_OK);
    return d;
}

static enum vrs_err ask(const struct allow_list *l, const char *asker, const char *provider,
                        const char *item, const char *on) {
    return allow_list_permits(l, "transfer_in", asker, provider, item, day(on));
}

static void the_most_particular_entry_decides(void **state) {
    (void)state;
    struct vrs_fault fault = {0};
    struct allow_list *l = NULL;
    assert_int_equal(allow_list_read(text, strlen(text), &l, &fault), VRS_OK);
    assert_true(allow_list_version(l) == 3);
    assert_int_equal(ask(l, "011002", "131032", "site", "2021-05-01"), VRS_OK);
    assert_int_equal(ask(l, "011002", "131032", NULL, "2021-05-01"), VRS_OK);
    assert_int_equal(ask(l, "011002", "131032", "site", "2021-04-11"), ERR_NOT_ON_ALLOW_LIST);
    assert_int_equal(ask(l, "462012", "131032", "site", "2021-05-01"), ERR_NOT_ON_ALLOW_LIST);
    assert_int_equal(ask(l, "462012", "131032", "lot", "2021-05-01"), VRS_OK);
    assert_int_equal(ask(l, "011002", "142051", NULL, "2021-05-01"), ERR_NOT_ON_ALLOW_LIST);
    assert_int_equal(ask(l, "462012", "142051", "lot", "2021-05-01"),
                     VRS_OK); /* asker weighs more */
    assert_int_equal(ask(l, "462012", "131032", "lot", "2022-06-01"), ERR_NOT_ON_ALLOW_LIST);
    assert_int_equal(ask(l, "462012", "131032", "site", "2022-12-31"), VRS_OK);
    assert_int_equal(ask(l, "462012", "131032", "lot", "2023-01-01"), VRS_OK);
    assert_int_equal(
        allow_list_permits(l, "certificate", "011002", "131032", NULL, day("2021-05-01")),
        ERR_NOT_ON_ALLOW_LIST);
    allow_list_close(&l);
}

static void c84_none_or_an_empty_one_refuses_everything(void **state) {
    (void)state;
    struct vrs_fault fault = {0};
    struct allow_list *l = NULL;
    assert_int_equal(ask(NULL, "462012", "131032", NULL, "2021-05-01"), ERR_NOT_ON_ALLOW_LIST);
    assert_int_equal(allow_list_read(LIST(""), strlen(LIST("")), &l, &fault), VRS_OK);
    assert_int_equal(ask(l, "462012", "131032", NULL, "2021-05-01"), ERR_NOT_ON_ALLOW_LIST);
    allow_list_close(&l);
}

static void what_is_not_understood_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "{\"format\":\"vrs-allow-list/1\",\"version\":0,\"entries\":[]}",
        "{\"format\":\"vrs-allow-list/2\",\"version\":1,\"entries\":[]}",
        "{\"format\":\"vrs-allow-list/1\",\"version\":1}",
        LIST(ROW("4620", "*", "2021-04-12", "null", "")),
        LIST(ROW("*", "*", "today", "null", "")),
        LIST(ROW("*", "*", "2021-04-12", "1", "")),
        LIST(ROW("*", "*", "2021-04-12", "null", "1")),
        LIST("{\"business\":\"transfer_in\",\"asker\":\"*\",\"provider\":\"*\",\"from\":\"2021-04-"
             "12\","
             "\"items\":[],\"only\":1}"),
        LIST("1")};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct vrs_fault fault = {0};
        struct allow_list *l = NULL;
        assert_int_not_equal(allow_list_read(bad[i], strlen(bad[i]), &l, &fault), VRS_OK);
        assert_null(l);
    }
}

static void only_its_authority_signs(void **state) {
    (void)state;
    struct vrs_fault fault = {0};
    struct secret_key key, other;
    uint8_t pub[32], other_pub[32];
    struct allow_list *l = NULL;
    struct buffer out;
    crypto_ed25519_keypair(&key, pub);
    crypto_ed25519_keypair(&other, other_pub);
    buffer_init(&out, 1 << 20);
    assert_int_equal(allow_list_sign(text, strlen(text), &key, &out, &fault), VRS_OK);
    assert_int_equal(allow_list_open(out.data, out.len, pub, &l, &fault), VRS_OK);
    assert_true(allow_list_version(l) == 3);
    allow_list_close(&l);
    assert_int_equal(allow_list_open(out.data, out.len, other_pub, &l, &fault), ERR_CONFIG);
    assert_null(l);
    for (size_t i = 20; i < out.len; i += 37) { /* one changed byte anywhere */
        out.data[i] ^= 1;
        assert_int_not_equal(allow_list_open(out.data, out.len, pub, &l, &fault), VRS_OK);
        assert_null(l);
        out.data[i] ^= 1;
    }
    assert_int_not_equal(allow_list_open(text, strlen(text), pub, &l, &fault),
                         VRS_OK); /* unsigned */
    buffer_fini(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_particular_entry_decides),
        cmocka_unit_test(c84_none_or_an_empty_one_refuses_everything),
        cmocka_unit_test(what_is_not_understood_is_refused),
        cmocka_unit_test(only_its_authority_signs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
