/* A day in the simulated town: readings and cancellations come in, are asked for again, with the
 * same key and another body, too; residents are registered; and beside it what an outsider may rely
 * on, written down as it is answered.  day_truth compares it with what is stored everywhere:
 *
 *   dose ⇔ receipt ⇔ log entry ⇔ outcome ⇔ counter ⇔ number row
 *
 * Nothing that was answered is missing, nothing that was refused is there. */
#ifndef TESTS_SIM_DAY_H
#define TESTS_SIM_DAY_H

#include "partitions/access_log.h"
#include "tests/sim/town.h"

enum { DAY_KEYS = 6, DAY_BODIES = 2, DAY_POSTED = 48, DAY_TOWNS = 2 };

enum posted_answer { POSTED_ON_ITS_WAY, POSTED_ACKED, POSTED_REFUSED, POSTED_UNKNOWN };

/* One request of a terminal. */
struct posted {
    int key, body;
    bool cancel;
    struct posted *target; /* of a cancellation */
    const char *terminal;
    uint8_t receipt[LINE_RECEIPT_BYTES]; /* drawn for it */
    enum posted_answer answer;
    enum line_outcome told; /* the last that anybody saw */
    enum vrs_err err;
    bool other_key_holder; /* answered with the receipt of an earlier one */
};

struct day {
    uint64_t seed;
    struct chance chance;
    struct posted posted[DAY_POSTED];
    size_t count;
    struct {
        struct town_registration job;
        enum posted_answer answer;
        bool asked, flying;
    } resident[DAY_TOWNS][TOWN_COUPONS];
    struct log_head head[DAY_TOWNS]; /* the last that the truth was told with */
    bool wrong;
    char why[400];
};
extern struct day day;

/* Over all days of the process: so that a run cannot pass by doing nothing. */
struct day_totals {
    uint64_t acknowledged, again, refused, unknown, doses, cancelled, residents;
};
extern struct day_totals day_totals;

void day_begin(uint64_t seed);
/* Something comes in; nothing when the process that it is for is down. */
void day_deed(void);
/* Starts what is down and lets everything come to its end, orphans swept.  False: it does not start,
 * does not end, or the power went again (disk_is_off). */
bool day_settle(void);
/* After day_settle. */
void day_truth(void);
/* The first thing that is wrong is kept. */
void day_wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

extern const char *const day_towns[DAY_TOWNS];

/* What was posted under a key, and its dose as the terminal said it. */
void day_dose_of(int key, int body, struct line_dose *out, char municipality[7]);

#endif
