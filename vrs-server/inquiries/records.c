/* 情報提供等の記録: what was provided to other municipalities and by them.  Reading it is itself an
 * entry. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/csv.h"
#include "lib/text.h"
#include "partitions/exchange.h"
#include "vrs-server/handlers.h"
#include "vrs-server/request.h"
#include "vrs-server/views.h"

enum { PAGE = 500 };

struct page {
    json_t *rows;
    struct buffer *csv; /* NULL: JSON */
    uint64_t last;
    uint64_t count;
    struct record_id subject[PAGE]; /* the persons shown */
    size_t subjects;
};

static enum vrs_err cursor_of(struct inside_request *in, uint64_t *out) {
    const char *after = http_query(in->rq, "after");
    *out = 0;
    return after == NULL || (text_u64(&after, INT64_MAX, out) && *after == '\0') ? VRS_OK
                                                                                 : ERR_BAD_REQUEST;
}

static bool wants_csv(struct inside_request *in) {
    const char *accept = http_header(in->rq, "Accept");
    return accept != NULL && strstr(accept, "text/csv") != NULL;
}

static enum vrs_err end_page(struct inside_request *in, struct page *page, const char *name) {
    if (page->csv != NULL) {
        in->content_type = "text/csv; charset=utf-8";
        return in->answer.failed ? ERR_TOO_LARGE : VRS_OK;
    }
    char next[24];
    (void)snprintf(next, sizeof next, "%llu", (unsigned long long)page->last);
    return inside_json(
        in, json_pack("{s:O,s:s?}", name, page->rows, "next", page->count >= PAGE ? next : NULL));
}

/* --- 情報提供等の記録 --- */

static enum vrs_err add_provision(const struct provision *v, void *arg) {
    struct page *page = arg;
    char id[33], at[25], sequence[24], doses[24];
    record_id_format(&v->inquiry, id);
    clock_format_rfc3339(v->at_ms, at);
    (void)snprintf(sequence, sizeof sequence, "%llu", (unsigned long long)v->sequence);
    (void)snprintf(doses, sizeof doses, "%llu", (unsigned long long)v->doses);
    const char *side = v->asked_here ? "asked" : "provided";
    page->last = v->sequence;
    page->count++;
    if (v->has_person && page->subjects < PAGE)
        page->subject[page->subjects++] = v->person;
    else if (v->has_person) /* a file of so many is about all of them */
        page->subject[0] = inside_everybody;
    if (page->csv != NULL) {
        const char *cells[] = {sequence,     at,          side,          v->other,
                               v->addressee, v->purpose,  v->basis_kind, v->basis_document,
                               v->user,      v->terminal, v->result,     doses};
        csv_write_row(page->csv, CSV_FOR_PEOPLE, cells, sizeof cells / sizeof *cells);
        return VRS_OK;
    }
    json_t *o = json_pack("{s:I,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:I}", "sequence",
                          (json_int_t)v->sequence, "at", at, "side", side, "other_municipality",
                          v->other, "addressee_number", v->addressee, "purpose", v->purpose,
                          "basis", v->basis_kind, "document", v->basis_document, "user", v->user,
                          "result", v->result, "inquiry_id", id, "doses", (json_int_t)v->doses);
    return o != NULL && json_array_append_new(page->rows, o) == 0 ? VRS_OK : ERR_MEMORY;
}

static enum vrs_err provisions_run(struct inside_request *in, struct partition *p) {
    static const char *const header[] = {"連番",     "日時", "区分",     "相手自治体コード",
                                         "宛名番号", "事務", "根拠区分", "根拠文書",
                                         "担当者",   "端末", "結果",     "件数"};
    struct page page = {.rows = json_array()};
    uint64_t after;
    enum vrs_err e = cursor_of(in, &after);
    if (wants_csv(in)) {
        page.csv = &in->answer;
        csv_write_bom(page.csv, CSV_FOR_PEOPLE);
        csv_write_row(page.csv, CSV_FOR_PEOPLE, header, sizeof header / sizeof *header);
    }
    if (e == VRS_OK)
        e = provisions_read(p, after, page.csv != NULL ? UINT64_MAX / 2 : PAGE, add_provision,
                            &page);
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, page.subject,
                       record_id_equal(&page.subject[0], &inside_everybody) ? 1 : page.subjects,
                       page.count, "ok", NULL);
    if (e == VRS_OK)
        e = end_page(in, &page, "provisions");
    json_decref(page.rows);
    return e;
}

void provisions_list(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "provision.list";
    inside_run(in, provisions_run);
}
