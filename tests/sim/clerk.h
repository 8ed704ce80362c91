/* Clerks of the two towns ask each other by 個人番号, through the real request.c, inquiries.c and
 * permit.c; the same question again under its key, and another one under it.  What must hold: one
 * inquiry a key, answered once and the same, by one record on either side, with a permit that was
 * issued for it and is gone; nothing stays open; no number is in any file. */
#ifndef TESTS_SIM_CLERK_H
#define TESTS_SIM_CLERK_H

#include "tests/sim/day.h"

void clerk_begin(void);
void clerk_ask(void); /* something is asked; nothing when vrs-server is down */
/* Of both towns, after day_settle. */
void clerk_truth(void);
struct clerk_totals {
    uint64_t asked, match, no_match, aborted, refused;
};
extern struct clerk_totals clerk_totals;

#endif
