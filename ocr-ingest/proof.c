#include "ocr-ingest/proof.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/wire.h"

enum { TEXT_MAX = 4096, KEY_ID_BYTES = 4, HEX_MAX = 2 * CRYPTO_HASH_BYTES + 1 };

enum head_tag {
    HEAD_MUNICIPALITY = 1,
    HEAD_EPOCH,
    HEAD_SIZE,
    HEAD_ROOT,
    HEAD_SIGNED,
    HEAD_KEY,
    HEAD_SIGNATURE,
    HEAD_TAGS
};
enum proof_tag { PROOF_HEAD = 1, PROOF_ENTRY, PROOF_ENTRY_HASH, PROOF_PATH };

/* ---- the formulas of the header */

void proof_commitment(const struct proof_statement *s, struct merkle_hash *out) {
    const char *const lines[] = {"vrs-receipt/1",  s->receipt_id, s->dose_id,
                                 s->outcome,       s->ocr_line,   s->status,
                                 s->vaccinated_on, s->product,    s->lot};
    struct crypto_digest *d = crypto_digest_open();
    memset(out, 0, sizeof *out);
    if (d == NULL)
        return; /* zeros commit to nothing: such a proof does not check */
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        crypto_digest_add(d, lines[i], strlen(lines[i]));
        crypto_digest_add(d, "\n", 1);
    }
    crypto_digest_close(&d, out->bytes);
}

void proof_leaf(const struct merkle_hash *commitment, const struct merkle_hash *entry_hash,
                struct merkle_hash *out) {
    uint8_t text[1 + 2 * CRYPTO_HASH_BYTES] = {0};
    memcpy(text + 1, commitment->bytes, CRYPTO_HASH_BYTES);
    memcpy(text + 1 + CRYPTO_HASH_BYTES, entry_hash->bytes, CRYPTO_HASH_BYTES);
    crypto_sha256(text, sizeof text, out->bytes);
}

void proof_head_text(const struct log_signed_head *h, struct buffer *out) {
    char root[HEX_MAX], at[25];
    crypto_hex(h->root.bytes, sizeof h->root.bytes, root);
    clock_format_rfc3339(h->signed_ms, at);
    (void)buffer_printf(out, "vrs-log/1\n%s\n%s\n%llu\n%s\n%s\n", h->municipality, h->epoch,
                        (unsigned long long)h->size, root, at);
}

void proof_key_id(const uint8_t key[CRYPTO_ED25519_BYTES], char out[9]) {
    uint8_t hash[CRYPTO_HASH_BYTES];
    crypto_sha256(key, CRYPTO_ED25519_BYTES, hash);
    crypto_hex(hash, KEY_ID_BYTES, out);
}

bool proof_head_check(const struct log_signed_head *h, const uint8_t key[CRYPTO_ED25519_BYTES]) {
    struct buffer text;
    char id[9];
    proof_key_id(key, id);
    buffer_init(&text, TEXT_MAX);
    proof_head_text(h, &text);
    bool good = !text.failed && strcmp(id, h->key_id) == 0 &&
                crypto_verify(key, text.data, text.len, h->signature) == VRS_OK;
    buffer_fini(&text);
    return good;
}

bool proof_check(const struct log_proof *p, const struct proof_statement *s,
                 const uint8_t key[CRYPTO_ED25519_BYTES]) {
    static const struct merkle_hash none;
    struct merkle_hash commitment, leaf;
    proof_commitment(s, &commitment);
    proof_leaf(&commitment, &p->entry_hash, &leaf);
    return memcmp(&commitment, &none, sizeof none) != 0 && p->entry > 0 &&
           merkle_path_check(&leaf, p->entry - 1, p->head.size, p->path, p->path_count,
                             &p->head.root) &&
           proof_head_check(&p->head, key);
}

/* ---- forms */

/* Nothing in a head may hold a line end: its text would not be the only one with that signature. */
static bool head_good(const struct log_signed_head *h) {
    size_t epoch = strlen(h->epoch);
    return strlen(h->municipality) == 6 && strspn(h->municipality, "0123456789") == 6 &&
           epoch > 0 && strspn(h->epoch, "0123456789abcdef-") == epoch && strlen(h->key_id) == 8 &&
           strspn(h->key_id, "0123456789abcdef") == 8 && h->signed_ms >= 0;
}

void proof_head_encode(const struct log_signed_head *h, struct buffer *out) {
    wire_put_str(out, HEAD_MUNICIPALITY, h->municipality);
    wire_put_str(out, HEAD_EPOCH, h->epoch);
    wire_put_u64(out, HEAD_SIZE, h->size);
    wire_put(out, HEAD_ROOT, h->root.bytes, sizeof h->root.bytes);
    wire_put_u64(out, HEAD_SIGNED, (uint64_t)h->signed_ms);
    wire_put_str(out, HEAD_KEY, h->key_id);
    wire_put(out, HEAD_SIGNATURE, h->signature, sizeof h->signature);
}

enum vrs_err proof_head_decode(const void *p, size_t n, struct log_signed_head *out) {
    struct wire_reader r;
    struct wire_field f;
    unsigned seen = 0;
    bool more = false;
    memset(out, 0, sizeof *out);
    wire_open(&r, p, n);
    enum vrs_err e = wire_next(&r, &f, &more);
    for (; e == VRS_OK && more; e = wire_next(&r, &f, &more)) {
        bool good = true;
        uint64_t ms = 0;
        switch (f.tag) {
        case HEAD_MUNICIPALITY:
            good = wire_str(&f, out->municipality, sizeof out->municipality);
            break;
        case HEAD_EPOCH:
            good = wire_str(&f, out->epoch, sizeof out->epoch);
            break;
        case HEAD_SIZE:
            good = wire_u64(&f, &out->size);
            break;
        case HEAD_ROOT:
            good = wire_fixed(&f, out->root.bytes, sizeof out->root.bytes);
            break;
        case HEAD_SIGNED:
            good = wire_u64(&f, &ms) && ms <= INT64_MAX;
            out->signed_ms = (int64_t)(good ? ms : 0);
            break;
        case HEAD_KEY:
            good = wire_str(&f, out->key_id, sizeof out->key_id);
            break;
        case HEAD_SIGNATURE:
            good = wire_fixed(&f, out->signature, sizeof out->signature);
            break;
        default:
            break;
        }
        if (!good)
            return ERR_CORRUPT;
        if (f.tag < HEAD_TAGS)
            seen |= 1U << f.tag;
    }
    if (e == VRS_OK && (seen != (1U << HEAD_TAGS) - 2 || !head_good(out)))
        e = ERR_CORRUPT;
    return e;
}

void proof_encode(const struct log_proof *p, struct buffer *out) {
    if (p->head.size == 0)
        return;
    size_t mark = wire_begin(out, PROOF_HEAD);
    proof_head_encode(&p->head, out);
    wire_end(out, mark);
    wire_put_u64(out, PROOF_ENTRY, p->entry);
    wire_put(out, PROOF_ENTRY_HASH, p->entry_hash.bytes, sizeof p->entry_hash.bytes);
    for (size_t i = 0; i < p->path_count; i++)
        wire_put(out, PROOF_PATH, p->path[i].bytes, sizeof p->path[i].bytes);
}

static bool place_good(const struct log_proof *p) {
    return p->head.size > 0 && p->entry > 0 && p->entry <= p->head.size;
}

enum vrs_err proof_decode(const void *p, size_t n, struct log_proof *out) {
    struct wire_reader r;
    struct wire_field f;
    bool more = false, hash = false;
    memset(out, 0, sizeof *out);
    if (n == 0)
        return VRS_OK;
    wire_open(&r, p, n);
    enum vrs_err e = wire_next(&r, &f, &more);
    while (e == VRS_OK && more) {
        bool good = true;
        if (f.tag == PROOF_HEAD)
            good = proof_head_decode(f.data, f.len, &out->head) == VRS_OK;
        else if (f.tag == PROOF_ENTRY)
            good = wire_u64(&f, &out->entry);
        else if (f.tag == PROOF_ENTRY_HASH)
            good = hash = wire_fixed(&f, out->entry_hash.bytes, sizeof out->entry_hash.bytes);
        else if (f.tag == PROOF_PATH)
            good = out->path_count < MERKLE_MAX_DEPTH &&
                   wire_fixed(&f, out->path[out->path_count++].bytes, CRYPTO_HASH_BYTES);
        e = good ? wire_next(&r, &f, &more) : ERR_CORRUPT;
    }
    return e == VRS_OK && (!hash || !place_good(out)) ? ERR_CORRUPT : e;
}

/* ---- JSON */

static json_t *hash_json(const struct merkle_hash *h) {
    char hex[HEX_MAX];
    crypto_hex(h->bytes, sizeof h->bytes, hex);
    return json_string(hex);
}

json_t *proof_head_json(const struct log_signed_head *h) {
    char at[25], signature[4 * ((CRYPTO_SIGNATURE_BYTES + 2) / 3) + 1];
    clock_format_rfc3339(h->signed_ms, at);
    crypto_base64(h->signature, sizeof h->signature, signature);
    return json_pack("{s:s, s:s, s:I, s:o, s:s, s:s, s:s}", "municipality_code", h->municipality,
                     "epoch", h->epoch, "size", (json_int_t)h->size, "root", hash_json(&h->root),
                     "signed_at", at, "key_id", h->key_id, "signature", signature);
}

json_t *proof_json(const struct log_proof *p) {
    if (p->head.size == 0)
        return json_null();
    json_t *out = proof_head_json(&p->head);
    json_t *path = json_array();
    bool good = out != NULL && path != NULL;
    for (size_t i = 0; good && i < p->path_count; i++)
        good = json_array_append_new(path, hash_json(&p->path[i])) == 0;
    good = good && json_object_set_new(out, "entry", json_integer((json_int_t)p->entry)) == 0 &&
           json_object_set_new(out, "entry_hash", hash_json(&p->entry_hash)) == 0 &&
           json_object_set(out, "path", path) == 0;
    json_decref(path);
    if (!good) {
        json_decref(out);
        out = NULL;
    }
    return out;
}

static void hash_write(const char *before, const struct merkle_hash *h, struct buffer *out) {
    char hex[HEX_MAX];
    crypto_hex(h->bytes, sizeof h->bytes, hex);
    (void)buffer_puts(out, before);
    (void)buffer_put(out, hex, sizeof hex - 1);
    (void)buffer_puts(out, "\"");
}

void proof_json_write(const struct log_proof *p, struct buffer *out) {
    const struct log_signed_head *h = &p->head;
    char at[25], signature[4 * ((CRYPTO_SIGNATURE_BYTES + 2) / 3) + 1];
    clock_format_rfc3339(h->signed_ms, at);
    crypto_base64(h->signature, sizeof h->signature, signature);
    (void)buffer_printf(
        out,
        "{\"municipality_code\":\"%s\",\"epoch\":\"%s\",\"size\":%llu,"
        "\"signed_at\":\"%s\",\"key_id\":\"%s\",\"signature\":\"%s\",\"entry\":%llu",
        h->municipality, h->epoch, (unsigned long long)h->size, at, h->key_id, signature,
        (unsigned long long)p->entry);
    hash_write(",\"root\":\"", &h->root, out);
    hash_write(",\"entry_hash\":\"", &p->entry_hash, out);
    (void)buffer_puts(out, ",\"path\":[");
    for (size_t i = 0; i < p->path_count; i++)
        hash_write(i > 0 ? ",\"" : "\"", &p->path[i], out);
    (void)buffer_puts(out, "]}");
}

static bool hash_read(const char *hex, struct merkle_hash *out) {
    return hex != NULL && crypto_unhex(hex, out->bytes, sizeof out->bytes);
}

/* The head's members of `v`, and those of a proof when `p` is not NULL. */
static enum vrs_err read_json(const json_t *v, struct log_signed_head *h, struct log_proof *p) {
    const char *municipality = "", *epoch = "", *root = "", *at = "", *key = "", *signature = "";
    const char *entry_hash = NULL;
    json_t *path = NULL;
    int64_t size = 0, entry = 0;
    size_t n = 0;
    const struct json_field fields[] = {
        JF_STR("municipality_code", true, 0, &municipality),
        JF_STR("epoch", true, sizeof h->epoch - 1, &epoch),
        JF_INT("size", true, &size),
        JF_STR("root", true, 0, &root),
        JF_STR("signed_at", true, 0, &at),
        JF_STR("key_id", true, 0, &key),
        JF_STR("signature", true, 0, &signature),
        p != NULL ? (struct json_field)JF_INT("entry", true, &entry) : (struct json_field)JF_END,
        JF_STR("entry_hash", true, 0, &entry_hash),
        JF_ARRAY("path", true, &path),
        JF_END,
    };
    enum vrs_err e = json_read(v, fields, NULL);
    if (e != VRS_OK)
        return e;
    (void)snprintf(h->municipality, sizeof h->municipality, "%s", municipality);
    (void)snprintf(h->epoch, sizeof h->epoch, "%s", epoch);
    (void)snprintf(h->key_id, sizeof h->key_id, "%s", key);
    h->size = (uint64_t)size;
    bool good = size >= 0 && strlen(municipality) == 6 && strlen(key) == 8 &&
                hash_read(root, &h->root) && clock_parse_rfc3339(at, &h->signed_ms) &&
                crypto_unbase64(signature, h->signature, sizeof h->signature, &n) &&
                n == sizeof h->signature && head_good(h);
    if (good && p != NULL) {
        p->entry = (uint64_t)entry;
        p->path_count = json_array_size(path);
        good = entry > 0 && place_good(p) && p->path_count <= MERKLE_MAX_DEPTH &&
               hash_read(entry_hash, &p->entry_hash);
        for (size_t i = 0; good && i < p->path_count; i++)
            good = hash_read(json_string_value(json_array_get(path, i)), &p->path[i]);
    }
    return good ? VRS_OK : ERR_BAD_FIELD;
}

enum vrs_err proof_from_json(const json_t *v, struct log_proof *out) {
    memset(out, 0, sizeof *out);
    return read_json(v, &out->head, out);
}

enum vrs_err proof_head_from_json(const json_t *v, struct log_signed_head *out) {
    memset(out, 0, sizeof *out);
    return read_json(v, out, NULL);
}
