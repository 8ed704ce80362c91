/* Alerts: what somebody must look at, told on every channel within 60 s, each once.
 *
 * The rules stand in data/alerts.json: name, Japanese text, severity, threshold, window, how long
 * it stays quiet after it spoke (alert_rules.h).  A rule counts what alert_note tells it by (rule,
 * subject) — a source address, terminal, account or municipality — and raises when the threshold is
 * met in the window. Raised alerts go, by the loop, to
 *   - the journal: event "alert.raised" with rule, subject, count (never personal data),
 *   - a webhook (alert_webhook_url): POST JSON by libcurl, repeated with growing pauses until 2xx,
 *   - mail: a message in the spool folder alerts/ that a local MTA is fed from (alert_mail_to),
 * and are kept in the registry (TABLE_ALERT) so that an undelivered one survives a restart.
 * Alerts of the Internet side arrive as line events and are noted here like any other.
 *
 * A subject begins with the municipality's code and a space where there is one ("131032 minato-1"),
 * so that reports can tell whose it is. */
#ifndef VRS_SERVER_ALERTS_ALERT_H
#define VRS_SERVER_ALERTS_ALERT_H

#include "vrs-server/server.h"

struct alerts;
struct alert_rules;

/* Reads data/alerts.json and opens the channels; loop thread, like all calls but alert_note and
 * alert_state. */
VRS_CHECK enum vrs_err alerts_open(struct server *s, struct alerts **out, struct vrs_fault *fault);
/* Before the pool is closed: jobs and threads still name the struct.  Then, when it is: alerts_free. */
void alerts_close(struct alerts *a);
void alerts_free(struct alerts **a);
/* Kept alerts whose subject begins with `prefix`, raised in [from_ms, to_ms), by rule in the order of
 * the rules.  Inside the registry's transaction. */
VRS_CHECK enum vrs_err alerts_count(struct partition *registry, const struct alert_rules *rules,
                                    const char *prefix, int64_t from_ms, int64_t to_ms,
                                    int64_t *counts);
const struct alert_rules *alerts_rules(const struct alerts *a);
/* Something that a rule counts; any thread.  `subject` names no person by personal data: a user id,
 * terminal, source address or municipality code.  An unknown rule is a bug and asserts. */
void alert_note(struct server *s, const char *rule, const char *subject);
void alert_note_many(struct server *s, const char *rule, const char *subject, int64_t n);
/* A condition that is looked at regularly (disk, line, certificates, pending): raises when it
 * becomes true, and tells when it is over. Any thread. */
void alert_state(struct server *s, const char *rule, const char *subject, bool on);

#endif
