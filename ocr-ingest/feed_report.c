#include "ocr-ingest/feed_report.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/csv.h"
#include "lib/json.h"
#include "lib/text.h"

enum { CELLS = 6, CELL_MAX = 1024, RULES_MAX = 1 << 20 };

struct invalid {
    uint64_t row;
    enum vrs_err err;
    char *detail;
    char *candidates;
};

struct feed_report {
    struct invalid *item;
    size_t count;
    size_t cap;
    json_t *rules; /* NULL: no texts */
};

/* --- texts --- */

static json_t *load_rules(const char *data_dir) {
    char path[4096];
    struct buffer b;
    json_t *doc = NULL;
    buffer_init(&b, RULES_MAX);
    int n = snprintf(path, sizeof path, "%s/rules.json", data_dir);
    FILE *f = n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
    if (f != NULL) {
        char chunk[8192];
        size_t got;
        while ((got = fread(chunk, 1, sizeof chunk, f)) > 0 && buffer_put(&b, chunk, got)) {
        }
        (void)fclose(f);
        if (b.failed || json_parse(b.data, b.len, &doc, NULL) != VRS_OK)
            doc = NULL;
    }
    buffer_fini(&b);
    return doc;
}

static const char *rule_text(const struct feed_report *r, const char *name, size_t n) {
    size_t i;
    json_t *rule;
    json_t *rules = r->rules != NULL ? json_object_get(r->rules, "rules") : NULL;
    json_array_foreach(rules, i, rule) {
        const char *s = json_string_value(json_object_get(rule, "name"));
        if (s != NULL && strlen(s) == n && strncmp(s, name, n) == 0)
            return json_string_value(json_object_get(rule, "message_ja"));
    }
    return NULL;
}

static void add(char out[CELL_MAX], const char *text) {
    size_t have = strlen(out);
    (void)snprintf(out + have, CELL_MAX - have, "%s", text);
}

static const char *state_text(enum feed_state s) {
    switch (s) {
    case FEED_KEYED:
        return "未完了";
    case FEED_REFUSED:
        return "受付不可";
    case FEED_PENDING:
        return "受付済み・結果待ち";
    case FEED_REVIEW:
        return "登録済み・要確認";
    case FEED_WAITING:
        return "接種券の登録待ち";
    case FEED_CONFLICT:
        return "内容の矛盾";
    case FEED_UNPROVEN:
        return "証明待ち";
    case FEED_BAD_PROOF:
        return "証明不正";
    default:
        return NULL; /* needs nobody */
    }
}

static const char *state_advice(enum feed_state s) {
    switch (s) {
    case FEED_KEYED:
        return "登録結果を確認できていません。同じジャーナルで再実行してください。";
    case FEED_PENDING:
        return "受け付けましたが、登録結果はまだ分かりません。後で再実行して確認してください。";
    case FEED_REVIEW:
        return "登録しましたが、確認が必要です。券面と入力内容を見比べてください。";
    case FEED_WAITING:
        return "接種券が未登録です。登録されると自動で反映されます。番号の読み違いがないか確認して"
               "ください。";
    case FEED_CONFLICT:
        return "同じ接種券・回数で内容の違う記録があります。両方を保存しました。自治体の確認が必要"
               "です。";
    case FEED_UNPROVEN:
        return "登録されましたが、その証明がまだ届いていません。後で再実行して確認してください。";
    case FEED_BAD_PROOF:
        return "登録の証明を確認できません（内容か署名が一致しません）。登録済みとして扱わないでく"
               "ださ"
               "い。公開鍵ファイル（log_keys_file）が最新か確かめ、自治体に連絡してください。";
    default:
        return "";
    }
}

/* The text of every code in "a,b": of an error, or of a warning. */
static void explain(const struct feed_report *r, enum feed_state s, const char *code,
                    char out[CELL_MAX]) {
    out[0] = '\0';
    for (const char *p = code; p != NULL && *p != '\0';) {
        size_t n = strcspn(p, ",");
        char name[FEED_CODE_SIZE];
        enum vrs_err e = VRS_OK;
        (void)snprintf(name, sizeof name, "%.*s", (int)n, p);
        const char *text = rule_text(r, p, n);
        if (text == NULL && err_by_name(name, &e))
            text = err_detail_ja(e);
        if (text != NULL)
            add(out, text);
        p += n + (p[n] == ',');
    }
    if (out[0] == '\0')
        add(out, state_advice(s));
}

/* "2-1-131032-0000012345（1か所）": a spreadsheet cannot ruin it. */
static void candidates_text(const struct feed_reading *reading, char out[CELL_MAX]) {
    out[0] = '\0';
    for (size_t i = 0; i < reading->candidates; i++) {
        const struct repair_candidate *c = &reading->candidate[i];
        char one[80];
        (void)snprintf(one, sizeof one, "%s%.1s-%.1s-%.6s-%.10s（%dか所）", i > 0 ? " / " : "",
                       c->line, c->line + 1, c->line + 2, c->line + 8, c->changes);
        add(out, one);
    }
}

/* --- gathering --- */

struct feed_report *feed_report_open(const char *data_dir) {
    struct feed_report *r = calloc(1, sizeof *r);
    if (r != NULL)
        r->rules = load_rules(data_dir);
    return r;
}

void feed_report_close(struct feed_report **pr) {
    struct feed_report *r = *pr;
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->count; i++) {
        free(r->item[i].detail);
        free(r->item[i].candidates);
    }
    free(r->item);
    json_decref(r->rules);
    free(r);
    *pr = NULL;
}

enum vrs_err feed_report_invalid(struct feed_report *r, const struct feed_reading *reading) {
    if (r->count == r->cap) {
        size_t cap = r->cap != 0 ? 2 * r->cap : 64;
        struct invalid *item = reallocarray(r->item, cap, sizeof *item);
        if (item == NULL)
            return ERR_MEMORY;
        r->item = item;
        r->cap = cap;
    }
    char detail[CELL_MAX] = "";
    char candidates[CELL_MAX];
    const char *why = reading->note != NULL ? reading->note : err_detail_ja(reading->err);
    if (reading->column[0] != '\0' && !text_starts_with(why, reading->column)) {
        add(detail, reading->column);
        add(detail, "：");
    }
    add(detail, why);
    candidates_text(reading, candidates);
    struct invalid *i = &r->item[r->count];
    *i = (struct invalid){.row = reading->row,
                          .err = reading->err,
                          .detail = strdup(detail),
                          .candidates = candidates[0] != '\0' ? strdup(candidates) : NULL};
    r->count++;
    return i->detail != NULL ? VRS_OK : ERR_MEMORY;
}

/* --- writing --- */

struct out {
    FILE *file;
    struct buffer line;
    uint64_t lines;
    bool failed;
};

static void put_row(struct out *o, const char *const cell[CELLS]) {
    buffer_clear(&o->line);
    csv_write_row(&o->line, CSV_FOR_PEOPLE, cell, CELLS);
    if (o->line.failed || fwrite(o->line.data, 1, o->line.len, o->file) != o->line.len)
        o->failed = true;
}

static void put_invalid(struct out *o, const struct invalid *i) {
    char row[24];
    (void)snprintf(row, sizeof row, "%" PRIu64, i->row);
    const char *const cell[CELLS] = {
        row, "未送信", err_name(i->err), i->detail, i->candidates != NULL ? i->candidates : "", ""};
    put_row(o, cell);
    o->lines++;
}

static void put_entry(struct out *o, const struct feed_report *r, uint64_t number,
                      const struct feed_entry *e, bool gone) {
    enum feed_state s = (enum feed_state)e->state;
    char row[24];
    char text[CELL_MAX];
    const char *state = state_text(s);
    if (state == NULL || (gone && s == FEED_REFUSED))
        return;
    (void)snprintf(row, sizeof row, "%" PRIu64, number);
    explain(r, s, e->code, text);
    if (gone && (s == FEED_KEYED || s == FEED_UNPROVEN))
        (void)snprintf(
            text, sizeof text, "%s",
            "前回送信した行が今回の入力にありません。前回と同じ入力で再実行してください。");
    const char *const cell[CELLS] = {row,  state, e->code != NULL ? e->code : "",
                                     text, "",    e->receipt != NULL ? e->receipt : ""};
    put_row(o, cell);
    o->lines++;
}

static void put_all(struct out *o, const struct feed_report *r, const struct feed_journal *j,
                    const unsigned char *seen, uint64_t seen_rows) {
    static const char *const head[CELLS] = {"行", "状態", "コード", "内容", "候補", "受付番号"};
    csv_write_bom(&o->line, CSV_FOR_PEOPLE);
    if (o->line.failed || fwrite(o->line.data, 1, o->line.len, o->file) != o->line.len)
        o->failed = true;
    put_row(o, head);
    uint64_t rows = j != NULL ? feed_journal_rows(j) : 0;
    uint64_t row = 1;
    for (size_t i = 0; i <= r->count; i++) {
        uint64_t until = i < r->count ? r->item[i].row : rows + 1;
        for (; row < until && row <= rows; row++) {
            const struct feed_entry *e = feed_journal_find(j, row);
            if (e != NULL)
                put_entry(o, r, row, e, seen != NULL && (row > seen_rows || !seen[row]));
        }
        if (i < r->count) {
            put_invalid(o, &r->item[i]);
            row = until + 1;
        }
    }
}

enum vrs_err feed_report_write(const struct feed_report *r, const struct feed_journal *j,
                               const unsigned char *seen, uint64_t seen_rows, const char *path,
                               uint64_t *lines, struct vrs_fault *fault) {
    enum vrs_err e = VRS_OK;
    char *part = NULL;
    struct out o = {0};
    buffer_init(&o.line, CELLS * 4 * CELL_MAX);
    if (asprintf(&part, "%s.part", path) < 0) {
        part = NULL;
        e = err_fail(fault, ERR_MEMORY, "report");
        goto out;
    }
    (void)unlink(part);
    int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    o.file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (o.file == NULL) {
        e = err_fail(fault, ERR_STORAGE, "open %s", part);
        if (fd >= 0)
            (void)close(fd);
        goto out;
    }
    put_all(&o, r, j, seen, seen_rows);
    bool ok = !o.failed && fflush(o.file) == 0 && fsync(fd) == 0;
    ok = fclose(o.file) == 0 && ok;
    if (!ok || rename(part, path) != 0)
        e = err_fail(fault, ERR_STORAGE, "write %s", path);
    *lines = o.lines;
out:
    buffer_fini(&o.line);
    free(part);
    return e;
}
