#include "vrs-server/keeping/retention.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "vrs-server/handlers.h"
#include "vrs-server/inquiries/policy.h"
#include "vrs-server/keeping/erasure.h"
#include "vrs-server/request.h"
#include "vrs-server/setting.h"
#include "vrs-server/views.h"

enum { LIST_MAX = 200, PAGE = 500, RUN_PAGES = 4 };

/* --- the rule --- */

/* The same day so many years on; the 29th of February becomes the 1st of March. */
static struct civil_date years_on(struct civil_date from, int64_t years) {
    char text[24];
    struct civil_date out = from;
    clock_format_date(from, text);
    long year = strtol(text, NULL, 10) + (long)years;
    char day[40];
    (void)snprintf(day, sizeof day, "%04ld%.6s", year, text + 4);
    if (clock_parse_date(day, &out) != VRS_OK) {
        (void)snprintf(day, sizeof day, "%04ld-03-01", year);
        (void)!clock_parse_date(day, &out);
    }
    return out;
}

bool retention_ends(const struct person *p, int64_t years, struct civil_date *out,
                    const char **because_ja) {
    const struct {
        struct civil_date day;
        const char *ja;
    } starts[] = {{p->died_on, "死亡"}, {p->moved_out_on, "転出"}, {p->removed_on, "職権消除"}};
    if (years <= 0)
        return false;
    if (years < RETENTION_FLOOR_YEARS)
        years = RETENTION_FLOOR_YEARS;
    bool any = false;
    struct civil_date from = {0};
    /* Of several the last: nothing goes before each of them has been kept its years. */
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        if (!person_date_set(starts[i].day) || (any && starts[i].day.days <= from.days))
            continue;
        any = true;
        from = starts[i].day;
        *because_ja = starts[i].ja;
    }
    if (any)
        *out = years_on(from, years);
    return any;
}

/* 0: nothing ends by itself here. */
static enum vrs_err years_of(struct server *s, struct partition *p, int64_t *years,
                             bool *automatic) {
    int64_t on = 0, floor = policy_retention(s->policies, partition_code(p), "person", "years");
    enum vrs_err e = setting_get(p, SETTING_RETENTION_YEARS, years);
    if (e == VRS_OK)
        e = setting_get(p, SETTING_RETENTION_AUTOMATIC, &on);
    *automatic = on != 0;
    if (floor < RETENTION_FLOOR_YEARS)
        floor = RETENTION_FLOOR_YEARS;
    if (*years > 0 && *years < floor)
        *years = floor;
    return e;
}

/* --- a page of people whose time is over --- */

struct search {
    int64_t years;
    struct civil_date today;
    struct record_id last;
    size_t seen, limit;
    struct record_id found[LIST_MAX];
    struct civil_date ended[LIST_MAX];
    const char *because[LIST_MAX];
    size_t count;
};

static enum vrs_err see(struct person *person, void *arg) {
    struct search *s = arg;
    struct civil_date end;
    const char *because = "";
    s->last = person->id;
    s->seen++;
    if (s->count < s->limit && retention_ends(person, s->years, &end, &because) &&
        end.days <= s->today.days) {
        s->because[s->count] = because;
        s->ended[s->count] = end;
        s->found[s->count++] = person->id;
    }
    return VRS_OK;
}

/* --- the daily run: page, erase, settle, page … --- */

struct run {
    struct pool_job job; /* first */
    struct server *server;
    struct erasure_batch batch;
    struct search search;
    struct position {
        bool begun;
        struct record_id last;
    } at, next;
    bool finished;
    uint64_t erased, left;
};

static enum vrs_err log_erased(struct partition *p, const struct person *person,
                               const struct erased *x, void *arg) {
    const struct log_entry entry = {.actor = {.user = "system:retention",
                                              .section = "system",
                                              .terminal = "vrs-server",
                                              .source = "system"},
                                    .act = "retention.erase",
                                    .purpose = "vaccination_record",
                                    .result = "erased",
                                    .detail = arg,
                                    .count = x->count[ERASED_DOSE] + 1,
                                    .person = person,
                                    .subjects = &person->id,
                                    .subject_count = 1};
    return access_log_append(p, &entry, NULL);
}

static enum vrs_err erase_found(struct run *r, struct partition *p) {
    enum vrs_err e = VRS_OK;
    for (size_t i = 0; i < r->search.count && e == VRS_OK; i++) {
        char reason[120], day[11];
        struct person person;
        clock_format_date(r->search.ended[i], day);
        (void)snprintf(reason, sizeof reason, "保存期間（%s から%lld年）が %s に満了",
                       r->search.because[i], (long long)r->search.years, day);
        const struct erasure_why why = {.by = "system:retention",
                                        .approver = "",
                                        .reason = reason,
                                        .request = "",
                                        .automatic = true};
        e = person_get(p, &r->search.found[i], &person);
        if (e != VRS_OK)
            break;
        if ((e = partition_savepoint(p)) != VRS_OK)
            break;
        e = erasure_person(&r->batch, p, &person, &why, log_erased, reason);
        if (e == VRS_OK) {
            e = partition_release(p);
            r->erased++;
        } else if (e == ERR_CONFLICT) { /* an inquiry waits for its answer: another day */
            erasure_batch_drop_last(&r->batch);
            e = partition_rollback_to(p);
            r->left++;
        }
        person_wipe(&person);
    }
    return e;
}

static enum vrs_err run_page(struct pool_job *job, struct partition *p) {
    struct run *r = (struct run *)job;
    struct search *s = &r->search;
    bool automatic = false, whole = true;
    r->next = r->at; /* a job may run again */
    erasure_batch_reset(&r->batch);
    r->erased = r->left = 0;
    enum vrs_err e = years_of(r->server, p, &s->years, &automatic);
    r->finished = e == VRS_OK && (s->years == 0 || !automatic);
    s->today = clock_today_jst();
    s->limit = ERASURE_BATCH;
    s->count = 0;
    /* Some pages a job: others want the partition, too. */
    for (int i = 0; e == VRS_OK && !r->finished && s->count == 0 && i < RUN_PAGES; i++) {
        s->seen = 0;
        e = person_page(p, r->next.begun ? &r->next.last : NULL, PAGE, see, s);
        whole = s->count < s->limit;
        r->finished = s->seen < PAGE && whole;
        if (whole && s->seen > 0) /* else this page is looked at again */
            r->next = (struct position){.begun = true, .last = s->last};
    }
    if (e == VRS_OK)
        e = erase_found(r, p);
    if (!whole && r->erased == 0) /* all of them wait for something: past them */
        r->next = (struct position){.begun = true, .last = s->last};
    return e;
}

static void run_on(struct run *r);

static void run_end(struct run *r) {
    erasure_batch_fini(&r->batch);
    free(r);
}

static enum vrs_err settle(struct pool_job *job, struct partition *p) {
    struct run *r = (struct run *)job;
    (void)p;
    enum vrs_err e = erasure_settle(&r->batch, job->municipality, job->worker_index, &job->fault);
    (void)!erasure_scrub(&r->batch, job->municipality, &job->fault);
    return e;
}

static void settled(struct pool_job *job) {
    struct run *r = (struct run *)job;
    if (job->err != VRS_OK)
        log_fault(LOG_ERROR, "erasure.tombstone_not_written", &job->fault);
    if (r->finished || job->err != VRS_OK)
        run_end(r);
    else
        run_on(r);
}

static void page_done(struct pool_job *job) {
    struct run *r = (struct run *)job;
    if (job->err != VRS_OK) {
        log_fault(LOG_ERROR, "retention.stopped", &job->fault); /* the next day goes on */
        run_end(r);
        return;
    }
    r->at = r->next;
    if (r->erased + r->left > 0)
        log_event(LOG_INFO, "retention.erased", LF_STR("municipality", job->municipality),
                  LF_INT("people", r->erased), LF_INT("left", r->left));
    if (r->erased == 0) {
        if (r->finished)
            run_end(r);
        else
            run_on(r);
        return;
    }
    job->run = settle;
    job->done = settled;
    if (pool_submit_exclusive(r->server->pool, job, true) != VRS_OK)
        run_end(r);
}

static void run_on(struct run *r) {
    struct pool *pool = r->server->pool;
    struct pool_job next = {.flags = POOL_LATER, .run = run_page, .done = page_done};
    memcpy(next.municipality, r->job.municipality, sizeof next.municipality);
    r->job = next;
    if (pool_submit(pool, &r->job) != VRS_OK)
        run_end(r);
}

static void run_one(const char *municipality, void *arg) {
    struct run *r = strcmp(municipality, REGISTRY) != 0 ? calloc(1, sizeof *r) : NULL;
    if (r == NULL)
        return;
    r->server = arg;
    (void)snprintf(r->job.municipality, sizeof r->job.municipality, "%s", municipality);
    if (erasure_batch_init(r->server, &r->batch) != VRS_OK)
        run_end(r);
    else
        run_on(r);
}

void retention_tick(struct server *s) {
    static int32_t last = INT32_MIN; /* loop thread */
    struct civil_date today = clock_today_jst();
    if (today.days == last)
        return;
    last = today.days;
    pool_each(s->pool, run_one, s);
}

/* --- the work list --- */

static enum vrs_err list_people(struct inside_request *in, struct partition *p, struct search *s,
                                json_t *list) {
    (void)in;
    for (size_t i = 0; i < s->count; i++) {
        struct person person;
        char words[200], day[11];
        enum vrs_err e = person_get(p, &s->found[i], &person);
        if (e != VRS_OK)
            return e;
        clock_format_date(s->ended[i], day);
        (void)snprintf(words, sizeof words, "%sから%lld年の保存期間が %s に満了しました。",
                       s->because[i], (long long)s->years, day);
        json_t *o = json_pack("{s:o,s:o,s:s}", "resident", view_person(&person, NULL), "ended_on",
                              view_date(s->ended[i]), "reason", words);
        person_wipe(&person);
        if (o == NULL || json_array_append_new(list, o) != 0)
            return ERR_MEMORY;
    }
    return VRS_OK;
}

static enum vrs_err list_run(struct inside_request *in, struct partition *p) {
    struct search *s = in->own;
    json_t *list = json_array();
    bool automatic = false;
    memset(s, 0, sizeof *s);
    s->limit = LIST_MAX;
    s->today = clock_today_jst();
    enum vrs_err e = years_of(in->server, p, &s->years, &automatic);
    if (e == VRS_OK && s->years > 0)
        e = person_walk(p, see, s);
    if (e == VRS_OK)
        e = list_people(in, p, s, list);
    if (e == VRS_OK)
        e = inside_log(in, p, NULL, s->found, s->count, s->count, "ok", NULL);
    json_t *o = json_pack("{s:I,s:b,s:O,s:b}", "years", (json_int_t)s->years, "automatic",
                          automatic, "residents", list, "truncated", s->count == LIST_MAX);
    json_decref(list);
    if (e != VRS_OK)
        json_decref(o);
    return e == VRS_OK ? inside_json(in, o) : e;
}

void retention_list(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    in->act = "retention.list";
    in->own = arena_alloc(http_arena(rq), sizeof(struct search));
    if (in->own == NULL)
        inside_refuse(in, ERR_MEMORY);
    else
        inside_run(in, list_run);
}
