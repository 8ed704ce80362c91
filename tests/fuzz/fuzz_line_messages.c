// needs: tablet-api/line.c
/* Every decoder of the line on any bytes; what is accepted is written again and read to the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tablet-api/line.h"

static void must(bool holds) {
    if (!holds)
        abort();
}

#define ROUND_TRIP(kind, data, size)                                                               \
    do {                                                                                           \
        struct line_##kind first, second;                                                          \
        if (line_##kind##_decode(data, size, &first) == VRS_OK) {                                  \
            struct buffer b, again;                                                                \
            buffer_init(&b, 1 << 20);                                                              \
            buffer_init(&again, 1 << 20);                                                          \
            line_##kind##_encode(&first, &b);                                                      \
            must(line_##kind##_decode(b.data, b.len, &second) == VRS_OK);                          \
            line_##kind##_encode(&second, &again);                                                 \
            must(b.len == again.len && memcmp(b.data, again.data, b.len) == 0);                    \
            buffer_fini(&b);                                                                       \
            buffer_fini(&again);                                                                   \
        }                                                                                          \
    } while (0)

static enum vrs_err on_entry(const struct line_entry *e, void *arg) {
    struct buffer b;
    (void)arg;
    must(strlen(e->municipality) == 6 && e->sealed_len > 0);
    must(e->sealed[0] + e->sealed[e->sealed_len - 1] >= 0);
    buffer_init(&b, 1024);
    line_aad(e, &b);
    must(!b.failed);
    buffer_fini(&b);
    return VRS_OK;
}

static enum vrs_err on_query(const struct line_query *q, void *arg) {
    (void)arg;
    must(strlen(q->municipality) == 6 && q->sealed_len > 0);
    return VRS_OK;
}

static enum vrs_err on_result(const struct line_result *r, void *arg) {
    (void)arg;
    must(line_outcome_name(r->outcome) != NULL && r->outcome <= LINE_NOTED);
    must(strlen(r->warnings) < sizeof r->warnings);
    must(r->proof_len == 0 ||
         (r->proof_len > LINE_COMMITMENT_BYTES && r->proof_len <= LINE_MAX_PROOF));
    return VRS_OK;
}

static enum vrs_err on_head(const uint8_t *head, size_t len, void *arg) {
    if (len > 0)
        *(unsigned *)arg += (unsigned)head[0] + head[len - 1];
    return VRS_OK;
}

static void on_receipt(const uint8_t receipt[LINE_RECEIPT_BYTES], void *arg) {
    *(unsigned *)arg += receipt[0];
}

static void on_answer(const struct line_answer *a, void *arg) {
    (void)arg;
    must((a->status == 0 || a->status >= LINE_COUPON_OK) && a->status <= LINE_COUPON_MOVED_OUT);
    must(strlen(a->refusal) < sizeof a->refusal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct line_pulled_head head;
    unsigned sum = 0;
    enum vrs_err e = line_pulled_decode(data, size, &head, on_entry, on_query, NULL);
    must(e == VRS_OK || e == ERR_PROTOCOL);
    e = line_outcomes_decode(data, size, on_result, NULL);
    must(e == VRS_OK || e == ERR_PROTOCOL);
    e = line_acked_decode(data, size, on_receipt, &sum);
    must(e == VRS_OK || e == ERR_PROTOCOL);
    e = line_checkpoints_decode(data, size, on_head, &sum);
    must(e == VRS_OK || e == ERR_PROTOCOL);
    e = line_answers_decode(data, size, on_answer, NULL);
    must(e == VRS_OK || e == ERR_PROTOCOL);
    ROUND_TRIP(dose, data, size);
    ROUND_TRIP(cancel, data, size);
    ROUND_TRIP(event, data, size);
    ROUND_TRIP(enrolment, data, size);
    ROUND_TRIP(pull, data, size);
    ROUND_TRIP(replay, data, size);
    return 0;
}
