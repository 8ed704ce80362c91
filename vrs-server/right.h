/* Rights: who may do what.  Rights belong to persons, function by function (C41); a role says how
 * far a person reaches, and bounds what an application may ask for.  Default deny: a route names its
 * right (lib/route.h), a session holds a mask, and an unknown right in stored data stops the start.
 */
#ifndef VRS_SERVER_RIGHT_H
#define VRS_SERVER_RIGHT_H

#include <stdbool.h>
#include <stddef.h>
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
    X(RIGHT_COUPON_CHECK, "coupon.check")                                                          \
    X(RIGHT_OUTBOX_UNLOCK, "outbox.unlock") /* sets a tablet's code for work without network */

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
void right_mask_format(right_mask rights, char *out, size_t cap);
/* Does the mask satisfy a route's right: NULL nothing needed, "a|b" either; an unknown name never. */
bool right_allows(right_mask rights, const char *needed);
bool right_known(const char *needed); /* every name of it is a right */

/* How far a role reaches. */
enum role_reach {
    REACH_SITE,         /* the Internet side only */
    REACH_MUNICIPALITY, /* one municipality, on its LG-WAN terminals */
    REACH_PREFECTURE,   /* none: counts of one prefecture; scope = its two digits */
    REACH_NATION,       /* none: counts of all */
    REACH_AUDIT,        /* none: logs and proofs of the municipalities in its scope ("*": all) */
    REACH_OPERATION     /* none at all: no business function */
};

/* The most that an application with these roles (space-separated) may ask for, what it gets when it
 * names no rights, and how far they reach; false on an unknown role, a system client (a certificate,
 * never a person), none, or roles that one account may not have together (C11): each reach is alone.
 */
bool roles_rights(const char *roles, right_mask *most, right_mask *usual, enum role_reach *reach);
/* Who asks and who allows is never one person (C47): staff.manage and user.approve, erase and
 * erase.approve, export and export.approve exclude each other. */
bool rights_separate(right_mask rights);

#endif
