/* A reading that passed the intake → what receipt_post takes: for POST /v1/doses, :batch and the
 * reader line alike. */
#ifndef TABLET_API_POSTING_H
#define TABLET_API_POSTING_H

#include "tablet-api/intake.h"
#include "tablet-api/receipt.h"

struct tablet;

enum { POSTING_PLAIN_MAX = 4096 };

/* The intake's rules as of now. */
struct intake_rules posting_rules(const struct tablet *t);
/* A posting for a dose, still to be given `answered` and `owner`; NULL when out of memory. */
struct posting *posting_of_dose(struct intake *in, const char *key, const char *terminal,
                                const char *staff, int64_t now_ms);
/* Wipes it. */
void posting_free(struct posting *p);
/* Is this a question rather than a dose: the same 18 digits from the same terminal within seconds,
 * under another key and not confirmed by a person? */
bool posting_asks(const struct tablet *t, const struct intake *in, struct posting *p);
/* It was not stored, or nobody knows: the same 18 digits are no question. */
void posting_forget(const struct tablet *t, const struct posting *p);

#endif
