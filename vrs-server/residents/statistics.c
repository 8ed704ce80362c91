/* GET /v1/statistics?by=date|product|prefecture|age: counts of doses, never of persons one by one.
 *
 * A municipality sees its own, as they are now.  Prefectures and the nation see sums over
 * municipalities, collected partition by partition once a Japanese day, with small cells hidden
 * (rule 9; C06, C117): below ten "<10", and beside them the next smallest ("*"), so that no small
 * number follows from a total known otherwise.
 *
 * Dates, products and turns come from the sealed tallies; ages from the doses themselves, a page a
 * job, so that nobody waits long behind it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/text.h"
#include "partitions/claim.h"
#include "partitions/person.h"
#include "partitions/tally.h"
#include "vrs-server/doses/apply.h"
#include "vrs-server/handlers.h"
#include "vrs-server/request.h"
#include "vrs-server/residents/statistics.h"

enum {
    PAGE = 2000,        /* doses a job */
    MAX_WAITING = 64,   /* requests that wait for the day's sums */
    MAX_CELLS = 500000, /* of one map */
    SMALL = 10,
    MAX_TURN = 99,
    KEY_BYTES = 72,
};

/* --- a map of counts --- */

struct cell {
    char key[KEY_BYTES]; /* "13/date/2021-07-01/1": scope, by, key, turn */
    int64_t n;
};

struct counts {
    struct cell *cell;
    size_t used, slots; /* a power of two, at most half full */
    bool failed;
};

static struct cell *slot_of(struct counts *c, const char *key) {
    uint64_t hash = UINT64_C(14695981039346656037);
    for (const char *k = key; *k != '\0'; k++)
        hash = (hash ^ (uint8_t)*k) * UINT64_C(1099511628211);
    size_t at = hash & (c->slots - 1);
    while (c->cell[at].key[0] != '\0' && strcmp(c->cell[at].key, key) != 0)
        at = (at + 1) & (c->slots - 1);
    return &c->cell[at];
}

static void grow(struct counts *c) {
    struct counts wider = {.slots = c->slots == 0 ? 256 : 2 * c->slots, .used = c->used};
    wider.cell = wider.slots <= 2 * MAX_CELLS ? calloc(wider.slots, sizeof *wider.cell) : NULL;
    if (wider.cell == NULL) {
        c->failed = true;
        return;
    }
    for (size_t i = 0; i < c->slots; i++) {
        if (c->cell[i].key[0] != '\0')
            *slot_of(&wider, c->cell[i].key) = c->cell[i];
    }
    free(c->cell);
    *c = wider;
}

static void counts_add(struct counts *c, const char *key, int64_t n) {
    if (2 * (c->used + 1) > c->slots)
        grow(c);
    if (c->failed || strlen(key) >= KEY_BYTES)
        return;
    struct cell *cell = slot_of(c, key);
    if (cell->key[0] == '\0') {
        memcpy(cell->key, key, strlen(key) + 1);
        c->used++;
    }
    cell->n += n;
}

static void counts_clear(struct counts *c) {
    free(c->cell);
    memset(c, 0, sizeof *c);
}

/* --- collecting --- */

static const enum claim_state in_force[] = {CLAIM_RECORDED, CLAIM_REVIEW};

struct collect {
    struct pool_job job; /* first */
    struct server *server;
    struct counts sum;
    char (*code)[7];
    size_t codes, at;
    bool by_prefecture; /* into the nation's and each prefecture's cells */
    bool tallied;       /* this municipality's tallies are in */
    size_t state;       /* of in_force */
    uint64_t after;
    /* of the present job, which may run again */
    struct counts page;
    uint64_t last;
    size_t seen;
    struct partition *partition;
    void (*done)(struct collect *c, enum vrs_err e);
    void *arg;
};

/* "doses/2021-07-01/1/comirnaty" */
static enum vrs_err add_tally(const char *name, int64_t n, void *arg) {
    struct collect *c = arg;
    char key[KEY_BYTES];
    const char *date = name + strlen("doses/"), *turn = strchr(date, '/');
    const char *product = turn != NULL ? strchr(turn + 1, '/') : NULL;
    if (product == NULL || turn - date != 10 || product - turn > 4)
        return VRS_OK;
    int turn_len = (int)(product - turn);
    (void)snprintf(key, sizeof key, "date/%.10s%.*s", date, turn_len, turn);
    counts_add(&c->page, key, n);
    (void)snprintf(key, sizeof key, "product%.40s%.*s", product, turn_len, turn);
    counts_add(&c->page, key, n);
    (void)snprintf(key, sizeof key, "prefecture/%.*s", turn_len, turn);
    counts_add(&c->page, key, n);
    return VRS_OK;
}

static enum vrs_err add_age(struct claim *claim, void *arg) {
    struct collect *c = arg;
    struct person person;
    char key[KEY_BYTES];
    c->last = claim->order;
    c->seen++;
    if (!claim_in_force(claim) || !claim->has_person)
        return VRS_OK;
    enum vrs_err e = person_get(c->partition, &claim->person, &person);
    if (e != VRS_OK)
        return e == ERR_NOT_FOUND ? VRS_OK : e;
    int32_t age = clock_age_years(person.birth, claim->vaccinated_on);
    int32_t from = age < 0 ? 0 : age >= 100 ? 100 : age / 10 * 10;
    if (from == 100)
        (void)snprintf(key, sizeof key, "age/100-/%d", claim->coupon.dose_number);
    else
        (void)snprintf(key, sizeof key, "age/%02d-%02d/%d", (int)from, (int)from + 9,
                       claim->coupon.dose_number);
    counts_add(&c->page, key, 1);
    person_wipe(&person);
    return VRS_OK;
}

static enum vrs_err collect_run(struct pool_job *job, struct partition *p) {
    struct collect *c = (struct collect *)job;
    counts_clear(&c->page);
    c->partition = p;
    c->last = c->after;
    c->seen = 0;
    enum vrs_err e = c->tallied ? claims_in_state(p, in_force[c->state], c->after, PAGE, add_age, c)
                                : tally_walk(p, "doses/", add_tally, c);
    return e == VRS_OK && c->page.failed ? ERR_MEMORY : e;
}

static void next_job(struct collect *c);

/* "date/2021-07-01/1" of one municipality into the cells of all that it is part of. */
static void merge(struct collect *c) {
    const struct municipality *m = municipality_find(c->server->municipalities, c->code[c->at]);
    for (size_t i = 0; i < c->page.slots; i++) {
        const struct cell *cell = &c->page.cell[i];
        char key[2 * KEY_BYTES];
        const char *name = m != NULL ? m->prefecture : "";
        bool prefecture = strncmp(cell->key, "prefecture//", 12) == 0;
        if (cell->key[0] == '\0')
            continue;
        for (int wide = 0; wide < (c->by_prefecture ? 2 : 1); wide++) {
            const char *scope = wide != 0 ? "00" : c->by_prefecture ? c->code[c->at] : "";
            if (prefecture)
                (void)snprintf(key, sizeof key, "%.2s/prefecture/%s/%s", scope, name,
                               cell->key + 12);
            else
                (void)snprintf(key, sizeof key, "%.2s/%s", scope, cell->key);
            counts_add(&c->sum, key, cell->n);
        }
    }
}

static void collected(struct pool_job *job) {
    struct collect *c = (struct collect *)job;
    bool none = job->err == ERR_NOT_FOUND; /* no file: nothing to count */
    if (job->err != VRS_OK && !none) {
        c->done(c, job->err);
        return;
    }
    if (!none)
        merge(c);
    counts_clear(&c->page);
    if (!none && !c->tallied) {
        c->tallied = true;
        c->state = 0;
        c->after = 0;
    } else if (!none && c->seen >= PAGE && c->last > c->after) {
        c->after = c->last;
    } else if (!none && c->state + 1 < sizeof in_force / sizeof *in_force) {
        c->state++;
        c->after = 0;
    } else {
        c->at++;
        c->tallied = false;
    }
    next_job(c);
}

static void next_job(struct collect *c) {
    if (c->sum.failed || c->at >= c->codes) {
        c->done(c, c->sum.failed ? ERR_MEMORY : VRS_OK);
        return;
    }
    memcpy(c->job.municipality, c->code[c->at], sizeof c->job.municipality);
    c->job.flags = 0;
    c->job.run = collect_run;
    c->job.done = collected;
    enum vrs_err e = pool_submit(c->server->pool, &c->job);
    if (e != VRS_OK)
        c->done(c, e);
}

static void collect_free(struct collect *c) {
    counts_clear(&c->sum);
    counts_clear(&c->page);
    free(c->code);
    free(c);
}

/* --- the day's sums --- */

struct statistics {
    struct server *server;
    struct counts sums;
    int32_t day; /* in Japan; 0: none yet */
    int64_t made_ms;
    struct collect *collecting;
    struct inside_request *waiting[MAX_WAITING];
    size_t waiting_count;
};

enum vrs_err statistics_open(struct server *server, struct statistics **out) {
    struct statistics *s = calloc(1, sizeof *s);
    *out = s;
    if (s == NULL)
        return ERR_MEMORY;
    s->server = server;
    return VRS_OK;
}

void statistics_close(struct statistics **sp) {
    struct statistics *s = *sp;
    if (s != NULL) {
        if (s->collecting != NULL)
            collect_free(s->collecting);
        counts_clear(&s->sums);
    }
    free(s);
    *sp = NULL;
}

/* --- one request --- */

struct look {
    struct inside_request *in;
    char scope[3]; /* "": own; two digits; "00" nation */
    char by[12];
    int64_t as_of_ms;
    struct cell *cell; /* sorted, from the arena */
    bool *hidden;      /* of each */
    size_t cells;
};

static int by_key(const void *a, const void *b) {
    return strcmp(((const struct cell *)a)->key, ((const struct cell *)b)->key);
}

/* Cells of one scope and one `by`, sorted; "date/…" without its scope. */
static enum vrs_err pick(struct look *l, const struct counts *from) {
    char prefix[32];
    int len = snprintf(prefix, sizeof prefix, "%s/%s/", l->scope, l->by);
    l->cells = 0;
    l->cell = arena_alloc(http_arena(l->in->rq), (from->used + 1) * sizeof *l->cell);
    if (l->cell == NULL)
        return ERR_MEMORY;
    for (size_t i = 0; i < from->slots; i++) {
        const struct cell *c = &from->cell[i];
        if (c->n == 0 || strncmp(c->key, prefix, (size_t)len) != 0)
            continue;
        l->cell[l->cells] = *c;
        (void)snprintf(l->cell[l->cells].key, KEY_BYTES, "%s", c->key + len);
        l->cells++;
    }
    qsort(l->cell, l->cells, sizeof *l->cell, by_key);
    return VRS_OK;
}

static unsigned turn_of(const struct cell *c) {
    const char *digits = strrchr(c->key, '/') + 1;
    uint64_t number = 0;
    (void)text_u64(&digits, MAX_TURN, &number);
    return (unsigned)number;
}

/* Of a turn the total is known — another `by` adds up to it: beside small cells the next smallest
 * are hidden, too, until what is hidden is two cells at least and together no small number. */
static void hide_turn(struct look *l, unsigned turn) {
    size_t hidden = 0, least = 0;
    int64_t sum = 0;
    for (size_t i = 0; i < l->cells; i++) {
        if (turn_of(&l->cell[i]) != turn || l->cell[i].n >= SMALL)
            continue;
        l->hidden[i] = true;
        hidden++;
        sum += l->cell[i].n;
    }
    while (hidden > 0 && (hidden == 1 || sum < SMALL) && least < l->cells) {
        least = l->cells;
        for (size_t i = 0; i < l->cells; i++) {
            if (turn_of(&l->cell[i]) == turn && !l->hidden[i] &&
                (least == l->cells || l->cell[i].n < l->cell[least].n))
                least = i;
        }
        if (least == l->cells)
            return;
        l->hidden[least] = true;
        hidden++;
        sum += l->cell[least].n;
    }
}

static enum vrs_err hide(struct look *l) {
    l->hidden = arena_alloc(http_arena(l->in->rq), (l->cells + 1) * sizeof *l->hidden);
    if (l->hidden == NULL)
        return ERR_MEMORY;
    memset(l->hidden, 0, (l->cells + 1) * sizeof *l->hidden);
    for (unsigned turn = 0; turn <= MAX_TURN && l->scope[0] != '\0'; turn++)
        hide_turn(l, turn);
    return VRS_OK;
}

static json_t *shown(const struct look *l, size_t i) {
    if (!l->hidden[i])
        return json_integer(l->cell[i].n);
    return json_string(l->cell[i].n < SMALL ? "<10" : "*");
}

static enum vrs_err answer_run(struct inside_request *in, struct partition *p) {
    const struct look *l = in->own;
    json_t *cells = json_array();
    char as_of[25];
    clock_format_rfc3339(l->as_of_ms, as_of);
    for (size_t i = 0; i < l->cells; i++) {
        char key[KEY_BYTES];
        (void)snprintf(key, sizeof key, "%s", l->cell[i].key);
        char *turn = strrchr(key, '/');
        *turn = '\0';
        (void)json_array_append_new(cells,
                                    json_pack("{s:s,s:i,s:o}", "key", key, "dose_number",
                                              (int)turn_of(&l->cell[i]), "count", shown(l, i)));
    }
    enum vrs_err e = inside_log(in, p, NULL, NULL, 0, l->cells, "ok", l->by);
    const char *scope = l->scope[0] == '\0'           ? in->session.municipality
                        : strcmp(l->scope, "00") == 0 ? "nation"
                                                      : l->scope;
    if (e != VRS_OK) {
        json_decref(cells);
        return e;
    }
    return inside_json(in, json_pack("{s:s,s:s,s:s,s:o}", "by", l->by, "scope", scope, "as_of",
                                     as_of, "cells", cells));
}

static void answered(struct inside_request *in) {
    enum vrs_err e = in->job.err;
    inside_answer(in, e == ERR_STORAGE ? ERR_LOG_UNWRITABLE : e);
}

static void answer(struct inside_request *in, const struct counts *from, int64_t as_of_ms,
                   enum vrs_err e) {
    struct look *l = in->own;
    l->as_of_ms = as_of_ms;
    if (e == VRS_OK)
        e = pick(l, from);
    if (e == VRS_OK)
        e = hide(l);
    if (e != VRS_OK)
        inside_refuse(in, e);
    else
        inside_step(in, in->session.municipality, POOL_CREATE, answer_run, answered);
}

static void own_done(struct collect *c, enum vrs_err e) {
    answer(c->arg, &c->sum, clock_now_ms(), e);
    collect_free(c);
}

static void day_done(struct collect *c, enum vrs_err e) {
    struct statistics *s = c->arg;
    s->collecting = NULL;
    if (e == VRS_OK) {
        counts_clear(&s->sums);
        s->sums = c->sum;
        memset(&c->sum, 0, sizeof c->sum);
        s->made_ms = clock_now_ms();
        s->day = clock_today_jst().days;
    }
    for (size_t i = 0; i < s->waiting_count; i++)
        answer(s->waiting[i], &s->sums, s->made_ms, e);
    s->waiting_count = 0;
    collect_free(c);
}

static struct collect *collect_new(struct server *server, size_t codes, void *arg,
                                   void (*done)(struct collect *c, enum vrs_err e)) {
    struct collect *c = calloc(1, sizeof *c);
    if (c != NULL)
        c->code = calloc(codes + 1, sizeof *c->code);
    if (c == NULL || c->code == NULL) {
        free(c);
        return NULL;
    }
    c->server = server;
    c->arg = arg;
    c->done = done;
    return c;
}

/* The registry has no doses, but a file like the others: it is passed over. */
static enum vrs_err start_day(struct statistics *s) {
    size_t most = municipality_count(s->server->municipalities) + 1;
    struct collect *c = collect_new(s->server, most, s, day_done);
    if (c == NULL)
        return ERR_MEMORY;
    size_t there = pool_list(s->server->pool, c->code, most);
    for (size_t i = 0; i < there && i < most; i++) {
        if (strcmp(c->code[i], REGISTRY) != 0)
            memmove(c->code[c->codes++], c->code[i], sizeof *c->code);
    }
    c->by_prefecture = true;
    s->collecting = c;
    next_job(c);
    return VRS_OK;
}

static void sums_for(struct inside_request *in) {
    struct statistics *s = in->server->statistics;
    if (s->day == clock_today_jst().days) {
        answer(in, &s->sums, s->made_ms, VRS_OK);
        return;
    }
    if (s->waiting_count >= MAX_WAITING) {
        inside_refuse(in, ERR_BUSY);
        return;
    }
    s->waiting[s->waiting_count++] = in;
    if (s->collecting == NULL && start_day(s) != VRS_OK) {
        s->waiting_count--;
        inside_refuse(in, ERR_MEMORY);
    }
}

void statistics_get(struct http_request *rq) {
    static const char *const kinds[] = {"date", "product", "prefecture", "age"};
    struct inside_request *in = inside_of(rq);
    struct look *l = arena_alloc(http_arena(rq), sizeof *l);
    const char *by = http_query(rq, "by");
    enum vrs_err e = l != NULL ? ERR_BAD_FIELD : ERR_MEMORY;
    in->act = "statistics.read";
    in->own = l;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && l != NULL; i++) {
        if (strcmp(by != NULL ? by : "date", kinds[i]) == 0) {
            INSIDE_COPY(l->by, kinds[i]);
            e = VRS_OK;
        }
    }
    if (e != VRS_OK) {
        in->problem_extra = json_pack("{s:s}", "field", "by");
        inside_refuse(in, e);
        return;
    }
    l->in = in;
    if (strcmp(in->session.municipality, REGISTRY) == 0) {
        (void)snprintf(l->scope, sizeof l->scope, "%.2s",
                       in->session.scope[0] != '\0' ? in->session.scope : "00");
        sums_for(in);
        return;
    }
    struct collect *c = collect_new(in->server, 1, in, own_done);
    if (c == NULL) {
        inside_refuse(in, ERR_MEMORY);
        return;
    }
    memcpy(c->code[0], in->session.municipality, sizeof in->session.municipality);
    c->codes = 1;
    next_job(c);
}
