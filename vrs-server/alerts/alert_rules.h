/* The rules of data/alerts.json and what they have counted: when an alert speaks, and when it stays
 * quiet.  No I/O but loading and no threads: alert.c holds the lock and does what is told here.
 *
 * A counting rule speaks when `threshold` notes of one subject fall into `window`; a state rule when
 * its condition becomes true.  Then the subject is quiet for `quiet`, and afterwards told once more
 * with the count if it went on.  A rule that speaks of more than ALERT_SUBJECTS_AN_HOUR subjects
 * speaks of "(many)": who sends from many addresses cannot flood the receivers. */
#ifndef VRS_SERVER_ALERTS_ALERT_RULES_H
#define VRS_SERVER_ALERTS_ALERT_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

/* X(name, is a state, has a limit of its own): exactly these stand in data/alerts.json. */
#define ALERT_RULES(X)                                                                             \
    X("login_failed", false, false)                                                                \
    X("certificate_error", false, false)                                                           \
    X("revoked_used", false, false)                                                                \
    X("unknown_terminal", false, false)                                                            \
    X("enrolment_guessing", false, false)                                                          \
    X("other_partition", false, false)                                                             \
    X("scanning", false, false)                                                                    \
    X("slow_clients", false, false)                                                                \
    X("crowded", false, false)                                                                     \
    X("refusals", false, false)                                                                    \
    X("mass_reads", false, false)                                                                  \
    X("fishing", false, false)                                                                     \
    X("log_break", false, false)                                                                   \
    X("log_fork", false, false)                                                                    \
    X("signer_away", true, false)                                                                  \
    X("number_away", true, false)                                                                  \
    X("storage_failing", false, false)                                                             \
    X("line_unreadable", false, false)                                                             \
    X("clock_jump", false, false)                                                                  \
    X("disk_low", true, true)    /* per cent free */                                               \
    X("line_silent", true, true) /* seconds */                                                     \
    X("town_gone", true, false)                                                                    \
    X("pending_old", true, true)        /* seconds */                                              \
    X("certificate_ending", true, true) /* days */                                                 \
    X("rotation_stuck", true, false)                                                               \
    X("log_review_overdue", true, false)                                                           \
    X("scanner_away", true, false)                                                                 \
    X("malware_found", false, false)

enum {
    ALERT_RULE_COUNT = 0
#define X(name, state, limit) +1
    ALERT_RULES(X)
#undef X
        ,
    ALERT_SUBJECT_MAX = 96,
    ALERT_SUBJECTS_AN_HOUR = 20
};

struct alert_rule {
    char name[32];
    char severity[12]; /* notice, warning, critical */
    bool state;
    int64_t threshold, window_ms, quiet_ms, limit;
    char title_ja[256], todo_ja[640];
};

struct alert_rules {
    struct alert_rule rule[ALERT_RULE_COUNT];
};

/* The fault names file, line or rule, and what is wrong: not JSON, a duplicate, an unknown or
 * missing rule or member, a text that is not Japanese, a number out of bounds. */
VRS_CHECK enum vrs_err alert_rules_load(const char *path, struct alert_rules *out,
                                        struct vrs_fault *fault);
/* NULL: no such rule. */
const struct alert_rule *alert_rules_find(const struct alert_rules *r, const char *name);

enum alert_kind { ALERT_RAISED = 1, ALERT_GOES_ON, ALERT_OVER };
const char *alert_kind_name(enum alert_kind k); /* raised, goes_on, over */

/* What is to be told. */
struct alert_told {
    const struct alert_rule *rule;
    char subject[ALERT_SUBJECT_MAX];
    enum alert_kind kind;
    int64_t count; /* notes since it spoke last (raised: in the window) */
};

struct alert_table;
/* `rules` outlives it. NULL when out of memory. Times are monotonic milliseconds. */
struct alert_table *alert_table_open(const struct alert_rules *rules);
void alert_table_close(struct alert_table **t);
/* True: something is to be told (now). */
bool alert_table_note(struct alert_table *t, const struct alert_rule *rule, const char *subject,
                      int64_t n, int64_t now_ms);
bool alert_table_state(struct alert_table *t, const struct alert_rule *rule, const char *subject,
                       bool on, int64_t now_ms);
/* What an earlier run told: quiet until then; a state was on. */
void alert_table_restore(struct alert_table *t, const struct alert_rule *rule, const char *subject,
                         bool on, int64_t quiet_until_ms, int64_t now_ms);
/* The next to be told, marked as told; false when there is none. */
bool alert_table_take(struct alert_table *t, int64_t now_ms, struct alert_told *out);

#endif
