#include "vrs-server/log/log_rule.h"

#include <stdlib.h>
#include <string.h>

#include "lib/json.h"

static const char *const ids[LOG_RULE_COUNT] = {
#define X(sym, id, name) [sym] = id,
    LOG_RULES(X)
#undef X
};

static const char *const rule_names[LOG_RULE_COUNT] = {
#define X(sym, id, name) [sym] = name,
    LOG_RULES(X)
#undef X
};

static const char *const week[] = {"thursday", "friday",  "saturday", "sunday",
                                   "monday",   "tuesday", "wednesday"}; /* 1970-01-01 first */

struct log_rules {
    json_t *document;
    int64_t version;
    json_t *looking, *refusals, *weekend, *holidays; /* of the document */
    struct log_threshold threshold[LOG_RULE_COUNT];
};

const char *log_rule_id(enum log_rule rule) {
    return ids[rule];
}

const char *log_rule_name(enum log_rule rule) {
    return rule_names[rule];
}

int64_t log_rules_version(const struct log_rules *r) {
    return r->version;
}

struct log_threshold *log_rule_threshold(struct log_rules *r, enum log_rule rule) {
    return &r->threshold[rule];
}

static bool holds(const json_t *list, const char *word) {
    size_t i;
    const json_t *v;
    json_array_foreach(list, i, v) {
        if (strcmp(json_string_value(v), word) == 0)
            return true;
    }
    return false;
}

bool log_rules_look(const struct log_rules *r, const char *act) {
    return holds(r->looking, act);
}

bool log_rules_refusal(const struct log_rules *r, const char *result) {
    return holds(r->refusals, result);
}

bool log_rules_day_off(const struct log_rules *r, struct civil_date day) {
    char text[11];
    clock_format_date(day, text);
    return holds(r->weekend, week[((day.days % 7) + 7) % 7]) || holds(r->holidays, text);
}

/* --- loading --- */

static bool is_error(const char *word) {
    enum vrs_err e;
    return err_by_name(word, &e) && e != VRS_OK;
}

static bool is_weekday(const char *word) {
    for (size_t i = 0; i < sizeof week / sizeof *week; i++) {
        if (strcmp(week[i], word) == 0)
            return true;
    }
    return false;
}

static bool is_day(const char *word) {
    struct civil_date d;
    return clock_parse_date(word, &d) == VRS_OK;
}

static bool is_word(const char *word) {
    return word[0] != '\0';
}

static enum vrs_err check_words(const json_t *list, const char *what, bool (*good)(const char *),
                                struct vrs_fault *fault) {
    size_t i;
    const json_t *v;
    json_array_foreach(list, i, v) {
        if (!json_is_string(v) || !good(json_string_value(v)))
            return err_fail(fault, ERR_CONFIG, "log rules: %s has a wrong word at %zu", what,
                            i + 1);
    }
    return VRS_OK;
}

static enum vrs_err read_rule(struct log_rules *r, const json_t *row, struct vrs_fault *fault) {
    const char *id = NULL;
    struct log_threshold t = {.on = true, .minutes = 60, .miss_percent = 50, .seconds = 60};
    const struct json_field fields[] = {
        JF_STR("id", true, 40, &id),          JF_INT("count", true, &t.count),
        JF_INT("minutes", false, &t.minutes), JF_INT("miss_percent", false, &t.miss_percent),
        JF_INT("seconds", false, &t.seconds), JF_END,
    };
    struct vrs_fault why = {0};
    if (json_read(row, fields, &why) != VRS_OK)
        return err_fail(fault, ERR_CONFIG, "log rules: %s", why.text);
    enum log_rule rule = 0;
    while (rule < LOG_RULE_COUNT && strcmp(ids[rule], id) != 0)
        rule++;
    if (rule == LOG_RULE_COUNT || r->threshold[rule].on)
        return err_fail(fault, ERR_CONFIG, "log rules: unknown or repeated rule %s", id);
    if (t.count < 1 || t.minutes < 1 || t.minutes > 1440 || t.miss_percent < 0 ||
        t.miss_percent > 100 || t.seconds < 1)
        return err_fail(fault, ERR_CONFIG, "log rules: a threshold of %s is out of range", id);
    r->threshold[rule] = t;
    return VRS_OK;
}

static enum vrs_err read_document(struct log_rules *r, struct vrs_fault *fault) {
    const char *format = NULL;
    json_t *rules = NULL, *row;
    size_t i;
    const struct json_field fields[] = {
        JF_STR("format", true, 40, &format),
        JF_INT("version", true, &r->version),
        JF_ARRAY("acts_of_looking", true, &r->looking),
        JF_ARRAY("refusals", true, &r->refusals),
        JF_ARRAY("weekend", true, &r->weekend),
        JF_ARRAY("holidays", true, &r->holidays),
        JF_ARRAY("rules", true, &rules),
        JF_END,
    };
    struct vrs_fault why = {0};
    if (json_read(r->document, fields, &why) != VRS_OK)
        return err_fail(fault, ERR_CONFIG, "log rules: %s", why.text);
    if (strcmp(format, "vrs-log-rules/1") != 0)
        return err_fail(fault, ERR_CONFIG, "log rules: format is not vrs-log-rules/1");
    enum vrs_err e = check_words(r->looking, "acts_of_looking", is_word, fault);
    if (e == VRS_OK)
        e = check_words(r->refusals, "refusals", is_error, fault);
    if (e == VRS_OK)
        e = check_words(r->weekend, "weekend", is_weekday, fault);
    if (e == VRS_OK)
        e = check_words(r->holidays, "holidays", is_day, fault);
    json_array_foreach(rules, i, row) {
        if (e == VRS_OK)
            e = read_rule(r, row, fault);
    }
    return e;
}

enum vrs_err log_rules_open(const char *json_path, struct log_rules **out,
                            struct vrs_fault *fault) {
    json_error_t error;
    struct log_rules *r = calloc(1, sizeof *r);
    *out = r;
    if (r == NULL)
        return ERR_MEMORY;
    r->document = json_load_file(json_path, JSON_REJECT_DUPLICATES, &error);
    enum vrs_err e = r->document != NULL ? read_document(r, fault)
                                         : err_fail(fault, ERR_CONFIG, "%s:%d: %s", json_path,
                                                    error.line, error.text);
    if (e != VRS_OK)
        log_rules_close(out);
    return e;
}

void log_rules_close(struct log_rules **r) {
    if (*r == NULL)
        return;
    json_decref((*r)->document);
    free(*r);
    *r = NULL;
}
