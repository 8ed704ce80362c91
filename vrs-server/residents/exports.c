/* Downloads: 予防接種台帳向け出力 (the one official layout; byte-exact), the list of doses that wait
 * for their coupon, and the hash list by which a municipality compares its own register (C98).  No
 * column of any can hold a 個人番号 (C110).  Where the municipality wants it, each needs a second
 * person's approval, which one download uses up (C54). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/csv.h"
#include "lib/text.h"
#include "vrs-server/doses/apply.h"
#include "vrs-server/handlers.h"
#include "vrs-server/request.h"
#include "vrs-server/second.h"
#include "vrs-server/setting.h"
#include "vrs-server/views.h"

/* Widths of the layout, in characters. */
enum { SITE_CHARS = 30, PHYSICIAN_CHARS = 20, MAKER_CHARS = 20, LOT_CHARS = 20 };
enum { DOSE_COLUMNS = 8, MAX_DOSES = 30, CELL_BYTES = 128 };

static enum vrs_err allowed(struct inside_request *in, struct partition *p, const char *act) {
    struct second_request approval;
    int64_t needed = 0;
    (void)in;
    enum vrs_err e = setting_get(p, SETTING_EXPORT_APPROVAL, &needed);
    return e == VRS_OK && needed != 0 ? second_use(p, "export", NULL, act, &approval) : e;
}

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
    enum vrs_err e = allowed(in, p, "ledger.csv");
    if (e == VRS_OK)
        e = person_walk(p, add_person, l);
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
    enum vrs_err e = allowed(in, p, "waiting.csv");
    if (e == VRS_OK)
        e = claims_in_state(p, CLAIM_WAITING, 0, UINT64_MAX / 2, add_waiting, &w);
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

/* --- comparing with the register (原本照合): one line a person, nothing of the record itself ---
 *
 * The hash is SHA-256 over these lines, each ended by LF, in UTF-8, U+3000 as a space, an absent
 * value empty: 宛名番号, 氏名, カナ, 生年月日, 性別 (1 2 9), 住所, 転出日, 転出先, 死亡日, 消除日;
 * then "coupon,NUMBER" by number; then
 * "dose,DATE,TURN,MUNICIPALITY,COUPON,STATUS (1 2),PRODUCT,LOT" in force, by these columns. */

enum { MAX_LINES = 120, LINE_BYTES = 200 };

struct record_text {
    char line[MAX_LINES][LINE_BYTES];
    size_t lines, doses;
};

struct reconciliation {
    struct inside_request *in;
    struct partition *partition;
    struct record_text text;
    uint64_t rows;
};

static enum vrs_err line_of_coupon(const struct person_coupon *c, void *arg) {
    struct record_text *t = arg;
    if (t->lines == MAX_LINES)
        return ERR_TOO_LARGE;
    (void)snprintf(t->line[t->lines++], LINE_BYTES, "coupon,%s", c->number.digits);
    return VRS_OK;
}

static enum vrs_err line_of_dose(struct claim *c, void *arg) {
    struct record_text *t = arg;
    char day[11];
    if (!claim_in_force(c))
        return VRS_OK;
    if (t->lines == MAX_LINES)
        return ERR_TOO_LARGE;
    clock_format_date(c->vaccinated_on, day);
    (void)snprintf(t->line[t->lines++], LINE_BYTES, "dose,%s,%d,%s,%s,%s,%s,%s", day,
                   c->coupon.dose_number, c->coupon.municipality.digits, c->coupon.number.digits,
                   c->given ? "1" : "2", c->product, c->lot);
    t->doses++;
    return VRS_OK;
}

static int by_text(const void *a, const void *b) {
    return strcmp(a, b);
}

/* U+3000 as a space, and the LF. */
static void digest_line(struct crypto_digest *d, const char *s) {
    static const char wide[] = "\xe3\x80\x80";
    while (*s != '\0') {
        const char *space = strstr(s, wide);
        size_t n = space != NULL ? (size_t)(space - s) : strlen(s);
        crypto_digest_add(d, s, n);
        if (space != NULL)
            crypto_digest_add(d, " ", 1);
        s += n + (space != NULL ? sizeof wide - 1 : 0);
    }
    crypto_digest_add(d, "\n", 1);
}

static void digest_date(struct crypto_digest *d, struct civil_date day) {
    char text[11] = "";
    if (person_date_set(day))
        clock_format_date(day, text);
    digest_line(d, text);
}

static enum vrs_err digest_person(const struct person *p, const struct record_text *t,
                                  char hex[2 * CRYPTO_HASH_BYTES + 1]) {
    uint8_t hash[CRYPTO_HASH_BYTES];
    struct crypto_digest *d = crypto_digest_open();
    if (d == NULL)
        return ERR_MEMORY;
    digest_line(d, p->addressee);
    digest_line(d, p->name);
    digest_line(d, p->kana);
    digest_date(d, p->birth);
    digest_line(d, p->sex == SEX_MALE ? "1" : p->sex == SEX_FEMALE ? "2" : "9");
    digest_line(d, p->address);
    digest_date(d, p->moved_out_on);
    digest_line(d, p->moved_out_to);
    digest_date(d, p->died_on);
    digest_date(d, p->removed_on);
    for (size_t i = 0; i < t->lines; i++)
        digest_line(d, t->line[i]);
    crypto_digest_close(&d, hash);
    crypto_hex(hash, sizeof hash, hex);
    return VRS_OK;
}

static enum vrs_err reconcile_person(struct person *person, void *arg) {
    struct reconciliation *r = arg;
    struct record_text *t = &r->text;
    char hex[2 * CRYPTO_HASH_BYTES + 1], doses[24], row[33], key[48];
    t->lines = t->doses = 0;
    enum vrs_err e = coupons_of(r->partition, &person->id, line_of_coupon, t);
    size_t coupons = t->lines;
    if (e == VRS_OK)
        e = claims_of_person(r->partition, &person->id, line_of_dose, t);
    if (e != VRS_OK)
        return e;
    qsort(t->line[0], coupons, LINE_BYTES, by_text);
    qsort(t->line[coupons], t->lines - coupons, LINE_BYTES, by_text);
    e = digest_person(person, t, hex);
    record_id_format(&person->id, row);
    (void)snprintf(key, sizeof key, "%s", person->addressee[0] != '\0' ? person->addressee : row);
    (void)snprintf(doses, sizeof doses, "%zu", t->doses);
    const char *cells[] = {key, doses, hex};
    csv_write_row(&r->in->answer, CSV_FOR_MACHINES, cells, sizeof cells / sizeof *cells);
    r->rows++;
    return e == VRS_OK && r->in->answer.failed ? ERR_TOO_LARGE : e;
}

static enum vrs_err reconciliation_run(struct inside_request *in, struct partition *p) {
    static const char *const header[] = {"宛名番号", "接種件数", "SHA-256"};
    struct reconciliation *r = calloc(1, sizeof *r);
    if (r == NULL)
        return ERR_MEMORY;
    r->in = in;
    r->partition = p;
    csv_write_row(&in->answer, CSV_FOR_MACHINES, header, sizeof header / sizeof *header);
    enum vrs_err e = allowed(in, p, "reconciliation.csv");
    if (e == VRS_OK)
        e = person_walk(p, reconcile_person, r);
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, &inside_everybody, 1, r->rows, "ok", "reconciliation.csv");
    in->content_type = "text/csv; charset=utf-8";
    secret_wipe(r, sizeof *r);
    free(r);
    return e;
}

void exports_reconciliation(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "export.reconciliation";
    http_set_header(rq, "Content-Disposition", "attachment; filename=\"reconciliation.csv\"");
    inside_run(in, reconciliation_run);
}
