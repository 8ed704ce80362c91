/* What the real code of vrs-server calls in the simulated town and what is not under test here: number
 * and signer are asked without a socket, everything else says nothing. */
#include <string.h>

#include "lib/wire.h"
#include "tests/sim/town.h"
#include "vrs-server/accounts/account.h"
#include "vrs-server/accounts/snapshot.h"
#include "vrs-server/alerts/alert.h"
#include "vrs-server/alerts/watch.h"
#include "vrs-server/inquiries/policy.h"
#include "vrs-server/log/checkpoint.h"
#include "vrs-server/residents/import_store.h"
#include "vrs-server/terminals/line_queries.h"
#include "vrs-server/terminals/terminal_list.h"

/* ---- vrs-number, by its requests */

static enum vrs_err ask_number(enum number_verb verb, const char *municipality,
                               const struct record_id *row, const struct personal_number *n,
                               const struct number_access *why, struct buffer *answer) {
    struct number_request rq = {.verb = verb}, *const one = &rq;
    if (!town.up[DISK_NUMBER])
        return ERR_NUMBER_AWAY;
    buffer_init(&rq.fields, NUMBER_MAX_MESSAGE);
    buffer_init(&rq.text, NUMBER_MAX_MESSAGE);
    memcpy(rq.municipality, municipality, sizeof rq.municipality);
    rq.has_row = row != NULL;
    if (row != NULL)
        rq.row = *row;
    if (n != NULL)
        rq.number = *n;
    if (why != NULL) {
        strncpy(rq.right, why->right, sizeof rq.right - 1);
        strncpy(rq.purpose, why->purpose, sizeof rq.purpose - 1);
        strncpy(rq.user, why->user, sizeof rq.user - 1);
    }
    area_run(town.area, &one, 1);
    enum vrs_err e = disk_is_off() ? ERR_UNKNOWN : rq.err; /* it died before it could answer */
    if (e == VRS_OK && answer != NULL)
        (void)buffer_put(answer, rq.fields.data, rq.fields.len);
    number_request_fini(&rq);
    return e;
}

enum vrs_err number_put(struct number_client *c, const char *municipality,
                        const struct record_id *row, const struct personal_number *n,
                        const struct number_access *why) {
    (void)c;
    return ask_number(NUMBER_PUT, municipality, row, n, why, NULL);
}

enum vrs_err number_erase_many(struct number_client *c, const char *municipality,
                               const struct buffer *rows) {
    enum vrs_err e = VRS_OK;
    (void)c;
    for (size_t i = 0; i < rows->len / STORE_ID_BYTES && e == VRS_OK; i++)
        e = ask_number(NUMBER_ERASE, municipality, (const struct record_id *)rows->data + i, NULL,
                       NULL, NULL);
    return e;
}

enum vrs_err number_match(struct number_client *c, const char *municipality,
                          const struct personal_number *n, const struct number_access *why,
                          struct record_id *row) {
    struct buffer answer;
    struct wire_reader r;
    struct wire_field f;
    bool more = false;
    (void)c;
    buffer_init(&answer, 256);
    enum vrs_err e = ask_number(NUMBER_MATCH, municipality, NULL, n, why, &answer);
    wire_open(&r, answer.data, answer.len);
    if (e == VRS_OK && (wire_next(&r, &f, &more) != VRS_OK || !more ||
                        !wire_fixed(&f, row->bytes, sizeof row->bytes)))
        e = ERR_PROTOCOL;
    buffer_fini(&answer);
    return e;
}

enum vrs_err number_list(struct number_client *c, const char *municipality, struct record_id *last,
                         bool *more, number_row_fn *fn, void *arg) {
    struct buffer answer;
    struct wire_reader r;
    struct wire_field f;
    bool field = true;
    (void)c;
    buffer_init(&answer, NUMBER_MAX_MESSAGE);
    enum vrs_err e = ask_number(NUMBER_LIST, municipality, last, NULL, NULL, &answer);
    *more = answer.len > 0;
    wire_open(&r, answer.data, answer.len);
    while (e == VRS_OK && wire_next(&r, &f, &field) == VRS_OK && field)
        e = wire_fixed(&f, last->bytes, sizeof last->bytes) ? fn(last, arg) : ERR_PROTOCOL;
    buffer_fini(&answer);
    return e;
}

/* ---- vrs-signer: what serve.c does in a round, but for the signature */

enum vrs_err signer_head(struct signer_client *c, struct log_signed_head *h) {
    const char *why = "";
    (void)c;
    if (!town.up[DISK_SIGNER])
        return ERR_SIGNER_AWAY;
    enum vrs_err e = heads_take(town.heads, h, &why);
    if (e == VRS_OK)
        e = heads_write(town.heads);
    (void)heads_idle(town.heads);
    h->signed_ms = machine_now_ms();
    return disk_is_off() ? ERR_SIGNER_AWAY : e;
}

/* ---- of vrs-server */

enum vrs_err snapshot_read_key(const char *path, struct secret_key *out, struct vrs_fault *fault) {
    (void)path, (void)fault;
    *out = town.line_key;
    return VRS_OK;
}
enum vrs_err snapshot_open(struct server *s, struct client *line,
                           const struct secret_key *inbox_key, struct snapshot **out,
                           struct vrs_fault *fault) {
    (void)s, (void)line, (void)inbox_key, (void)fault;
    *out = NULL;
    return VRS_OK;
}
void snapshot_changed(struct snapshot *s) {
    (void)s;
}
void snapshot_outside_has(struct snapshot *s, uint64_t version) {
    (void)s, (void)version;
}
void snapshot_stop(struct snapshot *s) {
    (void)s;
}
enum vrs_err line_queries_open(struct server *s, struct client *line,
                               struct crypto_opener *const *opener, struct line_queries **out,
                               struct vrs_fault *fault) {
    (void)s, (void)line, (void)opener, (void)fault;
    *out = NULL;
    return VRS_OK;
}
void line_queries_stop(struct line_queries *l) {
    (void)l;
}
void line_queries_take(struct line_queries *l, const struct line_query *q) {
    (void)l, (void)q;
}
enum vrs_err checkpoints_start(struct checkpoints *c, struct client *line) {
    (void)c, (void)line;
    return VRS_OK;
}
void checkpoints_stop(struct checkpoints *c) {
    (void)c;
}
void checkpoint_note(struct checkpoints *c, const struct log_signed_head *h) {
    (void)c, (void)h;
}
void terminal_list_used(struct terminal_list *l, const char *name) {
    (void)l, (void)name;
}
void alert_note(struct server *s, const char *rule, const char *subject) {
    (void)s, (void)rule, (void)subject;
}
void alert_state(struct server *s, const char *rule, const char *subject, bool on) {
    (void)s, (void)rule, (void)subject, (void)on;
}
void watch_event(struct server *s, const char *municipality, const struct line_event *ev) {
    (void)s, (void)municipality, (void)ev;
}

/* ---- of sweep.c: uploads and keys are not part of a day */

enum vrs_err imports_sweep(struct partition *p, int64_t before_ms, uint64_t *removed) {
    (void)p, (void)before_ms;
    *removed = 0;
    return VRS_OK;
}
enum vrs_err applications_wipe_lapsed(struct partition *registry, uint64_t *wiped) {
    (void)registry;
    *wiped = 0;
    return VRS_OK;
}
int64_t policy_retention(const struct policy_list *l, const char *municipality, const char *what,
                         const char *unit) {
    (void)l, (void)municipality, (void)what, (void)unit;
    return 0;
}
