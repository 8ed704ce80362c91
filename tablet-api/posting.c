#include "tablet-api/posting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "tablet-api/again.h"
#include "tablet-api/tablet.h"

struct intake_rules posting_rules(const struct tablet *t) {
    return (struct intake_rules){.municipalities = t->municipalities,
                                 .vaccines = t->vaccines,
                                 .now_ms = clock_now_ms(),
                                 .clock_tolerance_ms = t->config.clock_tolerance_s * 1000};
}

static void copy(char *to, size_t cap, const char *from) {
    (void)snprintf(to, cap, "%s", from);
}

struct posting *posting_of_dose(struct intake *in, const char *key, const char *terminal,
                                const char *staff, int64_t now_ms) {
    struct posting *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    struct inbox_put *put = &p->put;
    copy(in->dose.terminal, sizeof in->dose.terminal, terminal);
    copy(in->dose.staff, sizeof in->dose.staff, staff);
    put->kind = LINE_DOSE;
    crypto_id(put->receipt);
    memcpy(put->municipality, in->municipality, sizeof put->municipality);
    copy(put->terminal, sizeof put->terminal, terminal);
    put->received_ms = now_ms;
    put->has_key = true;
    intake_key_hash(key, terminal, put->key_hash);
    intake_dose_mac(key, &in->dose, put->body_mac);
    buffer_init(&put->plain, POSTING_PLAIN_MAX);
    line_dose_encode(&in->dose, &put->plain);
    p->clock_warning = in->dose.clock_warning;
    return p;
}

void posting_free(struct posting *p) {
    buffer_fini(&p->put.plain);
    secret_wipe(p, sizeof *p);
    free(p);
}

bool posting_asks(const struct tablet *t, const struct intake *in, struct posting *p) {
    copy(p->ocr_line, sizeof p->ocr_line, in->dose.ocr_line);
    return again_asks(t->again, p->put.terminal, in->dose.ocr_line, p->put.key_hash,
                      in->confirmed_again);
}

void posting_forget(const struct tablet *t, const struct posting *p) {
    again_forget(t->again, p->put.terminal, p->ocr_line, p->put.key_hash);
}
