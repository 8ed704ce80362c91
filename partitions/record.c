#include "partitions/record.h"

#include "lib/crypto.h"
#include "lib/wire.h"

_Static_assert(RECORD_OVERHEAD == 1 + CRYPTO_SEAL_OVERHEAD, "a seal is longer than thought");

enum { RECORD_FORMAT = 1 };

enum aad_tag {
    AAD_FORMAT = 1,
    AAD_MUNICIPALITY,
    AAD_AREA,
    AAD_TABLE,
    AAD_ID,
    AAD_GENERATION,
    AAD_KEY,
    AAD_VERSION,
    AAD_STATE,
    AAD_ORDER,
    AAD_INDEX = 16 /* and three more; an absent one is no field */
};

enum key_area record_area(enum store_table t) {
    switch (t) {
    case TABLE_LOG:
    case TABLE_LOG_SUBJECT:
    case TABLE_LOG_TILE:
    case TABLE_LOG_REVIEW:
    case TABLE_CHECKPOINT:
    case TABLE_ERASURE: /* outlives what was erased */
        return KEY_LOG;
    case TABLE_NUMBER:
    case TABLE_JOURNAL:
        return KEY_NUMBERS;
    default:
        return KEY_RECORDS;
    }
}

void record_aad(struct buffer *aad, const char *municipality, enum store_table t,
                const struct store_row *row) {
    buffer_clear(aad);
    wire_put_str(aad, AAD_FORMAT, "vrs-record-1");
    wire_put_str(aad, AAD_MUNICIPALITY, municipality);
    wire_put_u64(aad, AAD_AREA, record_area(t));
    wire_put_u64(aad, AAD_TABLE, t);
    wire_put(aad, AAD_ID, row->id, sizeof row->id);
    wire_put_u64(aad, AAD_GENERATION, row->generation);
    wire_put_u64(aad, AAD_KEY, row->key_id);
    wire_put_u64(aad, AAD_VERSION, row->version);
    wire_put_u64(aad, AAD_STATE, row->state);
    wire_put_u64(aad, AAD_ORDER, row->order);
    for (int n = 0; n < STORE_INDEXES; n++) {
        if (row->index[n].len > 0)
            wire_put(aad, (uint8_t)(AAD_INDEX + n), row->index[n].bytes, row->index[n].len);
    }
}

enum vrs_err record_seal(const struct secret_key *key, const char *municipality, enum store_table t,
                         const struct store_row *row, const void *text, size_t len,
                         struct buffer *aad, struct buffer *blob) {
    static const uint8_t format = RECORD_FORMAT;
    if (len > RECORD_MAX_BYTES)
        return ERR_TOO_LARGE;
    record_aad(aad, municipality, t, row);
    buffer_clear(blob);
    (void)buffer_put(blob, &format, 1);
    uint8_t *sealed = buffer_grow(blob, len + CRYPTO_SEAL_OVERHEAD);
    if (aad->failed || sealed == NULL)
        return ERR_MEMORY;
    return crypto_seal(key, aad->data, aad->len, text, len, sealed);
}

enum vrs_err record_open(const struct secret_key *key, const char *municipality, enum store_table t,
                         const struct store_row *row, struct buffer *aad, struct buffer *text) {
    buffer_clear(text);
    if (row->blob_len < RECORD_OVERHEAD || row->blob[0] != RECORD_FORMAT ||
        row->blob_len > RECORD_MAX_BYTES + RECORD_OVERHEAD)
        return ERR_TAMPERED;
    record_aad(aad, municipality, t, row);
    uint8_t *plain = buffer_grow(text, row->blob_len - RECORD_OVERHEAD);
    if (aad->failed || plain == NULL)
        return ERR_MEMORY;
    enum vrs_err e = crypto_open(key, aad->data, aad->len, row->blob + 1, row->blob_len - 1, plain);
    if (e != VRS_OK)
        buffer_clear(text);
    return e;
}
