/* Backup and restore of one municipality (C129).
 *
 * A restore is prepared in STATE/stage: the backup is copied there, every row of it is opened, the
 * new log epoch is opened, erasures that came after the backup take effect again.  Only then does
 * the file take its place, so that nobody ever sees it in between. */
#include "vrs-server/operation/verbs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/log.h"
#include "partitions/access_log.h"
#include "partitions/scrub.h"
#include "vrs-server/keeping/tombstone.h"
#include "vrs-server/operation/backup.h"
#include "vrs-server/signer/signer.h"

enum { PAGE = 500 };

/* --- backup --- */

struct copies {
    struct backup_dirs dirs;
    char db[BACKUP_DIRS_MAX][BACKUP_PATH], keys[BACKUP_DIRS_MAX][BACKUP_PATH];
};

static enum vrs_err copies_of(struct control_call *c, struct copies *out) {
    const char *name = control_text(c, "name");
    if (!backup_name_valid(name))
        return ERR_BAD_FIELD;
    enum vrs_err e = backup_dirs_of(&c->server->config, &out->dirs, &c->job.fault);
    for (size_t i = 0; e == VRS_OK && i < out->dirs.count; i++) {
        (void)snprintf(out->db[i], BACKUP_PATH, "%s/%s-%.64s.db", out->dirs.dir[i],
                       c->job.municipality, name);
        (void)snprintf(out->keys[i], BACKUP_PATH, "%s/%s-%.64s.keys", out->dirs.dir[i],
                       c->job.municipality, name);
    }
    return e;
}

/* It opens, and has as many entries in its log as what it was copied from. */
static enum vrs_err look_into(struct control_call *c, struct partition *p, const char *path,
                              uint64_t *entries) {
    const struct store_engine *engine = partition_engine(p);
    struct store *copy = NULL;
    uint64_t copied = 0;
    enum vrs_err e = partition_begin(p);
    if (e != VRS_OK)
        return e;
    e = engine->count(partition_store(p), TABLE_LOG, UINT32_MAX, entries);
    partition_rollback(p);
    if (e == VRS_OK)
        e = engine->open(path, STORE_READ_ONLY_TOOL, &copy, &c->job.fault);
    if (e == VRS_OK && (e = engine->begin(copy)) == VRS_OK) {
        e = engine->count(copy, TABLE_LOG, UINT32_MAX, &copied);
        engine->rollback(copy);
    }
    if (copy != NULL)
        engine->close(&copy);
    if (e == VRS_OK && copied != *entries)
        e = err_fail(&c->job.fault, ERR_STORAGE, "%s is not what it was copied from", path);
    return e;
}

enum vrs_err verb_backup_copy(struct control_call *c, struct partition *p) {
    struct copies to;
    char from[BACKUP_PATH];
    uint64_t entries = 0;
    enum vrs_err e = copies_of(c, &to);
    if (e != VRS_OK)
        return e;
    keyring_path(c->server->keys, c->job.municipality, from, sizeof from);
    e = partition_engine(p)->backup(partition_store(p), to.db[0], &c->job.fault);
    if (e == VRS_OK)
        e = look_into(c, p, to.db[0], &entries);
    for (size_t i = 0; i < to.dirs.count && e == VRS_OK; i++) {
        if (i > 0 && access(to.db[i], F_OK) == 0)
            e = ERR_CONFLICT;
        else if (i > 0)
            e = file_copy(to.db[0], to.db[i], &c->job.fault);
        if (e == VRS_OK)
            e = file_copy(from, to.keys[i], &c->job.fault);
    }
    if (e == VRS_OK)
        backup_keep_tombstones(c->server, c->job.municipality);
    if (e == VRS_OK)
        e = number_backup(c->server->number[c->job.worker_index], c->job.municipality,
                          control_text(c, "name"));
    if (e == ERR_NOT_FOUND)
        e = VRS_OK; /* a municipality without a number yet */
    return e != VRS_OK
               ? e
               : control_answer(c, json_pack("{s:I,s:I}", "copies", (json_int_t)to.dirs.count,
                                             "log_entries", (json_int_t)entries));
}

enum vrs_err verb_note_municipality(struct control_call *c, struct partition *registry) {
    return control_log(c, registry, control_text(c, "municipality_code"));
}

/* --- restore --- */

struct restore {
    struct control_call *call;
    struct copies from;
    size_t at; /* which of them */
    char stage[BACKUP_PATH], staged[BACKUP_PATH + 32];
    char live_dir[BACKUP_PATH], live[BACKUP_PATH + 32], live_keys[BACKUP_PATH];
    char tombstones[BACKUP_PATH];
    struct keyring *beside; /* the backup's own keys; NULL: those that are here */
    bool incoming; /* of another system: the log that is here is not that one's continuation */
    struct log_head known;
    bool has_known;
    struct erased gone;
    uint64_t again, written;
};

static void remove_staged(const struct restore *r) {
    static const char *const ends[] = {"", "-wal", "-journal", ".new"};
    char path[BACKUP_PATH + 48];
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        (void)snprintf(path, sizeof path, "%s%s", r->staged, ends[i]);
        (void)unlink(path);
    }
    (void)snprintf(path, sizeof path, "%s/%s.keys", r->stage, r->call->job.municipality);
    (void)unlink(path);
}

struct walking {
    struct record_id last;
    size_t seen;
};

static enum vrs_err walk_row(struct record *row, void *arg) {
    struct walking *w = arg;
    w->last = row->id;
    w->seen++;
    return VRS_OK;
}

/* ERR_CRYPTO: a key that a row names is not there. */
static enum vrs_err open_all_rows(struct partition *p) {
    enum vrs_err e = partition_begin(p);
    if (e != VRS_OK)
        return e;
    for (int t = 0; e == VRS_OK && t < STORE_TABLE_COUNT; t++) {
        struct walking w = {.seen = PAGE};
        for (bool first = true; e == VRS_OK && w.seen == PAGE; first = false) {
            struct record_id after = w.last;
            w.seen = 0;
            e = record_walk(p, (enum store_table)t, first ? NULL : &after, PAGE, walk_row, &w);
        }
    }
    partition_rollback(p);
    return e;
}

static struct keyring *keys_of(const struct restore *r) {
    return r->beside != NULL ? r->beside : r->call->server->keys;
}

static enum vrs_err open_with(struct restore *r, struct partition **p) {
    enum vrs_err e = partition_open(&store_sqlite, r->stage, r->call->job.municipality, keys_of(r),
                                    0, p, &r->call->job.fault);
    if (e == VRS_OK)
        e = open_all_rows(*p);
    if (e != VRS_OK)
        partition_close(p);
    return e;
}

/* The keys that are here, if they open it; else those of the backup: it is older than a rotation
 * that ended, or this is an empty machine. */
static enum vrs_err open_staged(struct restore *r, struct partition **p) {
    struct control_call *c = r->call;
    char keys[BACKUP_PATH + 32];
    enum vrs_err e = ERR_CRYPTO;
    if (access(r->live_keys, F_OK) == 0)
        e = open_with(r, p);
    if (e != ERR_CRYPTO && e != ERR_TAMPERED)
        return e;
    (void)snprintf(keys, sizeof keys, "%s/%s.keys", r->stage, c->job.municipality);
    e = file_copy(r->from.keys[r->at], keys, &c->job.fault);
    if (e == VRS_OK)
        e = keyring_open_beside(c->server->keys, r->stage, &r->beside, &c->job.fault);
    if (e == VRS_OK)
        e = open_with(r, p);
    return e == VRS_OK ? e : err_fail(&c->job.fault, e, "the backup does not open under its keys");
}

static enum vrs_err log_again(struct restore *r, struct partition *p) {
    const struct log_entry entry = {.actor = {.user = "system:restore",
                                              .section = "operation",
                                              .terminal = "vrsctl",
                                              .source = "control"},
                                    .act = "erasure.again",
                                    .purpose = "operation",
                                    .result = "erased",
                                    .detail = control_text(r->call, "name"),
                                    .count = r->again};
    return r->again > 0 ? access_log_append(p, &entry, NULL) : VRS_OK;
}

/* No copy counts for itself: one may have been cut short or hidden behind something longer. */
static struct tombstone_file copy_beside(const struct restore *r, size_t i, struct keyring *keys) {
    return (struct tombstone_file){
        .dir = r->from.dirs.dir[i], .keys = keys, .ending = ".tombstones"};
}

static enum vrs_err bring_up_to_date(struct restore *r, struct partition *p) {
    struct control_call *c = r->call;
    const char *by = control_text(c, "by");
    const struct log_actor who = {.user = by[0] != '\0' ? by : "operator",
                                  .section = "operation",
                                  .terminal = "vrsctl",
                                  .source = "control"};
    const struct tombstone_file file = {.dir = r->tombstones, .keys = keys_of(r)};
    uint64_t more = 0;
    enum vrs_err e = partition_begin(p);
    if (e != VRS_OK)
        return e;
    e = access_log_open_epoch(p, &who, control_text(c, "name"), r->has_known ? &r->known : NULL);
    for (size_t i = 0; e == VRS_OK && i < r->from.dirs.count; i++) {
        const struct tombstone_file beside = copy_beside(r, i, keys_of(r));
        e = tombstones_take(p, &beside, &r->gone, &r->again, &c->job.fault);
    }
    if (e == VRS_OK)
        e = tombstones_settle(p, &file, &r->gone, &more, &r->written, &c->job.fault);
    r->again += more;
    if (e == VRS_OK)
        e = log_again(r, p);
    if (e == VRS_OK)
        return partition_commit(p);
    partition_rollback(p);
    return e;
}

static enum vrs_err see_end(struct tombstone *t, void *arg) {
    *(bool *)arg |= t->what == TOMBSTONE_PARTITION;
    return VRS_OK;
}

/* What was destroyed does not come back (C127). */
static enum vrs_err must_not_be_destroyed(struct restore *r, struct keyring *keys) {
    struct control_call *c = r->call;
    const struct tombstone_file file = {.dir = r->tombstones, .keys = keys};
    bool destroyed = false;
    enum vrs_err e = tombstone_read(&file, c->job.municipality, see_end, &destroyed, &c->job.fault);
    for (size_t i = 0; e == VRS_OK && i < r->from.dirs.count; i++) {
        const struct tombstone_file beside = copy_beside(r, i, keys);
        e = tombstone_read(&beside, c->job.municipality, see_end, &destroyed, &c->job.fault);
    }
    return e == VRS_OK && destroyed ? ERR_CONFLICT : e;
}

static enum vrs_err prepare(struct restore *r) {
    struct control_call *c = r->call;
    struct scrub_result done;
    struct partition *p = NULL;
    if (mkdir(r->stage, 0700) != 0 && errno != EEXIST)
        return err_fail(&c->job.fault, ERR_STORAGE, "make %s", r->stage);
    remove_staged(r);
    enum vrs_err e = file_copy(r->from.db[r->at], r->staged, &c->job.fault);
    if (e == VRS_OK)
        e = open_staged(r, &p);
    if (e == VRS_OK)
        e = must_not_be_destroyed(r, keys_of(r));
    if (e == VRS_OK)
        e = bring_up_to_date(r, p);
    partition_close(&p);
    if (e == VRS_OK && r->again > 0)
        e = scrub_file(&store_sqlite, r->stage, c->job.municipality, &r->gone.seals,
                       SCRUB_SMALL_BYTES, &done, &c->job.fault);
    return e;
}

/* The head that vrs-signer signed last, where it is beyond what is here (on an empty machine it is). */
static void last_signed_head(struct restore *r) {
    struct control_call *c = r->call;
    struct log_signed_head last;
    enum vrs_err e =
        signer_last(c->server->signer[c->job.worker_index], c->job.municipality, &last);
    if (e != VRS_OK && e != ERR_NOT_FOUND)
        log_event(LOG_WARN, "restore.last_head_not_known",
                  LF_STR("municipality", c->job.municipality), LF_ERR(e));
    if (e != VRS_OK || (r->has_known && r->known.size >= last.size))
        return;
    memset(&r->known, 0, sizeof r->known);
    (void)snprintf(r->known.epoch, sizeof r->known.epoch, "%s", last.epoch);
    r->known.size = last.size;
    r->known.root = last.root;
    r->has_known = true;
}

/* The head that the log had here, if there still is one: the new epoch names it.  What was erased
 * here is told to the file once more: somebody may have taken it from there. */
static void last_known_head(struct restore *r) {
    struct control_call *c = r->call;
    struct partition *p = NULL;
    struct vrs_fault fault = {0};
    if (partition_open(&store_sqlite, r->live_dir, c->job.municipality, c->server->keys, 0, &p,
                       &fault) != VRS_OK)
        return;
    if (partition_begin(p) == VRS_OK) {
        struct erased none;
        uint64_t again = 0, written = 0;
        const struct tombstone_file file = {.dir = r->tombstones, .keys = c->server->keys};
        r->has_known = access_log_head(p, &r->known) == VRS_OK;
        erased_init(&none);
        if (tombstones_settle(p, &file, &none, &again, &written, &fault) != VRS_OK)
            log_fault(LOG_ERROR, "erasure.tombstones_unreadable", &fault);
        erased_fini(&none);
        partition_rollback(p);
    }
    partition_close(&p);
}

static enum vrs_err take_place(struct restore *r) {
    char journal[BACKUP_PATH + 48];
    (void)snprintf(journal, sizeof journal, "%s-wal", r->live);
    if (r->beside != NULL) {
        enum vrs_err e = file_copy(r->from.keys[r->at], r->live_keys, &r->call->job.fault);
        keyring_forget(r->call->server->keys, r->call->job.municipality);
        if (e != VRS_OK)
            return e;
    }
    if (unlink(journal) != 0 && errno != ENOENT)
        return err_fail(&r->call->job.fault, ERR_IO, "remove %s", journal);
    return file_move(r->staged, r->live, &r->call->job.fault);
}

/* Numbers come back with their backup; those of the erased go again. */
static enum vrs_err restore_numbers(struct restore *r) {
    struct control_call *c = r->call;
    struct number_client *client = c->server->number[c->job.worker_index];
    enum vrs_err e = number_restore(client, c->job.municipality, control_text(c, "name"));
    if (e == VRS_OK)
        e = number_erase_many(client, c->job.municipality, &r->gone.numbers);
    return e == ERR_NOT_FOUND ? VRS_OK : e;
}

static enum vrs_err restore_run(struct restore *r) {
    struct control_call *c = r->call;
    enum vrs_err e = copies_of(c, &r->from);
    if (e != VRS_OK)
        return e;
    while (r->at < r->from.dirs.count &&
           (access(r->from.db[r->at], R_OK) != 0 || access(r->from.keys[r->at], R_OK) != 0))
        r->at++;
    if (r->at == r->from.dirs.count)
        return ERR_NOT_FOUND;
    e = backup_fetch_tombstones(c->server, c->job.municipality, &c->job.fault);
    /* Before anything of it is opened, where the keys that are here can tell. */
    if (e == VRS_OK && must_not_be_destroyed(r, c->server->keys) == ERR_CONFLICT)
        e = ERR_CONFLICT;
    if (e != VRS_OK)
        return e;
    if (!r->incoming) {
        last_known_head(r);
        last_signed_head(r);
    }
    e = prepare(r);
    if (e == VRS_OK)
        e = take_place(r);
    remove_staged(r);
    if (e == VRS_OK)
        e = restore_numbers(r);
    if (e == VRS_OK && r->again > 0)
        log_event(LOG_WARN, "erasure.applied_again", LF_STR("municipality", c->job.municipality),
                  LF_INT("count", r->again));
    return e;
}

static enum vrs_err restore_files(struct control_call *c, bool incoming) {
    const char *state = c->server->config.state_dir, *code = c->job.municipality;
    struct restore r = {.call = c, .incoming = incoming};
    (void)snprintf(r.stage, sizeof r.stage, "%.400s/stage", state);
    (void)snprintf(r.staged, sizeof r.staged, "%s/%s.db", r.stage, code);
    (void)snprintf(r.live_dir, sizeof r.live_dir, "%.400s/partitions", state);
    (void)snprintf(r.live, sizeof r.live, "%s/%s.db", r.live_dir, code);
    (void)backup_tombstones(c->server, r.tombstones);
    keyring_path(c->server->keys, code, r.live_keys, sizeof r.live_keys);
    erased_init(&r.gone);
    enum vrs_err e = restore_run(&r);
    if (r.beside != NULL)
        keyring_close(&r.beside);
    erased_fini(&r.gone);
    return e;
}

/* With the partition closed. */
enum vrs_err verb_restore_files(struct control_call *c, struct partition *p) {
    (void)p;
    return restore_files(c, false);
}

enum vrs_err verb_restore_incoming(struct control_call *c) {
    return restore_files(c, true);
}
