// needs: tablet-api/published.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/json.h"
#include "tablet-api/published.h"

#define KEY "\"inbox_key\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\""
#define HEAD "{\"version\":7,\"made_at\":\"2021-07-01T00:00:00Z\",\"max_age_s\":60," KEY ","
#define TAIL ",\"revoked\":[\"00AB12\"],\"terminals\":[],\"system_clients\":[]}"

static enum vrs_err read_text(const char *text, struct published **out) {
    struct vrs_fault fault = {0};
    return published_read(text, strlen(text), out, &fault);
}

static void accounts_rights_and_revocations(void **state) {
    (void)state;
    struct published *p = NULL;
    assert_int_equal(
        read_text(HEAD
                  "\"users\":["
                  "{\"user_id\":\"b\",\"password_hash\":\"h\",\"roles\":[\"site_staff\"]},"
                  "{\"user_id\":\"a\",\"password_hash\":\"h\",\"roles\":[\"site_staff\"],"
                  "\"rights\":[\"dose.post\",\"of.the.inside\"],\"valid_until\":\"2021-12-31\","
                  "\"municipality_code\":\"131032\"}]" TAIL,
                  &p),
        VRS_OK);
    assert_true(published_version(p) == 7);
    const struct published_user *u = published_user(p, "a");
    assert_non_null(u);
    assert_int_equal(u->rights, RIGHT_DOSE_POST); /* named one by one: only those */
    assert_true(u->ends);
    assert_string_equal(u->municipality, "131032");
    u = published_user(p, "b");
    assert_int_equal(u->rights,
                     RIGHT_DOSE_POST | RIGHT_DOSE_CANCEL | RIGHT_RECEIPT_READ | RIGHT_COUPON_CHECK);
    assert_string_equal(u->roles_json, "[\"site_staff\"]");
    assert_null(published_user(p, "c"));
    assert_null(published_user(NULL, "a"));
    assert_true(published_revoked(p, "ab12"));
    assert_true(published_revoked(p, "AB12"));
    assert_false(published_revoked(p, "ab1"));
    assert_false(published_revoked(NULL, "ab12"));
    int64_t made = published_made_ms(p);
    assert_true(published_fresh(p, made + 60000));
    assert_false(published_fresh(p, made + 60001));
    assert_false(published_fresh(NULL, made));
    published_close(&p);
}

static void keys_of_the_log(void **state) {
    (void)state;
    static const char none[] = HEAD "\"users\":[]" TAIL;
    static const char two[] = HEAD "\"users\":[],\"log_keys\":["
                                   "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\","
                                   "\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\"]" TAIL;
    static const char bad[] = HEAD "\"users\":[],\"log_keys\":[\"AQE=\"]" TAIL;
    const struct published_log_key *keys;
    struct published *p = NULL;
    assert_int_equal(published_log_keys(NULL, &keys), 0);
    assert_int_equal(read_text(none, &p), VRS_OK);
    assert_int_equal(published_log_keys(p, &keys), 0);
    published_close(&p);
    assert_int_equal(read_text(two, &p), VRS_OK);
    assert_int_equal(published_log_keys(p, &keys), 2);
    assert_string_equal(keys[0].key_id, "66687aad");
    assert_int_equal(keys[1].key[31], 1);
    published_close(&p);
    assert_int_equal(read_text(bad, &p), ERR_BAD_FIELD);
}

static void system_clients_by_fingerprint(void **state) {
    (void)state;
    struct published *p = NULL;
    uint8_t print[32];
    memset(print, 0xab, sizeof print);
    assert_int_equal(
        read_text(
            HEAD
            "\"users\":[],\"revoked\":[],\"terminals\":[],\"system_clients\":[{\"fingerprint\":"
            "\"ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB\","
            "\"name\":\"reader\",\"rights\":[\"dose.post\"]}]}",
            &p),
        VRS_OK);
    assert_string_equal(published_system(p, print)->name, "reader");
    print[0] = 0;
    assert_null(published_system(p, print));
    published_close(&p);
}

static const char terminals_text[] = HEAD
    "\"users\":["
    "{\"user_id\":\"m\",\"password_hash\":\"h\",\"roles\":[],\"municipality_code\":\"131032\","
    "\"site\":\"hall\"},"
    "{\"user_id\":\"f\",\"password_hash\":\"h\",\"roles\":[],\"municipality_code\":\"142051\"},"
    "{\"user_id\":\"n\",\"password_hash\":\"h\",\"roles\":[]}],\"revoked\":[],\"terminals\":["
    "{\"serial\":\"00C2\",\"name\":\"t2\",\"kind\":\"tablet\",\"municipality_code\":\"131032\","
    "\"binding\":\"site\",\"site\":\"school\"},"
    "{\"serial\":\"a1\",\"name\":\"t1\",\"kind\":\"tablet\",\"municipality_code\":\"131032\","
    "\"works_until\":\"2021-08-01T00:00:00Z\"},"
    "{\"serial\":\"b3\",\"name\":\"t3\",\"kind\":\"tablet\",\"municipality_code\":\"131032\","
    "\"binding\":\"none\"}],\"system_clients\":[]}";

static void terminals_and_who_may_log_in_on_them(void **state) {
    (void)state;
    struct published *p = NULL;
    assert_int_equal(read_text(terminals_text, &p), VRS_OK);
    const struct published_terminal *one = published_terminal(p, "A1");
    const struct published_terminal *site = published_terminal(p, "c2");
    const struct published_terminal *any = published_terminal(p, "00b3");
    assert_string_equal(one->name, "t1");
    assert_true(one->works_until_ms > 0);
    assert_string_equal(site->site, "school");
    assert_null(published_terminal(p, "a2"));
    assert_null(published_terminal(NULL, "a1"));
    const struct published_user *m = published_user(p, "m"), *f = published_user(p, "f");
    const struct published_user *n = published_user(p, "n");
    assert_true(published_bound(one, m));
    assert_false(published_bound(one, f));  /* C23: another municipality's */
    assert_false(published_bound(one, n));  /* of no municipality */
    assert_false(published_bound(site, m)); /* another site's */
    assert_true(published_bound(any, f));
    assert_false(published_bound(NULL, m));
    assert_false(published_bound(one, NULL));
    published_close(&p);
}

static void what_is_malformed_is_refused_whole(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        HEAD "\"users\":[{}]" TAIL,
        HEAD "\"users\":[{\"user_id\":\"a\",\"password_hash\":\"h\",\"roles\":[1]}]" TAIL,
        HEAD "\"users\":[{\"user_id\":\"a\",\"password_hash\":\"h\",\"roles\":[]},"
             "{\"user_id\":\"a\",\"password_hash\":\"h\",\"roles\":[]}]" TAIL,
        HEAD "\"users\":[],\"other\":1" TAIL,
        "{\"version\":0,\"made_at\":\"2021-07-01T00:00:00Z\",\"max_age_s\":60," KEY
        ",\"users\":[]" TAIL,
        "{\"version\":1,\"made_at\":\"today\",\"max_age_s\":60," KEY ",\"users\":[]" TAIL,
        "{\"version\":1,\"made_at\":\"2021-07-01T00:00:00Z\",\"max_age_s\":0," KEY
        ",\"users\":[]" TAIL,
        "{\"version\":1,\"made_at\":\"2021-07-01T00:00:00Z\",\"max_age_s\":60,"
        "\"inbox_key\":\"AAAA\",\"users\":[]" TAIL,
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct published *p = NULL;
        assert_int_not_equal(read_text(bad[i], &p), VRS_OK);
        assert_null(p);
    }
}

static void only_the_signed_bytes_count(void **state) {
    (void)state;
    struct secret_key priv;
    uint8_t pub[32], signature[64], got[64];
    char base64[128], body[1024];
    const char *text = "{\\\"any\\\": 1}";
    struct vrs_fault fault = {0};
    char *out = NULL;
    size_t len = 0;
    crypto_ed25519_keypair(&priv, pub);
    assert_int_equal(crypto_sign(&priv, "{\"any\": 1}", 10, signature), VRS_OK);
    crypto_base64(signature, sizeof signature, base64);
    int n = snprintf(body, sizeof body, "{\"signature\":\"%s\",\"snapshot\":\"%s\"}", base64, text);
    assert_int_equal(published_verify(body, (size_t)n, pub, &out, &len, got, &fault), VRS_OK);
    assert_string_equal(out, "{\"any\": 1}");
    assert_memory_equal(got, signature, sizeof got);
    free(out);
    n = snprintf(body, sizeof body, "{\"signature\":\"%s\",\"snapshot\":\"{\\\"any\\\": 2}\"}",
                 base64);
    assert_int_equal(published_verify(body, (size_t)n, pub, &out, &len, got, &fault),
                     ERR_BAD_FIELD);
    assert_null(out);
    pub[0] ^= 1;
    n = snprintf(body, sizeof body, "{\"signature\":\"%s\",\"snapshot\":\"%s\"}", base64, text);
    assert_int_equal(published_verify(body, (size_t)n, pub, &out, &len, got, &fault),
                     ERR_BAD_FIELD);
    assert_int_not_equal(published_verify("{}", 2, pub, &out, &len, got, &fault), VRS_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accounts_rights_and_revocations),
        cmocka_unit_test(keys_of_the_log),
        cmocka_unit_test(system_clients_by_fingerprint),
        cmocka_unit_test(terminals_and_who_may_log_in_on_them),
        cmocka_unit_test(what_is_malformed_is_refused_whole),
        cmocka_unit_test(only_the_signed_bytes_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
