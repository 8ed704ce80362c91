/* The rules by which the access log is searched for irregular use (C63), from data/log_rules.json:
 * versioned, checked when loaded; an unknown key, rule or word refuses the start.  A rule that is
 * not listed is off. */
#ifndef VRS_SERVER_LOG_LOG_RULE_H
#define VRS_SERVER_LOG_LOG_RULE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/clock.h"
#include "lib/err.h"

/* X(symbol, id, Japanese name) */
#define LOG_RULES(X)                                                                               \
    X(LOG_OFF_HOURS, "off_hours", "時間外・休日の利用")                                            \
    X(LOG_MASS_HOUR, "mass_reads_hour", "短時間に多数の住民を閲覧（1時間）")                       \
    X(LOG_MASS_DAY, "mass_reads_day", "多数の住民を閲覧（1日）")                                   \
    X(LOG_REFUSALS, "refusals", "拒否の繰返し")                                                    \
    X(LOG_FISHING, "number_fishing", "個人番号の当て推量（該当なしの多い検索・照会）")             \
    X(LOG_COUPON_SWEEP, "coupon_sweep", "連続する接種券番号の検索")                                \
    X(LOG_CODE_SWEEP, "municipality_sweep", "多数の市区町村への順次の照会")                        \
    X(LOG_GAP, "gap", "記録の欠番")                                                                \
    X(LOG_CLOCK_STEP, "clock_step", "時計の後戻り")

enum log_rule {
#define X(sym, id, name) sym,
    LOG_RULES(X)
#undef X
        LOG_RULE_COUNT
};

struct log_threshold {
    bool on;
    int64_t count;
    int64_t minutes, miss_percent, seconds; /* of the rules that have them */
};

struct log_rules;
VRS_CHECK enum vrs_err log_rules_open(const char *json_path, struct log_rules **out,
                                      struct vrs_fault *fault);
void log_rules_close(struct log_rules **r);
int64_t log_rules_version(const struct log_rules *r);
const char *log_rule_id(enum log_rule rule);
const char *log_rule_name(enum log_rule rule);
struct log_threshold *log_rule_threshold(struct log_rules *r, enum log_rule rule);
bool log_rules_look(const struct log_rules *r, const char *act);       /* an act of looking */
bool log_rules_refusal(const struct log_rules *r, const char *result); /* a refusal that counts */
bool log_rules_day_off(const struct log_rules *r, struct civil_date day);

#endif
