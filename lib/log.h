/* Events with typed fields, one JSON object a line on standard error.
 *
 *     log_event(LOG_INFO, "dose.recorded", LF_STR("municipality", code), LF_INT("count", n));
 *
 * Personal data has no field type, so it cannot be logged: pass codes, counts, ids, error names.
 * Thread-safe; a line is written with one write(2). */
#ifndef VRS_LIB_LOG_H
#define VRS_LIB_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct log_field {
    const char *name;
    enum { LOG_FIELD_STR, LOG_FIELD_INT, LOG_FIELD_HEX } type;
    const char *str;
    int64_t num;
    const void *bytes;
    size_t len;
};

#define LF_STR(n, v) ((struct log_field){.name = (n), .type = LOG_FIELD_STR, .str = (v)})
#define LF_INT(n, v) ((struct log_field){.name = (n), .type = LOG_FIELD_INT, .num = (int64_t)(v)})
/* For random ids (receipts): never for anything derived from a person. */
#define LF_HEX(n, p, l)                                                                            \
    ((struct log_field){.name = (n), .type = LOG_FIELD_HEX, .bytes = (p), .len = (l)})
#define LF_ERR(e) LF_STR("error", err_name(e))

void log_init(const char *program, enum log_level least);
void log_write(enum log_level level, const char *event, const struct log_field *fields, size_t n);
/* A fault, once, at the top: error, place, errno, text. */
void log_fault(enum log_level level, const char *event, const struct vrs_fault *fault);

#define log_event(level, event, ...)                                                               \
    log_write((level), (event), (const struct log_field[]){__VA_ARGS__},                           \
              sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field))
#define log_plain(level, event) log_write((level), (event), NULL, 0)

#endif
