#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/local.h"
#include "lib/metric.h"
#include "lib/wire.h"
#include "vrs-server/signer/message.h"

enum { PAUSE_MS = 500 /* after a failure nobody waits for the signer again so long */ };

struct signer_client {
    struct local_client *line;
    int64_t deadline_ms;
    int64_t pause_until_ms;
};

/* What an answer may hold; NULL: not of this verb. */
struct call {
    enum vrs_err err;
    struct log_signed_head *head;
    char *key_id;
    uint8_t *signature;
    struct buffer *text;
    char *serial; /* [48] */
    int64_t *not_after_ms;
    struct signer_key *keys; /* SIGNER_MAX_KEYS */
    size_t *key_count;
};

static struct metric away = {.name = "vrs_signer_away_total",
                             .help = "Calls of the signer that got no answer",
                             .type = METRIC_COUNTER};
static struct metric seconds = {.name = "vrs_signer_seconds",
                                .help = "How long a call of the signer took",
                                .type = METRIC_HISTOGRAM};

enum vrs_err signer_client_open(const char *socket_path, int64_t deadline_ms,
                                struct signer_client **out) {
    *out = NULL;
    struct signer_client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return ERR_MEMORY;
    c->deadline_ms = deadline_ms;
    metric_register(&away);
    metric_register(&seconds);
    enum vrs_err e = local_client_open(socket_path, SIGNER_MAX_MESSAGE + LOCAL_HEAD_BYTES,
                                       SIGNER_MAX_MESSAGE, &c->line);
    if (e != VRS_OK)
        free(c);
    else
        *out = c;
    return e;
}

void signer_client_close(struct signer_client **c) {
    if (*c == NULL)
        return;
    local_client_close(&(*c)->line);
    free(*c);
    *c = NULL;
}

static bool take_key(struct call *call, const struct wire_field *f) {
    if (call->keys == NULL || *call->key_count == SIGNER_MAX_KEYS ||
        f->len != 8 + CRYPTO_ED25519_BYTES)
        return false;
    struct signer_key *k = &call->keys[(*call->key_count)++];
    memcpy(k->key_id, f->data, 8);
    k->key_id[8] = '\0';
    memcpy(k->key, f->data + 8, sizeof k->key);
    return true;
}

static bool take(struct call *call, const struct wire_field *f) {
    uint64_t u;
    switch (f->tag) {
    case SIGNER_T_HEAD:
        return call->head != NULL && proof_head_decode(f->data, f->len, call->head) == VRS_OK;
    case SIGNER_T_KEY_ID:
        return call->key_id != NULL && f->len == 8 && wire_str(f, call->key_id, 9);
    case SIGNER_T_SIGNATURE:
        return call->signature != NULL && wire_fixed(f, call->signature, CRYPTO_SIGNATURE_BYTES);
    case SIGNER_T_TEXT:
        return call->text != NULL && buffer_put(call->text, f->data, f->len);
    case SIGNER_T_SERIAL:
        return call->serial != NULL && wire_str(f, call->serial, 48);
    case SIGNER_T_NOT_AFTER_MS:
        if (call->not_after_ms == NULL || !wire_u64(f, &u))
            return false;
        *call->not_after_ms = (int64_t)u;
        return true;
    case SIGNER_T_KEY:
        return take_key(call, f);
    default:
        return false;
    }
}

static enum vrs_err read_answer(const uint8_t *p, size_t n, bool *done, void *arg) {
    struct call *call = arg;
    struct wire_reader r;
    struct wire_field f[2];
    uint64_t verb;
    char name[40];
    bool more = true;
    wire_open(&r, p, n);
    for (int i = 0; i < 2; i++)
        if (wire_next(&r, &f[i], &more) != VRS_OK || !more)
            return ERR_PROTOCOL;
    if (f[0].tag != SIGNER_T_VERB || !wire_u64(&f[0], &verb) || verb != SIGNER_ANSWER ||
        f[1].tag != SIGNER_T_ERR || !wire_str(&f[1], name, sizeof name) ||
        !err_by_name(name, &call->err))
        return ERR_PROTOCOL;
    for (;;) {
        if (wire_next(&r, &f[0], &more) != VRS_OK || (more && !take(call, &f[0])))
            return ERR_PROTOCOL;
        if (!more)
            break;
    }
    *done = true;
    return VRS_OK;
}

static struct buffer *begin(struct signer_client *c, enum signer_verb verb, size_t *mark) {
    struct buffer *b = local_client_out(c->line);
    *mark = local_begin(b);
    wire_put_u64(b, SIGNER_T_VERB, verb);
    return b;
}

/* Every verb may be asked twice: a broken connection is tried once more. */
static enum vrs_err ask(struct signer_client *c, size_t mark, struct call *call) {
    struct buffer *out = local_client_out(c->line);
    struct buffer again;
    int64_t now_ms = clock_mono_ms(), start_us = clock_mono_us();
    local_end(out, mark);
    if (out->failed) {
        buffer_clear(out);
        return ERR_TOO_LARGE;
    }
    if (now_ms < c->pause_until_ms) {
        buffer_clear(out);
        return ERR_SIGNER_AWAY;
    }
    buffer_init(&again, out->max);
    (void)buffer_put(&again, out->data, out->len);
    enum vrs_err e = local_exchange(c->line, read_answer, call, now_ms + c->deadline_ms);
    if ((e == ERR_UNKNOWN || e == ERR_INSIDE_AWAY) && buffer_put(out, again.data, again.len)) {
        if (call->key_count != NULL)
            *call->key_count = 0;
        if (call->text != NULL)
            buffer_clear(call->text);
        e = local_exchange(c->line, read_answer, call, now_ms + c->deadline_ms);
    }
    buffer_fini(&again);
    metric_observe_us(&seconds, clock_mono_us() - start_us);
    if (e == VRS_OK)
        return call->err;
    c->pause_until_ms = clock_mono_ms() + PAUSE_MS;
    metric_add(&away, 1);
    return e == ERR_PROTOCOL ? ERR_PROTOCOL : ERR_SIGNER_AWAY;
}

enum vrs_err signer_head(struct signer_client *c, struct log_signed_head *h) {
    struct log_signed_head answer;
    struct call call = {.head = &answer};
    size_t mark;
    memset(&answer, 0, sizeof answer);
    struct buffer *b = begin(c, SIGNER_HEAD, &mark);
    wire_put_str(b, SIGNER_T_MUNICIPALITY, h->municipality);
    wire_put_str(b, SIGNER_T_EPOCH, h->epoch);
    wire_put_u64(b, SIGNER_T_SIZE, h->size);
    wire_put(b, SIGNER_T_ROOT, h->root.bytes, sizeof h->root.bytes);
    enum vrs_err e = ask(c, mark, &call);
    if (e == VRS_OK &&
        (strcmp(answer.municipality, h->municipality) != 0 || strcmp(answer.epoch, h->epoch) != 0 ||
         answer.size != h->size || memcmp(&answer.root, &h->root, sizeof h->root) != 0))
        e = ERR_PROTOCOL;
    if (e == VRS_OK)
        *h = answer;
    return e;
}

enum vrs_err signer_last(struct signer_client *c, const char *municipality,
                         struct log_signed_head *out) {
    struct call call = {.head = out};
    size_t mark;
    memset(out, 0, sizeof *out);
    struct buffer *b = begin(c, SIGNER_LAST, &mark);
    wire_put_str(b, SIGNER_T_MUNICIPALITY, municipality);
    enum vrs_err e = ask(c, mark, &call);
    return e == VRS_OK && strcmp(out->municipality, municipality) != 0 ? ERR_PROTOCOL : e;
}

enum vrs_err signer_statement(struct signer_client *c, const char *kind, const void *text,
                              size_t len, char key_id[9],
                              uint8_t signature[CRYPTO_SIGNATURE_BYTES]) {
    struct call call = {.key_id = key_id, .signature = signature};
    size_t mark;
    if (len > SIGNER_MAX_TEXT || strlen(kind) > SIGNER_MAX_KIND)
        return ERR_TOO_LARGE;
    struct buffer *b = begin(c, SIGNER_STATEMENT, &mark);
    wire_put_str(b, SIGNER_T_KIND, kind);
    wire_put(b, SIGNER_T_TEXT, text, len);
    key_id[0] = '\0';
    enum vrs_err e = ask(c, mark, &call);
    return e == VRS_OK && key_id[0] == '\0' ? ERR_PROTOCOL : e;
}

enum vrs_err signer_cert(struct signer_client *c, const struct signer_cert *what,
                         struct buffer *out, char serial[48], int64_t *not_after_ms) {
    struct buffer pem;
    struct call call = {.text = &pem, .serial = serial, .not_after_ms = not_after_ms};
    size_t mark, request = strnlen(what->request_pem, SIGNER_MAX_REQUEST + 1);
    if (request == 0 || request > SIGNER_MAX_REQUEST || strlen(what->kind) > SIGNER_MAX_KIND ||
        what->name[0] == '\0' || strlen(what->name) > SIGNER_MAX_NAME || what->days < 1 ||
        what->days > SIGNER_MAX_DAYS || what->begins_ms < 0 ||
        (what->municipality[0] != '\0' && strlen(what->municipality) != 6))
        return ERR_BAD_FIELD;
    struct buffer *b = begin(c, SIGNER_CERT, &mark);
    wire_put_str(b, SIGNER_T_KIND, what->kind);
    wire_put_str(b, SIGNER_T_NAME, what->name);
    if (what->municipality[0] != '\0')
        wire_put_str(b, SIGNER_T_MUNICIPALITY, what->municipality);
    wire_put_u64(b, SIGNER_T_DAYS, (uint64_t)what->days);
    if (what->begins_ms > 0)
        wire_put_u64(b, SIGNER_T_BEGINS_MS, (uint64_t)what->begins_ms);
    wire_put(b, SIGNER_T_TEXT, what->request_pem, request);
    buffer_init(&pem, SIGNER_MAX_TEXT);
    serial[0] = '\0';
    enum vrs_err e = ask(c, mark, &call);
    if (e == VRS_OK && (serial[0] == '\0' || pem.len == 0))
        e = ERR_PROTOCOL;
    if (e == VRS_OK && !buffer_put(out, pem.data, pem.len))
        e = ERR_TOO_LARGE;
    buffer_fini(&pem);
    return e;
}

enum vrs_err signer_keys(struct signer_client *c, struct signer_key *out, size_t *count) {
    struct call call = {.keys = out, .key_count = count};
    size_t mark;
    *count = 0;
    (void)begin(c, SIGNER_KEYS, &mark);
    enum vrs_err e = ask(c, mark, &call);
    return e == VRS_OK && *count == 0 ? ERR_PROTOCOL : e;
}

enum vrs_err signer_status(struct signer_client *c, struct buffer *text) {
    struct call call = {.text = text};
    size_t mark;
    (void)begin(c, SIGNER_STATUS, &mark);
    return ask(c, mark, &call);
}
