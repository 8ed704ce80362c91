/* Erasing a person: every row that is about the person goes from the partition, in the caller's
 * transaction; what has to be known of it afterwards stays in memory.
 *
 * Gone are the person with all versions, coupons, claims with all versions and their unsent marks,
 * links to numbers, inquiries and answers to them, requests about the person, and first answers
 * that are kept for repeated POSTs.  The record of provisions (情報提供等の記録) and the access log
 * stay their seven years. */
#ifndef PARTITIONS_ERASE_H
#define PARTITIONS_ERASE_H

#include "partitions/partition.h"

/* X(symbol, stable name, Japanese words) */
#define ERASED_KINDS(X)                                                                            \
    X(ERASED_PERSON, "person", "住民の記録")                                                       \
    X(ERASED_PERSON_VERSION, "person_version", "住民の記録の旧版")                                 \
    X(ERASED_COUPON, "coupon", "接種券")                                                           \
    X(ERASED_DOSE, "dose", "接種の記録")                                                           \
    X(ERASED_DOSE_VERSION, "dose_version", "接種の記録の旧版")                                     \
    X(ERASED_NUMBER, "number", "個人番号")                                                         \
    X(ERASED_INQUIRY, "inquiry", "照会と回答待ちの記録")                                           \
    X(ERASED_ANSWER, "answer", "再送に備えた応答")                                                 \
    X(ERASED_REQUEST, "request", "承認の申請")                                                     \
    X(ERASED_IMPORT, "import", "確定前の取込ファイル")

enum erased_kind {
#define X(sym, name, ja) sym,
    ERASED_KINDS(X)
#undef X
        ERASED_KIND_COUNT
};
const char *erased_kind_name(enum erased_kind k);
const char *erased_kind_ja(enum erased_kind k);

enum { ERASE_SEAL_BYTES = 32, ERASE_CLAIM_BYTES = 32 /* id, receipt */ };

struct erased {
    uint64_t count[ERASED_KIND_COUNT];
    struct buffer seals;   /* first bytes of every sealed blob that went, ERASE_SEAL_BYTES each */
    struct buffer claims;  /* row id and receipt (zeros: none), ERASE_CLAIM_BYTES each */
    struct buffer numbers; /* row ids in vrs-number, STORE_ID_BYTES each */
    struct buffer blinds;  /* blind 宛名番号 and 券番号, PARTITION_BLIND_BYTES each */
    struct buffer words;   /* NUL-ended: by which other texts that hold the person are found */
};
void erased_init(struct erased *x);
void erased_fini(struct erased *x); /* wipes */
void erased_word(struct erased *x, const char *word);
/* Does `text` hold one of the words? */
bool erased_in(const struct erased *x, const void *text, size_t len);

/* One row goes: its seal is noted and it is counted as `kind`.  ERR_NOT_FOUND when there is none.
 */
VRS_CHECK enum vrs_err erase_row(struct partition *p, enum store_table t,
                                 const struct record_id *id, enum erased_kind kind,
                                 struct erased *x);
/* All rows of a table whose index n is `id`. */
VRS_CHECK enum vrs_err erase_rows_of(struct partition *p, enum store_table t, int n,
                                     const struct record_id *id, enum erased_kind kind,
                                     struct erased *x);
/* A row is about to be replaced: the seal that it has now must not stay anywhere either. */
VRS_CHECK enum vrs_err erase_note_seal(struct partition *p, enum store_table t,
                                       const struct record_id *id, struct erased *x);

/* Everything above but imports (imports_erase).  `x` may gather several persons.  ERR_NOT_FOUND:
 * no such person; ERR_CONFLICT: an inquiry about the person still waits for its answer. */
VRS_CHECK enum vrs_err erase_person(struct partition *p, const struct record_id *person,
                                    struct erased *x);
/* What an older file may hold of an erasure that came later: the person, and claims by their row
 * ids that were not yet the person's.  VRS_OK also when nothing is there. */
VRS_CHECK enum vrs_err erase_again(struct partition *p, const struct record_id *person,
                                   const struct buffer *claims, struct erased *x);

#endif
