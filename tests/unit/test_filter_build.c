// needs: vrs-server/terminals/filter_build.c
/* A municipality's coupon filter: made in slices while its worker does other things, sharded when the
 * town is large, signed shard by shard.  VRS_FILTER_COUPONS=1000000 makes a large one (minutes). */
#include <event2/event.h>
#include <event2/thread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/bloom.h"
#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/json.h"
#include "partitions/person.h"
#include "tests/lib/stand.h"
#include "vrs-server/terminals/filter_build.h"

enum { COUPONS = 33000, FIRST = 1000000 }; /* a little more than one shard holds */

static struct stand stand;
static struct vrs_fault fault;
static struct server server;
static struct coupon_filter *filter;
static enum vrs_err how;
static unsigned long long coupons = COUPONS;
static unsigned long long waiting;
static unsigned statements;
static char last_kind[32];

/* The signer's client: what is to be signed is looked at, the signature is told again. */
enum vrs_err signer_statement(struct signer_client *c, const char *kind, const void *text,
                              size_t len, char key_id[9],
                              uint8_t signature[CRYPTO_SIGNATURE_BYTES]) {
    (void)c;
    statements++;
    (void)snprintf(last_kind, sizeof last_kind, "%s", kind);
    memset(signature, 0, CRYPTO_SIGNATURE_BYTES);
    crypto_sha256(text, len, signature);
    memcpy(key_id, "00000001", 9);
    return VRS_OK;
}

static void ok(enum vrs_err e) {
    if (e != VRS_OK)
        print_error("%s: %s\n", err_name(e), fault.text);
    assert_int_equal(e, VRS_OK);
}

static enum vrs_err add_coupon(struct partition *p, unsigned long long n) {
    struct person_coupon c = {.sent_on = PERSON_NO_DATE};
    char text[11];
    bool added;
    record_id_new(&c.id);
    (void)snprintf(text, sizeof text, "%010llu", n % 10000000000ULL);
    assert_true(coupon_number_set(&c.number, text));
    return coupon_add(p, &c, &added);
}

/* ---- jobs of others between the slices */

struct other {
    struct pool_job job; /* first */
    int64_t asked_us, waited_us;
};

static enum vrs_err run_fill(struct pool_job *j, struct partition *p) {
    enum vrs_err e = VRS_OK;
    (void)j;
    for (unsigned long long i = 0; i < coupons && e == VRS_OK; i++)
        e = add_coupon(p, FIRST + i);
    return e;
}

static enum vrs_err run_add(struct pool_job *j, struct partition *p) {
    (void)j;
    return add_coupon(p, 9000000000ULL + waiting);
}

static void other_done(struct pool_job *j) {
    struct other *o = (struct other *)j;
    o->waited_us = clock_mono_us() - o->asked_us;
    if (--waiting == 0)
        (void)event_base_loopbreak(server.base);
}

static void submit(struct other *o,
                   enum vrs_err (*run)(struct pool_job *job, struct partition *p)) {
    memset(o, 0, sizeof *o);
    o->job.run = run;
    o->job.done = other_done;
    o->job.flags = POOL_CREATE;
    memcpy(o->job.municipality, "131032", 7);
    o->asked_us = clock_mono_us();
    waiting++;
    ok(pool_submit(server.pool, &o->job));
}

static void made(struct coupon_filter *f, enum vrs_err e, void *arg) {
    (void)arg;
    filter = f;
    how = e;
    if (--waiting == 0)
        (void)event_base_loopbreak(server.base);
}

static void make(const char *code) {
    how = ERR_INTERNAL;
    waiting++;
    ok(filter_make(&server, code, made, NULL));
}

static void turn(void) {
    while (waiting > 0)
        (void)event_base_dispatch(server.base);
}

static int set_up(void **state) {
    const char *wanted = getenv("VRS_FILTER_COUPONS");
    struct other fill;
    (void)state;
    if (wanted != NULL)
        coupons = strtoull(wanted, NULL, 10);
    (void)evthread_use_pthreads();
    stand_open(&stand, 1 << KEY_RECORDS | 1 << KEY_LOG);
    server.base = event_base_new();
    server.keys = stand.ring;
    server.config.coupon_filter_life_s = 3600;
    const struct pool_options o = {.engine = &store_sqlite,
                                   .dir = stand.partitions,
                                   .keys = stand.ring,
                                   .workers = 1,
                                   .max_open = 8,
                                   .max_queued = 100};
    ok(pool_open(server.base, &o, &server.pool, &fault));
    submit(&fill, run_fill);
    turn();
    ok(fill.job.err);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    filter_release(&filter);
    pool_close(&server.pool);
    event_base_free(server.base);
    stand_close(&stand);
    return 0;
}

/* ---- a shard as the tablet has it */

static json_t *shard_of(const char *digits) {
    struct buffer out;
    json_t *doc = NULL;
    buffer_init(&out, 4 << 20);
    ok(filter_shard(filter, digits, NULL, &out));
    ok(json_parse(out.data, out.len, &doc, &fault));
    buffer_fini(&out);
    return doc;
}

static const char *word(const json_t *doc, const char *name) {
    const char *text = json_string_value(json_object_get(doc, name));
    assert_non_null(text);
    return text;
}

static void open_shard(const json_t *doc, struct bloom *b) {
    const char *bits = word(doc, "bits");
    size_t n = 0;
    memset(b, 0, sizeof *b);
    b->bits = malloc(strlen(bits));
    assert_non_null(b->bits);
    assert_true(crypto_unbase64(bits, b->bits, strlen(bits), &n));
    b->bytes = n;
    assert_true(crypto_unhex(word(doc, "key"), b->key, sizeof b->key));
}

static void test_made_in_slices(void **state) {
    struct other between[20];
    int64_t longest = 0, began = clock_mono_ms();
    (void)state;
    make("131032");
    for (size_t i = 0; i < 20; i++)
        submit(&between[i], run_add);
    turn();
    ok(how);
    for (size_t i = 0; i < 20; i++) {
        ok(between[i].job.err);
        longest = between[i].waited_us > longest ? between[i].waited_us : longest;
    }
    print_message("%llu coupons: %zu bytes in %lld ms; others waited at most %lld ms\n", coupons,
                  filter_bytes(filter), (long long)(clock_mono_ms() - began),
                  (long long)longest / 1000);
    assert_int_equal(filter_ends_ms(filter) - filter_made_ms(filter), 3600000);
}

/* No issued coupon is missing from the shard that covers it. */
static void test_every_coupon_is_in_its_shard(void **state) {
    struct bloom set[10];
    size_t shards = coupons > 10ULL * FILTER_SHARD_COUPONS ? 0 : 10;
    (void)state;
    for (size_t i = 0; i < shards; i++) {
        char digits[3] = {'4', (char)('0' + i), '\0'};
        json_t *doc = shard_of(digits);
        assert_string_equal(word(doc, "shard"), digits + 1);
        assert_string_equal(word(doc, "municipality_code"), "131032");
        open_shard(doc, &set[i]);
        assert_in_range(set[i].bytes, coupons / 5, coupons / 5 + 8);
        json_decref(doc);
    }
    for (unsigned long long i = 0; i < coupons && shards > 0; i++) {
        char text[11];
        (void)snprintf(text, sizeof text, "%010llu", FIRST + i);
        assert_true(bloom_has(&set[i % 10], text, 10)); /* FIRST ends with 0 */
    }
    for (size_t i = 0; i < shards; i++)
        bloom_fini(&set[i]);
}

static void test_signed_once(void **state) {
    char hash[2 * CRYPTO_HASH_BYTES + 1], digest[4 * ((CRYPTO_SIGNATURE_BYTES + 2) / 3) + 1];
    uint8_t raw[CRYPTO_HASH_BYTES], signature[CRYPTO_SIGNATURE_BYTES] = {0};
    struct bloom set;
    struct buffer text;
    (void)state;
    statements = 0;
    json_t *doc = shard_of("47"), *again = shard_of("57");
    assert_in_range(statements, 0, 2); /* one each where there are hundred shards */
    assert_string_equal(last_kind, "coupon-filter");
    open_shard(doc, &set);
    crypto_sha256(set.bits, set.bytes, raw);
    crypto_hex(raw, sizeof raw, hash);
    buffer_init(&text, 512);
    filter_text("131032", word(doc, "shard"), word(doc, "made_at"), word(doc, "expires_at"),
                word(doc, "key"), set.bytes, hash, &text);
    crypto_sha256(text.data, text.len, signature);
    crypto_base64(signature, sizeof signature, digest);
    assert_string_equal(word(doc, "signature"), digest);
    assert_string_equal(word(doc, "key_id"), "00000001");
    buffer_fini(&text);
    bloom_fini(&set);
    json_decref(doc);
    json_decref(again);
}

static void test_changes_are_seen(void **state) {
    struct coupon_filter *first = filter;
    struct other add;
    (void)state;
    uint64_t before = filter_changes(first);
    make("131032");
    turn();
    ok(how);
    uint64_t same = filter_changes(filter);
    filter_release(&filter);
    assert_true(same != before); /* 20 were added while the first was made */
    submit(&add, run_add);
    turn();
    make("131032");
    turn();
    ok(how);
    assert_true(filter_changes(filter) != same);
    same = filter_changes(filter);
    filter_release(&filter);
    make("131032");
    turn();
    assert_true(filter_changes(filter) == same); /* nothing came, nothing went */
    filter_release(&filter);
    filter = first;
}

static void test_no_such_file(void **state) {
    struct coupon_filter *first = filter;
    (void)state;
    make("134023");
    turn();
    assert_int_equal(how, ERR_NOT_FOUND);
    assert_null(filter);
    filter = first;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_made_in_slices), cmocka_unit_test(test_every_coupon_is_in_its_shard),
        cmocka_unit_test(test_signed_once),    cmocka_unit_test(test_changes_are_seen),
        cmocka_unit_test(test_no_such_file),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
