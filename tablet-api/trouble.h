/* Trouble that the Internet side tells the inside of, so that it can raise an alert: handshakes that
 * fail, connections that stall, heads that are no HTTP, a crowd, paths that do not exist on the
 * public listener, a disk that fills, a clock that jumps.  Counted by kind and source and told every
 * few seconds as one event each: whoever makes trouble makes few entries. */
#ifndef TABLET_API_TROUBLE_H
#define TABLET_API_TROUBLE_H

#include "lib/http.h"

struct tablet;
struct trouble;

VRS_CHECK enum vrs_err trouble_open(struct tablet *t, struct trouble **out);
void trouble_close(struct trouble **t);
/* http_listener_options.trouble and .unrouted of listeners whose arg is the struct tablet. */
void trouble_connection(void *tablet, enum http_trouble what, const char *address, const char *why);
void trouble_unrouted(struct http_request *rq, enum vrs_err e);

#endif
