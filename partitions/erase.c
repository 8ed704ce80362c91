#include "partitions/erase.h"

#include <string.h>

#include "partitions/claim.h"
#include "partitions/exchange.h"
#include "partitions/person.h"

enum { LIST_MAX_BYTES = 64 << 20 };

static const char *const names[] = {
#define X(sym, name, ja) [sym] = name,
    ERASED_KINDS(X)
#undef X
};
static const char *const words_ja[] = {
#define X(sym, name, ja) [sym] = ja,
    ERASED_KINDS(X)
#undef X
};

const char *erased_kind_name(enum erased_kind k) {
    return names[k];
}

const char *erased_kind_ja(enum erased_kind k) {
    return words_ja[k];
}

void erased_init(struct erased *x) {
    memset(x, 0, sizeof *x);
    struct buffer *lists[] = {&x->seals, &x->claims, &x->numbers, &x->blinds, &x->words};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        buffer_init(lists[i], LIST_MAX_BYTES);
}

void erased_fini(struct erased *x) {
    struct buffer *lists[] = {&x->seals, &x->claims, &x->numbers, &x->blinds, &x->words};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        buffer_fini(lists[i]);
}

void erased_word(struct erased *x, const char *word) {
    (void)buffer_put(&x->words, word, strlen(word) + 1);
}

bool erased_in(const struct erased *x, const void *text, size_t len) {
    for (size_t at = 0; at < x->words.len;) {
        const char *word = (const char *)x->words.data + at;
        size_t n = strlen(word);
        if (memmem(text, len, word, n) != NULL)
            return true;
        at += n + 1;
    }
    return false;
}

/* --- rows --- */

enum vrs_err erase_note_seal(struct partition *p, enum store_table t, const struct record_id *id,
                             struct erased *x) {
    struct store_row row;
    enum vrs_err e = partition_engine(p)->get(partition_store(p), t, id->bytes, &row);
    if (e != VRS_OK)
        return e;
    if (row.blob_len <= ERASE_SEAL_BYTES)
        return ERR_TAMPERED;
    /* Behind the format byte: the random nonce and the first sealed bytes, found nowhere else. */
    return buffer_put(&x->seals, row.blob + 1, ERASE_SEAL_BYTES) ? VRS_OK : ERR_MEMORY;
}

enum vrs_err erase_row(struct partition *p, enum store_table t, const struct record_id *id,
                       enum erased_kind kind, struct erased *x) {
    enum vrs_err e = erase_note_seal(p, t, id, x);
    if (e == VRS_OK)
        e = record_remove(p, t, id);
    x->count[kind] += e == VRS_OK;
    return e;
}

struct removal {
    struct partition *partition;
    enum store_table table;
    enum erased_kind kind;
    struct erased *erased;
};

static enum vrs_err remove_one(struct record *r, void *arg) {
    const struct removal *m = arg;
    return erase_row(m->partition, m->table, &r->id, m->kind, m->erased);
}

enum vrs_err erase_rows_of(struct partition *p, enum store_table t, int n,
                           const struct record_id *id, enum erased_kind kind, struct erased *x) {
    struct removal m = {.partition = p, .table = t, .kind = kind, .erased = x};
    struct store_index index;
    store_index_id(id, &index);
    return record_find(p, t, n, &index, remove_one, &m);
}

/* --- a person --- */

enum vrs_err erase_person(struct partition *p, const struct record_id *person, struct erased *x) {
    char hex[33];
    record_id_format(person, hex);
    erased_word(x, hex); /* in answers that were kept */
    enum vrs_err e = claims_erase_of(p, person, x);
    if (e == VRS_OK)
        e = inquiries_erase_of(p, person, x);
    if (e == VRS_OK)
        e = person_erase(p, person, x);
    if (e == VRS_OK)
        e = erase_rows_of(p, TABLE_REQUEST, 0, person, ERASED_REQUEST, x);
    if (e == VRS_OK && x->words.failed)
        e = ERR_MEMORY;
    if (e == VRS_OK)
        e = idempotency_erase(p, x);
    return e;
}

enum vrs_err erase_again(struct partition *p, const struct record_id *person,
                         const struct buffer *claims, struct erased *x) {
    enum vrs_err e = erase_person(p, person, x);
    for (size_t at = 0; (e == VRS_OK || e == ERR_NOT_FOUND) && at < claims->len;
         at += ERASE_CLAIM_BYTES) {
        struct record_id id;
        memcpy(id.bytes, claims->data + at, sizeof id.bytes);
        e = claim_erase(p, &id, x);
    }
    return e == ERR_NOT_FOUND ? VRS_OK : e;
}
