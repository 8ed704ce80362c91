/* Downloads: 予防接種台帳向け出力 (the one official layout; byte-exact) and the list of doses that
 * wait for their coupon.  No column of either can hold a 個人番号 (C110). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/csv.h"
#include "lib/text.h"
#include "vrs-server/apply.h"
#include "vrs-server/handlers.h"
#include "vrs-server/request.h"
#include "vrs-server/views.h"

/* Widths of the layout, in characters. */
enum { SITE_CHARS = 30, PHYSICIAN_CHARS = 20, MAKER_CHARS = 20, LOT_CHARS = 20 };
enum { DOSE_COLUMNS = 8, MAX_DOSES = 30, CELL_BYTES = 128 };

struct ledger {
    struct inside_request *in;
    struct partition *partition;
    char cell[1 + MAX_DOSES * DOSE_COLUMNS][CELL_BYTES]; /* one person's row */
    size_t cells;
    uint64_t rows;
};

/* At most `chars` characters of s; variation selectors stay with their character. */
static void cut(char out[CELL_BYTES], const char *s, size_t chars) {
    char part[CELL_BYTES];
    size_t end = 0;
    for (size_t i = 0; s[i] != '\0' && i < CELL_BYTES - 1;) {
        size_t n = 1;
        while (((unsigned char)s[i + n] & 0xC0) == 0x80)
            n++;
        if (i + n >= CELL_BYTES)
            break;
        memcpy(part, s, i + n);
        part[i + n] = '\0';
        if (text_chars(part) > chars)
            break;
        i += n;
        end = i;
    }
    memcpy(out, s, end);
    out[end] = '\0';
}

static enum vrs_err add_dose(struct claim *c, void *arg) {
    struct ledger *l = arg;
    if (!claim_in_force(c) || !c->given || l->cells + DOSE_COLUMNS > sizeof l->cell / CELL_BYTES)
        return VRS_OK;
    const struct vaccine *v = vaccine_find(l->in->server->vaccines, c->product);
    char(*cell)[CELL_BYTES] = &l->cell[l->cells];
    clock_format_jst14(c->registered_ms, cell[0]);
    clock_format_date_plain(c->vaccinated_on, cell[1]);
    cut(cell[2], c->coupon.number.digits, 10);
    cut(cell[3], c->coupon.municipality.digits, 6);
    cut(cell[4], c->site, SITE_CHARS);
    cut(cell[5], c->physician, PHYSICIAN_CHARS);
    cut(cell[6], v != NULL ? v->maker_ja : "", MAKER_CHARS);
    cut(cell[7], c->lot, LOT_CHARS);
    l->cells += DOSE_COLUMNS;
    return VRS_OK;
}

static enum vrs_err add_person(struct person *person, void *arg) {
    struct ledger *l = arg;
    const char *cells[sizeof l->cell / CELL_BYTES];
    cut(l->cell[0], person->addressee, 20);
    l->cells = 1;
    enum vrs_err e = claims_of_person(l->partition, &person->id, add_dose, l);
    if (e != VRS_OK || l->cells == 1)
        return e; /* a person without a dose has no row */
    for (size_t i = 0; i < l->cells; i++)
        cells[i] = l->cell[i];
    csv_write_row(&l->in->answer, CSV_FOR_MACHINES, cells, l->cells);
    l->rows++;
    return l->in->answer.failed ? ERR_TOO_LARGE : VRS_OK;
}

static enum vrs_err ledger_run(struct inside_request *in, struct partition *p) {
    struct ledger *l = calloc(1, sizeof *l);
    if (l == NULL)
        return ERR_MEMORY;
    l->in = in;
    l->partition = p;
    enum vrs_err e = person_walk(p, add_person, l);
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, &inside_everybody, 1, l->rows, "ok", "ledger.csv");
    in->content_type = "text/csv; charset=utf-8";
    secret_wipe(l, sizeof *l);
    free(l);
    return e;
}

void exports_ledger(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "export.ledger";
    http_set_header(rq, "Content-Disposition", "attachment; filename=\"ledger.csv\"");
    inside_run(in, ledger_run);
}

struct waiting {
    struct inside_request *in;
    uint64_t rows;
    uint64_t last;
};

static enum vrs_err add_waiting(struct claim *c, void *arg) {
    struct waiting *w = arg;
    char turn[4], day[9], at[15];
    const struct vaccine *v = vaccine_find(w->in->server->vaccines, c->product);
    (void)snprintf(turn, sizeof turn, "%d", c->coupon.dose_number);
    clock_format_date_plain(c->vaccinated_on, day);
    clock_format_jst14(c->registered_ms, at);
    const char *cells[] = {at,
                           c->coupon.municipality.digits,
                           c->coupon.number.digits,
                           turn,
                           c->given ? "1" : "2",
                           day,
                           v != NULL ? v->maker_ja : "",
                           c->lot,
                           c->site};
    csv_write_row(&w->in->answer, CSV_FOR_PEOPLE, cells, sizeof cells / sizeof *cells);
    w->rows++;
    w->last = c->order;
    return w->in->answer.failed ? ERR_TOO_LARGE : VRS_OK;
}

static enum vrs_err waiting_run(struct inside_request *in, struct partition *p) {
    static const char *const header[] = {"登録日時",         "自治体コード", "接種券番号",
                                         "接種回",           "接種状況",     "接種日",
                                         "ワクチンメーカー", "ロット番号",   "会場"};
    struct waiting w = {.in = in};
    csv_write_bom(&in->answer, CSV_FOR_PEOPLE);
    csv_write_row(&in->answer, CSV_FOR_PEOPLE, header, sizeof header / sizeof *header);
    enum vrs_err e = claims_in_state(p, CLAIM_WAITING, 0, UINT64_MAX / 2, add_waiting, &w);
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, NULL, 0, w.rows, "ok", "waiting.csv");
    in->content_type = "text/csv; charset=utf-8";
    return e;
}

void exports_waiting(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "export.waiting";
    http_set_header(rq, "Content-Disposition", "attachment; filename=\"waiting.csv\"");
    inside_run(in, waiting_run);
}
