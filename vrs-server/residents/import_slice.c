#include "vrs-server/residents/import_slice.h"

#include <stdlib.h>
#include <string.h>

#include "lib/arena.h"
#include "lib/secret.h"

enum { ARENA_MAX = 4 << 20 };

struct import_slice {
    struct arena *arena; /* the cells; NULL while empty */
    struct csv_row *row;
    size_t rows, cap;
};

/* What is asked of vrs-number: one question a row that has a number. */
struct questions {
    struct personal_number *number;
    struct record_id *found;
    enum vrs_err *errs;
    size_t *of_row; /* the question of each row, SIZE_MAX none */
    size_t count;
};

struct import_slice *import_slice_open(void) {
    return calloc(1, sizeof(struct import_slice));
}

static void empty(struct import_slice *s) {
    arena_close(&s->arena);
    s->rows = 0;
}

void import_slice_close(struct import_slice **s) {
    if (*s == NULL)
        return;
    empty(*s);
    free((*s)->row);
    free(*s);
    *s = NULL;
}

static enum vrs_err room(struct import_slice *s) {
    if (s->arena == NULL && (s->arena = arena_open(ARENA_MAX)) == NULL)
        return ERR_MEMORY;
    if (s->rows < s->cap)
        return VRS_OK;
    size_t cap = s->cap == 0 ? 256 : 2 * s->cap;
    struct csv_row *grown = reallocarray(s->row, cap, sizeof *grown);
    if (grown == NULL)
        return ERR_MEMORY;
    s->row = grown;
    s->cap = cap;
    return VRS_OK;
}

enum vrs_err import_slice_add(struct import_slice *s, const struct csv_row *row) {
    enum vrs_err e = room(s);
    if (e != VRS_OK)
        return e;
    struct csv_row copy = *row;
    copy.cell = arena_alloc(s->arena, (row->cells + 1) * sizeof *copy.cell);
    if (copy.cell == NULL)
        return ERR_MEMORY;
    for (size_t i = 0; i < row->cells; i++)
        if ((copy.cell[i] = arena_strdup(s->arena, row->cell[i])) == NULL)
            return ERR_MEMORY;
    s->row[s->rows++] = copy;
    return VRS_OK;
}

static void questions_close(struct questions *q, size_t rows) {
    if (q->number != NULL)
        secret_wipe(q->number, rows * sizeof *q->number);
    free(q->number);
    free(q->found);
    free(q->errs);
    free(q->of_row);
}

/* What an answer says stands in errs; a row that has an error there ends the import when it is its
 * turn. */
static enum vrs_err look_up(const struct import_slice *s, enum import_layout layout,
                            const struct import_context *x, struct questions *q) {
    const struct number_access why = {
        .right = "resident.register", .purpose = "register", .user = x->who.user};
    q->number = calloc(s->rows, sizeof *q->number);
    q->found = calloc(s->rows, sizeof *q->found);
    q->errs = calloc(s->rows, sizeof *q->errs);
    q->of_row = calloc(s->rows, sizeof *q->of_row);
    if (q->number == NULL || q->found == NULL || q->errs == NULL || q->of_row == NULL)
        return ERR_MEMORY;
    for (size_t i = 0; i < s->rows; i++)
        q->of_row[i] =
            import_row_number(layout, &s->row[i], &q->number[q->count]) ? q->count++ : SIZE_MAX;
    number_match_many(x->server->number[x->worker_index], partition_code(x->partition), q->number,
                      q->count, &why, q->found, q->errs);
    return VRS_OK;
}

enum vrs_err import_slice_run(struct import_slice *s, enum import_layout layout,
                              struct import_context *x, csv_row_fn *fn, void *arg) {
    struct questions q = {0};
    enum vrs_err e = s->rows > 0 ? look_up(s, layout, x, &q) : VRS_OK;
    for (size_t i = 0; i < s->rows && e == VRS_OK; i++) {
        size_t n = q.of_row[i];
        struct import_match match;
        if (n != SIZE_MAX)
            match = (struct import_match){q.errs[n], q.found[n]};
        x->match = n != SIZE_MAX ? &match : NULL;
        e = fn(&s->row[i], arg);
        x->match = NULL;
    }
    questions_close(&q, s->rows);
    empty(s);
    return e;
}
