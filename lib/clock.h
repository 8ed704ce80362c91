/* Time.  Wall time (UTC) says when; monotonic time measures.  Legal basis, policies and rules go
 * by the server's Japanese date from here, never by what a client claims.
 *
 * Development and tests may shift the wall clock while a daemon runs: clock_use_file names a file
 * that holds an offset in seconds (decimal, may be negative); it is looked at again at most every
 * 100 ms.  Production configurations do not set it.  Thread-safe. */
#ifndef VRS_LIB_CLOCK_H
#define VRS_LIB_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"

/* A civil day in the proleptic Gregorian calendar, as days since 1970-01-01. */
struct civil_date {
    int32_t days;
};

void clock_use_file(const char *path); /* copied; NULL switches it off */
int64_t clock_now_ms(void);            /* UTC, milliseconds since the epoch, with the offset */
int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
struct civil_date clock_today_jst(void); /* the day in Japan (UTC+9, no daylight saving) */
struct civil_date clock_date_jst(int64_t utc_ms);

/* "2021-07-01" → date.  ERR_R110 for a wrong form, ERR_R111 for no such day.  Also accepts
 * YYYYMMDD. */
VRS_CHECK enum vrs_err clock_parse_date(const char *s, struct civil_date *out);
void clock_format_date(struct civil_date d, char out[11]);          /* YYYY-MM-DD */
void clock_format_date_plain(struct civil_date d, char out[9]);     /* YYYYMMDD */
VRS_CHECK bool clock_parse_rfc3339(const char *s, int64_t *utc_ms); /* offset required */
void clock_format_rfc3339(int64_t utc_ms, char out[25]);            /* 2021-07-01T03:04:05.678Z */
void clock_format_jst14(int64_t utc_ms, char out[15]);              /* YYYYMMDDHHMMSS in Japan */
int32_t clock_age_years(struct civil_date birth, struct civil_date on);
int32_t clock_age_months(struct civil_date birth, struct civil_date on); /* whole ones */

#endif
