#include "lib/log.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/text.h"

enum { LINE_BYTES = 4096 };

static struct {
    char program[32];
    _Atomic int least;
} logger = {.program = "vrs", .least = LOG_INFO};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

struct line {
    char text[LINE_BYTES];
    size_t len;
    bool full; /* a piece did not fit: it and what follows is left out, the line stays valid JSON */
};

void log_init(const char *program, enum log_level least) {
    (void)snprintf(logger.program, sizeof logger.program, "%s", program);
    atomic_store(&logger.least, (int)least);
}

static void add(struct line *l, const char *p, size_t n) {
    if (l->full || n > sizeof l->text - l->len) {
        l->full = true;
        return;
    }
    memcpy(l->text + l->len, p, n);
    l->len += n;
}

static void add_str(struct line *l, const char *s) {
    add(l, s, strlen(s));
}

/* A JSON string.  What is not UTF-8 shows as '?', so that a line always parses. */
static void add_quoted(struct line *l, const char *s) {
    bool utf8 = text_valid_utf8(s, strlen(s));
    add(l, "\"", 1);
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;
        char escaped[8];
        if (c == '"' || c == '\\') {
            escaped[0] = '\\';
            escaped[1] = (char)c;
            add(l, escaped, 2);
        } else if (c < 0x20 || c == 0x7f) {
            int n = snprintf(escaped, sizeof escaped, "\\u%04x", c);
            add(l, escaped, (size_t)n);
        } else if (c >= 0x80 && !utf8) {
            add(l, "?", 1);
        } else {
            add(l, s, 1);
        }
    }
    add(l, "\"", 1);
}

static void add_field(struct line *l, const struct log_field *f) {
    size_t before = l->len;
    add_str(l, ",");
    add_quoted(l, f->name);
    add_str(l, ":");
    switch (f->type) {
    case LOG_FIELD_STR:
        if (f->str == NULL)
            add_str(l, "null");
        else
            add_quoted(l, f->str);
        break;
    case LOG_FIELD_INT: {
        char number[24];
        int n = snprintf(number, sizeof number, "%lld", (long long)f->num);
        add(l, number, (size_t)n);
        break;
    }
    case LOG_FIELD_HEX:
        add_str(l, "\"");
        for (size_t i = 0; i < f->len; i++) {
            static const char digits[] = "0123456789abcdef";
            uint8_t byte = ((const uint8_t *)f->bytes)[i];
            char pair[2] = {digits[byte >> 4], digits[byte & 15]};
            add(l, pair, sizeof pair);
        }
        add_str(l, "\"");
        break;
    }
    /* Room for the end of the line. */
    if (l->full || sizeof l->text - l->len < 32) {
        l->len = before;
        l->full = true;
    }
}

void log_write(enum log_level level, const char *event, const struct log_field *fields, size_t n) {
    if ((int)level < atomic_load_explicit(&logger.least, memory_order_relaxed))
        return;
    struct line l = {.len = 0, .full = false};
    char when[25];
    clock_format_rfc3339(clock_now_ms(), when);
    add_str(&l, "{\"t\":\"");
    add_str(&l, when);
    add_str(&l, "\",\"level\":\"");
    add_str(&l, level_names[level]);
    add_str(&l, "\",\"program\":");
    add_quoted(&l, logger.program);
    add_str(&l, ",\"event\":");
    add_quoted(&l, event);
    for (size_t i = 0; i < n && !l.full; i++)
        add_field(&l, &fields[i]);
    if (l.full) {
        l.full = false;
        add_str(&l, ",\"cut\":true");
    }
    add_str(&l, "}\n");
    /* There is nowhere to report that the log itself cannot be written. */
    ssize_t written = write(STDERR_FILENO, l.text, l.len);
    (void)written;
}

void log_fault(enum log_level level, const char *event, const struct vrs_fault *fault) {
    const char *file = fault->file == NULL ? "" : fault->file;
    log_event(level, event, LF_ERR(fault->err), LF_STR("file", file), LF_INT("line", fault->line),
              LF_INT("errno", fault->sys_errno), LF_STR("text", fault->text));
}
