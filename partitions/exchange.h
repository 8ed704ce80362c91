/* Records of the exchange between municipalities: inquiries (asking side), held inquiries and the
 * 情報提供等の記録 (both sides; 番号法23条).  No form of the 個人番号 is in any of them. */
#ifndef PARTITIONS_EXCHANGE_H
#define PARTITIONS_EXCHANGE_H

#include "lib/clock.h"
#include "partitions/erase.h"
#include "partitions/partition.h"

enum inquiry_state {
    INQUIRY_OPEN = 1, /* asked, no result yet: marked ABORTED when found after a start */
    INQUIRY_MATCH,
    INQUIRY_NO_MATCH,
    INQUIRY_PENDING, /* held, slow and away look alike */
    INQUIRY_ABORTED, /* cut off by a crash: a person asks again */
    INQUIRY_TAKEN_OVER,
    INQUIRY_EXPIRED, /* result deleted by itself */
};

struct inquiry {
    struct record_id id;
    uint64_t version;
    uint32_t generation;
    enum inquiry_state state;
    char from_municipality[7];
    bool has_person;
    struct record_id person; /* own person, by addressee_number */
    char purpose[24];
    char basis_kind[16]; /* consent | statute */
    char basis_document[200];
    char basis_obtained_on[11];
    char identity_method[100];
    char identity_checked_on[11];
    char user[64];
    char section[64];
    char terminal[64];
    int64_t asked_ms;
    int64_t expires_ms;   /* when the result deletes itself; 0 none */
    struct buffer result; /* MATCH: the doses as compact JSON; wiped at expiry */
};
void inquiry_init(struct inquiry *q); /* zeros, new id */
void inquiry_fini(struct inquiry *q); /* wipes */
/* *out is initialised by the caller; what it held is wiped. */
VRS_CHECK enum vrs_err inquiry_get(struct partition *p, const struct record_id *id,
                                   struct inquiry *out);
VRS_CHECK enum vrs_err inquiry_put(struct partition *p, struct inquiry *q); /* version 0: insert */
typedef enum vrs_err inquiry_fn(struct inquiry *q, void *arg);
VRS_CHECK enum vrs_err inquiries_in_state(struct partition *p, enum inquiry_state s, uint64_t limit,
                                          inquiry_fn *fn, void *arg);

/* Results whose time has come are wiped (the row stays, without them); their seals are noted in `x`
 * (may be NULL) for looking through the file. */
VRS_CHECK enum vrs_err inquiries_expire(struct partition *p, int64_t now_ms, uint64_t *expired,
                                        struct erased *x);
/* What was asked until then and never answered is aborted: at the start all of it, and what is
 * older than any request lives; nobody waits for it any more. */
VRS_CHECK enum vrs_err inquiries_abort_open(struct partition *p, int64_t asked_until_ms,
                                            uint64_t *aborted);

/* Inquiries for and about a person who is erased; the record of provisions stays.  ERR_CONFLICT: one
 * is held and waits for its answer. */
VRS_CHECK enum vrs_err inquiries_erase_of(struct partition *p, const struct record_id *person,
                                          struct erased *x);

struct held_inquiry { /* providing side: waits for a person (自動応答不可, 不開示) */
    struct record_id id;
    uint64_t version;
    uint32_t generation;
    uint32_t state;           /* 1 held, 2 approved, 3 refused */
    struct record_id inquiry; /* at the asker */
    char asker[7];
    struct record_id person;
    char purpose[24];
    char basis_kind[16];
    int64_t asked_ms;
    char decided_by[64];
    char decision_reason[512];
    int64_t decided_ms;
};
VRS_CHECK enum vrs_err held_get(struct partition *p, const struct record_id *id,
                                struct held_inquiry *out);
VRS_CHECK enum vrs_err held_put(struct partition *p, struct held_inquiry *h);
typedef enum vrs_err held_fn(struct held_inquiry *h, void *arg);
VRS_CHECK enum vrs_err held_list(struct partition *p, uint32_t state, uint64_t limit, held_fn *fn,
                                 void *arg);

struct provision { /* 情報提供等の記録 */
    struct record_id id;
    uint64_t sequence; /* order: survives clock steps (C71) */
    int64_t at_ms;
    bool asked_here; /* true: we asked; false: we provided */
    char other[7];   /* the other municipality */
    bool has_person;
    struct record_id person; /* own row */
    char addressee[24];
    char purpose[24];
    char basis_kind[16];
    char basis_document[200];
    char user[64]; /* who asked, or who approved; "system" for automatic answers */
    char terminal[64];
    char result[16]; /* match, no_match (asking side only), refused, pending */
    uint64_t doses;
    struct record_id inquiry;
};
/* v->id is the caller's (record_id_new); sets v->sequence. */
VRS_CHECK enum vrs_err provision_add(struct partition *p, struct provision *v);
typedef enum vrs_err provision_fn(const struct provision *v, void *arg);
VRS_CHECK enum vrs_err provisions_read(struct partition *p, uint64_t after, uint64_t limit,
                                       provision_fn *fn, void *arg);

/* Idempotency of POSTs on the inside.  Stored: SHA-256(key) as the id; HMAC(key, body) and the
 * first answer inside the seal.  Kept at least 90 days. */
struct idempotent {
    int status;           /* HTTP status of the first answer */
    struct buffer answer; /* JSON */
};
/* out->answer: initialised, empty.  VRS_OK and *seen: the first answer is in *out; VRS_OK, !*seen:
 * new; ERR_KEY_REUSED: other body. */
VRS_CHECK enum vrs_err idempotency_look(struct partition *p, const char *key, const void *body,
                                        size_t len, bool *seen, struct idempotent *out);
VRS_CHECK enum vrs_err idempotency_keep(struct partition *p, const char *key, const void *body,
                                        size_t len, int status, const void *answer,
                                        size_t answer_len);
/* Removes those kept before `before_ms`, oldest first, at most `limit` (call again). */
VRS_CHECK enum vrs_err idempotency_purge(struct partition *p, int64_t before_ms, uint64_t limit,
                                         uint64_t *removed);
/* First answers that hold one of the words: emptied, so that a repeated POST is still no second. */
VRS_CHECK enum vrs_err idempotency_erase(struct partition *p, struct erased *x);
#endif
