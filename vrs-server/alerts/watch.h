/* What requests, events of the Internet side and troubled connections mean to the alert rules: the
 * one place that maps them.  Subjects are "131032 user minato-1", "131032 terminal lgwan-131032",
 * "source 192.0.2.7": ids only, never personal data. */
#ifndef VRS_SERVER_ALERTS_WATCH_H
#define VRS_SERVER_ALERTS_WATCH_H

#include "lib/http.h"
#include "tablet-api/line.h"
#include "vrs-server/server.h"

struct inside_request;

/* A request on LG-WAN is about to be answered with `e`; in->act, in->logged_* say what it was. */
void watch_answer(const struct inside_request *in, enum vrs_err e);
/* An event that came over the line, put on record in `municipality`; any thread. */
void watch_event(struct server *s, const char *municipality, const struct line_event *ev);
/* A connection of a listener of ours (http_listener_options.trouble). */
void watch_trouble(void *server, enum http_trouble what, const char *address, const char *why);

#endif
