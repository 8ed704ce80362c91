#include "lib/clock.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_AGAIN_MS = 100 };
#define DAY_MS INT64_C(86400000)
#define JAPAN_MS INT64_C(32400000) /* UTC+9; no daylight saving since 1951 */

static struct {
    pthread_mutex_t lock; /* path */
    char *path;
    atomic_bool used;
    _Atomic int64_t offset_ms;
    _Atomic int64_t look_at_ms; /* monotonic */
} shift = {.lock = PTHREAD_MUTEX_INITIALIZER};

void clock_use_file(const char *path) {
    (void)pthread_mutex_lock(&shift.lock);
    free(shift.path);
    shift.path = path == NULL ? NULL : strdup(path);
    atomic_store(&shift.offset_ms, 0);
    atomic_store(&shift.look_at_ms, 0);
    atomic_store(&shift.used, shift.path != NULL);
    (void)pthread_mutex_unlock(&shift.lock);
}

/* Keeps the last good offset when the file is away or being rewritten. */
static void look(void) {
    int64_t now = clock_mono_ms();
    int64_t due = atomic_load(&shift.look_at_ms);
    if (now < due || !atomic_compare_exchange_strong(&shift.look_at_ms, &due, now + LOOK_AGAIN_MS))
        return;
    (void)pthread_mutex_lock(&shift.lock);
    int fd = shift.path == NULL ? -1 : open(shift.path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        char text[32];
        ssize_t n = read(fd, text, sizeof text - 1);
        (void)close(fd);
        if (n > 0) {
            text[n] = '\0';
            char *end = NULL;
            long long seconds = strtoll(text, &end, 10);
            if (end != text && (*end == '\0' || *end == '\n') &&
                llabs(seconds) < 200LL * 366 * 86400)
                atomic_store(&shift.offset_ms, (int64_t)seconds * 1000);
        }
    }
    (void)pthread_mutex_unlock(&shift.lock);
}

static int64_t read_us(clockid_t id) {
    struct timespec ts;
    if (clock_gettime(id, &ts) != 0)
        abort();
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_mono_us(void) {
    return read_us(CLOCK_MONOTONIC);
}

int64_t clock_mono_ms(void) {
    return clock_mono_us() / 1000;
}

int64_t clock_now_ms(void) {
    int64_t now = read_us(CLOCK_REALTIME) / 1000;
    if (!atomic_load_explicit(&shift.used, memory_order_relaxed))
        return now;
    look();
    return now + atomic_load(&shift.offset_ms);
}

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

struct civil_date clock_date_jst(int64_t utc_ms) {
    return (struct civil_date){(int32_t)floor_div(utc_ms + JAPAN_MS, DAY_MS)};
}

struct civil_date clock_today_jst(void) {
    return clock_date_jst(clock_now_ms());
}

/* Days and civil dates: the algorithms of Howard Hinnant, "chrono-Compatible Low-Level Date
 * Algorithms"; a year begins in March there, so that the leap day is its last. */
static int32_t days_from_civil(int32_t y, int32_t m, int32_t d) {
    y -= m <= 2;
    int32_t era = (y >= 0 ? y : y - 399) / 400;
    int32_t yoe = y - era * 400;
    int32_t doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
    int32_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + doe - 719468;
}

static void civil_from_days(int32_t days, int32_t *y, int32_t *m, int32_t *d) {
    int64_t z = (int64_t)days + 719468;
    int64_t era = floor_div(z, 146097);
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    *d = (int32_t)(doy - (153 * mp + 2) / 5 + 1);
    *m = (int32_t)(mp < 10 ? mp + 3 : mp - 9);
    *y = (int32_t)(yoe + era * 400 + (*m <= 2));
}

static int32_t month_days(int32_t y, int32_t m) {
    static const int8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    return m == 2 && leap ? 29 : days[m - 1];
}

/* Exactly n digits; -1 when they are not there. */
static int32_t digits(const char *s, int n) {
    int32_t v = 0;
    for (int i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return -1;
        v = v * 10 + (s[i] - '0');
    }
    return v;
}

static enum vrs_err civil_day(int32_t y, int32_t m, int32_t d, struct civil_date *out) {
    if (y < 0 || m < 0 || d < 0)
        return ERR_R110;
    if (y == 0 || m == 0 || m > 12 || d == 0 || d > month_days(y, m))
        return ERR_R111;
    out->days = days_from_civil(y, m, d);
    return VRS_OK;
}

enum vrs_err clock_parse_date(const char *s, struct civil_date *out) {
    switch (strnlen(s, 11)) {
    case 8:
        return civil_day(digits(s, 4), digits(s + 4, 2), digits(s + 6, 2), out);
    case 10:
        if (s[4] != '-' || s[7] != '-')
            return ERR_R110;
        return civil_day(digits(s, 4), digits(s + 5, 2), digits(s + 8, 2), out);
    default:
        return ERR_R110;
    }
}

static char *put_digits(char *p, int64_t v, int n) {
    for (int i = n - 1; i >= 0; i--) {
        p[i] = (char)('0' + v % 10);
        v /= 10;
    }
    return p + n;
}

/* Years outside 0..9999 cannot be written; they are held at the ends. */
static void written_date(int32_t days, int32_t *y, int32_t *m, int32_t *d) {
    const int32_t first = -719528, last = 2932896; /* 0000-01-01, 9999-12-31 */
    civil_from_days(days < first ? first : days > last ? last : days, y, m, d);
}

void clock_format_date(struct civil_date date, char out[11]) {
    int32_t y, m, d;
    written_date(date.days, &y, &m, &d);
    char *p = put_digits(out, y, 4);
    *p++ = '-';
    p = put_digits(p, m, 2);
    *p++ = '-';
    p = put_digits(p, d, 2);
    *p = '\0';
}

void clock_format_date_plain(struct civil_date date, char out[9]) {
    int32_t y, m, d;
    written_date(date.days, &y, &m, &d);
    *put_digits(put_digits(put_digits(out, y, 4), m, 2), d, 2) = '\0';
}

bool clock_parse_rfc3339(const char *s, int64_t *utc_ms) {
    if (strnlen(s, 20) < 20 || s[4] != '-' || s[7] != '-' || (s[10] != 'T' && s[10] != 't') ||
        s[13] != ':' || s[16] != ':')
        return false;
    struct civil_date day;
    if (civil_day(digits(s, 4), digits(s + 5, 2), digits(s + 8, 2), &day) != VRS_OK)
        return false;
    int32_t h = digits(s + 11, 2), min = digits(s + 14, 2), sec = digits(s + 17, 2);
    if (h < 0 || h > 23 || min < 0 || min > 59 || sec < 0 || sec > 59)
        return false;
    const char *p = s + 19;
    int64_t ms = 0;
    if (*p == '.') {
        int n = 0;
        for (p++; *p >= '0' && *p <= '9'; p++, n++)
            if (n < 3)
                ms = ms * 10 + (*p - '0');
        if (n == 0 || n > 9)
            return false;
        for (; n < 3; n++)
            ms *= 10;
    }
    int64_t offset_min = 0;
    if (*p == '+' || *p == '-') {
        int32_t oh = digits(p + 1, 2);
        if (oh < 0 || oh > 23 || p[3] != ':')
            return false;
        int32_t om = digits(p + 4, 2);
        if (om < 0 || om > 59 || p[6] != '\0')
            return false;
        offset_min = (*p == '-' ? -1 : 1) * (oh * 60 + om);
    } else if ((*p != 'Z' && *p != 'z') || p[1] != '\0') {
        return false;
    }
    *utc_ms =
        day.days * DAY_MS + ((int64_t)h * 3600 + min * 60 + sec - offset_min * 60) * 1000 + ms;
    return true;
}

void clock_format_rfc3339(int64_t utc_ms, char out[25]) {
    int64_t day = floor_div(utc_ms, DAY_MS);
    int64_t in_day = utc_ms - day * DAY_MS;
    clock_format_date((struct civil_date){(int32_t)day}, out);
    char *p = out + 10;
    *p++ = 'T';
    p = put_digits(p, in_day / 3600000, 2);
    *p++ = ':';
    p = put_digits(p, in_day / 60000 % 60, 2);
    *p++ = ':';
    p = put_digits(p, in_day / 1000 % 60, 2);
    *p++ = '.';
    p = put_digits(p, in_day % 1000, 3);
    *p++ = 'Z';
    *p = '\0';
}

void clock_format_jst14(int64_t utc_ms, char out[15]) {
    int64_t local = utc_ms + JAPAN_MS;
    int64_t day = floor_div(local, DAY_MS);
    int64_t in_day = local - day * DAY_MS;
    clock_format_date_plain((struct civil_date){(int32_t)day}, out);
    char *p = put_digits(out + 8, in_day / 3600000, 2);
    p = put_digits(p, in_day / 60000 % 60, 2);
    *put_digits(p, in_day / 1000 % 60, 2) = '\0';
}

int32_t clock_age_months(struct civil_date birth, struct civil_date on) {
    int32_t by, bm, bd, y, m, d;
    civil_from_days(birth.days, &by, &bm, &bd);
    civil_from_days(on.days, &y, &m, &d);
    return 12 * (y - by) + m - bm - (d < bd);
}

int32_t clock_age_years(struct civil_date birth, struct civil_date on) {
    int32_t by, bm, bd, y, m, d;
    civil_from_days(birth.days, &by, &bm, &bd);
    civil_from_days(on.days, &y, &m, &d);
    return y - by - (m < bm || (m == bm && d < bd));
}
