/* The door that the inside opens: pull, outcomes, answers, snapshot, replay.  tablet-api never
 * knocks anywhere itself.  Loop thread. */
#ifndef TABLET_API_LINE_IN_H
#define TABLET_API_LINE_IN_H

#include <stdint.h>

#include "lib/err.h"

struct http_request;
struct line_door;
struct tablet;

VRS_CHECK enum vrs_err line_door_open(struct tablet *t, struct line_door **out);
void line_door_close(struct line_door **l);
int64_t line_door_since_pull_ms(const struct line_door *l); /* since the start when none came */
/* The snapshot kept in the inbox, before its worker starts.  ERR_NOT_FOUND: none yet. */
VRS_CHECK enum vrs_err line_load_published(struct tablet *t, struct vrs_fault *fault);

void line_pull(struct http_request *rq);
void line_outcomes(struct http_request *rq);
void line_answers(struct http_request *rq);
void line_snapshot(struct http_request *rq);
void line_replay(struct http_request *rq);

#endif
