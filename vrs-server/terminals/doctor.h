/* What a site may ask about its own municipality's coupons beyond "is it known": the coupon doctor's
 * candidates and the pre-shot check.  Inside a transaction of that partition; the caller has made
 * sure that the asking terminal is of this municipality, keeps its quota, and logs. */
#ifndef VRS_SERVER_TERMINALS_DOCTOR_H
#define VRS_SERVER_TERMINALS_DOCTOR_H

#include "ocr-ingest/doctor.h"
#include "ocr-ingest/vaccine.h"
#include "partitions/person.h"
#include "tablet-api/line.h"

enum {
    DOCTOR_SHOWN = 3, /* candidates in an answer */
    DOCTOR_FIT = 5    /* when more are issued, none is shown: the reading says too little */
};

struct doctor_found {
    size_t count;
    struct doctor_candidate candidate[DOCTOR_SHOWN];
    struct record_id person[DOCTOR_SHOWN]; /* for the log */
};

/* Issued coupons that the reading may have been: with one substitution, and only where none fits
 * with two.  At most DOCTOR_LOOKUPS are looked up. */
VRS_CHECK enum vrs_err doctor_look(struct partition *p, const struct confusions *table,
                                   const struct line_doctor *reading, struct doctor_found *out);
/* Of the dose that this coupon is for, with that product on that day: when it would come too soon
 * after the one before, the first day on which it would not; else PERSON_NO_DATE. */
VRS_CHECK enum vrs_err interval_look(struct partition *p, const struct vaccine_list *vaccines,
                                     const struct coupon *c, const struct record_id *holder,
                                     const char *product, struct civil_date on,
                                     struct civil_date *earliest);
/* {"earliest_on":…}, nothing without a day. */
VRS_CHECK enum vrs_err interval_write(struct civil_date earliest, struct buffer *out);

/* [{"ocr_line":…,"changes":…}], nothing when there is none. */
VRS_CHECK enum vrs_err doctor_write(const struct doctor_found *f, struct buffer *out);

struct pre_shot {
    int doses_so_far;
    int next_dose_number;            /* 0: there is none */
    struct civil_date earliest_next; /* PERSON_NO_DATE: no interval known */
    struct person holder;            /* for the log; to be wiped */
};
/* ERR_NOT_FOUND: the coupon is not issued. */
VRS_CHECK enum vrs_err pre_shot_look(struct partition *p, const struct vaccine_list *vaccines,
                                     const struct coupon *c, const char *product,
                                     struct pre_shot *out);
VRS_CHECK enum vrs_err pre_shot_write(const struct pre_shot *s, struct buffer *out);

#endif
