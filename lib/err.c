#include "lib/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int status;
    bool retryable;
    const char *title;
    const char *detail_ja;
} errors[VRS_ERR_COUNT] = {
#define X(sym, name, status, retry, title, ja) [sym] = {name, status, retry, title, ja},
    VRS_ERR_LIST(X)
#undef X
};

const char *err_name(enum vrs_err e) {
    return errors[e].name;
}

int err_status(enum vrs_err e) {
    return errors[e].status;
}

bool err_retryable(enum vrs_err e) {
    return errors[e].retryable;
}

const char *err_title(enum vrs_err e) {
    return errors[e].title;
}

const char *err_detail_ja(enum vrs_err e) {
    return errors[e].detail_ja;
}

bool err_by_name(const char *name, enum vrs_err *out) {
    for (int e = 0; e < VRS_ERR_COUNT; e++) {
        if (strcmp(errors[e].name, name) == 0) {
            *out = (enum vrs_err)e;
            return true;
        }
    }
    return false;
}

enum vrs_err err_fail_at(struct vrs_fault *fault, enum vrs_err e, const char *file, int line,
                         const char *fmt, ...) {
    if (fault == NULL)
        return e;
    fault->sys_errno = errno;
    fault->err = e;
    fault->file = file;
    fault->line = line;
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(fault->text, sizeof fault->text, fmt, ap);
    va_end(ap);
    return e;
}
