#include "vrs-server/residents/import_rows.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/secret.h"
#include "lib/text.h"
#include "ocr-ingest/line.h"
#include "vrs-server/doses/apply.h"

enum resident_column {
    R_ACTION,
    R_NUMBER,
    R_ADDRESSEE,
    R_MUNICIPALITY,
    R_COUPON,
    R_NAME,
    R_KANA,
    R_BIRTH,
    R_SEX,
    R_ADDRESS,
    R_MOVE,
    R_MOVE_DAY,
    R_SENT,
    R_COLUMNS
};
static const char *const resident_columns[R_COLUMNS] = {
    "処理区分", "個人番号", "宛名番号", "自治体コード", "接種券番号", "氏名",        "カナ",
    "生年月日", "性別",     "住所",     "異動区分",     "異動日",     "接種券送付日"};

enum dose_column {
    D_LINE,
    D_STATUS,
    D_DAY,
    D_PRODUCT,
    D_LOT,
    D_SITE,
    D_PHYSICIAN,
    D_SOURCE,
    D_COLUMNS
};
static const char *const dose_columns[D_COLUMNS] = {
    "OCRライン", "接種状況", "接種日", "製品コード", "ロット番号", "会場", "医師名", "登録元"};

/* The second layout of doses: the line in its four parts, since spreadsheets ruin 18 digits. */
enum { D_PARTS = 4, D_SPLIT_COLUMNS = D_COLUMNS - 1 + D_PARTS };
static const char *const split_columns[D_SPLIT_COLUMNS] = {
    "券種",       "回数",       "自治体コード", "券番号", "接種状況", "接種日",
    "製品コード", "ロット番号", "会場",         "医師名", "登録元"};

static const struct {
    const char *const *names;
    size_t count;
} layouts[] = {
    [LAYOUT_RESIDENTS] = {resident_columns, R_COLUMNS},
    [LAYOUT_DOSES] = {dose_columns, D_COLUMNS},
    [LAYOUT_DOSES_SPLIT] = {split_columns, D_SPLIT_COLUMNS},
};

static bool is_column(const char *cell, const char *name) {
    /* The product may be named by its code or by its maker. */
    return strcmp(cell, name) == 0 ||
           (strcmp(name, "製品コード") == 0 && strcmp(cell, "ワクチンメーカー") == 0);
}

enum vrs_err import_header(enum import_kind kind, const struct csv_row *row,
                           enum import_layout *layout, const char **column) {
    *layout = kind == IMPORT_RESIDENTS                                        ? LAYOUT_RESIDENTS
              : row->cells > 0 && strcmp(row->cell[0], split_columns[0]) == 0 ? LAYOUT_DOSES_SPLIT
                                                                              : LAYOUT_DOSES;
    const char *const *names = layouts[*layout].names;
    size_t count = layouts[*layout].count;
    for (size_t i = 0; i < count; i++) {
        bool there = false;
        for (size_t n = 0; n < row->cells; n++)
            there |= is_column(row->cell[n], names[i]);
        *column = names[i];
        if (!there)
            return ERR_F005;
    }
    *column = "";
    if (row->cells != count)
        return ERR_F006;
    for (size_t i = 0; i < count; i++) {
        *column = names[i];
        if (!is_column(row->cell[i], names[i]))
            return ERR_F006;
    }
    *column = "";
    return VRS_OK;
}

/* The row is refused: nothing of it is applied, the file goes on. */
static enum vrs_err refuse(struct import_context *x, enum vrs_err code, const char *column) {
    x->result = ROW_REFUSED;
    x->code = code;
    x->column = column;
    return VRS_OK;
}

/* --- residents --- */

struct resident {
    bool remove;
    struct personal_number number; /* digits "" when blank */
    struct person person;
    struct coupon_number coupon; /* "" when blank */
    struct civil_date sent_on;
};

static enum vrs_err read_day(const char *cell, bool required, struct civil_date *out) {
    *out = PERSON_NO_DATE;
    if (cell[0] == '\0')
        return required ? ERR_R181 : VRS_OK;
    return clock_parse_date(cell, out);
}

static enum vrs_err read_text(const char *cell, char *out, size_t cap, bool required) {
    size_t n = strlen(cell);
    if (n == 0 && required)
        return ERR_R181;
    if (n >= cap || !text_printable(cell))
        return ERR_R180;
    memcpy(out, cell, n + 1);
    return VRS_OK;
}

static bool is_move(const char *kind) {
    return kind[0] == '\0' || (kind[0] >= '0' && kind[0] <= '3' && kind[1] == '\0');
}

static enum vrs_err read_move(struct resident *r, const char *kind, const char *day) {
    struct civil_date on;
    enum vrs_err e = read_day(day, kind[0] != '\0' && kind[0] != '0', &on);
    if (e != VRS_OK)
        return e;
    if (kind[0] == '1')
        r->person.moved_out_on = on;
    else if (kind[0] == '2')
        r->person.died_on = on;
    else if (kind[0] == '3')
        r->person.removed_on = on;
    return VRS_OK;
}

/* Every check that needs the row alone; the first one that fails names its column. */
static enum vrs_err read_resident(struct import_context *x, char **c, struct resident *r,
                                  const char **column) {
    static const int ascii[] = {R_ACTION, R_NUMBER, R_ADDRESSEE, R_MUNICIPALITY, R_COUPON,
                                R_BIRTH,  R_SEX,    R_MOVE,      R_MOVE_DAY,     R_SENT};
    for (size_t i = 0; i < sizeof ascii / sizeof *ascii; i++)
        text_ascii_digits(c[ascii[i]]); /* full-width digits are what people type */
    memset(r, 0, sizeof *r);
    person_init(&r->person);
    enum vrs_err e = VRS_OK;
#define CHECK(col, expr)                                                                           \
    do {                                                                                           \
        if (e == VRS_OK && (e = (expr)) != VRS_OK)                                                 \
            *column = resident_columns[col];                                                       \
    } while (0)
    r->remove = strcmp(c[R_ACTION], "2") == 0;
    CHECK(R_ACTION, r->remove || strcmp(c[R_ACTION], "1") == 0 ? VRS_OK : ERR_R150);
    CHECK(R_NUMBER,
          c[R_NUMBER][0] == '\0' || personal_number_valid(c[R_NUMBER]) ? VRS_OK : ERR_R170);
    CHECK(R_ADDRESSEE,
          read_text(c[R_ADDRESSEE], r->person.addressee, sizeof r->person.addressee, false));
    CHECK(R_MUNICIPALITY, municipality_code_valid(c[R_MUNICIPALITY]) ? VRS_OK : ERR_R102);
    CHECK(R_MUNICIPALITY,
          strcmp(c[R_MUNICIPALITY], partition_code(x->partition)) == 0 ? VRS_OK : ERR_R103);
    CHECK(R_COUPON,
          c[R_COUPON][0] == '\0' || coupon_number_set(&r->coupon, c[R_COUPON]) ? VRS_OK : ERR_R101);
    CHECK(R_NAME, read_text(c[R_NAME], r->person.name, sizeof r->person.name, !r->remove));
    CHECK(R_KANA, read_text(c[R_KANA], r->person.kana, sizeof r->person.kana, false));
    CHECK(R_BIRTH, read_day(c[R_BIRTH], !r->remove, &r->person.birth));
    CHECK(R_BIRTH, person_date_set(r->person.birth) && r->person.birth.days > clock_today_jst().days
                       ? ERR_R112
                       : VRS_OK);
    r->person.sex = strcmp(c[R_SEX], "1") == 0   ? SEX_MALE
                    : strcmp(c[R_SEX], "2") == 0 ? SEX_FEMALE
                                                 : SEX_UNKNOWN;
    CHECK(R_SEX, r->person.sex != SEX_UNKNOWN || strcmp(c[R_SEX], "9") == 0 || r->remove
                     ? VRS_OK
                     : ERR_BAD_FIELD);
    CHECK(R_ADDRESS, read_text(c[R_ADDRESS], r->person.address, sizeof r->person.address, false));
    CHECK(R_MOVE, is_move(c[R_MOVE]) ? VRS_OK : ERR_R150);
    CHECK(R_MOVE_DAY, read_move(r, c[R_MOVE], c[R_MOVE_DAY]));
    CHECK(R_SENT, read_day(c[R_SENT], false, &r->sent_on));
    /* Nobody could be found again without any of the three. */
    CHECK(R_ADDRESSEE, c[R_ADDRESSEE][0] == '\0' && c[R_COUPON][0] == '\0' && c[R_NUMBER][0] == '\0'
                           ? ERR_R181
                           : VRS_OK);
#undef CHECK
    if (e == VRS_OK)
        (void)snprintf(r->number.digits, sizeof r->number.digits, "%s", c[R_NUMBER]);
    return e;
}

struct holder {
    struct person person; /* version 0: new */
    bool found, has_coupon, has_number;
    bool has_orphan; /* the number was put, but its record never committed: the row is used again */
    struct record_id orphan;
};

static enum vrs_err not_found_ok(enum vrs_err e, bool *found) {
    *found = e == VRS_OK;
    return e == ERR_NOT_FOUND ? VRS_OK : e;
}

/* Whose number is it: in this slice's drawn ones, or in vrs-number. */
static enum vrs_err number_holder(struct import_context *x, const struct personal_number *n,
                                  struct holder *h, struct record_id *person) {
    for (size_t i = 0; x->numbers != NULL && i < x->numbers->count; i++) {
        if (memcmp(x->numbers->number[i].digits, n->digits, sizeof n->digits) == 0) {
            *person = x->numbers->person[i];
            h->has_number = true;
            return VRS_OK;
        }
    }
    if (x->match == NULL)
        return ERR_INTERNAL;
    if (x->match->err != VRS_OK)
        return x->match->err == ERR_NOT_FOUND ? VRS_OK : x->match->err;
    h->orphan = x->match->row;
    enum vrs_err e =
        not_found_ok(number_link_person(x->partition, &h->orphan, person), &h->has_number);
    h->has_orphan = e == VRS_OK && !h->has_number;
    return e;
}

/* The holder of a coupon or number must be the person found so far; the first one found is, unless
 * both the row and the record have a 宛名番号 (a record's may be blank: the row's joins it). */
static enum vrs_err agree(struct import_context *x, const struct resident *r,
                          const struct record_id *owner, struct holder *h, enum vrs_err code) {
    if (h->found)
        return record_id_equal(owner, &h->person.id) ? VRS_OK : code;
    enum vrs_err e = not_found_ok(person_get(x->partition, owner, &h->person), &h->found);
    bool other = h->found && r->person.addressee[0] != '\0' && h->person.addressee[0] != '\0';
    return e == VRS_OK && other ? code : e;
}

/* Finds the person: 宛名番号 first, then the coupon, then the number; they must agree. */
static enum vrs_err find_holder(struct import_context *x, const struct resident *r,
                                struct holder *h, const char **column) {
    struct partition *p = x->partition;
    struct person_coupon coupon;
    struct record_id owner;
    enum vrs_err e = VRS_OK;
    memset(h, 0, sizeof *h);
    if (r->person.addressee[0] != '\0')
        e = not_found_ok(person_by_addressee(p, r->person.addressee, &h->person), &h->found);
    if (e == VRS_OK && r->coupon.digits[0] != '\0')
        e = not_found_ok(coupon_get(p, r->coupon.digits, &coupon), &h->has_coupon);
    *column = resident_columns[R_COUPON];
    if (e == VRS_OK && h->has_coupon)
        e = agree(x, r, &coupon.person, h, ERR_R182);
    if (e == VRS_OK && r->number.digits[0] != '\0')
        e = number_holder(x, &r->number, h, &owner);
    if (e == VRS_OK && h->has_number) {
        *column = resident_columns[R_NUMBER];
        e = agree(x, r, &owner, h, ERR_R183);
    }
    return e;
}

/* Takes the row's values into the stored person; true when something changed. A cell left blank
 * keeps what is stored. */
static bool merge(struct person *stored, const struct person *row) {
    bool changed = false;
#define TAKE(field)                                                                                \
    if (row->field[0] != '\0' && strcmp(stored->field, row->field) != 0) {                         \
        memcpy(stored->field, row->field, sizeof stored->field);                                   \
        changed = true;                                                                            \
    }
#define TAKE_DAY(field)                                                                            \
    if (person_date_set(row->field) && stored->field.days != row->field.days) {                    \
        stored->field = row->field;                                                                \
        changed = true;                                                                            \
    }
    TAKE(addressee)
    TAKE(name)
    TAKE(kana)
    TAKE(address)
    TAKE_DAY(birth)
    TAKE_DAY(moved_out_on)
    TAKE_DAY(died_on)
    TAKE_DAY(removed_on)
#undef TAKE
#undef TAKE_DAY
    if (row->sex != SEX_UNKNOWN && stored->sex != row->sex) {
        stored->sex = row->sex;
        changed = true;
    }
    return changed;
}

static enum vrs_err store_coupon(struct import_context *x, const struct resident *r,
                                 const struct person *person) {
    struct person_coupon c = {.number = r->coupon,
                              .person = person->id,
                              .sent_on = r->sent_on,
                              .registered_ms = clock_now_ms()};
    bool added = false;
    uint64_t settled = 0;
    record_id_new(&c.id);
    enum vrs_err e = coupon_add(x->partition, &c, &added);
    if (e == VRS_OK && added) /* doses that waited for this coupon */
        e = apply_waiting(x->server, x->partition, r->coupon.digits, &x->who, x->tally, &settled);
    x->waiting_settled |= settled > 0;
    return e;
}

static enum vrs_err draw_number(struct import_context *x, const struct resident *r,
                                const struct person *person) {
    struct import_numbers *n = x->numbers;
    if (n->count == IMPORT_NUMBERS)
        return ERR_TOO_LARGE;
    record_id_new(&n->row[n->count]);
    n->person[n->count] = person->id;
    n->number[n->count] = r->number;
    return number_link_add(x->partition, &n->row[n->count++], &person->id);
}

static enum vrs_err store_resident(struct import_context *x, const struct resident *r,
                                   struct holder *h, bool changed) {
    enum vrs_err e = VRS_OK;
    if (changed)
        e = person_put(x->partition, &h->person);
    if (e == VRS_OK && r->coupon.digits[0] != '\0' && !h->has_coupon)
        e = store_coupon(x, r, &h->person);
    if (e == VRS_OK && h->has_orphan)
        e = number_link_add(x->partition, &h->orphan, &h->person.id);
    else if (e == VRS_OK && r->number.digits[0] != '\0' && !h->has_number)
        e = draw_number(x, r, &h->person);
    return e;
}

static enum vrs_err resident_row(const struct csv_row *row, struct import_context *x) {
    struct resident r;
    struct holder h;
    const char *column = "";
    memset(&h, 0, sizeof h);
    enum vrs_err e = read_resident(x, row->cell, &r, &column);
    if (e != VRS_OK) {
        person_wipe(&r.person);
        secret_wipe(&r, sizeof r);
        return refuse(x, e, column);
    }
    e = find_holder(x, &r, &h, &column);
    if (e == ERR_R182 || e == ERR_R183) {
        e = refuse(x, e, column);
    } else if (e == VRS_OK && r.remove && !h.found) {
        e = refuse(x, ERR_R151, resident_columns[R_ADDRESSEE]);
    } else if (e == VRS_OK) {
        bool changed = !h.found;
        if (!h.found) {
            h.person = r.person;
            h.person.registered_ms = clock_now_ms();
        } else {
            changed = merge(&h.person, &r.person);
        }
        if (r.remove && !person_date_set(h.person.removed_on)) { /* 消除: kept, marked */
            h.person.removed_on = clock_today_jst();
            changed = true;
        }
        bool joins = (r.coupon.digits[0] != '\0' && !h.has_coupon) ||
                     (r.number.digits[0] != '\0' && !h.has_number);
        x->result = !h.found ? ROW_NEW : changed || joins ? ROW_CHANGED : ROW_SAME;
        x->subject = h.person.id;
        x->has_subject = true;
        if (x->commit)
            e = store_resident(x, &r, &h, changed);
    }
    secret_wipe(&r, sizeof r);
    secret_wipe(&h, sizeof h);
    return e;
}

/* --- doses --- */

static enum vrs_err read_dose(struct import_context *x, char **c, struct claim *out,
                              const char **column) {
    struct vrs_fault fault = {0};
    const struct server *s = x->server;
    static const int ascii[] = {D_STATUS, D_DAY};
    for (size_t i = 0; i < sizeof ascii / sizeof *ascii; i++)
        text_ascii_digits(c[ascii[i]]);
    claim_init(out);
    enum vrs_err e = VRS_OK;
#define CHECK(col, expr)                                                                           \
    do {                                                                                           \
        if (e == VRS_OK && (e = (expr)) != VRS_OK)                                                 \
            *column = dose_columns[col];                                                           \
    } while (0)
    CHECK(D_LINE, line_parse(c[D_LINE], s->municipalities, &out->coupon, &fault));
    CHECK(D_LINE, strcmp(out->coupon.municipality.digits, partition_code(x->partition)) == 0
                      ? VRS_OK
                      : ERR_R103);
    out->given = strcmp(c[D_STATUS], "1") == 0;
    CHECK(D_STATUS, out->given || strcmp(c[D_STATUS], "2") == 0 ? VRS_OK : ERR_BAD_FIELD);
    CHECK(D_DAY, read_day(c[D_DAY], true, &out->vaccinated_on));
    CHECK(D_DAY, out->vaccinated_on.days > clock_today_jst().days ? ERR_R112 : VRS_OK);
    const struct vaccine *v = vaccine_find(s->vaccines, c[D_PRODUCT]);
    if (v == NULL)
        v = vaccine_by_maker(s->vaccines, c[D_PRODUCT]);
    CHECK(D_PRODUCT, v != NULL || !out->given ? VRS_OK : ERR_R132);
    CHECK(D_LOT, c[D_LOT][0] != '\0' || !out->given ? VRS_OK : ERR_R130);
    CHECK(D_LOT, read_text(c[D_LOT], out->lot, sizeof out->lot, false));
    CHECK(D_SITE, read_text(c[D_SITE], out->site, sizeof out->site, false));
    CHECK(D_PHYSICIAN, read_text(c[D_PHYSICIAN], out->physician, sizeof out->physician, false));
#undef CHECK
    if (v != NULL)
        (void)snprintf(out->product, sizeof out->product, "%s", v->id);
    (void)snprintf(out->read_by, sizeof out->read_by, "punch");
    (void)snprintf(out->origin, sizeof out->origin, "import");
    (void)snprintf(out->staff, sizeof out->staff, "%s", x->who.user);
    (void)snprintf(out->terminal, sizeof out->terminal, "%s", x->who.terminal);
    out->registered_ms = clock_now_ms();
    return e;
}

/* What a person should look at, in words. */
static void note_reasons(struct import_context *x, const char *names) {
    char copy[512];
    (void)snprintf(copy, sizeof copy, "%s", names);
    for (char *save, *w = strtok_r(copy, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save)) {
        const char *text = rule_message(x->server->rules, w);
        size_t len = strlen(x->note), more = text != NULL ? strlen(text) : 0;
        if (more > 0 && len + more < sizeof x->note)
            memcpy(x->note + len, text, more + 1);
    }
}

static enum vrs_err dose_row(char **cells, struct import_context *x) {
    struct claim c;
    struct person_coupon coupon;
    struct person person;
    const char *column = "";
    memset(&person, 0, sizeof person);
    enum vrs_err e = read_dose(x, cells, &c, &column);
    if (e != VRS_OK)
        return refuse(x, e, column);
    e = coupon_get(x->partition, c.coupon.number.digits, &coupon);
    if (e == VRS_OK)
        e = person_get(x->partition, &coupon.person, &person);
    bool before_birth = e == VRS_OK && c.vaccinated_on.days < person.birth.days;
    x->has_subject = e == VRS_OK;
    x->subject = person.id;
    person_wipe(&person);
    if (before_birth) /* nothing was acknowledged, so an import may refuse it */
        return refuse(x, ERR_R113, dose_columns[D_DAY]);
    x->result = ROW_NEW;
    if ((e == VRS_OK || e == ERR_NOT_FOUND) && x->commit) {
        e = apply_claim(x->server, x->partition, &c, &x->who, x->tally, false, NULL, NULL);
        if (c.state == CLAIM_DUPLICATE)
            x->result = ROW_SAME;
        note_reasons(x, c.reasons);
    }
    claim_wipe(&c);
    return e == ERR_NOT_FOUND ? VRS_OK : e;
}

static enum vrs_err split_dose_row(const struct csv_row *row, struct import_context *x) {
    char line[64];
    char *cells[D_COLUMNS] = {line};
    (void)snprintf(line, sizeof line, "%.9s%.9s%.18s%.24s", row->cell[0], row->cell[1],
                   row->cell[2], row->cell[3]);
    for (size_t i = 1; i < D_COLUMNS; i++)
        cells[i] = row->cell[D_PARTS - 1 + i];
    return dose_row(cells, x);
}

bool import_row_number(enum import_layout layout, const struct csv_row *row,
                       struct personal_number *out) {
    if (layout != LAYOUT_RESIDENTS || row->cells != R_COLUMNS)
        return false;
    char *cell = row->cell[R_NUMBER];
    text_ascii_digits(cell);
    if (!personal_number_valid(cell))
        return false;
    memcpy(out->digits, cell, sizeof out->digits);
    return true;
}

enum vrs_err import_row(enum import_layout layout, const struct csv_row *row,
                        struct import_context *x) {
    x->code = VRS_OK;
    x->column = "";
    x->note[0] = '\0';
    x->has_subject = false;
    if (row->cells != layouts[layout].count)
        return refuse(x, ERR_F006, "");
    if (row->has_gaiji)
        (void)snprintf(x->note, sizeof x->note, "外字があります。氏名・住所を確認してください。");
    switch (layout) {
    case LAYOUT_RESIDENTS:
        return resident_row(row, x);
    case LAYOUT_DOSES:
        return dose_row(row->cell, x);
    case LAYOUT_DOSES_SPLIT:
        return split_dose_row(row, x);
    }
    return ERR_INTERNAL;
}

enum vrs_err import_put_numbers(struct import_context *x) {
    struct import_numbers *n = x->numbers;
    enum vrs_err errs[IMPORT_NUMBERS];
    const struct number_access why = {
        .right = "resident.register", .purpose = "register", .user = x->who.user};
    if (n == NULL || n->count == 0)
        return VRS_OK;
    enum vrs_err e =
        number_put_many(x->server->number[x->worker_index], partition_code(x->partition), n->row,
                        n->number, n->count, &why, errs);
    for (size_t i = 0; i < n->count && e == VRS_OK; i++)
        e = errs[i];
    secret_wipe(n, sizeof *n);
    return e;
}
