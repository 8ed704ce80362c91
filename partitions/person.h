/* A resident (接種対象者) with coupons, flags and links to numbers; no 個人番号 is ever here. */
#ifndef PARTITIONS_PERSON_H
#define PARTITIONS_PERSON_H

#include "lib/clock.h"
#include "ocr-ingest/coupon.h"
#include "partitions/erase.h"
#include "partitions/partition.h"

enum person_sex { SEX_MALE = 1, SEX_FEMALE = 2, SEX_UNKNOWN = 9 };

struct person {
    struct record_id id;
    uint64_t version; /* 0: not stored yet */
    uint32_t generation;
    char addressee[24]; /* 宛名番号, "" blank */
    char name[256];     /* 氏名, as written (UTF-8, IVS kept) */
    char kana[256];     /* カナ */
    char address[512];  /* 住所 */
    struct civil_date birth;
    enum person_sex sex;
    /* flags; a date of INT32_MIN days means not set */
    struct civil_date moved_out_on; /* 転出 */
    char moved_out_to[7];           /* municipality, "" unknown */
    struct civil_date died_on;      /* 死亡 */
    struct civil_date removed_on;   /* 職権消除 */
    bool no_auto_answer;            /* 自動応答不可 */
    bool undisclosed;               /* 不開示: protected person */
    int64_t registered_ms;
};
#define PERSON_NO_DATE ((struct civil_date){INT32_MIN})
bool person_date_set(struct civil_date d);

void person_init(struct person *p); /* zeros, dates unset, new random id */
void person_wipe(struct person *p);
VRS_CHECK enum vrs_err person_get(struct partition *pt, const struct record_id *id,
                                  struct person *out);
VRS_CHECK enum vrs_err person_by_addressee(struct partition *pt, const char *addressee,
                                           struct person *out);
/* version 0 inserts, else updates (ERR_STALE_VERSION) and keeps the old version in
 * person_history. */
VRS_CHECK enum vrs_err person_put(struct partition *pt, struct person *p);
typedef enum vrs_err person_fn(struct person *p, void *arg);
/* Oldest first, without the present version (C74: the old value stays readable to auditors). */
VRS_CHECK enum vrs_err person_history(struct partition *pt, const struct record_id *id,
                                      person_fn *fn, void *arg);
/* Kana prefix (folded, lib/text.h) among those born on that day; at most `limit`. */
VRS_CHECK enum vrs_err person_search(struct partition *pt, const char *kana_prefix,
                                     struct civil_date birth, size_t limit, person_fn *fn,
                                     void *arg);
VRS_CHECK enum vrs_err person_walk(struct partition *pt, person_fn *fn, void *arg); /* all, paged */
/* At most `limit`, in order of their row ids, behind `after` (NULL: from the start). */
VRS_CHECK enum vrs_err person_page(struct partition *pt, const struct record_id *after,
                                   uint64_t limit, person_fn *fn, void *arg);
/* Erases the person, history, coupons and links, and notes by what else the person is found. */
VRS_CHECK enum vrs_err person_erase(struct partition *pt, const struct record_id *id,
                                    struct erased *x);

/* Coupons: unique in the municipality. */
struct person_coupon {
    struct record_id id;
    struct coupon_number number;
    struct record_id person;
    struct civil_date sent_on; /* 接種券送付日, may be unset */
    int64_t registered_ms;
};
VRS_CHECK enum vrs_err coupon_get(struct partition *pt, const char *number,
                                  struct person_coupon *out); /* ERR_NOT_FOUND: not registered */
/* The same coupon for the same person is VRS_OK with *added=false; for another person ERR_R182. */
VRS_CHECK enum vrs_err coupon_add(struct partition *pt, const struct person_coupon *c, bool *added);
typedef enum vrs_err coupon_fn(const struct person_coupon *c, void *arg);
VRS_CHECK enum vrs_err coupons_of(struct partition *pt, const struct record_id *person,
                                  coupon_fn *fn, void *arg);

/* At most `limit`, in order of their row ids, behind `after` (NULL: from the start). */
VRS_CHECK enum vrs_err coupon_page(struct partition *pt, const struct record_id *after,
                                   uint64_t limit, coupon_fn *fn, void *arg);
VRS_CHECK enum vrs_err coupon_count(struct partition *pt, uint64_t *out);
/* Another number whenever coupons came or went (partition_changes). */
uint64_t coupon_changes(const struct partition *pt);

/* Links to rows in vrs-number: the link's id is the row id there. */
VRS_CHECK enum vrs_err number_link_add(struct partition *pt, const struct record_id *number_row,
                                       const struct record_id *person);
VRS_CHECK enum vrs_err number_link_person(struct partition *pt, const struct record_id *number_row,
                                          struct record_id *person);
typedef enum vrs_err number_link_fn(const struct record_id *number_row, void *arg);
/* Oldest first: the last one is the present number. */
VRS_CHECK enum vrs_err number_links_of(struct partition *pt, const struct record_id *person,
                                       number_link_fn *fn, void *arg);
VRS_CHECK enum vrs_err number_link_walk(struct partition *pt, number_link_fn *fn, void *arg);

#endif
