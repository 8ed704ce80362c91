#include "vrs-server/doses/line_entry.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/log.h"
#include "lib/metric.h"
#include "lib/text.h"
#include "ocr-ingest/line.h"
#include "partitions/exchange.h"
#include "vrs-server/alerts/alert.h"
#include "vrs-server/alerts/watch.h"
#include "vrs-server/keeping/tombstone.h"
#include "vrs-server/log/act.h"
#include "vrs-server/terminals/terminal_list.h"

enum { MAX_ENTRY_BYTES = 1 << 16 };

static struct metric unreadable = {.name = "vrs_line_unreadable_total",
                                   .help = "Inbox entries that could not be opened",
                                   .type = METRIC_COUNTER};

void line_entry_unreadable(void) {
    metric_add(&unreadable, 1);
}

void line_entry_show(void) {
    metric_register(&unreadable);
}

enum vrs_err line_work_open(struct line_work *w, struct server *s, struct crypto_opener *opener,
                            struct partition *p, bool again) {
    *w = (struct line_work){.server = s, .opener = opener, .partition = p, .again = again};
    w->tally = tally_batch_open();
    buffer_init(&w->text, MAX_ENTRY_BYTES);
    buffer_init(&w->aad, 1024);
    return w->tally != NULL ? VRS_OK : ERR_MEMORY;
}

void line_work_close(struct line_work *w) {
    buffer_fini(&w->text);
    buffer_fini(&w->aad);
    tally_batch_close(&w->tally);
}

static void actor_of(const char *staff, const char *terminal, struct log_actor *out) {
    *out = (struct log_actor){.user = staff, .terminal = terminal, .source = "internet"};
}

/* What the Internet side would have refused, had it been able to look: a person settles it now. */
static void check_relayed(const struct server *s, const struct line_dose *d,
                          const struct line_entry *e, struct claim *c) {
    struct buffer b;
    buffer_init(&b, sizeof c->notes);
    if (clock_parse_date(d->vaccinated_on, &c->vaccinated_on) != VRS_OK) {
        c->vaccinated_on = clock_date_jst(e->received_ms);
        (void)buffer_puts(&b, "R110 接種日が読めないため受付日としました。");
    }
    if (d->given && vaccine_find(s->vaccines, d->product) == NULL)
        (void)buffer_puts(&b, "R132 ワクチンの製品コードが一覧にありません。");
    if (d->given && d->lot[strspn(d->lot, " ")] == '\0')
        (void)buffer_puts(&b, "R130 ロット番号がありません。");
    if (d->given && c->coupon.kind == COUPON_EXAMINED_ONLY)
        (void)buffer_puts(&b, "R107 券種と接種状況が一致しません。");
    if (d->site[0] == '\0')
        (void)buffer_puts(&b, "R181 会場がありません。");
    if (!b.failed && b.len > 0)
        (void)snprintf(c->notes, sizeof c->notes, "%s", buffer_cstr(&b));
    buffer_fini(&b);
}

static bool printable(const struct line_dose *d) {
    const char *const texts[] = {d->product, d->lot,      d->site, d->physician,
                                 d->read_by, d->terminal, d->staff};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!text_valid_utf8(texts[i], strlen(texts[i])) || !text_printable(texts[i]))
            return false;
    return true;
}

/* A reading: as tablet-api read it, or as a tablet sealed it while it waited; that one says itself
 * who read it, and `relay` who brought it. */
static enum vrs_err open_dose(struct crypto_opener *opener, const struct line_entry *e,
                              const struct buffer *text, struct line_dose *d,
                              struct line_relay *relay, bool *relayed) {
    struct buffer aad, inner;
    *relayed = line_relay_decode(text->data, text->len, relay) == VRS_OK;
    if (!*relayed)
        return line_dose_decode(text->data, text->len, d);
    buffer_init(&aad, 1024);
    buffer_init(&inner, MAX_ENTRY_BYTES);
    line_relay_aad(relay->key, e->municipality, &aad);
    enum vrs_err err =
        crypto_opener_unseal(opener, aad.data, aad.len, relay->sealed, relay->sealed_len, &inner);
    if (err == VRS_OK)
        err = line_dose_decode(inner.data, inner.len, d);
    if (err == VRS_OK && !printable(d))
        err = ERR_CORRUPT;
    buffer_fini(&aad);
    buffer_fini(&inner);
    return err;
}

static enum vrs_err run_dose(struct line_work *w, const struct line_entry *e,
                             struct line_result *result, struct apply_proof *proof) {
    struct line_dose d;
    struct line_relay relay;
    struct claim c;
    struct log_actor who;
    struct vrs_fault fault = {0};
    bool relayed = false;
    enum vrs_err err = open_dose(w->opener, e, &w->text, &d, &relay, &relayed);
    if (err != VRS_OK)
        return err;
    claim_init(&c);
    if (line_parse(d.ocr_line, NULL, &c.coupon, &fault) != VRS_OK ||
        (!relayed && clock_parse_date(d.vaccinated_on, &c.vaccinated_on) != VRS_OK) ||
        strcmp(c.coupon.municipality.digits, partition_code(w->partition)) != 0)
        return ERR_CORRUPT; /* also a dose that was sent to another town's partition */
    if (relayed)
        check_relayed(w->server, &d, e, &c);
    memcpy(c.receipt, e->receipt, sizeof c.receipt);
    c.given = d.given;
    c.registered_ms = e->received_ms;
    c.read_at_ms = d.read_at_ms;
#define COPY(field) (void)snprintf(c.field, sizeof c.field, "%s", d.field)
    COPY(product);
    COPY(lot);
    COPY(site);
    COPY(physician);
    COPY(read_by);
    COPY(terminal);
    COPY(staff);
#undef COPY
    (void)snprintf(c.origin, sizeof c.origin, relayed ? "relay" : "tablet");
    actor_of(relayed ? relay.staff : d.staff, relayed ? relay.terminal : d.terminal, &who);
    terminal_list_used(w->server->terminals, who.terminal);
    err = apply_claim(w->server, w->partition, &c, &who, w->tally, d.clock_warning, result, proof);
    claim_wipe(&c);
    secret_wipe(&d, sizeof d);
    return err;
}

static enum vrs_err run_cancel(struct line_work *w, const struct line_entry *e,
                               struct line_result *result, struct apply_proof *proof) {
    struct line_cancel c;
    enum vrs_err err = line_cancel_decode(w->text.data, w->text.len, &c);
    return err == VRS_OK ? apply_cancel(w->server, w->partition, &c, e->received_ms, e->receipt,
                                        w->tally, result, proof)
                         : err;
}

/* One entry for each event, however often it is offered (L1): its receipt is kept like the key of a
 * request. */
/* The names that the Internet side may tell, in plain words that a person may read. */
static bool event_known(const struct line_event *ev) {
    static const char *const told[] = {"session.", "disk.", "clock.", "log."};
    enum act_kind kind;
    bool known = act_find(ev->name, &kind) && kind == ACT_REFUSED;
    for (size_t i = 0; !known && i < sizeof told / sizeof *told; i++)
        known = act_find(ev->name, &kind) && kind == ACT_OUTSIDE &&
                strncmp(ev->name, told[i], strlen(told[i])) == 0;
    return known && text_printable(ev->terminal) && text_printable(ev->staff) &&
           strspn(ev->source, "0123456789abcdefABCDEF.:%") == strlen(ev->source) &&
           text_valid_utf8(ev->terminal, strlen(ev->terminal)) &&
           text_valid_utf8(ev->staff, strlen(ev->staff));
}

static enum vrs_err run_event(struct line_work *w, const struct line_entry *e,
                              struct line_result *result) {
    struct partition *p = w->partition;
    struct line_event ev;
    struct idempotent first = {0};
    char key[8 + 2 * LINE_RECEIPT_BYTES] = "event ", at[25], detail[160];
    bool seen = false;
    struct log_entry entry = {.purpose = "internet_side", .detail = detail};
    enum vrs_err err = line_event_decode(w->text.data, w->text.len, &ev);
    if (err != VRS_OK)
        return err;
    if (!event_known(&ev)) /* what a taken-over outside makes up gets into no log */
        return ERR_CORRUPT;
    crypto_hex(e->receipt, sizeof e->receipt, key + strlen(key));
    memcpy(result->receipt, e->receipt, sizeof result->receipt);
    result->outcome = LINE_NOTED;
    buffer_init(&first.answer, 1);
    err = idempotency_look(p, key, "", 0, &seen, &first);
    buffer_fini(&first.answer);
    if (err != VRS_OK || seen)
        return err;
    actor_of(ev.staff, ev.terminal, &entry.actor);
    entry.act = ev.name;
    entry.result = act_refuses(ev.name) ? "refused" : "ok";
    entry.count = ev.more;
    clock_format_rfc3339(ev.at_ms, at);
    (void)snprintf(detail, sizeof detail, "source=%s at=%s", ev.source, at);
    if (ev.more > 0) {
        size_t n = strlen(detail);
        (void)snprintf(detail + n, sizeof detail - n, " more=%llu", (unsigned long long)ev.more);
    }
    if (!act_refuses(ev.name) && !w->again)
        terminal_list_used(w->server->terminals, ev.terminal);
    err = access_log_append(p, &entry, NULL);
    if (err == VRS_OK)
        err = idempotency_keep(p, key, "", 0, 200, NULL, 0);
    if (err == VRS_OK && !w->again)
        watch_event(w->server, partition_code(p), &ev);
    return err;
}

/* A reading that was erased with its person does not come back by being offered again, nor does its
 * cancellation find anything to cancel. */
static enum vrs_err was_erased(const struct line_work *w, const struct line_entry *e,
                               bool *erased) {
    struct line_cancel c;
    *erased = false;
    if (e->kind == LINE_DOSE)
        return tombstone_of_receipt(w->partition, e->receipt, erased);
    if (e->kind != LINE_CANCEL)
        return VRS_OK;
    enum vrs_err err = line_cancel_decode(w->text.data, w->text.len, &c);
    if (err == VRS_OK)
        err = tombstone_of_receipt(w->partition, c.receipt, erased);
    return err;
}

enum vrs_err line_entry_run(struct line_work *w, const struct line_entry *e,
                            struct line_result *result, struct apply_proof *proof) {
    memset(result, 0, sizeof *result);
    memset(proof, 0, sizeof *proof);
    buffer_clear(&w->text);
    buffer_clear(&w->aad);
    line_aad(e, &w->aad);
    enum vrs_err err = ERR_TAMPERED; /* too long to be one: no matter of memory, tried for ever */
    if (e->sealed_len <= MAX_ENTRY_BYTES)
        err = crypto_opener_unseal(w->opener, w->aad.data, w->aad.len, e->sealed, e->sealed_len,
                                   &w->text);
    bool erased = false;
    if (err == VRS_OK)
        err = was_erased(w, e, &erased);
    if (err == VRS_OK && erased) {
        /* Outside it has its outcome since before; where it has none, the one that it had here. */
        memcpy(result->receipt, e->receipt, sizeof result->receipt);
        if (!w->again)
            result->outcome = e->kind == LINE_CANCEL ? LINE_CANCELLED : LINE_RECORDED;
    } else if (err == VRS_OK && e->kind == LINE_DOSE)
        err = run_dose(w, e, result, proof);
    else if (err == VRS_OK && e->kind == LINE_CANCEL)
        err = run_cancel(w, e, result, proof);
    else if (err == VRS_OK)
        err = run_event(w, e, result);
    if (err == ERR_TAMPERED || err == ERR_CORRUPT) {
        log_event(LOG_ERROR, "line.entry_unreadable", LF_HEX("receipt", e->receipt, 16),
                  LF_ERR(err));
        line_entry_unreadable();
        alert_note(w->server, "line_unreadable", "tablet-api");
        result->outcome = LINE_PENDING;
        err = VRS_OK;
    }
    return err;
}
