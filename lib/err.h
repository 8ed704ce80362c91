/* One way errors travel.
 *
 * Every function that can fail returns enum vrs_err and is marked VRS_CHECK.  The lowest function
 * that knows why also fills a struct vrs_fault (err_fail); the highest one logs it once.  The list
 * below is the only place where a code, its stable name (RFC 9457 "code"), its HTTP status and its
 * texts stand together; clients rely on the names, so they are never changed, only added to.
 */
#ifndef VRS_LIB_ERR_H
#define VRS_LIB_ERR_H

#include <stdbool.h>
#include <stddef.h>

#define VRS_CHECK __attribute__((warn_unused_result))
#define VRS_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* X(symbol, stable name, HTTP status, retryable, English title, Japanese detail: what to do) */
#include "lib/err_list.h"

enum vrs_err {
#define X(sym, name, status, retry, title, ja) sym,
    VRS_ERR_LIST(X)
#undef X
        VRS_ERR_COUNT
};

/* Why something failed.  The caller owns it; the callee fills it.  `text` never holds personal
 * data: it is logged as it is. */
struct vrs_fault {
    enum vrs_err err;
    int sys_errno;    /* errno at the place, 0 when it says nothing */
    const char *file; /* __FILE__ of the place */
    int line;
    char text[160];
};

const char *err_name(enum vrs_err e); /* "stale_version" */
int err_status(enum vrs_err e);       /* HTTP status, 200 for VRS_OK */
bool err_retryable(enum vrs_err e);
const char *err_title(enum vrs_err e);     /* English, RFC 9457 title */
const char *err_detail_ja(enum vrs_err e); /* Japanese, what the user should do */
bool err_by_name(const char *name, enum vrs_err *out);

/* Fill *fault (may be NULL) and return `e`, so that one writes
 *     return err_fail(fault, ERR_STORAGE, "open %s", path);            */
#define err_fail(fault, e, ...) err_fail_at((fault), (e), __FILE__, __LINE__, __VA_ARGS__)
enum vrs_err err_fail_at(struct vrs_fault *fault, enum vrs_err e, const char *file, int line,
                         const char *fmt, ...) VRS_PRINTF(5, 6);

#endif
