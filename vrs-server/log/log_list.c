/* Reading the access log: the whole of it by filters, and what a person may be shown of it — who
 * looked, when, why.  Reading is itself an entry.
 *
 * A request looks at so many entries at most; "next" says where to go on, also when a filter has let
 * few of them pass. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/csv.h"
#include "lib/text.h"
#include "vrs-server/doses/prove.h"
#include "vrs-server/handlers.h"
#include "vrs-server/log/act.h"
#include "vrs-server/log/log_filter.h"
#include "vrs-server/request.h"

enum { PAGE = 500, STEP = 500, LOOK_MAX = 20000 };

struct page {
    struct log_filter filter;
    json_t *rows;
    struct buffer *csv; /* NULL: JSON */
    uint64_t most;      /* rows */
    uint64_t count, looked, seen_in_step;
    uint64_t last; /* sequence of the last entry that was looked at */
    bool full;
};

static bool wants(struct inside_request *in, const char *type) {
    const char *accept = http_header(in->rq, "Accept");
    return accept != NULL && strstr(accept, type) != NULL;
}

/* The time as people in Japan write it: 2021-07-01 12:04:05. */
static void format_jst(int64_t at_ms, char out[24]) {
    char t[15];
    clock_format_jst14(at_ms, t);
    (void)snprintf(out, 24, "%.4s-%.2s-%.2s %.2s:%.2s:%.2s", t, t + 4, t + 6, t + 8, t + 10,
                   t + 12);
}

/* What an entry does not have is "-" there, and an empty cell of a spreadsheet. */
static const char *cell(const char *text) {
    return text != NULL && strcmp(text, "-") == 0 ? "" : text;
}

/* --- the log of the municipality --- */

static void csv_entry(struct buffer *b, const struct log_read *r) {
    char at[25], jst[24], sequence[24], count[24];
    clock_format_rfc3339(r->at_ms, at);
    format_jst(r->at_ms, jst);
    (void)snprintf(sequence, sizeof sequence, "%llu", (unsigned long long)r->seq);
    (void)snprintf(count, sizeof count, "%llu", (unsigned long long)r->count);
    const char *cells[] = {sequence,
                           jst,
                           at,
                           cell(r->user),
                           cell(r->section),
                           cell(r->terminal),
                           act_source_name(r->source),
                           act_name(r->act),
                           r->act,
                           act_purpose_name(r->purpose),
                           act_result_name(r->result),
                           cell(r->result),
                           count,
                           cell(r->addressee),
                           cell(r->four_items),
                           cell(r->detail)};
    csv_write_row(b, CSV_FOR_PEOPLE, cells, sizeof cells / sizeof *cells);
}

static json_t *view_entry(const struct log_read *r) {
    char at[25];
    clock_format_rfc3339(r->at_ms, at);
    json_t *o =
        json_pack("{s:I,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:I}", "sequence",
                  (json_int_t)r->seq, "at", at, "user", r->user, "section", r->section, "terminal",
                  r->terminal, "source", r->source, "act", r->act, "purpose", r->purpose, "result",
                  r->result, "addressee_number", r->addressee, "four_items", r->four_items,
                  "detail", r->detail, "count", (json_int_t)r->count);
    if (o != NULL) {
        (void)json_object_set_new(o, "act_name", json_string(act_name(r->act)));
        (void)json_object_set_new(o, "purpose_name", json_string(act_purpose_name(r->purpose)));
        (void)json_object_set_new(o, "result_name", json_string(act_result_name(r->result)));
    }
    return o;
}

static enum vrs_err add_entry(const struct log_read *r, void *arg) {
    struct page *page = arg;
    page->seen_in_step++;
    if (page->full)
        return VRS_OK;
    page->last = r->seq;
    page->looked++;
    if (!log_filter_passes(&page->filter, r))
        return VRS_OK;
    page->full = ++page->count >= page->most;
    if (page->csv != NULL) {
        csv_entry(page->csv, r);
        return page->csv->failed ? ERR_TOO_LARGE : VRS_OK;
    }
    json_t *o = view_entry(r);
    return o != NULL && json_array_append_new(page->rows, o) == 0 ? VRS_OK : ERR_MEMORY;
}

static const char *const log_header[] = {"連番",        "日時（日本時間）",
                                         "日時（UTC）", "利用者ID",
                                         "部署",        "端末",
                                         "区分",        "操作",
                                         "操作コード",  "目的",
                                         "結果",        "結果コード",
                                         "件数",        "宛名番号",
                                         "4情報",       "詳細"};

static enum vrs_err list_run(struct inside_request *in, struct partition *p) {
    struct page page = {.rows = json_array(), .most = PAGE};
    char next[24] = "";
    bool end = false;
    enum vrs_err e = log_filter_read(in->rq, &page.filter);
    if (wants(in, "text/csv")) {
        page.csv = &in->answer;
        page.most = LOOK_MAX;
        csv_write_bom(page.csv, CSV_FOR_PEOPLE);
        csv_write_row(page.csv, CSV_FOR_PEOPLE, log_header, sizeof log_header / sizeof *log_header);
    }
    page.last = page.filter.after;
    if (e == VRS_OK && page.last == 0 && page.filter.from_ms > INT64_MIN)
        e = log_filter_seek(p, page.filter.from_ms, &page.last);
    while (e == VRS_OK && !end && !page.full && page.looked < LOOK_MAX) {
        page.seen_in_step = 0;
        e = access_log_read(p, page.last, STEP, add_entry, &page);
        end = page.seen_in_step < STEP && !page.full;
    }
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, NULL, 0, page.count, "ok", log_filter_text(&page.filter));
    if (!end)
        (void)snprintf(next, sizeof next, "%llu", (unsigned long long)page.last);
    if (e == VRS_OK && page.csv != NULL) {
        in->content_type = "text/csv; charset=utf-8";
        (void)snprintf(in->next, sizeof in->next, "%s", next);
    } else if (e == VRS_OK) {
        e = inside_json(in, json_pack("{s:O,s:s?}", "entries", page.rows, "next",
                                      next[0] != '\0' ? next : NULL));
    }
    json_decref(page.rows);
    return e;
}

void access_log_list(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "log.read";
    in->purpose = "log_review";
    if (inside_scope(in))
        inside_run(in, list_run);
}

/* --- what a person may be shown: officers by section and user id, nothing of other persons --- */

struct shown {
    json_t *rows;
    const char *scope;
    struct partition *partition; /* for proofs; NULL: none are wanted */
    struct log_proof proof;      /* its head is the partition's last signed one */
};

/* That the entry stands in the log, for anybody to check later: its commitment, the hash of its
 * seal, the path, the signed head.  An entry behind the head has none yet. */
static enum vrs_err add_proof(struct shown *s, const struct log_read *r, json_t *o) {
    char commitment[2 * CRYPTO_HASH_BYTES + 1];
    if (s->proof.head.size < r->seq)
        return VRS_OK;
    s->proof.entry = r->seq;
    s->proof.entry_hash = r->entry_hash;
    enum vrs_err e = access_log_path(s->partition, r->seq, s->proof.head.size, s->proof.path,
                                     &s->proof.path_count);
    crypto_hex(r->commitment.bytes, sizeof r->commitment.bytes, commitment);
    if (e == VRS_OK && (json_object_set_new(o, "commitment", json_string(commitment)) != 0 ||
                        json_object_set_new(o, "proof", proof_json(&s->proof)) != 0))
        e = ERR_MEMORY;
    return e;
}

static enum vrs_err show_entry(const struct log_read *r, void *arg) {
    struct shown *s = arg;
    char at[25], jst[24];
    clock_format_rfc3339(r->at_ms, at);
    format_jst(r->at_ms, jst);
    json_t *o = json_pack(
        "{s:I,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "sequence", (json_int_t)r->seq,
        "at", at, "at_japan", jst, "act", r->act, "act_name", act_name(r->act), "purpose",
        r->purpose, "purpose_name", act_purpose_name(r->purpose), "section", r->section, "user",
        r->user, "terminal", r->terminal, "source_name", act_source_name(r->source), "result",
        r->result, "result_name", act_result_name(r->result), "scope", s->scope);
    enum vrs_err e = o != NULL && s->partition != NULL ? add_proof(s, r, o) : VRS_OK;
    if (e != VRS_OK) {
        json_decref(o);
        return e;
    }
    return o != NULL && json_array_append_new(s->rows, o) == 0 ? VRS_OK : ERR_MEMORY;
}

static json_int_t sequence_at(const json_t *rows, size_t i) {
    return json_integer_value(json_object_get(json_array_get(rows, i), "sequence"));
}

/* Both lists are in order; so is what becomes of them. */
static enum vrs_err merge(const json_t *own, const json_t *all, json_t *out) {
    size_t i = 0, j = 0, n = json_array_size(own), m = json_array_size(all);
    while (i < n || j < m) {
        bool first = j == m || (i < n && sequence_at(own, i) < sequence_at(all, j));
        if (json_array_append(out, first ? json_array_get(own, i++) : json_array_get(all, j++)) !=
            0)
            return ERR_MEMORY;
    }
    return VRS_OK;
}

static enum vrs_err entries_of(struct partition *p, const struct record_id *person, bool proofs,
                               json_t *out) {
    struct shown own = {.rows = json_array(), .scope = "本人の記録"};
    struct shown all = {.rows = json_array(), .scope = "住民全体を対象とした操作"};
    if (proofs && prove_head(p, &own.proof.head)) {
        all.proof.head = own.proof.head;
        own.partition = all.partition = p;
    }
    enum vrs_err e = access_log_of_person(p, person, show_entry, &own);
    if (e == VRS_OK)
        e = access_log_of_person(p, &inside_everybody, show_entry, &all);
    if (e == VRS_OK)
        e = merge(own.rows, all.rows, out);
    json_decref(own.rows);
    json_decref(all.rows);
    return e;
}

static enum vrs_err person_csv(struct buffer *b, const json_t *rows) {
    static const char *const header[] = {
        "連番", "日時（日本時間）", "操作", "目的", "部署", "利用者ID", "端末", "区分", "結果",
        "対象"};
    static const char *const names[] = {"sequence",    "at_japan", "act_name", "purpose_name",
                                        "section",     "user",     "terminal", "source_name",
                                        "result_name", "scope"};
    size_t i;
    const json_t *row;
    csv_write_bom(b, CSV_FOR_PEOPLE);
    csv_write_row(b, CSV_FOR_PEOPLE, header, sizeof header / sizeof *header);
    json_array_foreach(rows, i, row) {
        const char *cells[sizeof names / sizeof *names];
        char sequence[24];
        (void)snprintf(sequence, sizeof sequence, "%lld", (long long)sequence_at(rows, i));
        cells[0] = sequence;
        for (size_t n = 1; n < sizeof names / sizeof *names; n++)
            cells[n] = cell(json_string_value(json_object_get(row, names[n])));
        csv_write_row(b, CSV_FOR_PEOPLE, cells, sizeof cells / sizeof *cells);
    }
    return b->failed ? ERR_TOO_LARGE : VRS_OK;
}

/* An entry a line; those behind the signed head have no proof yet. */
static enum vrs_err person_lines(struct buffer *b, const json_t *rows) {
    size_t i;
    const json_t *row;
    json_array_foreach(rows, i, row) {
        if (!json_write(b, row) || !buffer_puts(b, "\n"))
            return ERR_TOO_LARGE;
    }
    return VRS_OK;
}

static enum vrs_err person_run(struct inside_request *in, struct partition *p) {
    struct record_id id;
    struct person person;
    json_t *rows = json_array();
    memset(&person, 0, sizeof person);
    enum vrs_err e = inside_id(in, "id", &id);
    if (e == VRS_OK)
        e = person_get(p, &id, &person);
    if (e == VRS_OK)
        e = entries_of(p, &id, wants(in, "application/x-ndjson"), rows);
    if (e == VRS_OK)
        e = inside_log(in, p, &person, &person.id, 1, json_array_size(rows), "ok", NULL);
    if (e == VRS_OK && wants(in, "text/csv")) {
        in->content_type = "text/csv; charset=utf-8";
        e = person_csv(&in->answer, rows);
    } else if (e == VRS_OK && wants(in, "application/x-ndjson")) {
        in->content_type = "application/x-ndjson";
        e = person_lines(&in->answer, rows);
    } else if (e == VRS_OK) {
        e = inside_json(in, json_pack("{s:O}", "entries", rows));
    }
    json_decref(rows);
    person_wipe(&person);
    return e;
}

void access_log_resident(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "log.read_person";
    if (!inside_scope(in))
        return;
    if (wants(in, "text/csv")) {
        http_set_header(rq, "Content-Disposition", "attachment; filename=\"access-log.csv\"");
    } else if (wants(in, "application/x-ndjson")) {
        http_set_header(rq, "Content-Disposition", "attachment; filename=\"access-log.ndjson\"");
        /* What was committed before is signed, if the signer is there. */
        in->pool_flags = POOL_FOLLOWED;
    }
    inside_run(in, person_run);
}
