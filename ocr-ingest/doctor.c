#include "ocr-ingest/doctor.h"

#include <stdlib.h>
#include <string.h>

#include "lib/json.h"

enum { HEAD = 2, MUNICIPALITY = 6 };
static const double ANY = 3.0; /* for what no table knows */

struct confusions {
    double cost[128][10]; /* 0: never */
};

/* --- the table --- */

static enum vrs_err take_pairs(json_t *list, bool both, struct confusions *c) {
    size_t i;
    json_t *row;
    json_array_foreach(list, i, row) {
        const char *pair = json_string_value(json_object_get(row, "pair"));
        double weight = json_number_value(json_object_get(row, "weight"));
        if (pair == NULL || strlen(pair) != 2 || (unsigned char)pair[0] >= 128 || pair[1] < '0' ||
            pair[1] > '9' || weight <= 0 || weight > 10 ||
            (both && (pair[0] < '0' || pair[0] > '9')))
            return ERR_BAD_FIELD;
        c->cost[(unsigned char)pair[0]][pair[1] - '0'] = weight;
        if (both)
            c->cost[(unsigned char)pair[1]][pair[0] - '0'] = weight;
    }
    return VRS_OK;
}

enum vrs_err confusions_open(const char *json_path, struct confusions **out,
                             struct vrs_fault *fault) {
    json_error_t why;
    struct confusions *c = calloc(1, sizeof *c);
    json_t *doc = json_load_file(json_path, JSON_REJECT_DUPLICATES, &why);
    *out = NULL;
    const char *format = json_string_value(json_object_get(doc, "format"));
    enum vrs_err e = c != NULL ? VRS_OK : ERR_MEMORY;
    if (e == VRS_OK && (format == NULL || strcmp(format, "vrs-confusions/1") != 0 ||
                        take_pairs(json_object_get(doc, "digits"), true, c) != VRS_OK ||
                        take_pairs(json_object_get(doc, "letters"), false, c) != VRS_OK))
        e = ERR_CONFIG;
    json_decref(doc);
    if (e != VRS_OK) {
        free(c);
        return err_fail(fault, e, "%s: no table of confusions", json_path);
    }
    *out = c;
    return VRS_OK;
}

void confusions_close(struct confusions **c) {
    free(*c);
    *c = NULL;
}

/* --- the candidates --- */

struct option {
    char to;
    double cost;
};

struct place { /* what a character may have been */
    bool must; /* it cannot stand */
    size_t count;
    struct option option[10];
};

struct search {
    struct place place[DOCTOR_DIGITS];
    struct doctor_candidate *out;
    size_t count, cap;
    char line[DOCTOR_DIGITS + 1];
};

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool stands(size_t at, char c, const char *municipality) {
    if (!is_digit(c))
        return false;
    if (at == 0)
        return c == '1' || c == '2';
    if (at == 1)
        return c != '0';
    return at >= HEAD + MUNICIPALITY || c == municipality[at - HEAD];
}

/* The reader's own doubt makes a change of that digit likelier, and its second choice most of all. */
static double cost_of(const struct confusions *table, const struct doctor_reading *r, size_t at,
                      char to) {
    unsigned char was = (unsigned char)r->text[at];
    double cost = was < 128 ? table->cost[was][to - '0'] : 0;
    bool second = r->second[0] != '\0' && r->second[at] == to;
    if (cost <= 0 && !second && is_digit((char)was))
        return 0;
    if (cost <= 0)
        cost = ANY;
    if (second && cost > 0.5)
        cost = 0.5;
    return cost * (0.25 + 0.75 * r->confidence[at] / 255.0);
}

static void fill_place(const struct confusions *table, const struct doctor_reading *r, size_t at,
                       const char *municipality, struct place *p) {
    p->must = !stands(at, r->text[at], municipality);
    if (!p->must && at < HEAD + MUNICIPALITY)
        return;
    for (char to = '0'; to <= '9'; to++) {
        double cost =
            to != r->text[at] && stands(at, to, municipality) ? cost_of(table, r, at, to) : 0;
        if (cost > 0)
            p->option[p->count++] = (struct option){.to = to, .cost = cost};
    }
}

static void go_on(struct search *s, size_t at, int left, int musts_left, double cost, int changes) {
    if (left < musts_left || s->count == s->cap)
        return;
    if (left == 0) {
        struct doctor_candidate *c = &s->out[s->count++];
        memcpy(c->line, s->line, sizeof c->line);
        c->changes = changes;
        c->cost = cost;
        return;
    }
    for (size_t i = at; i < DOCTOR_DIGITS; i++) {
        const struct place *p = &s->place[i];
        char was = s->line[i];
        for (size_t o = 0; o < p->count; o++) {
            s->line[i] = p->option[o].to;
            go_on(s, i + 1, left - 1, musts_left - p->must, cost + p->option[o].cost, changes);
        }
        s->line[i] = was;
        if (p->must) /* it cannot be passed by */
            return;
    }
}

static int cheaper(const void *a, const void *b) {
    const struct doctor_candidate *x = a, *y = b;
    if (x->cost < y->cost || x->cost > y->cost)
        return x->cost < y->cost ? -1 : 1;
    return strcmp(x->line, y->line);
}

size_t doctor_candidates(const struct confusions *table, const struct doctor_reading *r,
                         const char *municipality, int changes, struct doctor_candidate *out,
                         size_t cap) {
    struct search s = {.out = out, .cap = cap};
    int musts = 0;
    if (strlen(r->text) != DOCTOR_DIGITS || strlen(municipality) != MUNICIPALITY ||
        (r->second[0] != '\0' && strlen(r->second) != DOCTOR_DIGITS))
        return 0;
    for (size_t i = 0; i < DOCTOR_DIGITS; i++) {
        fill_place(table, r, i, municipality, &s.place[i]);
        musts += s.place[i].must;
    }
    memcpy(s.line, r->text, sizeof s.line);
    if (changes >= 1 && changes <= DOCTOR_CHANGES && musts <= changes)
        go_on(&s, 0, changes, musts, 0, changes);
    qsort(out, s.count, sizeof *out, cheaper);
    return s.count;
}
