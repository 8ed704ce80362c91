#include "vrs-server/alerts/alert_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"

enum {
    SUBJECTS = 4096, /* counted at once; the one seen longest ago gives way */
    SLICES = 8,      /* of a window */
    HOUR_MS = 3600000,
    MAX_SECONDS = 31 * 86400,
};

static const struct {
    const char *name;
    bool state, limit;
} known[ALERT_RULE_COUNT] = {
#define X(name, state, limit) {name, state, limit},
    ALERT_RULES(X)
#undef X
};

/* --- loading --- */

/* Hiragana is in every Japanese sentence, and in nothing else. */
static bool is_japanese(const char *s) {
    for (; *s != '\0'; s++) {
        if ((unsigned char)s[0] == 0xe3 &&
            ((unsigned char)s[1] == 0x81 || (unsigned char)s[1] == 0x82))
            return true;
    }
    return false;
}

static bool between(int64_t v, int64_t low, int64_t high) {
    return v >= low && v <= high;
}

static enum vrs_err read_rule(const char *path, const json_t *from, struct alert_rules *out,
                              struct vrs_fault *fault) {
    const char *name = "", *severity = "", *title = "", *todo = "";
    int64_t threshold = 0, window = 0, quiet = 0, limit = 0;
    const struct json_field fields[] = {
        JF_STR("name", true, sizeof out->rule[0].name - 1, &name),
        JF_STR("severity", true, sizeof out->rule[0].severity - 1, &severity),
        JF_STR("title_ja", true, sizeof out->rule[0].title_ja - 1, &title),
        JF_STR("todo_ja", true, sizeof out->rule[0].todo_ja - 1, &todo),
        JF_INT("threshold", false, &threshold),
        JF_INT("window_s", false, &window),
        JF_INT("quiet_s", true, &quiet),
        JF_INT("limit", false, &limit),
        JF_END};
    struct vrs_fault why = {0};
    const char *said = json_string_value(json_object_get(from, "name"));
    if (said == NULL)
        said = "without a name";
    enum vrs_err e = json_read(from, fields, &why);
    if (e != VRS_OK)
        return err_fail(fault, ERR_CONFIG, "%s: rule %.31s: %s: %s", path, said, err_name(e),
                        why.text);
    size_t i = 0;
    while (i < ALERT_RULE_COUNT && strcmp(known[i].name, name) != 0)
        i++;
    if (i == ALERT_RULE_COUNT)
        return err_fail(fault, ERR_CONFIG, "%s: no alert is called %s", path, name);
    struct alert_rule *r = &out->rule[i];
    if (r->name[0] != '\0')
        return err_fail(fault, ERR_CONFIG, "%s: rule %s stands there twice", path, name);
    if (strcmp(severity, "notice") != 0 && strcmp(severity, "warning") != 0 &&
        strcmp(severity, "critical") != 0)
        return err_fail(fault, ERR_CONFIG, "%s: rule %s: severity is notice, warning or critical",
                        path, name);
    if (!is_japanese(title) || !is_japanese(todo))
        return err_fail(fault, ERR_CONFIG, "%s: rule %s: title_ja and todo_ja are Japanese", path,
                        name);
    bool counts =
        json_object_get(from, "threshold") != NULL || json_object_get(from, "window_s") != NULL;
    if (known[i].state ? counts
                       : !between(threshold, 1, 1000000) || !between(window, 1, MAX_SECONDS))
        return err_fail(fault, ERR_CONFIG, "%s: rule %s: %s", path, name,
                        known[i].state ? "a state has no threshold and no window_s"
                                       : "threshold or window_s out of bounds");
    if (!between(quiet, 1, MAX_SECONDS))
        return err_fail(fault, ERR_CONFIG, "%s: rule %s: quiet_s out of bounds", path, name);
    if (known[i].limit ? !between(limit, 1, MAX_SECONDS) : json_object_get(from, "limit") != NULL)
        return err_fail(fault, ERR_CONFIG, "%s: rule %s: limit %s", path, name,
                        known[i].limit ? "out of bounds" : "has no meaning here");
    (void)snprintf(r->name, sizeof r->name, "%s", name);
    (void)snprintf(r->severity, sizeof r->severity, "%s", severity);
    (void)snprintf(r->title_ja, sizeof r->title_ja, "%s", title);
    (void)snprintf(r->todo_ja, sizeof r->todo_ja, "%s", todo);
    r->state = known[i].state;
    r->threshold = threshold;
    r->window_ms = window * 1000;
    r->quiet_ms = quiet * 1000;
    r->limit = limit;
    return VRS_OK;
}

enum vrs_err alert_rules_load(const char *path, struct alert_rules *out, struct vrs_fault *fault) {
    json_error_t error;
    json_t *list = NULL;
    const char *format = "";
    struct vrs_fault why = {0};
    const struct json_field fields[] = {JF_STR("format", true, 32, &format),
                                        JF_ARRAY("rules", true, &list), JF_END};
    memset(out, 0, sizeof *out);
    json_t *document = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (document == NULL)
        return err_fail(fault, ERR_CONFIG, "%s:%d: %s", path, error.line, error.text);
    enum vrs_err e = json_read(document, fields, &why);
    if (e != VRS_OK)
        e = err_fail(fault, ERR_CONFIG, "%s: %s: %s", path, err_name(e), why.text);
    else if (strcmp(format, "vrs-alerts/1") != 0)
        e = err_fail(fault, ERR_CONFIG, "%s: format is not vrs-alerts/1", path);
    for (size_t i = 0; e == VRS_OK && i < json_array_size(list); i++)
        e = read_rule(path, json_array_get(list, i), out, fault);
    for (size_t i = 0; e == VRS_OK && i < ALERT_RULE_COUNT; i++) {
        if (out->rule[i].name[0] == '\0')
            e = err_fail(fault, ERR_CONFIG, "%s: rule %s is missing", path, known[i].name);
    }
    json_decref(document);
    return e;
}

const struct alert_rule *alert_rules_find(const struct alert_rules *r, const char *name) {
    for (size_t i = 0; i < ALERT_RULE_COUNT; i++) {
        if (strcmp(r->rule[i].name, name) == 0)
            return &r->rule[i];
    }
    return NULL;
}

const char *alert_kind_name(enum alert_kind k) {
    return k == ALERT_RAISED ? "raised" : k == ALERT_GOES_ON ? "goes_on" : "over";
}

/* --- counting --- */

struct entry {
    const struct alert_rule *rule; /* NULL: free */
    char subject[ALERT_SUBJECT_MAX];
    int64_t slice[SLICES]; /* notes, by time */
    int64_t slice_at;      /* number of the newest slice */
    int64_t seen_ms;
    int64_t quiet_until_ms; /* 0: has not spoken */
    int64_t since;          /* notes since it spoke */
    bool on;                /* a state */
    bool told_on;           /* and the receivers know */
    bool due;               /* to be told now */
};

struct hour {
    int64_t from_ms;
    unsigned told;
};

struct alert_table {
    const struct alert_rules *rules;
    struct hour hour[ALERT_RULE_COUNT];
    size_t used; /* entries below this may be in use */
    struct entry entry[SUBJECTS];
};

struct alert_table *alert_table_open(const struct alert_rules *rules) {
    struct alert_table *t = calloc(1, sizeof *t);
    if (t != NULL)
        t->rules = rules;
    return t;
}

void alert_table_close(struct alert_table **t) {
    free(*t);
    *t = NULL;
}

static const char many[] = "(many)";

/* The subject's entry, a new one, or that of the counting subject seen longest ago.  States are
 * few and stay. */
static struct entry *entry_of(struct alert_table *t, const struct alert_rule *rule,
                              const char *subject, int64_t now_ms) {
    struct entry *oldest = NULL;
    for (size_t i = 0; i < t->used; i++) {
        struct entry *e = &t->entry[i];
        if (e->rule == rule && strncmp(e->subject, subject, sizeof e->subject - 1) == 0)
            return e;
        if (!e->rule->state && (oldest == NULL || e->seen_ms < oldest->seen_ms))
            oldest = e;
    }
    struct entry *e = t->used < SUBJECTS ? &t->entry[t->used++] : oldest;
    if (e == NULL) /* every one a state: cannot be, but no reason to stop the service */
        e = &t->entry[0];
    memset(e, 0, sizeof *e);
    e->rule = rule;
    (void)snprintf(e->subject, sizeof e->subject, "%s", subject);
    e->seen_ms = now_ms;
    return e;
}

static int64_t in_window(struct entry *e, int64_t now_ms) {
    int64_t slice_ms = e->rule->window_ms / SLICES;
    int64_t at = now_ms / (slice_ms > 0 ? slice_ms : 1), sum = 0;
    if (at - e->slice_at >= SLICES)
        memset(e->slice, 0, sizeof e->slice);
    else
        for (int64_t i = e->slice_at + 1; i <= at; i++)
            e->slice[i % SLICES] = 0;
    e->slice_at = at;
    for (size_t i = 0; i < SLICES; i++)
        sum += e->slice[i];
    return sum;
}

bool alert_table_note(struct alert_table *t, const struct alert_rule *rule, const char *subject,
                      int64_t n, int64_t now_ms) {
    struct entry *e = entry_of(t, rule, subject, now_ms);
    if (now_ms >= e->quiet_until_ms && e->since == 0)
        e->quiet_until_ms = 0; /* nothing happened while it was quiet: from the beginning */
    (void)in_window(e, now_ms);
    e->slice[e->slice_at % SLICES] += n;
    e->since += e->quiet_until_ms != 0 ? n : 0;
    e->seen_ms = now_ms;
    if (!e->due && now_ms >= e->quiet_until_ms && in_window(e, now_ms) >= rule->threshold)
        e->due = true;
    return e->due;
}

bool alert_table_state(struct alert_table *t, const struct alert_rule *rule, const char *subject,
                       bool on, int64_t now_ms) {
    struct entry *e = entry_of(t, rule, subject, now_ms);
    if (on && !e->on)
        e->since++;
    e->on = on;
    e->seen_ms = now_ms;
    /* That it is over is told at once; that it came back only when the quiet time has passed. */
    e->due = on ? !e->told_on && now_ms >= e->quiet_until_ms : e->told_on;
    return e->due;
}

void alert_table_restore(struct alert_table *t, const struct alert_rule *rule, const char *subject,
                         bool on, int64_t quiet_until_ms, int64_t now_ms) {
    struct entry *e = entry_of(t, rule, subject, now_ms);
    if (quiet_until_ms > e->quiet_until_ms)
        e->quiet_until_ms = quiet_until_ms;
    e->told_on = rule->state && on;
    e->on = e->told_on || e->on;
    e->due = e->due && now_ms >= e->quiet_until_ms && !(rule->state && e->told_on == e->on);
}

/* Whether the rule may speak of one more subject in this hour. */
static bool may_name(struct alert_table *t, const struct alert_rule *rule, int64_t now_ms) {
    struct hour *h = &t->hour[rule - t->rules->rule];
    if (h->told == 0 || now_ms - h->from_ms >= HOUR_MS) {
        h->from_ms = now_ms;
        h->told = 0;
    }
    if (h->told >= ALERT_SUBJECTS_AN_HOUR)
        return false;
    h->told++;
    return true;
}

/* Notes of a quiet subject that went on, a state that lasts or came back. */
static bool quiet_ended(const struct entry *e, int64_t now_ms) {
    return e->quiet_until_ms != 0 && now_ms >= e->quiet_until_ms &&
           (e->rule->state ? e->on : e->since > 0);
}

bool alert_table_take(struct alert_table *t, int64_t now_ms, struct alert_told *out) {
    for (size_t i = 0; i < t->used; i++) {
        struct entry *e = &t->entry[i];
        bool again = quiet_ended(e, now_ms);
        if (!e->due && !again)
            continue;
        bool over = e->rule->state && !e->on;
        int64_t count = e->rule->state || e->quiet_until_ms != 0 ? e->since : in_window(e, now_ms);
        bool first = e->rule->state ? !e->told_on : !again;
        e->due = false;
        e->since = 0;
        e->told_on = e->rule->state && e->on;
        if (!over)
            e->quiet_until_ms = now_ms + e->rule->quiet_ms;
        memset(e->slice, 0, sizeof e->slice);
        if (!e->rule->state && strcmp(e->subject, many) != 0 && !may_name(t, e->rule, now_ms)) {
            const struct alert_rule *rule = e->rule;
            (void)alert_table_note(t, rule, many, rule->threshold, now_ms);
            i = (size_t)-1; /* it may stand before this one */
            continue;
        }
        out->rule = e->rule;
        memcpy(out->subject, e->subject, sizeof out->subject);
        out->kind = over ? ALERT_OVER : first ? ALERT_RAISED : ALERT_GOES_ON;
        out->count = count;
        return true;
    }
    return false;
}
