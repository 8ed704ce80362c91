#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ocr-ingest/proof_keys.h"

static const struct proof_statement statement = {
    .receipt_id = "0123456789abcdef0123456789abcdef",
    .dose_id = "fedcba9876543210fedcba9876543210",
    .outcome = "recorded",
    .ocr_line = "211310320000000015",
    .status = "given",
    .vaccinated_on = "2021-07-01",
    .product = "comirnaty",
    .lot = "FF3620",
};

static struct secret_key key;
static uint8_t public_key[CRYPTO_ED25519_BYTES];

static void sign(struct log_signed_head *h) {
    struct buffer text;
    buffer_init(&text, 1000);
    proof_key_id(public_key, h->key_id);
    proof_head_text(h, &text);
    assert_int_equal(crypto_sign(&key, text.data, text.len, h->signature), VRS_OK);
    buffer_fini(&text);
}

static enum vrs_err read_leaf(unsigned level, uint64_t index, struct merkle_hash *out, void *arg) {
    const struct merkle_hash *leaves = arg;
    merkle_root(leaves + (index << level), (size_t)1 << level, out);
    return VRS_OK;
}

/* The statement's entry is number 3 of 5. */
static void prove(struct log_proof *p) {
    struct merkle_hash leaves[5] = {0}, commitment;
    memset(p, 0, sizeof *p);
    for (size_t i = 0; i < 5; i++)
        leaves[i].bytes[0] = (uint8_t)(i + 1);
    p->entry = 3;
    memset(p->entry_hash.bytes, 0x5e, sizeof p->entry_hash.bytes);
    proof_commitment(&statement, &commitment);
    proof_leaf(&commitment, &p->entry_hash, &leaves[2]);
    merkle_root(leaves, 5, &p->head.root);
    assert_int_equal(merkle_path(2, 5, read_leaf, leaves, p->path, &p->path_count), VRS_OK);
    p->head.size = 5;
    p->head.signed_ms = 1625108645678;
    memcpy(p->head.municipality, "131032", 7);
    memcpy(p->head.epoch, "1", 2);
    sign(&p->head);
}

static int set_up(void **state) {
    (void)state;
    crypto_ed25519_keypair(&key, public_key);
    return 0;
}

/* Computed apart from this code (a few lines of Python over the header's formulas). */
static void the_formulas_give_the_known_values(void **state) {
    (void)state;
    struct merkle_hash commitment, leaf, entry;
    struct log_signed_head h = {
        .municipality = "131032", .epoch = "1", .size = 5, .signed_ms = 1625108645678};
    struct buffer text;
    char hex[65], id[9];
    uint8_t zero_key[CRYPTO_ED25519_BYTES] = {0};
    proof_commitment(&statement, &commitment);
    crypto_hex(commitment.bytes, 32, hex);
    assert_string_equal(hex, "d48ea7d2f74af7bf5120a1a63a9cf34b8e2cde6f808c93c8a5c88db56a5a6e2a");
    memset(entry.bytes, 0x5e, 32);
    proof_leaf(&commitment, &entry, &leaf);
    crypto_hex(leaf.bytes, 32, hex);
    assert_string_equal(hex, "427c069605b1a5b997fb8606bb39377cbc6b2c051c0e83bf857b338266bef86b");
    buffer_init(&text, 1000);
    proof_head_text(&h, &text);
    assert_string_equal(buffer_cstr(&text),
                        "vrs-log/1\n131032\n1\n5\n"
                        "0000000000000000000000000000000000000000000000000000000000000000\n"
                        "2021-07-01T03:04:05.678Z\n");
    buffer_fini(&text);
    proof_key_id(zero_key, id);
    assert_string_equal(id, "66687aad");
}

static void a_proof_checks_and_every_change_is_found(void **state) {
    (void)state;
    struct log_proof p, q;
    uint8_t other[CRYPTO_ED25519_BYTES];
    struct secret_key other_key;
    prove(&p);
    assert_true(proof_head_check(&p.head, public_key));
    assert_true(proof_check(&p, &statement, public_key));

    for (size_t i = 0; i < 8; i++) {
        struct proof_statement s = statement;
        const char **const fields[] = {&s.receipt_id, &s.dose_id,       &s.outcome, &s.ocr_line,
                                       &s.status,     &s.vaccinated_on, &s.product, &s.lot};
        *fields[i] = "x";
        assert_false(proof_check(&p, &s, public_key));
    }
    crypto_ed25519_keypair(&other_key, other);
    assert_false(proof_check(&p, &statement, other));
    q = p;
    q.entry = 2;
    assert_false(proof_check(&q, &statement, public_key));
    q.entry = 0;
    assert_false(proof_check(&q, &statement, public_key));
    q = p;
    q.path_count++; /* trailing */
    assert_false(proof_check(&q, &statement, public_key));
    q = p;
    q.head.size = 6;
    assert_false(proof_check(&q, &statement, public_key));
    q = p;
    q.head.root.bytes[31] ^= 1;
    assert_false(proof_head_check(&q.head, public_key));
    q = p;
    q.head.signed_ms++;
    assert_false(proof_check(&q, &statement, public_key));
    q = p;
    q.head.epoch[0] = '2';
    assert_false(proof_check(&q, &statement, public_key));
    q = p;
    q.head.municipality[0] = '2';
    assert_false(proof_check(&q, &statement, public_key));
    q = p;
    q.head.key_id[0] ^= 1;
    assert_false(proof_check(&q, &statement, public_key));
    q = p;
    q.head.signature[0] ^= 1;
    assert_false(proof_check(&q, &statement, public_key));
}

static void the_wire_form_comes_back(void **state) {
    (void)state;
    struct log_proof p, q;
    struct buffer b;
    prove(&p);
    buffer_init(&b, 1 << 16);
    proof_encode(&p, &b);
    assert_false(b.failed);
    assert_int_equal(proof_decode(b.data, b.len, &q), VRS_OK);
    assert_memory_equal(&p, &q, sizeof p);
    assert_true(proof_check(&q, &statement, public_key));
    for (size_t n = 1; n < b.len; n++) /* a cut one is refused, or what is left is a shorter path */
        assert_true(proof_decode(b.data, n, &q) != VRS_OK || q.path_count < p.path_count);

    buffer_clear(&b);
    proof_head_encode(&p.head, &b);
    assert_int_equal(proof_head_decode(b.data, b.len, &q.head), VRS_OK);
    assert_memory_equal(&p.head, &q.head, sizeof p.head);
    for (size_t n = 0; n < b.len; n++)
        assert_int_equal(proof_head_decode(b.data, n, &q.head), ERR_CORRUPT);

    buffer_clear(&b); /* none yet */
    p.head.size = 0;
    proof_encode(&p, &b);
    assert_int_equal(b.len, 0);
    assert_int_equal(proof_decode(b.data, b.len, &q), VRS_OK);
    assert_int_equal(q.head.size, 0);
    buffer_fini(&b);
}

static void a_head_with_a_line_end_is_refused(void **state) {
    (void)state;
    struct log_proof p;
    struct log_signed_head h;
    struct buffer b;
    prove(&p);
    buffer_init(&b, 1 << 16);
    memcpy(p.head.epoch, "1\n5", 4);
    proof_head_encode(&p.head, &b);
    assert_int_equal(proof_head_decode(b.data, b.len, &h), ERR_CORRUPT);
    json_t *v = proof_head_json(&p.head);
    assert_int_equal(proof_head_from_json(v, &h), ERR_BAD_FIELD);
    json_decref(v);
    buffer_fini(&b);
}

static void the_json_form_comes_back(void **state) {
    (void)state;
    struct log_proof p, q;
    prove(&p);
    json_t *v = proof_json(&p);
    assert_non_null(v);
    assert_int_equal(json_integer_value(json_object_get(v, "entry")), 3);
    assert_int_equal(json_array_size(json_object_get(v, "path")), p.path_count);
    assert_string_equal(json_string_value(json_object_get(v, "signed_at")),
                        "2021-07-01T03:04:05.678Z");
    assert_int_equal(proof_from_json(v, &q), VRS_OK);
    struct buffer text;
    buffer_init(&text, 1 << 14);
    proof_json_write(&p, &text); /* the same by another way */
    json_t *written = json_loadb((const char *)text.data, text.len, 0, NULL);
    assert_true(json_equal(written, v));
    json_decref(written);
    buffer_fini(&text);
    assert_memory_equal(&p, &q, sizeof p);
    assert_int_equal(proof_head_from_json(v, &q.head), ERR_UNKNOWN_FIELD);

    static const char *const names[] = {
        "municipality_code", "epoch", "size",      "root", "signed_at", "key_id", "entry",
        "entry_hash",        "path",  "signature", NULL};
    for (size_t i = 0; names[i] != NULL; i++) {
        json_t *cut = json_deep_copy(v), *bad = json_deep_copy(v);
        (void)json_object_del(cut, names[i]);
        assert_int_equal(proof_from_json(cut, &q), ERR_MISSING_FIELD);
        json_t *at = json_object_get(bad, names[i]);
        if (json_is_string(at))
            (void)json_object_set_new(bad, names[i], json_string("zz\"\\z"));
        else if (json_is_integer(at))
            (void)json_object_set_new(bad, names[i], json_integer(-1));
        else
            (void)json_array_append_new(at, json_integer(1));
        assert_true(proof_from_json(bad, &q) != VRS_OK);
        json_decref(cut);
        json_decref(bad);
    }
    (void)json_object_set_new(v, "entry", json_integer(6)); /* beyond the size */
    assert_int_equal(proof_from_json(v, &q), ERR_BAD_FIELD);
    json_decref(v);
    p.head.size = 0;
    v = proof_json(&p);
    assert_true(json_is_null(v));
    json_decref(v);
}

static void keys_are_read_in_both_forms(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "\n \n",
                                      "00",
                                      "{}",
                                      "{\"keys\":[]}",
                                      "{\"keys\":[{}]}",
                                      "{\"keys\":[{\"key\":\"AQE=\"}]}",
                                      "[]"};
    char hex[2 * CRYPTO_ED25519_BYTES + 1], base64[64], text[400];
    struct proof_keys k = {0};
    struct log_proof p;
    prove(&p);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(proof_keys_parse(&k, bad[i], strlen(bad[i])), ERR_CORRUPT);
    assert_int_equal(k.count, 0);
    assert_false(proof_keys_check(&k, &p, &statement));
    crypto_hex(public_key, sizeof public_key, hex);
    crypto_base64(public_key, sizeof public_key, base64);
    (void)snprintf(text, sizeof text, "%064d\r\n%s\n", 0, hex);
    assert_int_equal(proof_keys_parse(&k, text, strlen(text)), VRS_OK);
    assert_int_equal(k.count, 2);
    assert_true(proof_keys_check(&k, &p, &statement));
    memset(&k, 0, sizeof k);
    (void)snprintf(text, sizeof text, "{\"keys\":[{\"key_id\":\"x\",\"key\":\"%s\"}]}", base64);
    assert_int_equal(proof_keys_parse(&k, text, strlen(text)), VRS_OK);
    assert_true(k.count == 1 && proof_keys_head_check(&k, &p.head));
    p.head.size++;
    assert_false(proof_keys_head_check(&k, &p.head));
    assert_int_equal(proof_keys_parse(&k, hex, strlen(hex) - 1), ERR_CORRUPT);
    while (k.count < PROOF_KEYS_MAX)
        assert_int_equal(proof_keys_parse(&k, hex, strlen(hex)), VRS_OK);
    assert_int_equal(proof_keys_parse(&k, hex, strlen(hex)), ERR_CORRUPT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_formulas_give_the_known_values),
        cmocka_unit_test(a_proof_checks_and_every_change_is_found),
        cmocka_unit_test(the_wire_form_comes_back),
        cmocka_unit_test(a_head_with_a_line_end_is_refused),
        cmocka_unit_test(the_json_form_comes_back),
        cmocka_unit_test(keys_are_read_in_both_forms),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
