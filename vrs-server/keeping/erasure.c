#include "vrs-server/keeping/erasure.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/metric.h"
#include "partitions/claim.h"
#include "partitions/person.h"
#include "partitions/scrub.h"
#include "partitions/tally.h"
#include "vrs-server/doses/apply.h"
#include "vrs-server/handlers.h"
#include "vrs-server/inquiries/policy.h"
#include "vrs-server/operation/backup.h"

enum { SEALS_MAX_BYTES = 64 << 20, PATH_BYTES = 512, DAY_MS = 24 * 60 * 60 * 1000 };

static struct metric erased_people = {
    .name = "vrs_erased_people_total", .help = "People erased", .type = METRIC_COUNTER};

/* --- a batch --- */

enum vrs_err erasure_batch_init(struct server *s, struct erasure_batch *b) {
    memset(b, 0, sizeof *b);
    b->server = s;
    b->tally = tally_batch_open();
    buffer_init(&b->seals, SEALS_MAX_BYTES);
    return b->tally != NULL ? VRS_OK : ERR_MEMORY;
}

void erasure_batch_reset(struct erasure_batch *b) {
    while (b->count > 0)
        tombstone_fini(&b->stone[--b->count]);
    buffer_clear(&b->seals);
    tally_batch_close(&b->tally);
    b->tally = tally_batch_open();
    b->numbers_left = false;
}

void erasure_batch_drop_last(struct erasure_batch *b) {
    tombstone_fini(&b->stone[--b->count]);
    tally_batch_close(&b->tally);
    b->tally = tally_batch_open();
}

void erasure_batch_fini(struct erasure_batch *b) {
    erasure_batch_reset(b);
    buffer_fini(&b->seals);
    tally_batch_close(&b->tally);
}

/* --- inside the transaction --- */

static enum vrs_err uncount(struct claim *c, void *arg) {
    apply_count(arg, c, -1);
    return VRS_OK;
}

/* Statistics count what is there. */
static enum vrs_err take_out_of_counts(struct erasure_batch *b, struct partition *p,
                                       const struct person *person) {
    enum vrs_err e = claims_of_person(p, &person->id, uncount, b->tally);
    return e == VRS_OK ? tally_batch_flush(b->tally, p) : e;
}

enum vrs_err erasure_person(struct erasure_batch *b, struct partition *p, struct person *person,
                            const struct erasure_why *why, erasure_log_fn *log, void *arg) {
    struct tombstone *t = &b->stone[b->count];
    struct erased x;
    if (b->count == ERASURE_BATCH || b->tally == NULL)
        return b->tally == NULL ? ERR_MEMORY : ERR_TOO_LARGE;
    tombstone_init(t);
    b->count++;
    erased_init(&x);
    t->person = person->id;
    t->automatic = why->automatic;
    (void)snprintf(t->by, sizeof t->by, "%s", why->by);
    (void)snprintf(t->approver, sizeof t->approver, "%s", why->approver);
    (void)snprintf(t->reason, sizeof t->reason, "%s", why->reason);
    (void)snprintf(t->request, sizeof t->request, "%s", why->request);
    enum vrs_err e = tombstone_head_now(p, &t->before);
    if (e == VRS_OK)
        e = take_out_of_counts(b, p, person);
    if (e == VRS_OK)
        e = erase_person(p, &person->id, &x);
    if (e == VRS_OK)
        e = imports_erase(p, &x);
    if (e == VRS_OK)
        e = log(p, person, &x, arg);
    if (e == VRS_OK)
        e = tombstone_head_now(p, &t->after);
    if (e == VRS_OK)
        e = tombstone_of(t, &x);
    if (e == VRS_OK)
        e = tombstone_put(p, t);
    if (e == VRS_OK && !buffer_put(&b->seals, x.seals.data, x.seals.len))
        e = ERR_MEMORY;
    erased_fini(&x);
    return e;
}

/* --- after the commit --- */

static void mark_path(const struct server *s, const char *municipality, char out[PATH_BYTES]) {
    char dir[BACKUP_PATH];
    (void)snprintf(out, PATH_BYTES, "%.450s/%.6s.unfinished", backup_tombstones(s, dir),
                   municipality);
}

/* Where it cannot be made, the disk is full and nothing below will succeed either. */
static void mark(const struct server *s, const char *municipality) {
    char path[PATH_BYTES], dir[BACKUP_PATH];
    (void)mkdir(backup_tombstones(s, dir), 0700);
    mark_path(s, municipality, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && fsync(fd) == 0 && file_sync_dir_of(path, NULL) == VRS_OK;
    if (fd >= 0)
        (void)close(fd);
    if (!ok)
        log_event(LOG_ERROR, "erasure.not_marked", LF_STR("municipality", municipality));
}

static void unmark(const struct server *s, const char *municipality) {
    char path[PATH_BYTES];
    mark_path(s, municipality, path);
    (void)unlink(path);
}

static bool marked(const struct server *s, const char *municipality) {
    char path[PATH_BYTES];
    mark_path(s, municipality, path);
    return access(path, F_OK) == 0;
}

enum vrs_err erasure_settle(struct erasure_batch *b, const char *municipality,
                            unsigned worker_index, struct vrs_fault *fault) {
    char dir[BACKUP_PATH];
    struct server *s = b->server;
    const struct tombstone_file file = {.dir = backup_tombstones(s, dir), .keys = s->keys};
    enum vrs_err e = VRS_OK;
    mark(s, municipality);
    for (size_t i = 0; i < b->count && e == VRS_OK; i++)
        e = tombstone_append(&file, municipality, &b->stone[i], fault);
    if (e == VRS_OK)
        backup_keep_tombstones(s, municipality);
    struct buffer rows;
    buffer_init(&rows, SEALS_MAX_BYTES);
    bool listed = true;
    for (size_t i = 0; i < b->count; i++)
        listed &= buffer_put(&rows, b->stone[i].numbers.data, b->stone[i].numbers.len);
    enum vrs_err away =
        listed ? number_erase_many(s->number[worker_index], municipality, &rows) : ERR_MEMORY;
    b->numbers_left = away != VRS_OK;
    if (away != VRS_OK)
        log_event(LOG_WARN, "number.erase_put_off", LF_STR("municipality", municipality),
                  LF_ERR(away));
    buffer_fini(&rows);
    metric_add(&erased_people, (int64_t)b->count);
    return e;
}

enum vrs_err erasure_scrub(struct erasure_batch *b, const char *municipality,
                           struct vrs_fault *fault) {
    char dir[PATH_BYTES];
    struct scrub_result done;
    (void)snprintf(dir, sizeof dir, "%s/partitions", b->server->config.state_dir);
    enum vrs_err e =
        scrub_file(&store_sqlite, dir, municipality, &b->seals, SCRUB_SMALL_BYTES, &done, fault);
    if (e == VRS_OK)
        log_event(LOG_INFO, "erasure.scrubbed", LF_STR("municipality", municipality),
                  LF_INT("people", b->count), LF_INT("bytes", done.bytes),
                  LF_INT("found", done.found), LF_INT("rewritten", done.rewritten));
    else
        log_event(LOG_ERROR, "erasure.scrub_failed", LF_STR("municipality", municipality),
                  LF_ERR(e));
    if (e == VRS_OK && !b->numbers_left)
        unmark(b->server, municipality);
    return e;
}

/* --- what was left unfinished --- */

struct repair {
    struct pool_job job; /* first */
    struct server *server;
    bool done_already;
};

static bool repairing; /* loop thread: one at a time */

struct numbers_of_all {
    struct repair *repair;
    const char *municipality;
};

static enum vrs_err erase_numbers_of(struct tombstone *t, void *arg) {
    const struct numbers_of_all *n = arg;
    const struct repair *r = n->repair;
    return number_erase_many(r->server->number[r->job.worker_index], n->municipality, &t->numbers);
}

/* The partition is closed. */
static enum vrs_err repair_run(struct pool_job *job, struct partition *p) {
    struct repair *r = (struct repair *)job;
    struct server *s = r->server;
    char dir[BACKUP_PATH], files[PATH_BYTES];
    struct buffer none;
    struct scrub_result done;
    const struct tombstone_file file = {.dir = backup_tombstones(s, dir), .keys = s->keys};
    struct numbers_of_all all = {.repair = r, .municipality = job->municipality};
    (void)p;
    r->done_already = !marked(s, job->municipality);
    if (r->done_already)
        return VRS_OK;
    enum vrs_err e = tombstone_read(&file, job->municipality, erase_numbers_of, &all, &job->fault);
    (void)snprintf(files, sizeof files, "%.400s/partitions", s->config.state_dir);
    buffer_init(&none, 1);
    if (e == VRS_OK)
        e = scrub_file(&store_sqlite, files, job->municipality, &none, UINT64_MAX, &done,
                       &job->fault);
    buffer_fini(&none);
    if (e == VRS_OK)
        unmark(s, job->municipality);
    return e;
}

static void repaired(struct pool_job *job) {
    struct repair *r = (struct repair *)job;
    if (job->err != VRS_OK)
        log_event(LOG_WARN, "erasure.still_unfinished", LF_STR("municipality", job->municipality),
                  LF_ERR(job->err));
    else if (!r->done_already)
        log_event(LOG_INFO, "erasure.finished", LF_STR("municipality", job->municipality));
    repairing = false;
    free(r);
}

static void repair(struct server *s, const char *municipality) {
    struct repair *r = calloc(1, sizeof *r);
    if (r == NULL)
        return;
    r->server = s;
    (void)snprintf(r->job.municipality, sizeof r->job.municipality, "%.6s", municipality);
    r->job.run = repair_run;
    r->job.done = repaired;
    repairing = pool_submit_exclusive(s->pool, &r->job, true) == VRS_OK;
    if (!repairing)
        free(r);
}

void erasures_tick(struct server *s) {
    char dir[BACKUP_PATH];
    DIR *d = repairing ? NULL : opendir(backup_tombstones(s, dir));
    if (d == NULL)
        return;
    for (const struct dirent *f; !repairing && (f = readdir(d)) != NULL;) {
        if (strlen(f->d_name) == 17 && strcmp(f->d_name + 6, ".unfinished") == 0)
            repair(s, f->d_name);
    }
    (void)closedir(d);
}

enum vrs_err erasure_opened(struct server *s, struct partition *p) {
    char dir[BACKUP_PATH];
    struct erased x;
    struct vrs_fault fault = {0};
    uint64_t again = 0, written = 0;
    const struct tombstone_file file = {.dir = backup_tombstones(s, dir), .keys = s->keys};
    erased_init(&x);
    enum vrs_err e = tombstones_settle(p, &file, &x, &again, &written, &fault);
    if (e != VRS_OK)
        log_fault(LOG_ERROR, "erasure.tombstones_unreadable", &fault);
    else if (again > 0) /* a file was put in place by hand: the journal and the log say so */
        log_event(LOG_WARN, "erasure.applied_again", LF_STR("municipality", partition_code(p)),
                  LF_INT("count", again));
    if (e == VRS_OK && again + written > 0)
        mark(s, partition_code(p));
    erased_fini(&x);
    return e;
}

/* --- 消去証明書 --- */

static void put_head(struct buffer *out, const char *when, const struct tombstone_head *h) {
    (void)buffer_printf(out, "%s: 世代 %s、%llu件、ハッシュ値 %s\n", when, h->epoch,
                        (unsigned long long)h->size, h->root);
}

static void put_time(struct buffer *out, int64_t ms) {
    char jst[15];
    clock_format_jst14(ms, jst);
    (void)buffer_printf(out, "%.4s年%.2s月%.2s日 %.2s時%.2s分%.2s秒（日本時間）", jst, jst + 4,
                        jst + 6, jst + 8, jst + 10, jst + 12);
}

enum vrs_err erasure_certificate(const struct server *s, const char *municipality,
                                 const struct tombstone *t, struct buffer *text) {
    char id[33], day[11];
    const struct municipality *town = municipality_find(s->municipalities, municipality);
    int64_t days = policy_retention(s->policies, municipality, "backup", "days");
    record_id_format(&t->id, id);
    (void)buffer_printf(text, "消去証明書\n\n自治体: %s（%s）\n消去番号: %s\n消去日時: ",
                        town != NULL ? town->name : "", municipality, id);
    put_time(text, t->at_ms);
    if (t->what == TOMBSTONE_PARTITION)
        (void)buffer_puts(text, "\n対象: この自治体の領域すべて（鍵の破棄）\n");
    else
        (void)buffer_puts(text, "\n対象: 住民1人についての記録\n");
    (void)buffer_printf(text, "担当者: %s\n承認者: %s\n理由: %s\n\n消去した記録:\n", t->by,
                        t->automatic ? "（設定による自動消去）" : t->approver, t->reason);
    for (int k = 0; k < ERASED_KIND_COUNT; k++) {
        if (t->count[k] > 0)
            (void)buffer_printf(text, "  %s: %llu件\n", erased_kind_ja((enum erased_kind)k),
                                (unsigned long long)t->count[k]);
    }
    (void)buffer_puts(
        text,
        t->what == TOMBSTONE_PARTITION
            ? "方法: 記録と個人番号の暗号鍵を破棄した。暗号文とその複製は復元できない。\n"
            : "方法: 記録・ジャーナル・空き領域から消去し、残っていないことを走査して確かめた。"
              "\n");
    (void)buffer_puts(text, "\n操作記録の先頭\n");
    put_head(text, "  消去前", &t->before);
    put_head(text, "  消去後", &t->after);
    clock_format_date(clock_date_jst(t->at_ms + days * DAY_MS), day);
    (void)buffer_printf(
        text,
        "\n消去前に作成したバックアップは、保存期間（%lld日）の経過により %s "
        "までにすべて廃棄される。\nそれまでに復元した場合も、この消去は再び適用"
        "される。\n操作記録（封印済み）と情報提供等の記録は、定められた期間（7年）保存"
        "する。\n",
        (long long)days, day);
    return text->failed ? ERR_MEMORY : VRS_OK;
}
