#include "ocr-ingest/feed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/json.h"
#include "ocr-ingest/feed_post.h"
#include "ocr-ingest/feed_proof.h"
#include "ocr-ingest/feed_report.h"

enum {
    BODY_MAX_BYTES = 16 * 1024,
    BATCH_MAX_BYTES = 900 * 1024, /* the server takes 1 MiB */
    ASK_EVERY_MS = 1000
};

struct feed {
    const struct feed_options *o;
    const volatile sig_atomic_t *stop;
    struct municipality_list *municipalities;
    struct vaccine_list *vaccines;
    struct feed_journal *journal;
    struct feed_post *post;
    struct feed_proof *proof; /* NULL: no keys were given */
    struct feed_report *report;
    struct feed_progress progress;
    unsigned char *seen; /* by row */
    uint64_t seen_cap;
    uint64_t seen_rows;
    struct feed_item item[FEED_BATCH_MAX];
    size_t items;
    size_t batch_bytes;
    struct vrs_fault fault;
};

/* The body of POST /v1/doses.  The journal's mac is over it, so it must not change with the
 * machine or the run. */
static enum vrs_err content_of(const struct feed_reading *r, json_t **out, struct buffer *b) {
    json_t *doc = json_pack("{s:s, s:s, s:s, s:s, s:s}", "ocr_line", r->line, "status",
                            r->given ? "given" : "not_given", "vaccinated_on", r->vaccinated_on,
                            "site", r->site, "read_by", r->read_by);
    bool ok = doc != NULL;
    if (ok && r->product[0] != '\0')
        ok = json_object_set_new(doc, "product", json_string(r->product)) == 0;
    if (ok && r->lot[0] != '\0')
        ok = json_object_set_new(doc, "lot", json_string(r->lot)) == 0;
    if (ok && r->physician[0] != '\0')
        ok = json_object_set_new(doc, "physician", json_string(r->physician)) == 0;
    if (!ok || !json_write(b, doc)) {
        json_decref(doc);
        return b->failed && b->len > 0 ? ERR_R180 : ERR_MEMORY;
    }
    *out = doc;
    return VRS_OK;
}

/* --- counting --- */

static void count_state(struct feed *f, uint64_t row, int by) {
    const struct feed_entry *e = feed_journal_find(f->journal, row);
    if (e == NULL)
        return;
    uint64_t *n = &f->progress.counts.state[e->state];
    *n = by > 0 ? *n + 1 : *n - 1;
}

/* Where there are keys, the server's word alone is not enough. */
static enum feed_state proven_state(struct feed *f, uint64_t row, enum feed_state state,
                                    const json_t *answer) {
    if (f->proof == NULL || !feed_state_stored(state) || state == FEED_PENDING)
        return state;
    enum feed_proven found = feed_proof_check(f->proof, row, answer);
    if (found == FEED_PROOF_BAD)
        return FEED_BAD_PROOF;
    if (state != FEED_RECORDED && state != FEED_DUPLICATE)
        return state;
    if (found == FEED_PROOF_MISSING)
        return FEED_UNPROVEN;
    return state == FEED_RECORDED ? FEED_PROVEN : FEED_DUPLICATE_PROVEN;
}

/* Asked for again before the end of a run; `first`: once a run. */
static bool still_open(const struct feed *f, enum feed_state s, bool first) {
    bool by_word = s == FEED_RECORDED || s == FEED_DUPLICATE || s == FEED_BAD_PROOF;
    return s == FEED_PENDING || (first && s == FEED_WAITING) ||
           (f->proof != NULL && (s == FEED_UNPROVEN || (first && by_word)));
}

static enum vrs_err settled(uint64_t row, enum feed_state state, const char *code,
                            const char *receipt, const json_t *answer, void *arg) {
    struct feed *f = arg;
    state = proven_state(f, row, state, answer);
    if (state == FEED_UNPROVEN || state == FEED_BAD_PROOF)
        code = feed_state_name(state);
    if (f->proof != NULL && !still_open(f, state, true))
        feed_proof_drop(f->proof, row);
    count_state(f, row, -1);
    enum vrs_err e = feed_journal_state(f->journal, row, state, code, receipt, &f->fault);
    count_state(f, row, 1);
    return e;
}

static enum vrs_err mark_seen(struct feed *f, uint64_t row) {
    if (row >= f->seen_cap) {
        uint64_t cap = f->seen_cap != 0 ? f->seen_cap : 4096;
        while (cap <= row)
            cap *= 2;
        unsigned char *seen = realloc(f->seen, (size_t)cap);
        if (seen == NULL)
            return err_fail(&f->fault, ERR_MEMORY, "rows");
        memset(seen + f->seen_cap, 0, (size_t)(cap - f->seen_cap));
        f->seen = seen;
        f->seen_cap = cap;
    }
    f->seen[row] = 1;
    f->seen_rows = row;
    return VRS_OK;
}

/* --- the batch --- */

static void batch_clear(struct feed *f) {
    for (size_t i = 0; i < f->items; i++)
        free(f->item[i].body);
    f->items = 0;
    f->batch_bytes = 0;
}

static enum vrs_err batch_send(struct feed *f) {
    if (f->items == 0)
        return VRS_OK;
    enum vrs_err e = feed_journal_sync(f->journal, &f->fault); /* J1 */
    if (e == VRS_OK)
        e = feed_post_batch(f->post, f->item, f->items, &f->fault);
    batch_clear(f);
    return e;
}

static enum vrs_err batch_add(struct feed *f, uint64_t row, const char key[FEED_KEY_SIZE],
                              json_t *doc) {
    struct buffer b;
    struct feed_item *i = &f->item[f->items];
    buffer_init(&b, 2 * BODY_MAX_BYTES);
    bool ok = json_object_set_new(doc, "idempotency_key", json_string(key)) == 0 &&
              json_write(&b, doc) && buffer_puts(&b, "\n");
    char *body = ok ? malloc(b.len) : NULL;
    if (body != NULL) {
        memcpy(body, b.data, b.len);
        *i = (struct feed_item){.row = row, .body = body, .len = b.len};
        memcpy(i->key, key, sizeof i->key);
        f->items++;
        f->batch_bytes += b.len;
    }
    buffer_fini(&b);
    if (body == NULL)
        return err_fail(&f->fault, ERR_MEMORY, "batch");
    bool full = f->items == (size_t)f->o->batch_rows || f->batch_bytes > BATCH_MAX_BYTES;
    return full ? batch_send(f) : VRS_OK;
}

/* --- one reading --- */

static enum vrs_err invalid(struct feed *f, const struct feed_reading *r) {
    f->progress.counts.invalid++;
    return feed_report_invalid(f->report, r);
}

static enum vrs_err send_reading(struct feed *f, const struct feed_reading *r) {
    char key[FEED_KEY_SIZE];
    json_t *doc = NULL;
    struct buffer content;
    buffer_init(&content, BODY_MAX_BYTES);
    enum vrs_err e = content_of(r, &doc, &content);
    if (e == ERR_R180) {
        const struct feed_reading too_long = {.row = r->row, .err = e, .column = ""};
        buffer_fini(&content);
        return invalid(f, &too_long);
    }
    if (e == VRS_OK) {
        count_state(f, r->row, -1);
        e = feed_journal_key(f->journal, r->row, content.data, content.len, key, &f->fault);
        count_state(f, r->row, 1);
    }
    buffer_fini(&content);
    const struct feed_entry *entry = feed_journal_find(f->journal, r->row);
    if (e == ERR_R141) {
        const struct feed_reading changed = {
            .row = r->row,
            .err = e,
            .column = "",
            .note =
                "前回の実行で送信した内容と違うため、送信していません。前回と同じ入力・設定で再実行"
                "するか、新しいジャーナルを使ってください。"};
        f->fault = (struct vrs_fault){0};
        json_decref(doc);
        return invalid(f, &changed);
    }
    if (e == VRS_OK && f->proof != NULL &&
        (!feed_state_stored((enum feed_state)entry->state) ||
         still_open(f, (enum feed_state)entry->state, true)))
        e = feed_proof_keep(f->proof, r->row, doc);
    if (e == VRS_OK && !feed_state_stored((enum feed_state)entry->state))
        e = batch_add(f, r->row, key, doc);
    json_decref(doc);
    return e;
}

static enum vrs_err on_reading(const struct feed_reading *r, void *arg) {
    struct feed *f = arg;
    f->progress.counts.read++;
    feed_progress_tick(&f->progress);
    enum vrs_err e = mark_seen(f, r->row);
    if (e != VRS_OK)
        return e;
    if (r->err != VRS_OK)
        return invalid(f, r);
    return f->o->check_only ? VRS_OK : send_reading(f, r);
}

static enum vrs_err on_idle(void *arg) {
    struct feed *f = arg;
    feed_progress_tick(&f->progress);
    return f->o->check_only ? VRS_OK : batch_send(f);
}

/* --- the end --- */

/* Asks for outcomes and proofs that were not there when the reading was stored: of what waits for a
 * coupon, or has no good proof, once, of what is pending or lacks its proof until the time is up. */
static enum vrs_err ask_open(struct feed *f) {
    int64_t until = clock_mono_ms() + f->o->outcome_wait_s * 1000;
    for (bool first = true; first || clock_mono_ms() < until; first = false) {
        for (uint64_t row = 1; row <= feed_journal_rows(f->journal); row++) {
            const struct feed_entry *e = feed_journal_find(f->journal, row);
            if (e == NULL || e->receipt == NULL || !still_open(f, (enum feed_state)e->state, first))
                continue;
            char receipt[FEED_RECEIPT_SIZE];
            (void)snprintf(receipt, sizeof receipt, "%s", e->receipt);
            enum vrs_err err = feed_post_ask(f->post, row, receipt, &f->fault);
            if (err != VRS_OK)
                return err;
            if (!first && clock_mono_ms() >= until)
                break;
        }
        const struct feed_counts *c = &f->progress.counts;
        if (c->state[FEED_PENDING] == 0 && (f->proof == NULL || c->state[FEED_UNPROVEN] == 0))
            break;
        f->progress.waiting =
            c->state[FEED_PENDING] > 0 ? "登録結果を待っています" : "登録の証明を待っています";
        bool go_on = feed_post_pause(f->post, ASK_EVERY_MS);
        f->progress.waiting = NULL;
        if (!go_on)
            return err_fail(&f->fault, ERR_TIMEOUT, "中断しました");
    }
    return VRS_OK;
}

static void summary(struct feed *f, enum vrs_err e, uint64_t lines) {
    const struct feed_counts *c = &f->progress.counts;
    feed_progress_clear(&f->progress);
    if (e != VRS_OK)
        (void)fprintf(stderr, "ocr-ingest: %s（%s）%s\n",
                      f->fault.err != VRS_OK ? f->fault.text : err_title(e), err_name(e),
                      e == ERR_TIMEOUT ? "" : err_detail_ja(e));
    if (f->o->check_only) {
        (void)fprintf(stderr,
                      "検査のみ: %" PRIu64 "行  送信できる行 %" PRIu64 "  送信できない行 %" PRIu64
                      "\n",
                      c->read, c->read - c->invalid, c->invalid);
    } else {
        int64_t ms = clock_mono_ms() - f->progress.started_ms;
        (void)fprintf(
            stderr,
            "読み取り %" PRIu64 "行（%.1f秒）: 登録 %" PRIu64 "  登録済み（重複） %" PRIu64
            "  要確認 %" PRIu64 "  接種券待ち %" PRIu64 "  矛盾 %" PRIu64 "  受付不可 %" PRIu64
            "  未送信 %" PRIu64 "  結果待ち %" PRIu64 "  未完了 %" PRIu64,
            c->read, (double)ms / 1000.0, c->state[FEED_RECORDED] + c->state[FEED_PROVEN],
            c->state[FEED_DUPLICATE] + c->state[FEED_DUPLICATE_PROVEN], c->state[FEED_REVIEW],
            c->state[FEED_WAITING], c->state[FEED_CONFLICT], c->state[FEED_REFUSED], c->invalid,
            c->state[FEED_PENDING], c->state[FEED_KEYED]);
        if (f->proof != NULL)
            (void)fprintf(stderr, "  証明済み %" PRIu64 "  証明待ち %" PRIu64 "  証明不正 %" PRIu64,
                          c->state[FEED_PROVEN] + c->state[FEED_DUPLICATE_PROVEN],
                          c->state[FEED_UNPROVEN], c->state[FEED_BAD_PROOF]);
        (void)fputs("\n", stderr);
    }
    if (lines > 0)
        (void)fprintf(stderr, "人の確認が必要な行: %" PRIu64 "行 → %s\n", lines, f->o->report_file);
    if (!f->o->check_only && (e != VRS_OK || feed_counts_open(c) > 0))
        (void)fputs("未完了です。同じ入力とジャーナルで再実行すると、続きから再開します。\n",
                    stderr);
}

static enum vrs_err open_data(struct feed *f) {
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/municipalities.csv", f->o->data_dir);
    enum vrs_err e = municipality_list_open(path, &f->municipalities, &f->fault);
    if (e != VRS_OK)
        return e;
    (void)snprintf(path, sizeof path, "%s/vaccines.json", f->o->data_dir);
    return vaccine_list_open(path, &f->vaccines, &f->fault);
}

static enum vrs_err open_way(struct feed *f) {
    const struct feed_post_options po = {
        .o = f->o, .progress = &f->progress, .stop = f->stop, .settled = settled, .arg = f};
    enum vrs_err e = VRS_OK;
    if (f->o->log_keys_file[0] != '\0')
        e = feed_proof_open(f->o->log_keys_file, &f->proof, &f->fault);
    else
        (void)fputs(
            "ocr-ingest: 登録の証明を確認しません（--log-keys-file で公開鍵を指定してください）\n",
            stderr);
    if (e == VRS_OK)
        e = feed_journal_open(f->o->journal_file, &f->journal, &f->fault);
    if (e != VRS_OK)
        return e;
    for (uint64_t row = 1; row <= feed_journal_rows(f->journal); row++)
        count_state(f, row, 1);
    const struct feed_counts *c = &f->progress.counts;
    f->progress.counts.earlier =
        feed_counts_done(c) + feed_counts_attention(c) + c->state[FEED_PENDING];
    return feed_post_open(&po, &f->post, &f->fault);
}

static enum vrs_err run(struct feed *f, bool *whole) {
    const struct feed_sink sink = {.reading = on_reading, .idle = on_idle, .arg = f};
    enum vrs_err e = open_data(f);
    if (e == VRS_OK && !f->o->check_only)
        e = open_way(f);
    if (e == VRS_OK)
        e = feed_source_run(f->o, f->municipalities, f->vaccines, &sink, f->stop, &f->fault);
    *whole = e == VRS_OK;
    if (e == VRS_OK && !f->o->check_only)
        e = batch_send(f);
    if (e == VRS_OK && !f->o->check_only)
        e = ask_open(f);
    if (f->journal != NULL) {
        enum vrs_err synced = feed_journal_sync(f->journal, &f->fault);
        e = e != VRS_OK ? e : synced;
    }
    return e;
}

enum feed_exit feed_run(const struct feed_options *o, const volatile sig_atomic_t *stop) {
    enum feed_exit result = FEED_EXIT_OPEN;
    bool whole = false;
    uint64_t lines = 0;
    struct feed *f = calloc(1, sizeof *f);
    struct feed_report *report = feed_report_open(o->data_dir);
    if (f == NULL || report == NULL) {
        (void)fputs("ocr-ingest: メモリが足りません\n", stderr);
        goto out;
    }
    f->o = o;
    f->stop = stop;
    f->report = report;
    feed_progress_begin(&f->progress, feed_source_estimate(o), o->progress_s);
    enum vrs_err e = run(f, &whole);
    if (o->check_only || f->journal != NULL) {
        struct vrs_fault fault = {0};
        enum vrs_err written = feed_report_write(report, f->journal, whole ? f->seen : NULL,
                                                 f->seen_rows, o->report_file, &lines, &fault);
        if (written != VRS_OK && e == VRS_OK) {
            e = written;
            f->fault = fault;
        }
    }
    summary(f, e, lines);
    const struct feed_counts *c = &f->progress.counts;
    if (e == VRS_OK && feed_counts_open(c) == 0)
        result = lines > 0 || feed_counts_attention(c) > 0 ? FEED_EXIT_PERSON : FEED_EXIT_DONE;
out:
    if (f != NULL) {
        batch_clear(f);
        feed_post_close(&f->post);
        feed_proof_close(&f->proof);
        feed_journal_close(&f->journal);
        vaccine_list_close(&f->vaccines);
        municipality_list_close(&f->municipalities);
        free(f->seen);
        free(f);
    }
    feed_report_close(&report);
    return result;
}
