/* Alerts: what somebody must look at, told on every channel within 60 s, each once.
 *
 * The rules stand in data/alerts.json: name, Japanese text, severity, threshold, window, how long
 * it stays quiet after it spoke.  A rule counts what alert_note tells it by (rule, subject) — a
 * source address, terminal, account or municipality — and raises when the threshold is met in the
 * window. Raised alerts go, by the loop, to
 *   - the journal: event "alert.raised" with rule, subject, count (never personal data),
 *   - a webhook (alert_webhook_url): POST JSON by libcurl, repeated with growing pauses until 2xx,
 *   - mail through a local MTA (alert_mail_command), when configured,
 * and are kept in the registry (TABLE_ALERT) so that an undelivered one survives a restart.
 * Alerts of the Internet side arrive as line events and are noted here like any other. */
#ifndef VRS_SERVER_ALERT_H
#define VRS_SERVER_ALERT_H

#include "vrs-server/server.h"

struct alerts;

/* Reads data/alerts.json and opens the channels; loop thread, like all calls but alert_note. */
VRS_CHECK enum vrs_err alerts_open(struct server *s, struct alerts **out, struct vrs_fault *fault);
void alerts_close(struct alerts **a);
/* Something that a rule counts; any thread.  `subject` names no person by personal data: a user id,
 * terminal, source address or municipality code.  An unknown rule is a bug and asserts. */
void alert_note(struct server *s, const char *rule, const char *subject);
/* A condition that is looked at regularly (disk, line, certificates, pending): raises when it
 * becomes true, and tells when it is over. */
void alert_state(struct server *s, const char *rule, const char *subject, bool on);

#endif
