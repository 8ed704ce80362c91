/* The routes of doses: POST /v1/doses, :batch, a receipt, :cancel. */
#ifndef TABLET_API_DOSE_H
#define TABLET_API_DOSE_H

struct http_request;

enum {
    DOSE_MAX_BODY = 16 * 1024,
    DOSE_BATCH_ITEMS = 1000,
    DOSE_BATCH_BYTES = 1 << 20,
    DOSE_RELAY_SEALED = 4096
};

void dose_post(struct http_request *rq);
void dose_batch(struct http_request *rq);
void dose_relay(struct http_request *rq); /* relay.c */
void dose_get(struct http_request *rq);
void dose_cancel(struct http_request *rq);

#endif
