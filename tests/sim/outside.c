/* What the real line_in.c calls in the simulated town and what is not under test here. */
#include <stdlib.h>

#include "tablet-api/login.h"
#include "tablet-api/published.h"
#include "tablet-api/query.h"
#include "tablet-api/receipt.h"

enum vrs_err published_verify(const void *body, size_t body_len,
                              const uint8_t key[CRYPTO_ED25519_BYTES], char **text,
                              size_t *text_len, uint8_t signature[CRYPTO_SIGNATURE_BYTES],
                              struct vrs_fault *fault) {
    (void)body, (void)body_len, (void)key, (void)text, (void)text_len, (void)signature;
    (void)fault;
    return ERR_PROTOCOL;
}
enum vrs_err published_read(const void *text, size_t len, struct published **out,
                            struct vrs_fault *fault) {
    (void)text, (void)len, (void)fault;
    *out = NULL;
    return ERR_PROTOCOL;
}
void published_close(struct published **p) {
    *p = NULL;
}
uint64_t published_version(const struct published *p) {
    (void)p;
    return 1;
}
const uint8_t *published_inbox_key(const struct published *p) {
    (void)p;
    abort();
}
enum vrs_err queries_seal_to(struct queries *q, const uint8_t key[CRYPTO_X25519_BYTES]) {
    (void)q, (void)key;
    return VRS_OK;
}
bool queries_waiting(const struct queries *q) {
    (void)q;
    return false;
}
void queries_collect(struct queries *q, struct buffer *out) {
    (void)q, (void)out;
}
void queries_answer(struct queries *q, const struct line_answer *a) {
    (void)q, (void)a;
}
void receipts_settled(struct receipts *r, const struct line_result *result) {
    (void)r, (void)result;
}
enum vrs_err login_submit(struct login *l, struct worker_job *job) {
    (void)l, (void)job;
    return ERR_BUSY;
}
