/* Enrolment and renewal, relayed inwards: this side sees a request for a certificate and a code that
 * it cannot check, and gives back what the inside answers.
 *   POST /v1/enrolments                (public listener, by source throttled)
 *   POST /v1/terminals/current:renew   (terminals listener, certificate without log-in) */
#ifndef TABLET_API_ENROLMENT_H
#define TABLET_API_ENROLMENT_H

enum { ENROLMENT_MAX_BODY = 8192, ENROLMENT_WINDOW_MS = 600000 };

struct http_request;

void enrolment_post(struct http_request *rq);
void enrolment_renew(struct http_request *rq);

#endif
