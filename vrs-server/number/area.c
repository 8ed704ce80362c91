#include "vrs-server/number/area.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/secret.h"
#include "lib/wire.h"
#include "ocr-ingest/coupon.h"
#include "partitions/scrub.h"
#include "vrs-server/number/access.h"
#include "vrs-server/number/area_private.h"

/* Inside the seal of a number row and of a journal entry: stored, so only append. */
enum { NUMBER_FIELD_DIGITS = 1 };
enum { JOURNAL_AT_MS = 1, JOURNAL_USER, JOURNAL_PURPOSE, JOURNAL_RIGHT, JOURNAL_ROW };

enum { DIGITS = 12, LIST_PAGE = 200 };
enum { SMALL_BYTES = 1 << 20 /* written anew at each erasure; else when something is left */ };
_Static_assert(LIST_PAGE *(5 + STORE_ID_BYTES) + 128 < NUMBER_MAX_MESSAGE, "a page is a message");

void (*area_moment_fn)(enum area_moment m);

static void moment(enum area_moment m) {
    if (area_moment_fn != NULL)
        area_moment_fn(m);
}

/* ---- files */

static enum vrs_err make_dir(const char *path, struct vrs_fault *fault) {
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return err_fail(fault, ERR_IO, "make %s", path);
    return VRS_OK;
}

enum vrs_err area_open(const struct area_options *o, struct area **out, struct vrs_fault *fault) {
    static const char *const folders[] = {"files", "backup", "stage"};
    char path[AREA_PATH];
    struct area *a = calloc(1, sizeof *a);
    if (a == NULL)
        return err_fail(fault, ERR_MEMORY, "number area");
    enum vrs_err e = VRS_OK;
    a->engine = o->engine;
    a->keys = o->keys;
    a->max_open = o->max_open > 0 ? o->max_open : 1;
    a->rooms = calloc(a->max_open, sizeof *a->rooms);
    if (a->rooms == NULL)
        e = err_fail(fault, ERR_MEMORY, "number area");
    else if (strlen(o->state_dir) >= sizeof a->state_dir)
        e = err_fail(fault, ERR_CONFIG, "state_dir is too long");
    (void)snprintf(a->state_dir, sizeof a->state_dir, "%s", o->state_dir);
    (void)snprintf(a->files_dir, sizeof a->files_dir, "%s/files", a->state_dir);
    bool named = o->second_backup_dir != NULL && o->second_backup_dir[0] != '\0';
    if (named && strlen(o->second_backup_dir) >= sizeof a->second_dir && e == VRS_OK)
        e = err_fail(fault, ERR_CONFIG, "backup_dir_2 is too long");
    if (named)
        (void)snprintf(a->second_dir, sizeof a->second_dir, "%.255s", o->second_backup_dir);
    else
        (void)snprintf(a->second_dir, sizeof a->second_dir, "%s/backup-2", a->state_dir);
    if (e == VRS_OK)
        e = make_dir(a->second_dir, fault);
    for (size_t i = 0; i < sizeof folders / sizeof *folders && e == VRS_OK; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", a->state_dir, folders[i]);
        e = make_dir(path, fault);
    }
    *out = a;
    if (e != VRS_OK)
        area_close(out);
    return e;
}

void area_close(struct area **a) {
    if (*a == NULL)
        return;
    for (size_t i = 0; i < (*a)->open; i++)
        partition_close(&(*a)->rooms[i].partition);
    free((*a)->rooms);
    free(*a);
    *a = NULL;
}

static void close_room(struct area *a, struct room *r) {
    partition_close(&r->partition);
    *r = a->rooms[--a->open];
}

void area_leave(struct area *a, const char *code) {
    for (size_t i = 0; i < a->open; i++) {
        if (strcmp(a->rooms[i].code, code) == 0) {
            close_room(a, &a->rooms[i]);
            return;
        }
    }
}

static struct room *find_room(struct area *a, const char *code) {
    for (size_t i = 0; i < a->open; i++)
        if (strcmp(a->rooms[i].code, code) == 0)
            return &a->rooms[i];
    return NULL;
}

static enum vrs_err open_room(struct area *a, const char *code, bool make, struct room **out,
                              struct vrs_fault *fault) {
    struct partition *p = NULL;
    enum vrs_err e = partition_open(a->engine, a->files_dir, code, a->keys, 0, &p, fault);
    if (e == ERR_NOT_FOUND && make) {
        e = keyring_ensure(a->keys, code, fault);
        if (e == VRS_OK)
            e = partition_open(a->engine, a->files_dir, code, a->keys, STORE_CREATE, &p, fault);
        a->count.makes += e == VRS_OK;
    }
    if (e != VRS_OK)
        return e;
    a->count.opens++;
    if (a->open == a->max_open) {
        struct room *oldest = &a->rooms[0];
        for (size_t i = 1; i < a->open; i++)
            if (a->rooms[i].used < oldest->used)
                oldest = &a->rooms[i];
        close_room(a, oldest);
    }
    *out = &a->rooms[a->open++];
    **out = (struct room){.partition = p};
    (void)snprintf((*out)->code, sizeof(*out)->code, "%s", code);
    return VRS_OK;
}

static void favour(struct room *r, bool on) {
    partition_favour(r->partition, on);
    r->favoured = on;
}

/* One municipality that is worked in again and again (an import) may hold more memory. */
static void favour_again(struct area *a, struct room *r) {
    bool again = strcmp(a->last, r->code) == 0;
    memcpy(a->last, r->code, sizeof a->last);
    if (!again || r->favoured)
        return;
    for (size_t i = 0; i < a->open; i++)
        if (a->rooms[i].favoured)
            favour(&a->rooms[i], false);
    favour(r, true);
}

enum vrs_err area_room(struct area *a, const char *code, bool make, struct partition **out,
                       struct vrs_fault *fault) {
    struct room *r = find_room(a, code);
    enum vrs_err e = VRS_OK;
    if (r == NULL)
        e = open_room(a, code, make, &r, fault);
    if (e != VRS_OK)
        return e;
    if (partition_needs_recovery(r->partition))
        e = partition_recover(r->partition, fault);
    if (e != VRS_OK)
        return e;
    r->used = ++a->clock;
    favour_again(a, r);
    *out = r->partition;
    return VRS_OK;
}

void area_rest(struct area *a, struct partition *p) {
    a->last[0] = '\0';
    partition_upkeep(p, true);
}

/* ---- verbs, inside the transaction */

bool area_row_digits(const struct buffer *text, struct personal_number *out) {
    struct wire_reader reader;
    struct wire_field f;
    bool more;
    wire_open(&reader, text->data, text->len);
    while (wire_next(&reader, &f, &more) == VRS_OK && more)
        if (f.tag == NUMBER_FIELD_DIGITS)
            return f.len == DIGITS && wire_str(&f, out->digits, sizeof out->digits);
    return false;
}

static bool row_holds(const struct buffer *text, const struct personal_number *n) {
    struct personal_number held = {0};
    bool same = area_row_digits(text, &held) && secret_equal(held.digits, n->digits, DIGITS);
    secret_wipe(&held, sizeof held);
    return same;
}

enum vrs_err area_index(struct partition *p, struct record *r) {
    struct personal_number held = {0};
    enum vrs_err e = area_row_digits(&r->text, &held)
                         ? partition_blind(p, "number", held.digits, DIGITS, &r->index[0])
                         : ERR_CORRUPT;
    secret_wipe(&held, sizeof held);
    return e;
}

struct search {
    const struct personal_number *number;
    bool found;
    struct record_id row; /* the newest */
};

/* The blind index finds it; what the seal holds decides. */
static enum vrs_err search_row(struct record *r, void *arg) {
    struct search *s = arg;
    if (row_holds(&r->text, s->number)) {
        s->found = true;
        s->row = r->id;
    }
    return VRS_OK;
}

static enum vrs_err search_number(struct partition *p, const struct store_index *blind,
                                  struct search *s) {
    return record_find(p, TABLE_NUMBER, 0, blind, search_row, s);
}

static enum vrs_err insert_number(struct partition *p, const struct number_request *rq,
                                  const struct store_index *blind) {
    struct record r;
    record_init(&r);
    r.id = rq->row;
    r.index[0] = *blind;
    wire_put(&r.text, NUMBER_FIELD_DIGITS, rq->number.digits, DIGITS);
    enum vrs_err e = r.text.failed ? ERR_MEMORY : partition_next_order(p, TABLE_NUMBER, &r.order);
    if (e == VRS_OK)
        e = record_insert(p, TABLE_NUMBER, &r);
    record_fini(&r);
    return e;
}

enum vrs_err area_put(struct partition *p, const struct number_request *rq) {
    struct record r;
    record_init(&r);
    enum vrs_err e = record_get(p, TABLE_NUMBER, &rq->row, &r);
    if (e == VRS_OK)
        e = row_holds(&r.text, &rq->number) ? VRS_OK : ERR_CONFLICT;
    else if (e == ERR_NOT_FOUND) {
        struct store_index blind;
        struct search s = {.number = &rq->number};
        e = partition_blind(p, "number", rq->number.digits, DIGITS, &blind);
        if (e == VRS_OK)
            e = search_number(p, &blind, &s);
        if (e == VRS_OK)
            e = s.found ? ERR_R183 : insert_number(p, rq, &blind);
        secret_wipe(&blind, sizeof blind);
    }
    record_fini(&r);
    return e;
}

static enum vrs_err match(struct partition *p, struct number_request *rq) {
    struct store_index blind;
    struct search s = {.number = &rq->number};
    enum vrs_err e = partition_blind(p, "number", rq->number.digits, DIGITS, &blind);
    if (e == VRS_OK)
        e = search_number(p, &blind, &s);
    secret_wipe(&blind, sizeof blind);
    if (e == VRS_OK && !s.found)
        e = ERR_NOT_FOUND;
    if (e == VRS_OK)
        wire_put(&rq->fields, NUMBER_T_ROW, s.row.bytes, sizeof s.row.bytes);
    return e;
}

enum vrs_err area_journal(struct partition *p, const struct number_request *rq) {
    struct record r;
    record_init(&r);
    record_id_new(&r.id);
    store_index_id(&rq->row, &r.index[0]);
    wire_put_u64(&r.text, JOURNAL_AT_MS, (uint64_t)clock_now_ms());
    wire_put_str(&r.text, JOURNAL_USER, rq->user);
    wire_put_str(&r.text, JOURNAL_PURPOSE, rq->purpose);
    wire_put_str(&r.text, JOURNAL_RIGHT, rq->right);
    wire_put(&r.text, JOURNAL_ROW, rq->row.bytes, sizeof rq->row.bytes);
    enum vrs_err e = r.text.failed ? ERR_MEMORY : partition_next_order(p, TABLE_JOURNAL, &r.order);
    if (e == VRS_OK)
        e = record_insert(p, TABLE_JOURNAL, &r);
    record_fini(&r);
    return e == VRS_OK || e == ERR_UNKNOWN ? e : ERR_LOG_UNWRITABLE;
}

/* The number waits in the request until the commit (A3). */
static enum vrs_err reveal(struct partition *p, struct number_request *rq) {
    struct record r;
    record_init(&r);
    enum vrs_err e = record_get(p, TABLE_NUMBER, &rq->row, &r);
    if (e == VRS_OK && !area_row_digits(&r.text, &rq->number))
        e = ERR_CORRUPT;
    if (e == VRS_OK)
        e = area_journal(p, rq);
    if (e == VRS_OK)
        wire_put(&rq->fields, NUMBER_T_NUMBER, rq->number.digits, DIGITS);
    record_fini(&r);
    return e;
}

static enum vrs_err list_row(const struct store_row *row, void *arg) {
    wire_put(arg, NUMBER_T_ROW, row->id, STORE_ID_BYTES);
    return VRS_OK;
}

static enum vrs_err run_one(struct area *a, struct partition *p, struct number_request *rq) {
    enum vrs_err e;
    switch (rq->verb) {
    case NUMBER_PUT:
        return area_put(p, rq);
    case NUMBER_MATCH:
        return match(p, rq);
    case NUMBER_REVEAL:
        return reveal(p, rq);
    case NUMBER_ERASE:
        e = erase_row(p, TABLE_NUMBER, &rq->row, ERASED_NUMBER, &a->gone);
        return e == ERR_NOT_FOUND ? VRS_OK : e;
    case NUMBER_LIST: /* straight from the engine: nothing is unsealed */
        return a->engine->walk(partition_store(p), TABLE_NUMBER, rq->has_row ? rq->row.bytes : NULL,
                               LIST_PAGE, list_row, &rq->fields);
    case NUMBER_CARRY_KEY:
        return area_carry_key(a, rq);
    case NUMBER_CARRY_OUT:
        return area_carry_out(p, rq);
    case NUMBER_CARRY_IN:
        return area_carry_in(a, p, rq);
    default:
        return ERR_PROTOCOL;
    }
}

/* ---- groups */

static bool writes(const struct number_request *rq) {
    return rq->verb == NUMBER_PUT || rq->verb == NUMBER_ERASE || rq->verb == NUMBER_REVEAL ||
           rq->verb == NUMBER_CARRY_OUT || rq->verb == NUMBER_CARRY_IN;
}

/* What can be refused without looking: so a refused request never opens a file. */
static enum vrs_err check(const struct number_request *rq) {
    enum vrs_err e = number_access_check(rq->verb, rq->right, rq->purpose, rq->user);
    if (e != VRS_OK)
        return e;
    if (!municipality_code_valid(rq->municipality))
        return ERR_NO_SUCH_MUNICIPALITY;
    if ((rq->verb == NUMBER_PUT || rq->verb == NUMBER_MATCH) &&
        !personal_number_valid(rq->number.digits))
        return ERR_R170;
    return VRS_OK;
}

enum vrs_err area_commit(struct area *a, struct partition *p) {
    int64_t start = clock_mono_us();
    moment(AREA_COMMITTING);
    enum vrs_err e = partition_commit(p);
    if (e != VRS_OK) {
        a->count.commits_failed++;
        log_event(LOG_ERROR, "number.commit_failed", LF_STR("municipality", partition_code(p)),
                  LF_ERR(e));
        return e;
    }
    moment(AREA_COMMITTED);
    uint64_t us = (uint64_t)(clock_mono_us() - start);
    a->count.commits++;
    a->count.commit_us_sum += us;
    if (us > a->count.commit_us_max)
        a->count.commit_us_max = us;
    return VRS_OK;
}

static enum vrs_err not_stored(const struct number_request *rq, enum vrs_err e) {
    return rq->verb == NUMBER_REVEAL && e != ERR_UNKNOWN ? ERR_LOG_UNWRITABLE : e;
}

/* Without its file a municipality knows no number. */
static enum vrs_err answer_absent(const struct number_request *rq) {
    return rq->verb == NUMBER_ERASE || rq->verb == NUMBER_LIST || rq->verb == NUMBER_CARRY_OUT
               ? VRS_OK
               : ERR_NOT_FOUND;
}

/* No savepoints: each verb has one writing statement, its last, which fails as a whole. */
static void transact(struct area *a, struct partition *p, struct number_request *const *rq,
                     size_t n) {
    bool dirty = false;
    enum vrs_err e = partition_begin(p);
    for (size_t i = 0; i < n; i++) {
        if (rq[i]->err != VRS_OK)
            continue;
        rq[i]->err = e == VRS_OK ? run_one(a, p, rq[i]) : not_stored(rq[i], e);
        dirty |= rq[i]->err == VRS_OK && writes(rq[i]);
    }
    moment(AREA_LOOKED);
    if (e != VRS_OK) {
        log_event(LOG_ERROR, "number.begin_failed", LF_STR("municipality", partition_code(p)),
                  LF_ERR(e));
    } else if (!dirty) {
        partition_rollback(p);
    } else if ((e = area_commit(a, p)) != VRS_OK) {
        /* Reads of this group may have seen what is not stored. */
        for (size_t i = 0; i < n; i++)
            if (rq[i]->err == VRS_OK || rq[i]->err == ERR_NOT_FOUND || rq[i]->err == ERR_R183 ||
                rq[i]->err == ERR_CONFLICT)
                rq[i]->err = not_stored(rq[i], e);
    }
}

/* A5: what was erased is not left in journal or free room either (C126).  The file is closed for it;
 * trouble is an event: the number is gone, and the next erasure looks again. */
static void scrub(struct area *a, const char *code) {
    struct vrs_fault fault = {0};
    struct scrub_result done;
    area_leave(a, code);
    enum vrs_err e =
        scrub_file(a->engine, a->files_dir, code, &a->gone.seals, SMALL_BYTES, &done, &fault);
    if (e != VRS_OK)
        log_fault(LOG_ERROR, "number.scrub_failed", &fault);
    else
        log_event(LOG_INFO, "number.scrubbed", LF_STR("municipality", code),
                  LF_INT("found", done.found), LF_INT("rewritten", done.rewritten));
}

static void run_group(struct area *a, struct number_request *const *rq, size_t n) {
    const char *code = rq[0]->municipality;
    struct partition *p = NULL;
    struct vrs_fault fault = {0};
    bool make = false, any = false, sweep = true; /* a sweep goes through the whole nation */
    for (size_t i = 0; i < n; i++) {
        rq[i]->err = check(rq[i]);
        any |= rq[i]->err == VRS_OK;
        sweep &= rq[i]->verb == NUMBER_LIST;
        make |=
            rq[i]->err == VRS_OK && (rq[i]->verb == NUMBER_PUT || rq[i]->verb == NUMBER_CARRY_IN ||
                                     rq[i]->verb == NUMBER_CARRY_KEY);
    }
    if (!any)
        return;
    enum vrs_err e = area_room(a, code, make, &p, &fault);
    if (e == VRS_OK) {
        erased_init(&a->gone);
        transact(a, p, rq, n);
        bool stored = false;
        for (size_t i = 0; i < n; i++)
            stored |= rq[i]->verb == NUMBER_ERASE && rq[i]->err == VRS_OK;
        if (stored && a->gone.count[ERASED_NUMBER] > 0)
            scrub(a, code);
        else if (sweep)
            area_rest(a, p);
        erased_fini(&a->gone);
        return;
    }
    if (e != ERR_NOT_FOUND)
        log_fault(LOG_ERROR, "number.open_failed", &fault);
    for (size_t i = 0; i < n; i++)
        if (rq[i]->err == VRS_OK)
            rq[i]->err = e == ERR_NOT_FOUND && !make ? answer_absent(rq[i]) : not_stored(rq[i], e);
}

static void run_copy(struct area *a, struct number_request *rq) {
    struct vrs_fault fault = {0};
    bool backup = rq->verb == NUMBER_BACKUP;
    rq->err = check(rq);
    if (rq->err != VRS_OK)
        return;
    rq->err = backup ? area_backup(a, rq->municipality, rq->name, &fault)
                     : area_restore(a, rq->municipality, rq->name, &fault);
    if (rq->err != VRS_OK && rq->err != ERR_NOT_FOUND && rq->err != ERR_CONFLICT)
        log_fault(LOG_ERROR, "number.copy_failed", &fault);
    else if (rq->err == VRS_OK)
        log_event(LOG_INFO, backup ? "number.backup" : "number.restored",
                  LF_STR("municipality", rq->municipality));
    a->count.backups += backup && rq->err == VRS_OK;
    a->count.restores += !backup && rq->err == VRS_OK;
}

static void run_destroy(struct area *a, struct number_request *rq) {
    struct vrs_fault fault = {0};
    rq->err = check(rq);
    if (rq->err == VRS_OK)
        rq->err = area_destroy(a, rq->municipality, &fault);
    if (rq->err != VRS_OK)
        log_fault(LOG_ERROR, "number.destroy_failed", &fault);
    else
        log_event(LOG_WARN, "number.destroyed", LF_STR("municipality", rq->municipality));
}

static void run_rotate(struct area *a, struct number_request *rq) {
    struct vrs_fault fault = {0};
    rq->err = check(rq);
    if (rq->err == VRS_OK)
        rq->err = area_rotate(a, rq, &fault);
    if (rq->err != VRS_OK && fault.text[0] != '\0')
        log_fault(LOG_ERROR, "number.rotation_failed", &fault);
    a->count.rotation_steps += rq->err == VRS_OK;
}

static void count(struct area *a, const struct number_request *rq) {
    bool ok = rq->err == VRS_OK;
    if (rq->err == ERR_FORBIDDEN || rq->err == ERR_PURPOSE)
        a->count.refused++;
    else if (rq->verb == NUMBER_PUT)
        a->count.puts += ok;
    else if (rq->verb == NUMBER_REVEAL)
        a->count.reveals += ok;
    else if (rq->verb == NUMBER_ERASE)
        a->count.erasures += ok;
    else if (rq->verb == NUMBER_LIST)
        a->count.lists += ok;
    else if (rq->verb == NUMBER_MATCH) {
        a->count.matches += ok;
        a->count.misses += rq->err == ERR_NOT_FOUND;
    }
}

/* Outside the transaction of its neighbours. */
static bool is_alone(const struct number_request *rq) {
    return rq->verb == NUMBER_BACKUP || rq->verb == NUMBER_RESTORE || rq->verb == NUMBER_ROTATE ||
           rq->verb == NUMBER_DESTROY;
}

void area_run(struct area *a, struct number_request *const *rq, size_t n) {
    for (size_t i = 0; i < n;) {
        if (is_alone(rq[i])) {
            (rq[i]->verb == NUMBER_ROTATE    ? run_rotate
             : rq[i]->verb == NUMBER_DESTROY ? run_destroy
                                             : run_copy)(a, rq[i]);
            i++;
            continue;
        }
        size_t end = i;
        while (end < n && !is_alone(rq[end]))
            end++;
        run_group(a, rq + i, end - i);
        i = end;
    }
    for (size_t i = 0; i < n; i++) {
        if (rq[i]->fields.failed && rq[i]->err == VRS_OK)
            rq[i]->err = ERR_MEMORY;
        count(a, rq[i]);
    }
}

void area_status(struct area *a, struct buffer *out) {
    const struct {
        const char *name;
        uint64_t value;
    } lines[] = {
        {"open_files", a->open},
        {"opens_total", a->count.opens},
        {"made_total", a->count.makes},
        {"puts_total", a->count.puts},
        {"matches_total", a->count.matches},
        {"misses_total", a->count.misses},
        {"reveals_total", a->count.reveals},
        {"erasures_total", a->count.erasures},
        {"lists_total", a->count.lists},
        {"refused_total", a->count.refused},
        {"backups_total", a->count.backups},
        {"restores_total", a->count.restores},
        {"rotation_steps_total", a->count.rotation_steps},
        {"commits_total", a->count.commits},
        {"commits_failed_total", a->count.commits_failed},
        {"commit_us_sum", a->count.commit_us_sum},
        {"commit_us_max", a->count.commit_us_max},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        (void)buffer_printf(out, "%s=%llu\n", lines[i].name, (unsigned long long)lines[i].value);
    if (a->open > 0) {
        struct partition *p = a->rooms[0].partition;
        if (!partition_needs_recovery(p) && a->engine->describe(partition_store(p), out) != VRS_OK)
            (void)buffer_puts(out, "describe=failed\n");
    }
}
