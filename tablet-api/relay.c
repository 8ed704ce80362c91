/* POST /v1/doses:relay: a reading that a tablet sealed to the inside because it had to wait.  It comes
 * from that tablet after a restart, or from another one by a file.  Nothing in it can be read here,
 * so nothing is refused here but a form that the inside could not open either. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/http.h"
#include "lib/json.h"
#include "ocr-ingest/coupon.h"
#include "tablet-api/dose.h"
#include "tablet-api/intake.h"
#include "tablet-api/receipt.h"
#include "tablet-api/tablet.h"
#include "tablet-api/terminal.h"

struct relayed {
    char key[INTAKE_KEY_SIZE];
    char municipality[7];
    size_t len;
    uint8_t sealed[DOSE_RELAY_SEALED];
};

static enum vrs_err read_relayed(const struct tablet *t, const void *body, size_t len,
                                 struct relayed *out, struct vrs_fault *fault) {
    const char *key = NULL, *municipality = NULL, *sealed = NULL;
    const struct json_field fields[] = {
        JF_STR("idempotency_key", true, 64, &key),
        JF_STR("municipality_code", true, 6, &municipality),
        JF_STR("sealed", true, 4 * DOSE_RELAY_SEALED / 3 + 4, &sealed), JF_END};
    json_t *doc = NULL;
    enum vrs_err e = json_parse(body, len, &doc, fault);
    if (e == VRS_OK)
        e = json_read(doc, fields, fault);
    if (e == VRS_OK && !intake_key(key, out->key))
        e = err_fail(fault, ERR_NO_IDEMPOTENCY_KEY, "idempotency_key");
    if (e == VRS_OK && municipality_find(t->municipalities, municipality) == NULL)
        e = err_fail(fault, ERR_R105, "municipality_code");
    if (e == VRS_OK && !crypto_unbase64(sealed, out->sealed, sizeof out->sealed, &out->len))
        e = err_fail(fault, ERR_BAD_FIELD, "sealed");
    if (e == VRS_OK &&
        (out->len < 1 + CRYPTO_X25519_BYTES + CRYPTO_SEAL_OVERHEAD || out->sealed[0] != 0x01))
        e = err_fail(fault, ERR_BAD_FIELD, "sealed");
    if (e == VRS_OK)
        (void)snprintf(out->municipality, sizeof out->municipality, "%s", municipality);
    json_decref(doc);
    return e;
}

static void answered(struct posting *p) {
    struct http_request *rq = p->owner;
    const struct inbox_found *f = &p->put.found;
    struct buffer b;
    if (p->put.job.err != VRS_OK) {
        http_problem(rq, p->put.job.err, NULL, NULL);
    } else {
        buffer_init(&b, 64 * 1024);
        receipt_write(http_arg(rq), f, false, NULL, NULL, receipt_status(f), &b);
        if (b.failed)
            http_problem(rq, ERR_MEMORY, NULL, NULL);
        else
            http_reply_json(rq, receipt_status(f), (const char *)b.data, b.len);
        buffer_fini(&b);
    }
    free(p);
}

void dose_relay(struct http_request *rq) {
    struct tablet *t = http_arg(rq);
    const struct caller *c = terminal_caller(rq);
    struct relayed in;
    struct vrs_fault fault = {0};
    size_t len = 0;
    const void *body = http_body(rq, &len);
    memset(&in, 0, sizeof in);
    if (read_relayed(t, body, len, &in, &fault) != VRS_OK) {
        http_problem_fault(rq, &fault);
        return;
    }
    struct posting *p = calloc(1, sizeof *p);
    if (p == NULL) {
        http_problem(rq, ERR_MEMORY, NULL, NULL);
        return;
    }
    struct inbox_put *put = &p->put;
    struct line_relay relay = {.sealed = in.sealed, .sealed_len = in.len};
    (void)snprintf(relay.key, sizeof relay.key, "%s", in.key);
    (void)snprintf(relay.terminal, sizeof relay.terminal, "%s", c->terminal);
    (void)snprintf(relay.staff, sizeof relay.staff, "%s", c->staff);
    (void)snprintf(put->terminal, sizeof put->terminal, "%s", c->terminal);
    memcpy(put->municipality, in.municipality, sizeof put->municipality);
    put->kind = LINE_DOSE;
    crypto_id(put->receipt);
    put->received_ms = clock_now_ms();
    put->has_key = true;
    /* The same reading may have come in the clear before its answer was lost. */
    put->any_body = true;
    intake_key_hash(in.key, c->terminal, put->key_hash);
    crypto_hmac_sha256(in.key, strlen(in.key), in.sealed, in.len, put->body_mac);
    buffer_init(&put->plain, 8192);
    line_relay_encode(&relay, &put->plain);
    p->owner = rq;
    p->answered = answered;
    receipt_post(t->receipts, p);
}
