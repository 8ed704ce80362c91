/* What one person asks for and another must allow (four eyes): erasing a person ("erase"), a bulk
 * export ("export"), the end of the municipality's partition ("destroy"), its way into another system
 * ("migrate").
 *
 * A request names its kind, subject, reason and the exact act (a digest of what will be done); the
 * approver sees the content, and is never the one who asked.  An approval is used once, by the act
 * itself in its own transaction, within SECOND_VALID_DAYS. */
#ifndef VRS_SERVER_SECOND_H
#define VRS_SERVER_SECOND_H

#include "partitions/partition.h"

enum second_state { SECOND_OPEN = 1, SECOND_APPROVED, SECOND_REFUSED, SECOND_USED };
enum { SECOND_VALID_DAYS = 30 };

struct second_request {
    struct record_id id;
    uint64_t version;
    uint32_t generation;
    enum second_state state;
    char kind[32]; /* "erase", "export", "destroy", "migrate" */
    bool has_subject;
    struct record_id subject; /* e.g. the person to erase */
    char act[128];            /* what exactly: route and parameters, no personal data */
    char reason[512];
    char asked_by[64], decided_by[64];
    int64_t asked_ms, decided_ms;
    char decision_reason[512];
};
VRS_CHECK enum vrs_err second_ask(struct partition *p, struct second_request *r);
VRS_CHECK enum vrs_err second_get(struct partition *p, const struct record_id *id,
                                  struct second_request *out);
/* ERR_FORBIDDEN for the one who asked; ERR_CONFLICT when it was decided already. */
VRS_CHECK enum vrs_err second_decide(struct partition *p, const struct record_id *id, bool approve,
                                     const char *by, const char *reason);
/* Takes an approval for (kind, subject or NULL, act): ERR_APPROVAL_REQUIRED when there is none. */
VRS_CHECK enum vrs_err second_use(struct partition *p, const char *kind,
                                  const struct record_id *subject, const char *act,
                                  struct second_request *out);
typedef enum vrs_err second_fn(struct second_request *r, void *arg);
VRS_CHECK enum vrs_err second_list(struct partition *p, enum second_state state, second_fn *fn,
                                   void *arg);

#endif
