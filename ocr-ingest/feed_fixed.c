#include "ocr-ingest/feed_fixed.h"

#include <stdint.h>
#include <string.h>

#include "lib/text.h"

const char *const feed_fixed_names[] = {
    "ocr_line",      "kind",   "dose_number",   "municipality_code",
    "coupon_number", "status", "vaccinated_on", "product",
    "maker",         "lot",    "site",          "physician",
    "read_by",       NULL};

static int column_named(const char *name, size_t n) {
    for (int i = 0; feed_fixed_names[i] != NULL; i++)
        if (strlen(feed_fixed_names[i]) == n && memcmp(feed_fixed_names[i], name, n) == 0)
            return i;
    return -1;
}

/* "lot=27-46" up to a comma or the end; *at moves behind it. */
static bool read_field(const char **at, struct feed_fixed *out) {
    const char *equals = strchr(*at, '=');
    uint64_t first = 0, last = 0;
    int column = equals != NULL ? column_named(*at, (size_t)(equals - *at)) : -1;
    if (column < 0 || out->count == FEED_FIXED_FIELDS)
        return false;
    for (size_t i = 0; i < out->count; i++)
        if (out->field[i].column == column)
            return false;
    const char *p = equals + 1;
    if (!text_u64(&p, FEED_FIXED_LINE, &first) || *p++ != '-' ||
        !text_u64(&p, FEED_FIXED_LINE, &last) || first < 1 || last < first ||
        last - first >= FEED_FIXED_WIDTH || (*p != '\0' && *p != ','))
        return false;
    out->field[out->count].column = column;
    out->field[out->count].first = (size_t)first;
    out->field[out->count++].last = (size_t)last;
    *at = *p == ',' ? p + 1 : p;
    return *p == '\0' || p[1] != '\0';
}

bool feed_fixed_read(const char *layout, struct feed_fixed *out, const char **wrong) {
    memset(out, 0, sizeof *out);
    for (*wrong = layout; **wrong != '\0';)
        if (!read_field(wrong, out))
            return false;
    return out->count > 0;
}

void feed_fixed_cut(const struct feed_fixed *f, const char *line, size_t len, struct buffer *out) {
    for (size_t i = 0; i < f->count; i++) {
        size_t from = f->field[i].first - 1;
        size_t end = f->field[i].last < len ? f->field[i].last : len;
        while (from < end && line[from] == ' ')
            from++;
        while (end > from && line[end - 1] == ' ')
            end--;
        (void)buffer_puts(out, i == 0 ? "\"" : ",\"");
        for (size_t at = from; at < end; at++) { /* no second byte of CP932 is a quote */
            (void)buffer_put(out, &line[at], 1);
            if (line[at] == '"')
                (void)buffer_put(out, "\"", 1);
        }
        (void)buffer_puts(out, "\"");
    }
    (void)buffer_puts(out, "\n");
}
