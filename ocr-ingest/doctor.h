/* The coupon doctor's head: which lines of a municipality a misread one may have been, likeliest
 * first, by at most two substitutions from a table of confusions (data/confusions.json) and by what
 * the reader itself doubted.  Which of them are issued is another's to know.  Pure.
 *
 * The municipality is given, so its digits are never guessed: one that differs is a substitution
 * that must be made.  Kind and dose number are touched only where they cannot stand: any dose number
 * would fit an issued coupon. */
#ifndef OCR_INGEST_DOCTOR_H
#define OCR_INGEST_DOCTOR_H

#include <stdint.h>

#include "ocr-ingest/line.h"

enum { DOCTOR_CHANGES = 2, DOCTOR_LOOKUPS = 2000, DOCTOR_DIGITS = 18 };

struct confusions;
VRS_CHECK enum vrs_err confusions_open(const char *json_path, struct confusions **out,
                                       struct vrs_fault *fault);
void confusions_close(struct confusions **c);

struct doctor_reading {
    char text[DOCTOR_DIGITS + 1];   /* normalised; a character that is no digit must be changed */
    char second[DOCTOR_DIGITS + 1]; /* the next best digits, ' ' for none; "" not known */
    uint8_t confidence[DOCTOR_DIGITS]; /* 0 … 255, all 255 when not known (reader.h) */
};

struct doctor_candidate {
    char line[DOCTOR_DIGITS + 1];
    int changes;
    double cost;
};

/* All with exactly `changes` substitutions, cheapest first, at most `cap`; 0 when the reading is not
 * of 18 characters. */
size_t doctor_candidates(const struct confusions *table, const struct doctor_reading *r,
                         const char *municipality, int changes, struct doctor_candidate *out,
                         size_t cap);

#endif
