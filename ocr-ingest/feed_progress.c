#include "ocr-ingest/feed_progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"

enum { TTY_EVERY_MS = 200, TEXT_MAX = 400 };

uint64_t feed_counts_done(const struct feed_counts *c) {
    return c->state[FEED_RECORDED] + c->state[FEED_DUPLICATE] + c->state[FEED_PROVEN] +
           c->state[FEED_DUPLICATE_PROVEN];
}

uint64_t feed_counts_attention(const struct feed_counts *c) {
    return c->invalid + c->state[FEED_REFUSED] + c->state[FEED_REVIEW] + c->state[FEED_WAITING] +
           c->state[FEED_CONFLICT] + c->state[FEED_UNPROVEN] + c->state[FEED_BAD_PROOF];
}

uint64_t feed_counts_open(const struct feed_counts *c) {
    return c->state[FEED_KEYED] + c->state[FEED_PENDING];
}

void feed_progress_begin(struct feed_progress *p, uint64_t total, int64_t every_s) {
    memset(p, 0, sizeof *p);
    p->total = total;
    p->tty = isatty(STDERR_FILENO) == 1;
    p->every_ms = p->tty ? TTY_EVERY_MS : every_s * 1000;
    p->started_ms = clock_mono_ms();
    p->shown_ms = p->started_ms;
}

/* 12345 → "12,345" */
static const char *grouped(uint64_t n, char out[32]) {
    char plain[24];
    int len = snprintf(plain, sizeof plain, "%" PRIu64, n);
    char *to = out;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            *to++ = ',';
        *to++ = plain[i];
    }
    *to = '\0';
    return out;
}

static void duration(int64_t s, char *out, size_t cap) {
    if (s < 60)
        (void)snprintf(out, cap, "%" PRId64 "秒", s);
    else if (s < 3600)
        (void)snprintf(out, cap, "%" PRId64 "分%02" PRId64 "秒", s / 60, s % 60);
    else
        (void)snprintf(out, cap, "%" PRId64 "時間%02" PRId64 "分", s / 3600, s / 60 % 60);
}

void feed_progress_text(const struct feed_progress *p, int64_t now_ms, char *out, size_t cap) {
    const struct feed_counts *c = &p->counts;
    char a[32];
    char b[32];
    char of[64] = "";
    char left[64] = "";
    uint64_t settled = feed_counts_done(c) + feed_counts_attention(c) + c->state[FEED_PENDING];
    int64_t elapsed = now_ms - p->started_ms;
    uint64_t fresh = settled > c->earlier ? settled - c->earlier : 0;
    double rate = elapsed > 0 ? (double)fresh * 1000.0 / (double)elapsed : 0.0;
    if (p->total > 0 && settled <= p->total) {
        (void)snprintf(of, sizeof of, "/%s行 (%.1f%%)", grouped(p->total, b),
                       100.0 * (double)settled / (double)p->total);
        if (rate > 0.0 && settled < p->total) {
            char span[48];
            duration((int64_t)((double)(p->total - settled) / rate) + 1, span, sizeof span);
            (void)snprintf(left, sizeof left, "  残り約%s", span);
        }
    } else {
        (void)snprintf(of, sizeof of, "行");
    }
    (void)snprintf(
        out, cap,
        "%s%s  登録 %" PRIu64 "  要確認 %" PRIu64 "  結果待ち %" PRIu64 "  毎秒%.0f行%s%s%s",
        grouped(settled, a), of, feed_counts_done(c), feed_counts_attention(c), feed_counts_open(c),
        rate, left, p->waiting != NULL ? "  " : "", p->waiting != NULL ? p->waiting : "");
}

void feed_progress_tick(struct feed_progress *p) {
    int64_t now = clock_mono_ms();
    if (now - p->shown_ms < p->every_ms)
        return;
    char text[TEXT_MAX];
    p->shown_ms = now;
    feed_progress_text(p, now, text, sizeof text);
    if (p->tty)
        (void)fprintf(stderr, "\r%s\033[K", text);
    else
        (void)fprintf(stderr, "%s\n", text);
    (void)fflush(stderr);
    p->drawn = p->tty;
}

void feed_progress_clear(struct feed_progress *p) {
    if (p->drawn)
        (void)fputs("\r\033[K", stderr);
    p->drawn = false;
}
