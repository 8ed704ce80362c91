#include "ocr-ingest/feed_source.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/csv.h"
#include "lib/text.h"
#include "ocr-ingest/feed_fixed.h"

enum { CHUNK_BYTES = 65536, TEXT_LINE_MAX = 4096, FOLDED_MAX = 64 };

enum column {
    COL_LINE,
    COL_KIND,
    COL_DOSE,
    COL_MUNICIPALITY,
    COL_NUMBER,
    COL_STATUS,
    COL_DATE,
    COL_PRODUCT,
    COL_MAKER,
    COL_LOT,
    COL_SITE,
    COL_PHYSICIAN,
    COL_READ_BY,
    COLUMNS
};

static const struct {
    const char *name;
    const char *other; /* also accepted */
} columns[COLUMNS] = {
    {"OCRライン", "OCRライン(18)"},
    {"券種", NULL},
    {"回数", "接種回"},
    {"自治体コード", "市区町村コード"},
    {"券番号", "接種券番号"},
    {"接種状況", NULL},
    {"接種日", NULL},
    {"製品コード", NULL},
    {"ワクチンメーカー", NULL},
    {"ロット番号", NULL},
    {"会場", NULL},
    {"医師名", NULL},
    {"登録元", NULL},
};

struct source {
    const struct feed_options *o;
    const struct municipality_list *municipalities;
    const struct vaccine_list *vaccines;
    const struct feed_sink *sink;
    struct vrs_fault *fault;
    int place[COLUMNS]; /* cell of each column, -1: absent */
    size_t cells;       /* of the header */
    /* fixed width: each line is a row of this */
    bool is_fixed;
    struct feed_fixed fixed;
    struct csv_reader *rows;
    struct buffer cut;
    /* lines */
    char text[TEXT_LINE_MAX + 1];
    size_t len;
    bool too_long;
    uint64_t row;
};

/* --- one reading --- */

static enum vrs_err no(struct feed_reading *r, enum vrs_err e, const char *column) {
    r->err = e;
    r->column = column;
    return e;
}

static bool empty_folded(const char *s) {
    struct buffer b;
    buffer_init(&b, TEXT_LINE_MAX + 1);
    text_fold_code(s, &b);
    bool empty = !b.failed && b.len == 0;
    buffer_fini(&b);
    return empty;
}

static bool same_folded(const char *a, const char *b) {
    struct buffer x;
    struct buffer y;
    buffer_init(&x, TEXT_LINE_MAX + 1);
    buffer_init(&y, TEXT_LINE_MAX + 1);
    text_fold_code(a, &x);
    text_fold_code(b, &y);
    bool same = !x.failed && !y.failed && x.len == y.len &&
                (x.len == 0 || memcmp(x.data, y.data, x.len) == 0);
    buffer_fini(&x);
    buffer_fini(&y);
    return same;
}

static enum vrs_err read_line(const struct source *s, const char *text, struct feed_reading *r,
                              struct coupon *c) {
    enum vrs_err e = line_parse(text, s->municipalities, c, NULL);
    if (e == VRS_OK) {
        coupon_format(c, r->line);
        return VRS_OK;
    }
    r->candidates = repair_candidates(text, s->municipalities, r->candidate);
    return no(r, e, columns[COL_LINE].name);
}

/* Digits with the leading zeros that a spreadsheet took away put back; counts them. */
static void pad(const char *digits, size_t want, char *out, int *zeros) {
    size_t n = strlen(digits);
    size_t missing = n < want ? want - n : 0;
    memset(out, '0', missing);
    memcpy(out + missing, digits, n + 1);
    *zeros += (int)missing;
}

/* 券種, 回数, 自治体コード and 券番号 in columns of their own. */
static enum vrs_err read_parts(const struct source *s, const char *const cell[COLUMNS],
                               struct feed_reading *r, struct coupon *c) {
    static const struct {
        enum column column;
        size_t digits;
        enum vrs_err wrong;
    } want[] = {{COL_KIND, 1, ERR_R106},
                {COL_DOSE, 1, ERR_R120},
                {COL_MUNICIPALITY, 6, ERR_R102},
                {COL_NUMBER, 10, ERR_R101}};
    char line[FOLDED_MAX] = "";
    char padded[FOLDED_MAX] = "";
    int zeros = 0;
    bool paddable = true;
    for (size_t i = 0; i < 4; i++) {
        char part[16];
        char whole[16];
        line_normalise(cell[want[i].column], part, sizeof part);
        size_t n = strlen(part);
        if (n == 0)
            return no(r, ERR_R181, columns[want[i].column].name);
        bool digits = strspn(part, "0123456789") == n;
        if ((n != want[i].digits || !digits) && r->err == VRS_OK)
            (void)no(r, want[i].wrong, columns[want[i].column].name);
        paddable = paddable && digits && n <= want[i].digits;
        if (paddable) {
            pad(part, want[i].digits, whole, &zeros);
            (void)strncat(padded, whole, sizeof padded - strlen(padded) - 1);
        }
        (void)strncat(line, part, 12);
    }
    if (r->err == VRS_OK)
        return read_line(s, line, r, c);
    if (paddable && line_parse(padded, s->municipalities, c, NULL) == VRS_OK) {
        memcpy(r->candidate[0].line, padded, sizeof r->candidate[0].line);
        r->candidate[0].changes = zeros;
        r->candidates = 1;
        r->note =
            "先頭の0が失われています。表計算ソフトで開く前のファイルを使うか、列を文字列にして"
            "ください。";
    }
    return r->err;
}

static enum vrs_err read_coupon(const struct source *s, const char *const cell[COLUMNS],
                                struct feed_reading *r, struct coupon *c) {
    bool by_line = !empty_folded(cell[COL_LINE]);
    bool by_parts = s->place[COL_NUMBER] >= 0 && !empty_folded(cell[COL_NUMBER]);
    if (!by_line)
        return by_parts || s->place[COL_LINE] < 0 ? read_parts(s, cell, r, c)
                                                  : no(r, ERR_R181, columns[COL_LINE].name);
    enum vrs_err e = read_line(s, cell[COL_LINE], r, c);
    if (e != VRS_OK || !by_parts)
        return e;
    struct coupon typed;
    struct feed_reading ignored = {.err = VRS_OK};
    if (read_parts(s, cell, &ignored, &typed) == VRS_OK && strcmp(ignored.line, r->line) == 0)
        return VRS_OK;
    r->note =
        "OCRラインと、券種・回数・自治体コード・券番号の欄が一致しません。券面を確認してください。";
    return no(r, ERR_R104, columns[COL_LINE].name);
}

static enum vrs_err read_status(const char *cell, const char *preset, const struct coupon *c,
                                struct feed_reading *r) {
    if (same_folded(cell, "1") || same_folded(cell, "実施") || same_folded(cell, "given"))
        r->given = true;
    else if (same_folded(cell, "2") || same_folded(cell, "未実施") ||
             same_folded(cell, "not_given"))
        r->given = false;
    else if (!empty_folded(cell))
        return no(r, ERR_BAD_FIELD, columns[COL_STATUS].name);
    else
        r->given = preset[0] != '\0' ? strcmp(preset, "given") == 0 : c->kind == COUPON_VACCINATION;
    if (r->given && c->kind == COUPON_EXAMINED_ONLY)
        return no(r, ERR_R107, columns[COL_STATUS].name);
    return VRS_OK;
}

static enum vrs_err read_by(const char *cell, const char *preset, struct feed_reading *r) {
    static const char *const names[][2] = {{"ocr", "OCR読み取り"},
                                           {"qr", "QRコード"},
                                           {"nw7", "バーコード"},
                                           {"manual", "手入力"},
                                           {"punch", "パンチ"}};
    r->read_by = preset;
    if (empty_folded(cell))
        return VRS_OK;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (same_folded(cell, names[i][0]) || same_folded(cell, names[i][1])) {
            r->read_by = names[i][0];
            return VRS_OK;
        }
    }
    return no(r, ERR_BAD_FIELD, columns[COL_READ_BY].name);
}

static const char *first_of(const char *cell, const char *preset) {
    return cell[0] != '\0' ? cell : preset;
}

static enum vrs_err read_vaccine(const struct source *s, const char *const cell[COLUMNS],
                                 struct feed_reading *r) {
    const char *product = first_of(cell[COL_PRODUCT], first_of(cell[COL_MAKER], s->o->product));
    r->product = "";
    r->lot = first_of(cell[COL_LOT], s->o->lot);
    if (!r->given)
        return VRS_OK;
    const struct vaccine *v = vaccine_by_maker(s->vaccines, product);
    if (v == NULL)
        return no(r, product[0] != '\0' ? ERR_R132 : ERR_R181, columns[COL_PRODUCT].name);
    r->product = v->id;
    return empty_folded(r->lot) ? no(r, ERR_R130, columns[COL_LOT].name) : VRS_OK;
}

static enum vrs_err read_all(const struct source *s, const char *const cell[COLUMNS],
                             struct feed_reading *r) {
    struct coupon c;
    struct civil_date day;
    enum vrs_err e = read_coupon(s, cell, r, &c);
    if (e == VRS_OK)
        e = read_status(cell[COL_STATUS], s->o->status, &c, r);
    if (e == VRS_OK)
        e = read_vaccine(s, cell, r);
    if (e == VRS_OK)
        e = read_by(cell[COL_READ_BY], s->o->read_by, r);
    if (e != VRS_OK)
        return e;
    const char *date = first_of(cell[COL_DATE], s->o->vaccinated_on);
    if (date[0] == '\0')
        return no(r, ERR_R181, columns[COL_DATE].name);
    e = clock_parse_date(date, &day);
    if (e != VRS_OK)
        return no(r, e, columns[COL_DATE].name);
    clock_format_date(day, r->vaccinated_on);
    r->site = first_of(cell[COL_SITE], s->o->site);
    r->physician = first_of(cell[COL_PHYSICIAN], s->o->physician);
    if (empty_folded(r->site))
        return no(r, ERR_R181, columns[COL_SITE].name);
    if (!text_printable(r->lot))
        return no(r, ERR_R180, columns[COL_LOT].name);
    if (!text_printable(r->site))
        return no(r, ERR_R180, columns[COL_SITE].name);
    return text_printable(r->physician) ? VRS_OK : no(r, ERR_R180, columns[COL_PHYSICIAN].name);
}

static enum vrs_err hand_on(const struct source *s, uint64_t row, const char *const cell[COLUMNS]) {
    struct feed_reading r = {.row = row, .column = ""};
    r.err = read_all(s, cell, &r);
    return s->sink->reading(&r, s->sink->arg);
}

static enum vrs_err refuse_row(const struct source *s, uint64_t row, enum vrs_err why,
                               const char *note) {
    const struct feed_reading r = {.row = row, .err = why, .column = "", .note = note};
    return s->sink->reading(&r, s->sink->arg);
}

/* --- CSV --- */

static int column_named(const char *name) {
    for (int i = 0; i < COLUMNS; i++)
        if (same_folded(name, columns[i].name) ||
            (columns[i].other != NULL && same_folded(name, columns[i].other)))
            return i;
    return -1;
}

static enum vrs_err need_coupon(const struct source *s) {
    bool parts = true;
    for (int c = COL_KIND; c <= COL_NUMBER; c++)
        parts = parts && s->place[c] >= 0;
    if (s->place[COL_LINE] < 0 && !parts)
        return err_fail(s->fault, ERR_F005,
                        "「OCRライン」、または「券種・回数・自治体コード・券番号」の列が必要です");
    return VRS_OK;
}

static enum vrs_err read_header(struct source *s, const struct csv_row *row) {
    s->cells = row->cells;
    for (size_t i = 0; i < row->cells; i++) {
        int c = column_named(row->cell[i]);
        if (c < 0)
            return err_fail(s->fault, ERR_F006, "%zu列目の列名「%.60s」が分かりません", i + 1,
                            row->cell[i]);
        if (s->place[c] >= 0)
            return err_fail(s->fault, ERR_F006, "列「%s」が2回あります", columns[c].name);
        s->place[c] = (int)i;
    }
    return need_coupon(s);
}

/* Full-width spaces fill fields, too. */
static void trim(char *s) {
    static const char wide[] = "\xe3\x80\x80";
    size_t n = strlen(s);
    while (n > 0) {
        if (s[n - 1] == ' ')
            n--;
        else if (n >= 3 && memcmp(s + n - 3, wide, 3) == 0)
            n -= 3;
        else
            break;
    }
    s[n] = '\0';
}

static bool all_blank(const struct csv_row *row) {
    bool blank = true;
    for (size_t i = 0; i < row->cells; i++) {
        trim(row->cell[i]);
        blank = blank && row->cell[i][0] == '\0';
    }
    return blank;
}

/* The layout in the place of a header line. */
static enum vrs_err fixed_columns(struct source *s, struct csv_reader *rows) {
    const char *wrong = "";
    if (!feed_fixed_read(s->o->layout, &s->fixed, &wrong))
        return err_fail(s->fault, ERR_F006, "--layout: %.60s", wrong);
    for (size_t i = 0; i < s->fixed.count; i++)
        s->place[s->fixed.field[i].column] = (int)i;
    s->cells = s->fixed.count;
    s->rows = rows;
    return need_coupon(s);
}

static enum vrs_err on_row(const struct csv_row *row, void *arg) {
    struct source *s = arg;
    const char *cell[COLUMNS];
    if (row->number == 1 && !s->is_fixed)
        return read_header(s, row);
    s->row = row->number;
    if (row->cells == 0 || (row->cells == 1 && row->cell[0][0] == '\0') ||
        (s->is_fixed && all_blank(row)))
        return VRS_OK;
    if (row->cells != s->cells)
        return refuse_row(s, row->number, ERR_F006, "列の数が見出し行と違います。");
    if (row->has_gaiji)
        return refuse_row(s, row->number, ERR_R180,
                          "外字が含まれています。登録できる文字に直してください。");
    for (int i = 0; i < COLUMNS; i++)
        cell[i] = s->place[i] >= 0 ? row->cell[s->place[i]] : "";
    return hand_on(s, row->number, cell);
}

/* --- lines --- */

/* A line of fixed width → the CSV reader, which says whose encoding it is and hands on the row. */
static enum vrs_err cut_line(struct source *s) {
    size_t len = s->len;
    while (len > 0 && (s->text[len - 1] == '\r' || s->text[len - 1] == 0x1a))
        len--;
    buffer_clear(&s->cut);
    feed_fixed_cut(&s->fixed, s->text, s->too_long ? 0 : len, &s->cut);
    s->len = 0;
    s->too_long = false;
    return s->cut.failed ? ERR_MEMORY : csv_feed(s->rows, s->cut.data, s->cut.len);
}

static enum vrs_err end_line(struct source *s) {
    const char *cell[COLUMNS];
    char folded[4];
    if (s->is_fixed) {
        if (s->too_long)
            return err_fail(s->fault, ERR_F006, "%llu行目の後に長すぎる行があります",
                            (unsigned long long)s->row);
        return cut_line(s);
    }
    s->text[s->len] = '\0';
    s->row++;
    bool too_long = s->too_long;
    s->len = 0;
    s->too_long = false;
    if (too_long)
        return refuse_row(s, s->row, ERR_R104, NULL);
    line_normalise(s->text, folded, sizeof folded);
    if (folded[0] == '\0')
        return VRS_OK; /* an empty line is none */
    for (int i = 0; i < COLUMNS; i++)
        cell[i] = i == COL_LINE ? s->text : "";
    return hand_on(s, s->row, cell);
}

static enum vrs_err feed_lines(struct source *s, const char *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\n') {
            enum vrs_err e = end_line(s);
            if (e != VRS_OK)
                return e;
        } else if (s->len < TEXT_LINE_MAX) {
            s->text[s->len++] = p[i] != '\0' ? p[i] : '?';
        } else {
            s->too_long = true;
        }
    }
    return VRS_OK;
}

/* --- the file --- */

uint64_t feed_source_estimate(const struct feed_options *o) {
    struct stat st;
    char chunk[CHUNK_BYTES];
    uint64_t lines = 0;
    char last = '\n';
    if (strcmp(o->input, "-") == 0)
        return 0;
    int fd = open(o->input, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return 0;
    ssize_t n = -1;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        while ((n = read(fd, chunk, sizeof chunk)) > 0) {
            for (const char *p = chunk; (p = memchr(p, '\n', (size_t)(chunk + n - p))) != NULL; p++)
                lines++;
            last = chunk[n - 1];
        }
    (void)close(fd);
    lines += last != '\n';
    if (n != 0)
        return 0;
    return feed_options_csv(o) && lines > 0 ? lines - 1 : lines;
}

/* Bytes read, 0 at the end, -1 on error; -2 when nothing came for `wait_ms` or a signal came. */
static ssize_t read_some(int fd, char *to, size_t cap, int wait_ms) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int ready = poll(&p, 1, wait_ms);
    if (ready <= 0)
        return ready == 0 || errno == EINTR ? -2 : -1;
    ssize_t n = read(fd, to, cap);
    return n < 0 && (errno == EINTR || errno == EAGAIN) ? -2 : n;
}

static enum vrs_err read_file(struct source *s, int fd, struct csv_reader *csv,
                              const volatile sig_atomic_t *stop) {
    char chunk[CHUNK_BYTES];
    bool waiting = false;
    for (;;) {
        if (*stop)
            return ERR_TIMEOUT;
        ssize_t n = read_some(fd, chunk, sizeof chunk, waiting ? 500 : (int)s->o->idle_ms);
        enum vrs_err e = VRS_OK;
        waiting = n == -2;
        if (n == -1)
            return err_fail(s->fault, ERR_IO, "%s", s->o->input);
        if (n == 0)
            break;
        if (n == -2)
            e = s->sink->idle(s->sink->arg);
        else if (csv != NULL && !s->is_fixed)
            e = csv_feed(csv, chunk, (size_t)n);
        else
            e = feed_lines(s, chunk, (size_t)n);
        if (e != VRS_OK)
            return e;
    }
    if (s->is_fixed && (s->len > 0 || s->too_long)) {
        enum vrs_err e = end_line(s);
        if (e != VRS_OK)
            return e;
    }
    if (csv == NULL)
        return s->len > 0 || s->too_long ? end_line(s) : VRS_OK;
    enum vrs_err e = csv_end(csv);
    if (e == VRS_OK && s->cells == 0)
        e = err_fail(s->fault, ERR_F004, "%s", s->o->input);
    return e;
}

enum vrs_err feed_source_run(const struct feed_options *o,
                             const struct municipality_list *municipalities,
                             const struct vaccine_list *vaccines, const struct feed_sink *sink,
                             const volatile sig_atomic_t *stop, struct vrs_fault *fault) {
    enum vrs_err e = VRS_OK;
    bool is_csv = feed_options_csv(o);
    struct csv_reader *csv = NULL;
    bool from_stdin = strcmp(o->input, "-") == 0;
    struct source *s = calloc(1, sizeof *s);
    int fd = from_stdin ? STDIN_FILENO : open(o->input, O_RDONLY | O_CLOEXEC);
    if (s == NULL) {
        e = err_fail(fault, ERR_MEMORY, "source");
        goto out;
    }
    if (fd < 0) {
        e = err_fail(fault, ERR_IO, "%s", o->input);
        goto out;
    }
    s->o = o;
    s->municipalities = municipalities;
    s->vaccines = vaccines;
    s->sink = sink;
    s->fault = fault;
    s->is_fixed = feed_options_fixed(o);
    buffer_init(&s->cut, 16 * (size_t)TEXT_LINE_MAX);
    for (int i = 0; i < COLUMNS; i++)
        s->place[i] = is_csv || s->is_fixed ? -1 : (i == COL_LINE ? 0 : -1);
    if ((is_csv || s->is_fixed) && (csv = csv_reader_open(on_row, s)) == NULL) {
        e = err_fail(fault, ERR_MEMORY, "source");
        goto out;
    }
    if (s->is_fixed && (e = fixed_columns(s, csv)) != VRS_OK)
        goto out;
    e = read_file(s, fd, csv, stop);
    if (e != VRS_OK && fault->err == VRS_OK && (e == ERR_F007 || e == ERR_R180))
        (void)err_fail(fault, e, "%sの%llu行目の後", o->input, (unsigned long long)s->row);
out:
    csv_reader_close(&csv);
    if (s != NULL)
        buffer_fini(&s->cut);
    if (fd >= 0 && !from_stdin)
        (void)close(fd);
    free(s);
    return e;
}
