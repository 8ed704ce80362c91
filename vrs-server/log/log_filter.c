#include "vrs-server/log/log_filter.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/text.h"

static const int64_t day_ms = 86400000, jst_ms = 9 * 3600000;

enum vrs_err log_filter_time(const char *text, bool end, int64_t *out) {
    struct civil_date day;
    if (strchr(text, 'T') != NULL) {
        if (!clock_parse_rfc3339(text, out))
            return ERR_R110;
        *out += end ? 1 : 0;
        return VRS_OK;
    }
    enum vrs_err e = clock_parse_date(text, &day);
    if (e == VRS_OK)
        *out = ((int64_t)day.days + (end ? 1 : 0)) * day_ms - jst_ms;
    return e;
}

static void describe(struct log_filter *f, const struct http_request *rq) {
    static const char *const names[] = {"from", "to", "user", "act", "result", "terminal"};
    size_t len = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = http_query(rq, names[i]);
        if (value == NULL)
            continue;
        int n = snprintf(f->text + len, sizeof f->text - len, "%s%s=%.40s", len > 0 ? " " : "",
                         names[i], value);
        len += n > 0 ? (size_t)n : 0;
        if (len >= sizeof f->text)
            return;
    }
}

enum vrs_err log_filter_read(const struct http_request *rq, struct log_filter *out) {
    const char *from = http_query(rq, "from"), *to = http_query(rq, "to");
    const char *after = http_query(rq, "after");
    enum vrs_err e = VRS_OK;
    *out = (struct log_filter){.from_ms = INT64_MIN,
                               .to_ms = INT64_MAX,
                               .user = http_query(rq, "user"),
                               .act = http_query(rq, "act"),
                               .result = http_query(rq, "result"),
                               .terminal = http_query(rq, "terminal")};
    if (after != NULL && (!text_u64(&after, INT64_MAX, &out->after) || *after != '\0'))
        e = ERR_BAD_REQUEST;
    if (e == VRS_OK && from != NULL)
        e = log_filter_time(from, false, &out->from_ms);
    if (e == VRS_OK && to != NULL)
        e = log_filter_time(to, true, &out->to_ms);
    describe(out, rq);
    return e;
}

const char *log_filter_text(const struct log_filter *f) {
    return f->text[0] != '\0' ? f->text : NULL;
}

static bool same(const char *wanted, const char *value) {
    return wanted == NULL || strcmp(wanted, value) == 0;
}

bool log_filter_passes(const struct log_filter *f, const struct log_read *e) {
    bool group = f->act != NULL && f->act[0] != '\0' && f->act[strlen(f->act) - 1] == '.';
    return e->at_ms >= f->from_ms && e->at_ms < f->to_ms && same(f->user, e->user) &&
           same(f->result, e->result) && same(f->terminal, e->terminal) &&
           (group ? text_starts_with(e->act, f->act) : same(f->act, e->act));
}

static enum vrs_err note_time(const struct log_read *e, void *arg) {
    *(int64_t *)arg = e->at_ms;
    return VRS_OK;
}

enum vrs_err log_filter_seek(struct partition *p, int64_t from_ms, uint64_t *after) {
    uint64_t low = 0, high = 0;
    *after = 0;
    enum vrs_err e = partition_engine(p)->max_order(partition_store(p), TABLE_LOG, &high);
    from_ms -= 2 * day_ms;
    while (e == VRS_OK && low < high) { /* entries ≤ low are before, entries > high are not */
        uint64_t middle = low + (high - low) / 2;
        int64_t at = INT64_MAX;
        e = access_log_read(p, middle, 1, note_time, &at);
        if (at < from_ms)
            low = middle + 1;
        else
            high = middle;
    }
    *after = low;
    return e;
}
