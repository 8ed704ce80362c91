/* The channels of alerts beside the journal: what an alert looks like on the webhook and as mail. */
#ifndef VRS_SERVER_ALERTS_ALERT_OUT_H
#define VRS_SERVER_ALERTS_ALERT_OUT_H

#include "partitions/partition.h"
#include "vrs-server/alerts/alert_rules.h"
#include "vrs-server/server.h"

/* One raised alert, as it is kept in the registry and told. */
struct alert {
    struct record_id id;
    uint64_t version;
    uint32_t generation;
    uint64_t order;
    char rule[32];
    char subject[ALERT_SUBJECT_MAX];
    enum alert_kind kind;
    int64_t count;
    int64_t at_ms;
    bool posted, mailed; /* done, or the channel is not configured */
};

/* {"format":"vrs-alert/1","alerts":[{id, rule, severity, kind, subject, count, at, title, todo}]} */
VRS_CHECK enum vrs_err alert_json(const struct alert_rules *rules, const struct alert *const *list,
                                  size_t count, struct buffer *out);

struct webhook;
/* NULL in *out when none is configured.  https with alert_webhook_ca_file; http to a loopback
 * address in development only. */
VRS_CHECK enum vrs_err webhook_open(struct server *s, struct webhook **out,
                                    struct vrs_fault *fault);
void webhook_close(struct webhook **w);
typedef void webhook_done_fn(bool taken, void *arg);
/* One call at a time; `done` once, on the loop, and not after webhook_close. */
VRS_CHECK enum vrs_err webhook_post(struct webhook *w, const struct buffer *body,
                                    webhook_done_fn *done, void *arg);

/* Writes the message for a local MTA into STATE/alerts/<id>.mail, durably; any thread. */
VRS_CHECK enum vrs_err alert_spool(const struct server_config *c, const struct alert_rules *rules,
                                   const struct alert *a);

#endif
