#include "vrs-server/signer/serve.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/local.h"
#include "lib/log.h"
#include "lib/pki.h"
#include "lib/wire.h"
#include "vrs-server/signer/message.h"

enum { HEAD_TEXT_MAX = 512, SMALL_ANSWER = 512, STATUS_MAX = 4096, SAY_EVERY_MS = 1000 };

struct work {
    const struct signer_serve *o;
    uint64_t heads, refused, statements, certificates;
    int64_t said_ms; /* a refusal: a line a second says it */
};

/* ---- one request */

/* The head of the request, signed, into its answer. */
static enum vrs_err answer_head(struct work *w, struct signer_request *r) {
    struct log_signed_head *h = &r->head;
    const struct log_keys *keys = w->o->keys;
    struct buffer text;
    h->signed_ms = clock_now_ms();
    memcpy(h->key_id, keys->key[0].key_id, sizeof h->key_id);
    buffer_init(&text, HEAD_TEXT_MAX);
    proof_head_text(h, &text);
    enum vrs_err e =
        text.failed ? ERR_TOO_LARGE : log_keys_sign(keys, text.data, text.len, h->signature);
    buffer_fini(&text);
    size_t mark = wire_begin(&r->fields, SIGNER_T_HEAD);
    proof_head_encode(h, &r->fields);
    wire_end(&r->fields, mark);
    w->heads++;
    return e;
}

static enum vrs_err sign_head(struct work *w, struct signer_request *r) {
    struct log_signed_head *h = &r->head;
    const char *why = "";
    enum vrs_err e = heads_take(w->o->heads, h, &why);
    if (e == ERR_TAMPERED) {
        w->refused++;
        if (clock_mono_ms() - w->said_ms >= SAY_EVERY_MS) {
            w->said_ms = clock_mono_ms();
            log_event(LOG_ERROR, "signer.head_refused", LF_STR("municipality", h->municipality),
                      LF_STR("epoch", h->epoch), LF_INT("size", h->size), LF_STR("why", why));
        }
    }
    return e == VRS_OK ? answer_head(w, r) : e;
}

/* Nothing new: it stands in the memory because it was signed. */
static enum vrs_err last_head(struct work *w, struct signer_request *r) {
    return heads_last(w->o->heads, r->municipality, &r->head) ? answer_head(w, r) : ERR_NOT_FOUND;
}

static enum vrs_err sign_statement(struct work *w, struct signer_request *r) {
    static const char *const kinds[] = {"erasure", "export", "migration", "coupon-filter"};
    const struct log_keys *keys = w->o->keys;
    uint8_t signature[CRYPTO_SIGNATURE_BYTES];
    struct buffer text;
    size_t kind = 0;
    while (kind < sizeof kinds / sizeof *kinds && strcmp(kinds[kind], r->kind) != 0)
        kind++;
    if (kind == sizeof kinds / sizeof *kinds)
        return ERR_BAD_FIELD;
    buffer_init(&text, SIGNER_MAX_MESSAGE);
    (void)buffer_printf(&text, "%s\n", r->kind);
    (void)buffer_put(&text, r->text.data, r->text.len);
    enum vrs_err e =
        text.failed ? ERR_TOO_LARGE : log_keys_sign(keys, text.data, text.len, signature);
    buffer_fini(&text);
    wire_put_str(&r->fields, SIGNER_T_KEY_ID, keys->key[0].key_id);
    wire_put(&r->fields, SIGNER_T_SIGNATURE, signature, sizeof signature);
    w->statements++;
    log_event(LOG_INFO, "signer.statement", LF_STR("kind", r->kind));
    return e;
}

/* The subject is what vrs-server says; of the request only its key counts. */
static enum vrs_err issue(struct work *w, struct signer_request *r) {
    static const char *const kinds[] = {"tablet", "reader", "system", "lgwan"};
    char cert[600], key[600], serial[48];
    int64_t not_after_ms;
    struct vrs_fault fault = {0};
    struct buffer pem;
    size_t kind = 0;
    while (kind < sizeof kinds / sizeof *kinds && strcmp(kinds[kind], r->kind) != 0)
        kind++;
    if (kind == sizeof kinds / sizeof *kinds)
        return ERR_BAD_FIELD;
    const char *ca = strcmp(r->kind, "lgwan") == 0 ? "lgwan" : "tablets";
    (void)snprintf(cert, sizeof cert, "%s/ca-%s.pem", w->o->keys_dir, ca);
    (void)snprintf(key, sizeof key, "%s/ca-%s.key", w->o->keys_dir, ca);
    const struct pki_subject subject = {.name = r->name,
                                        .municipality =
                                            r->municipality[0] != '\0' ? r->municipality : NULL,
                                        .kind = r->kind,
                                        .begins_ms = r->begins_ms};
    buffer_init(&pem, SIGNER_MAX_TEXT);
    enum vrs_err e = pki_sign_request(cert, key, (const char *)r->text.data, r->text.len, &subject,
                                      (int)r->days, &pem, serial, &not_after_ms, &fault);
    if (e == VRS_OK) {
        wire_put(&r->fields, SIGNER_T_TEXT, pem.data, pem.len);
        wire_put_str(&r->fields, SIGNER_T_SERIAL, serial);
        wire_put_u64(&r->fields, SIGNER_T_NOT_AFTER_MS, (uint64_t)not_after_ms);
        w->certificates++;
        log_event(LOG_INFO, "signer.certificate", LF_STR("kind", r->kind), LF_STR("name", r->name),
                  LF_STR("serial", serial));
    } else {
        log_fault(LOG_WARN, "signer.certificate_refused", &fault);
    }
    buffer_fini(&pem);
    return e;
}

static enum vrs_err tell_keys(const struct work *w, struct signer_request *r) {
    for (size_t i = 0; i < w->o->keys->count; i++) {
        const struct signer_key *k = &w->o->keys->key[i];
        uint8_t both[8 + CRYPTO_ED25519_BYTES];
        memcpy(both, k->key_id, 8);
        memcpy(both + 8, k->key, sizeof k->key);
        wire_put(&r->fields, SIGNER_T_KEY, both, sizeof both);
    }
    return VRS_OK;
}

static enum vrs_err status(const struct work *w, const struct local_counts *c,
                           struct signer_request *r) {
    struct buffer text;
    buffer_init(&text, STATUS_MAX);
    (void)buffer_puts(&text, w->o->facts);
    (void)buffer_printf(
        &text,
        "key_id=%s\nmunicipalities=%zu\nheads_total=%llu\nheads_refused_total=%llu\n"
        "statements_total=%llu\ncertificates_total=%llu\nconnections=%zu\n"
        "refused_peers_total=%llu\nbad_messages_total=%llu\nrequests_total=%llu\n"
        "rounds_total=%llu\n",
        w->o->keys->key[0].key_id, heads_count(w->o->heads), (unsigned long long)w->heads,
        (unsigned long long)w->refused, (unsigned long long)w->statements,
        (unsigned long long)w->certificates, c->connections, (unsigned long long)c->refused_peers,
        (unsigned long long)c->bad_messages, (unsigned long long)c->requests,
        (unsigned long long)c->rounds);
    wire_put(&r->fields, SIGNER_T_TEXT, text.data, text.len);
    enum vrs_err e = text.failed ? ERR_TOO_LARGE : VRS_OK;
    buffer_fini(&text);
    return e;
}

/* ---- the service */

static void run_round(void *requests, size_t n, const struct local_counts *counts, void *arg) {
    struct work *w = arg;
    struct signer_request *r = requests;
    for (size_t i = 0; i < n; i++) {
        switch (r[i].verb) {
        case SIGNER_HEAD:
            r[i].err = sign_head(w, &r[i]);
            break;
        case SIGNER_STATEMENT:
            r[i].err = sign_statement(w, &r[i]);
            break;
        case SIGNER_CERT:
            r[i].err = issue(w, &r[i]);
            break;
        case SIGNER_LAST:
            r[i].err = last_head(w, &r[i]);
            break;
        case SIGNER_KEYS:
            r[i].err = tell_keys(w, &r[i]);
            break;
        default:
            r[i].err = status(w, counts, &r[i]);
        }
        if (r[i].err == VRS_OK && r[i].fields.failed)
            r[i].err = ERR_TOO_LARGE;
    }
    /* What cannot be remembered is not signed. */
    if (heads_write(w->o->heads) != VRS_OK) {
        log_plain(LOG_ERROR, "signer.heads_not_written");
        for (size_t i = 0; i < n; i++)
            if (r[i].verb == SIGNER_HEAD && r[i].err == VRS_OK)
                r[i].err = ERR_STORAGE;
    }
}

static enum vrs_err read_request(void *request, const uint8_t *p, size_t n) {
    return signer_request_read(request, p, n);
}

static void fini(void *request) {
    signer_request_fini(request);
}

static void write_answer(const void *request, struct buffer *out) {
    signer_answer_write(request, out);
}

static size_t longest_answer(const void *request) {
    const struct signer_request *r = request;
    return r->verb == SIGNER_HEAD || r->verb == SIGNER_STATEMENT ? SMALL_ANSWER : 16384;
}

static int idle(void *arg) {
    const struct work *w = arg;
    return heads_idle(w->o->heads);
}

enum vrs_err signer_serve(int listener, const struct signer_serve *o, struct vrs_fault *fault) {
    struct work work = {.o = o};
    const struct local_options options = {.peer_uid = o->peer_uid,
                                          .max_connections = o->max_connections};
    const struct local_service service = {.peer_refused = "signer.peer_refused",
                                          .bad_message = "signer.bad_message",
                                          .max_message = SIGNER_MAX_MESSAGE,
                                          .request_bytes = sizeof(struct signer_request),
                                          .read = read_request,
                                          .fini = fini,
                                          .longest_answer = longest_answer,
                                          .run = run_round,
                                          .write = write_answer,
                                          .idle = idle,
                                          .arg = &work};
    return local_serve(listener, &options, &service, fault);
}
