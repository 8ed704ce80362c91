// needs: vrs-server/operation/migration.c
/* C131: the file in which a municipality goes to another system.  What the case on daemons cannot
 * make: a file that was changed by somebody who can sign. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/json.h"
#include "lib/wire.h"
#include "tests/lib/stand.h"
#include "vrs-server/operation/migration.h"

enum { PIECES = 4, PIECE = 1000, KEY_ID = 8, SIGNATURE_FIELD = 5 + 64 };

static struct secret_key receiver, signer;
static uint8_t signer_public[CRYPTO_ED25519_BYTES];
static struct migration_id sent = {.municipality = "142051"};
static char path[200];

static int set_up(void **state) {
    (void)state;
    crypto_x25519_keypair(&receiver, sent.to);
    crypto_ed25519_keypair(&signer, signer_public);
    crypto_random(sent.id, sizeof sent.id);
    (void)snprintf(path, sizeof path, "%s/vrs-migration-XXXXXX",
                   getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    return unlink(path);
}

static int tear_down(void **state) {
    (void)state;
    (void)unlink(path);
    return 0;
}

static void sign(struct migration_out *out) {
    uint8_t digest[CRYPTO_HASH_BYTES], signature[CRYPTO_SIGNATURE_BYTES];
    char hex[2 * CRYPTO_HASH_BYTES + 1], text[300], said[320];
    struct buffer b;
    migration_digest(out, digest);
    crypto_hex(digest, sizeof digest, hex);
    (void)snprintf(text, sizeof text, "{\"municipality_code\":\"%s\",\"sha256\":\"%s\"}",
                   sent.municipality, hex);
    (void)snprintf(said, sizeof said, "migration\n%s", text);
    assert_int_equal(crypto_sign(&signer, said, strlen(said), signature), VRS_OK);
    assert_int_equal(migration_put(out, MIGRATION_MANIFEST, text, strlen(text)), VRS_OK);
    buffer_init(&b, 200);
    wire_put_str(&b, 1, "00000000");
    wire_put(&b, 2, signature, sizeof signature);
    assert_int_equal(migration_put(out, MIGRATION_SIGNATURE, b.data, b.len), VRS_OK);
    buffer_fini(&b);
}

/* Keys and some pieces, the last marked. */
static void write_file(void) {
    struct migration_out *out = NULL;
    uint8_t piece[PIECE];
    assert_int_equal(migration_create(path, &sent, &out, NULL), VRS_OK);
    assert_int_equal(migration_seal(out, MIGRATION_KEYS, true, "keys", 4), VRS_OK);
    for (int i = 0; i < PIECES; i++) {
        memset(piece, 'a' + i, sizeof piece);
        assert_int_equal(
            migration_seal(out, MIGRATION_RECORDS, i == PIECES - 1, piece, sizeof piece), VRS_OK);
    }
    sign(out);
    assert_int_equal(migration_end(&out, true, NULL), VRS_OK);
}

struct kept {
    struct {
        enum migration_frame type;
        uint8_t data[PIECE + 200];
        size_t len;
    } piece[PIECES + 2];
    size_t count;
};

static enum vrs_err keep(const struct migration_piece *p, void *arg) {
    struct kept *k = arg;
    assert_true(k->count < sizeof k->piece / sizeof *k->piece && p->len <= sizeof k->piece[0].data);
    k->piece[k->count].type = p->type;
    memcpy(k->piece[k->count].data, p->data, p->len);
    k->piece[k->count++].len = p->len;
    return VRS_OK;
}

/* The same frames in another order, signed anew by one who can. */
static void write_again(const struct kept *k, const size_t *order, size_t n) {
    struct migration_out *out = NULL;
    (void)unlink(path);
    assert_int_equal(migration_create(path, &sent, &out, NULL), VRS_OK);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(migration_put(out, k->piece[order[i]].type, k->piece[order[i]].data,
                                       k->piece[order[i]].len),
                         VRS_OK);
    sign(out);
    assert_int_equal(migration_end(&out, true, NULL), VRS_OK);
}

struct opening {
    struct crypto_opener *opener;
    struct migration_id id;
    uint64_t number;
    bool ended;
};

static enum vrs_err open_piece(const struct migration_piece *p, void *arg) {
    struct opening *o = arg;
    struct buffer text;
    if (p->type == MIGRATION_MANIFEST)
        return VRS_OK;
    buffer_init(&text, MIGRATION_FRAME_MAX);
    bool last = p->type == MIGRATION_KEYS;
    enum vrs_err e = migration_unseal(o->opener, &o->id, p, o->number, last, &text);
    if (e == ERR_TAMPERED && !last) {
        buffer_clear(&text);
        e = migration_unseal(o->opener, &o->id, p, o->number, true, &text);
        o->ended = e == VRS_OK;
    }
    o->number++;
    buffer_fini(&text);
    return e;
}

/* Did it open to its end? */
static enum vrs_err open_with(const struct secret_key *key, const uint8_t *by) {
    struct opening o = {.opener = crypto_opener_open(key)};
    assert_non_null(o.opener);
    enum vrs_err e = migration_read(path, by, &o.id, open_piece, &o, NULL);
    crypto_opener_close(&o.opener);
    return e == VRS_OK && !o.ended ? ERR_TAMPERED : e;
}

static void c131_whole_and_in_order_it_opens(void **state) {
    (void)state;
    write_file();
    assert_int_equal(open_with(&receiver, signer_public), VRS_OK);
}

static void c131_frames_moved_by_who_can_sign_do_not_open(void **state) {
    (void)state;
    static const size_t orders[][PIECES + 1] = {
        {0, 2, 1, 3, 4}, {0, 1, 1, 3, 4}, {0, 1, 2, 3, 3}, {1, 0, 2, 3, 4}, {0, 4, 1, 2, 3}};
    static struct kept k;
    struct migration_id id;
    memset(&k, 0, sizeof k);
    write_file();
    assert_int_equal(migration_read(path, signer_public, &id, keep, &k, NULL), VRS_OK);
    const size_t right[PIECES + 1] = {0, 1, 2, 3, 4};
    write_again(&k, right, PIECES + 1);
    assert_int_equal(open_with(&receiver, signer_public), VRS_OK); /* control */
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        write_again(&k, orders[i], PIECES + 1);
        assert_int_equal(open_with(&receiver, signer_public), ERR_TAMPERED);
    }
    write_again(&k, right, PIECES); /* the last one is missing */
    assert_int_equal(open_with(&receiver, signer_public), ERR_TAMPERED);
}

static void c131_only_its_recipient_opens_it_and_only_its_signer_signed_it(void **state) {
    (void)state;
    struct secret_key other;
    uint8_t other_public[CRYPTO_X25519_BYTES];
    crypto_x25519_keypair(&other, other_public);
    write_file();
    assert_int_equal(open_with(&other, signer_public), ERR_TAMPERED);
    crypto_ed25519_keypair(&other, other_public);
    assert_int_equal(open_with(&receiver, other_public), ERR_TAMPERED);
}

static void c131_each_changed_byte_and_each_cut_is_seen(void **state) {
    (void)state;
    static uint8_t bytes[1 << 16];
    write_file();
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(bytes, 1, sizeof bytes, f);
    (void)fclose(f);
    for (size_t at = 0; at < n; at += 7) {
        bool key_id = at >= n - SIGNATURE_FIELD - KEY_ID && at < n - SIGNATURE_FIELD;
        for (int cut = key_id; cut < 2; cut++) { /* the key's id only says which key to try */
            const uint8_t flip = cut ? 0 : 1;
            f = fopen(path, "wb");
            assert_non_null(f);
            bytes[at] ^= flip;
            assert_int_equal(fwrite(bytes, 1, cut ? at : n, f), cut ? at : n);
            bytes[at] ^= flip;
            assert_int_equal(fclose(f), 0);
            assert_int_equal(open_with(&receiver, signer_public), ERR_TAMPERED);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(c131_whole_and_in_order_it_opens, set_up, tear_down),
        cmocka_unit_test_setup_teardown(c131_frames_moved_by_who_can_sign_do_not_open, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            c131_only_its_recipient_opens_it_and_only_its_signer_signed_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(c131_each_changed_byte_and_each_cut_is_seen, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
