#include "tablet-api/log_proof.h"

#include <string.h>

#include "lib/http.h"
#include "lib/log.h"
#include "lib/metric.h"
#include "tablet-api/event.h"
#include "tablet-api/published.h"
#include "tablet-api/tablet.h"

_Static_assert((int)LINE_COMMITMENT_BYTES == (int)CRYPTO_HASH_BYTES, "a commitment is a hash");

static struct metric m_bad = {.name = "vrs_proofs_bad_total",
                              .help = "Proofs of receipts that did not hold",
                              .type = METRIC_COUNTER,
                              .registered = ATOMIC_FLAG_INIT};
static struct metric m_unknown_key = {.name = "vrs_proofs_key_unknown_total",
                                      .help = "Proofs held back: their key is not published yet",
                                      .type = METRIC_COUNTER,
                                      .registered = ATOMIC_FLAG_INIT};

static const uint8_t *key_of(const struct tablet *t, const char *key_id) {
    const struct published_log_key *keys;
    size_t n = published_log_keys(t->published, &keys);
    for (size_t i = 0; i < n; i++)
        if (strcmp(keys[i].key_id, key_id) == 0)
            return keys[i].key;
    return NULL;
}

static bool same_head(const struct log_signed_head *a, const struct log_signed_head *b) {
    return a->size == b->size && a->signed_ms == b->signed_ms &&
           strcmp(a->municipality, b->municipality) == 0 && strcmp(a->epoch, b->epoch) == 0 &&
           strcmp(a->key_id, b->key_id) == 0 &&
           memcmp(a->root.bytes, b->root.bytes, sizeof a->root.bytes) == 0 &&
           memcmp(a->signature, b->signature, sizeof a->signature) == 0;
}

static bool head_good(struct log_heads *heads, const struct log_signed_head *h,
                      const uint8_t *key) {
    for (size_t i = 0; i < LOG_HEADS_KEPT; i++)
        if (same_head(&heads->good[i], h))
            return true;
    if (!proof_head_check(h, key))
        return false;
    heads->good[heads->next] = *h;
    heads->next = (heads->next + 1) % LOG_HEADS_KEPT;
    return true;
}

static void bad_proof(struct tablet *t, const struct inbox_found *f) {
    const struct event_note note = {.name = "log.bad_proof",
                                    .terminal = f->terminal,
                                    .staff = "",
                                    .source = f->municipality,
                                    .thin = true};
    metric_add(&m_bad, 1);
    log_event(LOG_ERROR, "log.bad_proof", LF_STR("municipality", f->municipality),
              LF_HEX("receipt", f->receipt, sizeof f->receipt));
    event_note(t->events, &note);
}

void log_proof_write(struct tablet *t, const struct inbox_found *f, struct buffer *out) {
    struct log_proof p;
    struct merkle_hash commitment, leaf;
    if (f->proof_len <= LINE_COMMITMENT_BYTES)
        return;
    memcpy(commitment.bytes, f->proof, sizeof commitment.bytes);
    bool good = proof_decode(f->proof + LINE_COMMITMENT_BYTES, f->proof_len - LINE_COMMITMENT_BYTES,
                             &p) == VRS_OK;
    const uint8_t *key = good ? key_of(t, p.head.key_id) : NULL;
    if (good && key == NULL) {
        metric_add(&m_unknown_key, 1);
        return;
    }
    proof_leaf(&commitment, &p.entry_hash, &leaf);
    good = good && strcmp(p.head.municipality, f->municipality) == 0 &&
           head_good(t->log_heads, &p.head, key) &&
           merkle_path_check(&leaf, p.entry - 1, p.head.size, p.path, p.path_count, &p.head.root);
    if (!good) {
        bad_proof(t, f);
        return;
    }
    (void)buffer_puts(out, ",\"proof\":");
    proof_json_write(&p, out);
}

void log_keys_get(struct http_request *rq) {
    const struct tablet *t = http_arg(rq);
    const struct published_log_key *keys;
    size_t n = published_log_keys(t->published, &keys);
    struct buffer b;
    buffer_init(&b, 8192);
    (void)buffer_puts(&b, "{\"keys\":[");
    for (size_t i = 0; i < n; i++) {
        char key[4 * ((CRYPTO_ED25519_BYTES + 2) / 3) + 1];
        crypto_base64(keys[i].key, sizeof keys[i].key, key);
        (void)buffer_printf(&b, "%s{\"key_id\":\"%s\",\"algorithm\":\"Ed25519\",\"key\":\"%s\"}",
                            i > 0 ? "," : "", keys[i].key_id, key);
    }
    (void)buffer_puts(&b, "]}");
    http_reply_json(rq, 200, (const char *)b.data, b.len);
    buffer_fini(&b);
}
