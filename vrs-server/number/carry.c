/* Numbers go to another system (C131) in sealed pages: what seals them and what opens them is
 * vrs-number, here and there.  A page names its municipality and its place in the order of the
 * row ids, so that none can be left out, repeated or moved; the file that they stand in is signed.
 */
#include <string.h>

#include "lib/crypto.h"
#include "lib/secret.h"
#include "lib/wire.h"
#include "ocr-ingest/coupon.h"
#include "vrs-server/number/area_private.h"

enum { PAGE = 1000, PAGE_BYTES = PAGE * 40, EPOCH_MS = 60000 };
enum { CARRY_ROW = 1, CARRY_DIGITS };

/* It follows from the municipality's data key, so that no other secret is kept. */
static enum vrs_err own_key(struct area *a, const char *code, struct secret_key *out) {
    const struct secret_key *key = NULL;
    uint32_t id = 0;
    enum vrs_err e = keyring_active(a->keys, code, KEY_NUMBERS, KEY_ENCRYPT, &id, &key);
    if (e == VRS_OK)
        crypto_hkdf(key->bytes, sizeof key->bytes, code, strlen(code), "vrs migration numbers 1",
                    out);
    return e;
}

static void page_aad(struct buffer *b, const char *code, const struct record_id *after,
                     const uint8_t last[STORE_ID_BYTES]) {
    buffer_init(b, 256);
    wire_put_str(b, 1, "vrs-migration-numbers-1");
    wire_put_str(b, 2, code);
    wire_put(b, 3, after->bytes, sizeof after->bytes);
    wire_put(b, 4, last, STORE_ID_BYTES);
}

enum vrs_err area_carry_key(struct area *a, struct number_request *rq) {
    struct secret_key own;
    uint8_t public[CRYPTO_X25519_BYTES];
    enum vrs_err e = own_key(a, rq->municipality, &own);
    if (e == VRS_OK)
        e = crypto_x25519_public(&own, public);
    if (e == VRS_OK)
        wire_put(&rq->fields, NUMBER_T_TEXT, public, sizeof public);
    secret_wipe(&own, sizeof own);
    return e;
}

/* ---- out */

struct page {
    struct buffer text;
    struct record_id last;
    size_t rows;
};

static enum vrs_err add_row(struct record *r, void *arg) {
    struct page *page = arg;
    struct personal_number n = {0};
    if (!area_row_digits(&r->text, &n))
        return ERR_CORRUPT;
    wire_put(&page->text, CARRY_ROW, r->id.bytes, sizeof r->id.bytes);
    wire_put_str(&page->text, CARRY_DIGITS, n.digits);
    secret_wipe(&n, sizeof n);
    page->last = r->id;
    page->rows++;
    return page->text.failed ? ERR_MEMORY : VRS_OK;
}

static enum vrs_err seal_page(const struct number_request *rq, const struct page *page,
                              struct buffer *out) {
    uint8_t to[CRYPTO_X25519_BYTES];
    struct buffer aad;
    if (!crypto_unhex(rq->name, to, sizeof to))
        return ERR_BAD_FIELD;
    struct crypto_sealer *sealer = crypto_sealer_open(to, EPOCH_MS);
    if (sealer == NULL)
        return ERR_MEMORY;
    page_aad(&aad, rq->municipality, &rq->row, page->last.bytes);
    enum vrs_err e = aad.failed ? ERR_MEMORY
                                : crypto_sealer_seal(sealer, aad.data, aad.len, page->text.data,
                                                     page->text.len, out);
    buffer_fini(&aad);
    crypto_sealer_close(&sealer);
    return e;
}

enum vrs_err area_carry_out(struct partition *p, struct number_request *rq) {
    struct page page = {.rows = 0};
    struct buffer sealed;
    struct number_request said = {.verb = rq->verb};
    buffer_init(&page.text, PAGE_BYTES);
    buffer_init(&sealed, NUMBER_MAX_MESSAGE);
    enum vrs_err e =
        record_walk(p, TABLE_NUMBER, rq->has_row ? &rq->row : NULL, PAGE, add_row, &page);
    if (e == VRS_OK && page.rows > 0)
        e = seal_page(rq, &page, &sealed);
    if (e == VRS_OK && page.rows > 0) {
        wire_put(&rq->fields, NUMBER_T_ROW, page.last.bytes, sizeof page.last.bytes);
        wire_put(&rq->fields, NUMBER_T_TEXT, sealed.data, sealed.len);
        memcpy(said.user, rq->user, sizeof said.user);
        memcpy(said.purpose, "operation", sizeof "operation");
        memcpy(said.right, "migrate.export", sizeof "migrate.export");
        said.row = page.last;
        e = area_journal(p, &said);
    }
    buffer_fini(&page.text);
    buffer_fini(&sealed);
    return e;
}

/* ---- in */

static enum vrs_err open_page(struct area *a, const struct number_request *rq,
                              struct buffer *text) {
    struct secret_key own;
    struct buffer aad;
    if (rq->text.len <= STORE_ID_BYTES)
        return ERR_TAMPERED;
    enum vrs_err e = own_key(a, rq->municipality, &own);
    struct crypto_opener *opener = e == VRS_OK ? crypto_opener_open(&own) : NULL;
    secret_wipe(&own, sizeof own);
    if (e == VRS_OK && opener == NULL)
        e = ERR_MEMORY;
    page_aad(&aad, rq->municipality, &rq->row, rq->text.data);
    if (e == VRS_OK)
        e = crypto_opener_unseal(opener, aad.data, aad.len, rq->text.data + STORE_ID_BYTES,
                                 rq->text.len - STORE_ID_BYTES, text);
    buffer_fini(&aad);
    crypto_opener_close(&opener);
    return e;
}

static enum vrs_err take_rows(struct partition *p, const struct number_request *rq,
                              const struct buffer *text, bool store) {
    struct wire_reader r;
    struct wire_field f;
    struct number_request one = {.verb = NUMBER_PUT};
    bool more = true;
    enum vrs_err e = VRS_OK;
    memcpy(one.municipality, rq->municipality, sizeof one.municipality);
    wire_open(&r, text->data, text->len);
    while (e == VRS_OK && (e = wire_next(&r, &f, &more)) == VRS_OK && more) {
        if (f.tag != CARRY_ROW || !wire_fixed(&f, one.row.bytes, sizeof one.row.bytes) ||
            wire_next(&r, &f, &more) != VRS_OK || !more || f.tag != CARRY_DIGITS ||
            !wire_str(&f, one.number.digits, sizeof one.number.digits) ||
            !personal_number_valid(one.number.digits))
            e = ERR_CORRUPT;
        else if (store)
            e = area_put(p, &one);
    }
    secret_wipe(&one, sizeof one);
    return e;
}

/* All of a page or nothing. */
enum vrs_err area_carry_in(struct area *a, struct partition *p, const struct number_request *rq) {
    struct buffer text;
    bool store = strcmp(rq->name, "store") == 0;
    if (!store && strcmp(rq->name, "check") != 0)
        return ERR_BAD_FIELD;
    buffer_init(&text, NUMBER_MAX_MESSAGE);
    enum vrs_err e = open_page(a, rq, &text);
    if (e == VRS_OK)
        e = partition_savepoint(p);
    if (e == VRS_OK) {
        e = take_rows(p, rq, &text, store);
        if (e != VRS_OK && partition_rollback_to(p) != VRS_OK)
            e = ERR_STORAGE;
        enum vrs_err released = partition_release(p);
        e = e == VRS_OK ? released : e;
    }
    buffer_fini(&text);
    return e;
}
