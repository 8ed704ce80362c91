#include "vrs-server/doses/prove.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/metric.h"
#include "vrs-server/alerts/alert.h"
#include "vrs-server/log/checkpoint.h"
#include "vrs-server/server.h"

enum { SAY_EVERY_MS = 1000 };

static struct metric heads_total = {
    .name = "vrs_log_heads_total", .help = "Heads of the log signed", .type = METRIC_COUNTER};
static struct metric unsigned_total = {.name = "vrs_log_heads_unsigned_total",
                                       .help = "Heads that got no signature when asked for",
                                       .type = METRIC_COUNTER};
static struct metric proofs_total = {
    .name = "vrs_proofs_total", .help = "Proofs of outcomes made", .type = METRIC_COUNTER};

static struct log_signed_head *kept(struct partition *p) {
    return partition_note(p, sizeof(struct log_signed_head));
}

/* Any answer of the signer is a sign of life. */
static void tell(struct server *s, const char *municipality, enum vrs_err e) {
    static atomic_bool was_away;
    bool away = e == ERR_SIGNER_AWAY;
    if (atomic_exchange(&was_away, away) != away) {
        alert_state(s, "signer_away", "vrs-signer", away);
        log_plain(away ? LOG_WARN : LOG_INFO, away ? "signer.away" : "signer.back");
    }
    if (e == VRS_OK) {
        metric_add(&heads_total, 1);
        return;
    }
    metric_add(&unsigned_total, 1);
    if (away)
        return; /* counted by the client; the alert tells it */
    /* A log that is refused is refused with every head: a line a second says it. */
    static _Atomic int64_t said_ms;
    int64_t now_ms = clock_mono_ms();
    if (now_ms - atomic_load(&said_ms) >= SAY_EVERY_MS) {
        atomic_store(&said_ms, now_ms);
        log_event(LOG_ERROR, "log.head_not_signed", LF_STR("municipality", municipality),
                  LF_ERR(e));
    }
    if (e == ERR_TAMPERED)
        alert_note(s, "log_fork", municipality);
    if (e == ERR_STORAGE) /* what vrs-signer cannot remember it does not sign */
        alert_note(s, "storage_failing", "vrs-signer");
}

void prove_committed(struct partition *p, unsigned worker_index, void *arg) {
    struct server *s = arg;
    struct log_signed_head *last = kept(p), h;
    struct log_head head;
    enum vrs_err e = access_log_head(p, &head);
    if (e != VRS_OK || last == NULL || head.size == 0 ||
        (last->size == head.size && strcmp(last->epoch, head.epoch) == 0))
        return; /* what makes no tree is told by whoever appends to it */
    memset(&h, 0, sizeof h);
    (void)snprintf(h.municipality, sizeof h.municipality, "%s", partition_code(p));
    (void)snprintf(h.epoch, sizeof h.epoch, "%s", head.epoch);
    h.size = head.size;
    h.root = head.root;
    e = signer_head(s->signer[worker_index], &h);
    tell(s, h.municipality, e);
    if (e != VRS_OK)
        return;
    *last = h;
    checkpoint_note(s->checkpoints, &h);
}

bool prove_head(struct partition *p, struct log_signed_head *out) {
    const struct log_signed_head *h = kept(p);
    if (h == NULL || h->size == 0)
        return false;
    *out = *h;
    return true;
}

bool prove_outcome(struct partition *p, const struct apply_proof *of, struct buffer *out) {
    struct log_proof proof;
    size_t start = out->len;
    memset(&proof, 0, sizeof proof);
    if (of->place.entry == 0 || !prove_head(p, &proof.head) || of->place.entry > proof.head.size)
        return false;
    proof.entry = of->place.entry;
    proof.entry_hash = of->place.entry_hash;
    enum vrs_err e =
        access_log_path(p, proof.entry, proof.head.size, proof.path, &proof.path_count);
    if (e != VRS_OK) {
        log_event(LOG_ERROR, "log.no_path", LF_STR("municipality", partition_code(p)), LF_ERR(e));
        return false;
    }
    (void)buffer_put(out, of->commitment.bytes, sizeof of->commitment.bytes);
    proof_encode(&proof, out);
    if (out->failed || out->len - start > LINE_MAX_PROOF)
        return false;
    metric_add(&proofs_total, 1);
    return true;
}
