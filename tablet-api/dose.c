#include "tablet-api/dose.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/arena.h"
#include "lib/clock.h"
#include "lib/http.h"
#include "lib/log.h"
#include "lib/text.h"
#include "tablet-api/intake.h"
#include "tablet-api/posting.h"
#include "tablet-api/receipt.h"
#include "tablet-api/tablet.h"
#include "tablet-api/terminal.h"

enum { ANSWER_MAX = 64 * 1024 };

static void copy(char *to, size_t cap, const char *from) {
    (void)snprintf(to, cap, "%s", from);
}

/* The Idempotency-Key of the request; answers 400 itself. */
static bool key_of(struct http_request *rq, char key[INTAKE_KEY_SIZE]) {
    if (intake_key(http_header(rq, "Idempotency-Key"), key))
        return true;
    http_problem(rq, ERR_NO_IDEMPOTENCY_KEY, NULL, NULL);
    return false;
}

static void refuse(struct http_request *rq, const struct intake_refusal *no) {
    json_t *extra = intake_extra(no);
    http_problem(rq, no->fault.err, NULL, extra);
    json_decref(extra);
}

/* --- POST /v1/doses --- */

static void reply(struct http_request *rq, const struct inbox_found *f, bool clock_warning,
                  const char *cancels, int status) {
    struct buffer b;
    buffer_init(&b, ANSWER_MAX);
    receipt_write(http_arg(rq), f, clock_warning, cancels, NULL, status, &b);
    if (b.failed)
        http_problem(rq, ERR_MEMORY, NULL, NULL);
    else
        http_reply_json(rq, status, (const char *)b.data, b.len);
    buffer_fini(&b);
}

static void dose_answered(struct posting *p) {
    struct http_request *rq = p->owner;
    const struct inbox_found *f = &p->put.found;
    if (p->put.job.err != VRS_OK) {
        posting_forget(http_arg(rq), p);
        http_problem(rq, p->put.job.err, NULL, NULL);
    } else {
        reply(rq, f, p->clock_warning, NULL, receipt_status(f));
    }
    posting_free(p);
}

void dose_post(struct http_request *rq) {
    struct tablet *t = http_arg(rq);
    const struct intake_rules rules = posting_rules(t);
    struct intake_refusal no;
    struct intake in;
    char key[INTAKE_KEY_SIZE];
    size_t len = 0;
    const void *body = http_body(rq, &len);
    if (!key_of(rq, key))
        return;
    if (intake_read(&rules, body, len, false, http_header(rq, "Date"), &in, &no) != VRS_OK) {
        refuse(rq, &no);
        return;
    }
    const struct caller *c = terminal_caller(rq);
    struct posting *p = posting_of_dose(&in, key, c->terminal, c->staff, rules.now_ms);
    bool ask = p != NULL && posting_asks(t, &in, p);
    secret_wipe(&in, sizeof in);
    if (p == NULL || ask) {
        http_problem(rq, ask ? ERR_SAME_COUPON : ERR_MEMORY, NULL, NULL);
        if (p != NULL)
            posting_free(p);
        return;
    }
    p->owner = rq;
    p->answered = dose_answered;
    receipt_post(t->receipts, p);
}

/* --- POST /v1/doses:batch: answers in the order of the lines, each as soon as it is known --- */

struct batch_item {
    struct batch *batch;
    char *text; /* its answer, NULL until known */
    size_t len;
    char key[INTAKE_KEY_SIZE];
};

struct batch {
    struct http_request *rq;
    struct tablet *tablet;
    size_t count;
    size_t sent; /* items before this one are answered */
    bool begun;
    struct batch_item item[];
};

static void batch_send(struct batch *b) {
    while (b->sent < b->count && b->item[b->sent].text != NULL) {
        struct batch_item *i = &b->item[b->sent++];
        http_stream_chunk(b->rq, i->text, i->len);
        free(i->text);
        i->text = NULL;
    }
    if (b->sent < b->count)
        return;
    http_stream_end(b->rq);
    free(b);
}

/* Keeps one line of the answer; it is sent when all before it are. */
static void item_set(struct batch_item *i, struct buffer *b) {
    static const char lost[] = "{\"status\":503,\"code\":\"no_memory\"}\n";
    (void)buffer_puts(b, "\n");
    i->len = b->failed ? sizeof lost - 1 : b->len;
    i->text = malloc(i->len);
    if (i->text != NULL) {
        memcpy(i->text, b->failed ? (const void *)lost : b->data, i->len);
        return;
    }
    i->text = strdup("\n"); /* the client repeats what has no answer; its key settles it */
    i->len = 1;
}

static void item_problem(struct batch_item *i, enum vrs_err e, const struct intake_refusal *no) {
    struct buffer b;
    json_t *doc = no != NULL ? intake_extra(no) : NULL;
    if (doc == NULL)
        doc = json_object();
    if (i->key[0] != '\0')
        (void)json_object_set_new(doc, "idempotency_key", json_string(i->key));
    (void)json_object_set_new(doc, "status", json_integer(err_status(e)));
    (void)json_object_set_new(doc, "code", json_string(err_name(e)));
    (void)json_object_set_new(doc, "title", json_string(err_title(e)));
    (void)json_object_set_new(doc, "detail", json_string(err_detail_ja(e)));
    buffer_init(&b, ANSWER_MAX);
    if (!json_write(&b, doc))
        b.failed = true;
    item_set(i, &b);
    buffer_fini(&b);
    json_decref(doc);
}

static void item_answered(struct posting *p) {
    struct batch_item *i = p->owner;
    struct batch *batch = i->batch;
    const struct inbox_found *f = &p->put.found;
    if (p->put.job.err != VRS_OK) {
        item_problem(i, p->put.job.err, NULL);
    } else {
        struct buffer b;
        buffer_init(&b, ANSWER_MAX);
        receipt_write(batch->tablet, f, p->clock_warning, NULL, i->key, receipt_status(f), &b);
        item_set(i, &b);
        buffer_fini(&b);
    }
    posting_free(p);
    if (batch->begun)
        batch_send(batch);
}

static void item_start(struct batch_item *i, const struct intake_rules *rules, const char *line,
                       size_t len) {
    struct http_request *rq = i->batch->rq;
    struct intake_refusal no;
    struct intake in;
    enum vrs_err e = intake_read(rules, line, len, true, http_header(rq, "Date"), &in, &no);
    memcpy(i->key, in.key, sizeof i->key);
    if (e != VRS_OK) {
        item_problem(i, e, &no);
        return;
    }
    const struct caller *c = terminal_caller(rq);
    struct posting *p = posting_of_dose(&in, in.key, c->terminal, c->staff, rules->now_ms);
    secret_wipe(&in, sizeof in);
    if (p == NULL) {
        item_problem(i, ERR_MEMORY, NULL);
        return;
    }
    p->owner = i;
    p->answered = item_answered;
    receipt_post(i->batch->tablet->receipts, p);
}

/* The next line that is not empty; false at the end. */
static bool next_line(const char **at, const char *end, const char **line, size_t *len) {
    while (*at < end) {
        const char *newline = memchr(*at, '\n', (size_t)(end - *at));
        const char *stop = newline != NULL ? newline : end;
        *line = *at;
        *at = newline != NULL ? newline + 1 : end;
        *len = (size_t)(stop - *line);
        if (*len > 0 && (*line)[*len - 1] == '\r')
            (*len)--;
        if (*len > 0)
            return true;
    }
    return false;
}

void dose_batch(struct http_request *rq) {
    struct tablet *t = http_arg(rq);
    const struct intake_rules rules = posting_rules(t);
    size_t len = 0;
    const char *body = http_body(rq, &len);
    const char *at = body;
    const char *line = NULL;
    size_t line_len = 0;
    size_t count = 0;
    while (next_line(&at, body + len, &line, &line_len))
        count++;
    if (count == 0 || count > DOSE_BATCH_ITEMS) {
        http_problem(rq, count == 0 ? ERR_BAD_REQUEST : ERR_TOO_LARGE, NULL, NULL);
        return;
    }
    struct batch *b = calloc(1, sizeof *b + count * sizeof b->item[0]);
    if (b == NULL) {
        http_problem(rq, ERR_MEMORY, NULL, NULL);
        return;
    }
    b->rq = rq;
    b->tablet = t;
    b->count = count;
    at = body;
    for (size_t i = 0; i < count && next_line(&at, body + len, &line, &line_len); i++) {
        b->item[i].batch = b;
        item_start(&b->item[i], &rules, line, line_len);
    }
    http_stream_begin(rq, 200, "application/x-ndjson", NULL, NULL);
    b->begun = true;
    batch_send(b); /* its items keep it until the last of them is answered */
} // NOLINT(clang-analyzer-unix.Malloc)

/* --- GET /v1/doses/{receipt_id} --- */

struct lookup {
    struct inbox_get get; /* first */
    struct http_request *rq;
    void (*found)(struct http_request *rq, const struct inbox_found *f);
};

static void lookup_done(struct worker_job *job) {
    struct lookup *l = (struct lookup *)job;
    if (l->get.job.err != VRS_OK)
        http_problem(l->rq, l->get.job.err, NULL, NULL);
    else
        l->found(l->rq, &l->get.found);
    free(l);
}

static void look_up(struct http_request *rq,
                    void (*found)(struct http_request *rq, const struct inbox_found *f)) {
    struct tablet *t = http_arg(rq);
    const char *id = http_param(rq, "receipt_id");
    struct lookup *l = calloc(1, sizeof *l);
    if (l == NULL) {
        http_problem(rq, ERR_MEMORY, NULL, NULL);
        return;
    }
    l->rq = rq;
    l->found = found;
    copy(l->get.terminal, sizeof l->get.terminal, terminal_caller(rq)->terminal);
    enum vrs_err e = ERR_NOT_FOUND;
    if (id != NULL && crypto_unhex(id, l->get.receipt, sizeof l->get.receipt))
        e = inbox_submit_get(t->inbox, &l->get, lookup_done);
    if (e != VRS_OK) {
        http_problem(rq, e, NULL, NULL);
        free(l);
    }
}

static void show(struct http_request *rq, const struct inbox_found *f) {
    reply(rq, f, false, NULL, 200);
}

void dose_get(struct http_request *rq) {
    look_up(rq, show);
}

/* --- POST /v1/doses/{receipt_id}:cancel --- */

static void cancel_answered(struct posting *p) {
    struct http_request *rq = p->owner;
    const struct inbox_found *f = &p->put.found;
    if (p->put.job.err != VRS_OK)
        http_problem(rq, p->put.job.err, NULL, NULL);
    else if (f->outcome == LINE_CANCEL_REFUSED)
        http_problem(rq, ERR_CANCEL_LATE, NULL, NULL);
    else
        reply(rq, f, false, http_param(rq, "receipt_id"), receipt_status(f));
    posting_free(p);
}

static enum vrs_err read_reason(struct http_request *rq, char *out, size_t cap,
                                struct vrs_fault *fault) {
    const char *reason = "";
    const struct json_field fields[] = {JF_STR("reason", false, 2000, &reason), JF_END};
    json_t *doc = NULL;
    size_t len = 0;
    const void *body = http_body(rq, &len);
    enum vrs_err e = json_parse(body, len, &doc, fault);
    if (e == VRS_OK)
        e = json_read(doc, fields, fault);
    if (e == VRS_OK && reason[strspn(reason, " ")] == '\0')
        e = err_fail(fault, ERR_REASON_REQUIRED, "reason");
    if (e == VRS_OK && (strlen(reason) >= cap || !text_printable(reason)))
        e = err_fail(fault, ERR_R180, "reason");
    if (e == VRS_OK)
        copy(out, cap, reason);
    json_decref(doc);
    return e;
}

/* The receipt is this terminal's: what it asks goes inwards like a dose. */
static void cancel_found(struct http_request *rq, const struct inbox_found *f) {
    struct tablet *t = http_arg(rq);
    const struct caller *c = terminal_caller(rq);
    struct line_cancel cancel = {0};
    struct vrs_fault fault = {0};
    char key[INTAKE_KEY_SIZE];
    const char *header = http_header(rq, "Idempotency-Key");
    if (f->kind != LINE_DOSE) {
        http_problem(rq, ERR_NOT_FOUND, NULL, NULL);
        return;
    }
    if (!intake_key(header, key) ||
        read_reason(rq, cancel.reason, sizeof cancel.reason, &fault) != VRS_OK) {
        http_problem(rq, ERR_BAD_REQUEST, NULL, NULL); /* dose_cancel has looked at both */
        return;
    }
    memcpy(cancel.receipt, f->receipt, sizeof cancel.receipt);
    copy(cancel.terminal, sizeof cancel.terminal, c->terminal);
    copy(cancel.staff, sizeof cancel.staff, c->staff);
    struct posting *p = calloc(1, sizeof *p);
    if (p == NULL) {
        http_problem(rq, ERR_MEMORY, NULL, NULL);
        return;
    }
    struct inbox_put *put = &p->put;
    put->kind = LINE_CANCEL;
    crypto_id(put->receipt);
    memcpy(put->municipality, f->municipality, sizeof put->municipality);
    copy(put->terminal, sizeof put->terminal, c->terminal);
    put->received_ms = clock_now_ms();
    put->has_key = true;
    intake_key_hash(key, c->terminal, put->key_hash);
    intake_cancel_mac(key, &cancel, put->body_mac);
    buffer_init(&put->plain, POSTING_PLAIN_MAX);
    line_cancel_encode(&cancel, &put->plain);
    /* Only on the same Japanese day; a repeated request still gets its first answer later. */
    if (clock_date_jst(f->received_ms).days != clock_date_jst(put->received_ms).days)
        put->only_existing = ERR_CANCEL_LATE;
    p->owner = rq;
    p->answered = cancel_answered;
    receipt_post(t->receipts, p);
}

void dose_cancel(struct http_request *rq) {
    char key[INTAKE_KEY_SIZE];
    char reason[sizeof((struct line_cancel *)0)->reason];
    struct vrs_fault fault = {0};
    if (!key_of(rq, key))
        return;
    if (read_reason(rq, reason, sizeof reason, &fault) != VRS_OK) {
        http_problem_fault(rq, &fault);
        return;
    }
    look_up(rq, cancel_found);
}
