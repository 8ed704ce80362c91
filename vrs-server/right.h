/* Rights: who may do what.  Rights belong to persons, function by function; a role is only a
 * default set given at the application.  Default deny: a route names its right (lib/route.h), a
 * session holds a mask, and an unknown right in stored data stops the start. */
#ifndef VRS_SERVER_RIGHT_H
#define VRS_SERVER_RIGHT_H

#include <stdbool.h>
#include <stdint.h>

/* X(symbol, name) */
#define RIGHTS(X)                                                                                  \
    X(RIGHT_RESIDENT_READ, "resident.read")                                                        \
    X(RIGHT_RESIDENT_REGISTER, "resident.register") /* imports, flags, edits */                    \
    X(RIGHT_DOSE_READ, "dose.read")                                                                \
    X(RIGHT_DOSE_CORRECT, "dose.correct") /* correct, cancel, move, settle */                      \
    X(RIGHT_INQUIRE, "inquire")                                                                    \
    X(RIGHT_INQUIRE_BULK, "inquire.bulk")                                                          \
    X(RIGHT_INQUIRY_APPROVE, "inquiry.approve") /* held inquiries, providing side */               \
    X(RIGHT_NUMBER_SEARCH, "number.search")                                                        \
    X(RIGHT_NUMBER_REVEAL, "number.reveal")                                                        \
    X(RIGHT_CERTIFICATE, "certificate")                                                            \
    X(RIGHT_EXPORT, "export")                                                                      \
    X(RIGHT_PROVISION_READ, "provision.read")                                                      \
    X(RIGHT_LOG_READ, "log.read")                                                                  \
    X(RIGHT_ERASE, "erase")                                                                        \
    X(RIGHT_APPROVE_USER, "user.approve") /* activates applications of the own municipality */     \
    X(RIGHT_STATISTICS, "statistics")                                                              \
    X(RIGHT_STAFF, "staff.manage")       /* applications, section changes, leavers' feed */        \
    X(RIGHT_TERMINAL, "terminal.manage") /* enrolment codes, revocation */                         \
    X(RIGHT_SETTING, "setting.manage")   /* municipal settings */                                  \
    X(RIGHT_LOG_REVIEW, "log.review")    /* reports and the monthly review */                      \
    X(RIGHT_LOG_PROOF, "log.proof")      /* heads, proofs, signed export without personal data */  \
    X(RIGHT_EXPORT_APPROVE, "export.approve")                                                      \
    X(RIGHT_ERASE_APPROVE, "erase.approve")                                                        \
    /* Internet side, only ever in the snapshot */                                                 \
    X(RIGHT_DOSE_POST, "dose.post")                                                                \
    X(RIGHT_DOSE_CANCEL, "dose.cancel")                                                            \
    X(RIGHT_RECEIPT_READ, "receipt.read")                                                          \
    X(RIGHT_COUPON_CHECK, "coupon.check")

enum right {
#define X(sym, name) sym,
    RIGHTS(X)
#undef X
        RIGHT_COUNT
};

typedef uint64_t right_mask; /* 1 << enum right */

const char *right_name(enum right r);
bool right_by_name(const char *name, enum right *out);
/* Space-separated names; false on an unknown one. */
bool right_mask_parse(const char *names, right_mask *out);
/* site_staff municipal_staff municipal_approver system_client prefecture nation operator auditor;
 * false: no such role. */
bool role_rights(const char *role, right_mask *out);
/* Municipal and operator rights never in one account (C11). */
bool rights_compatible(const char *roles);

#endif
