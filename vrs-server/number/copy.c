/* Backup and restore of one municipality, inside the area's own folder: names come in, never paths.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/file.h"
#include "partitions/key_file.h"
#include "vrs-server/number/area_private.h"

enum { PAGE_ROWS = 1000 };

static bool name_valid(const char *s) {
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    return s[0] != '\0' && s[0] != '.' && s[strspn(s, allowed)] == '\0';
}

static bool there(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

static enum vrs_err remove_file(const char *path, struct vrs_fault *fault) {
    if (unlink(path) != 0 && errno != ENOENT)
        return err_fail(fault, ERR_IO, "remove %s", path);
    return VRS_OK;
}

/* A database and what an engine may have left beside it. */
static enum vrs_err remove_db(const char *path, struct vrs_fault *fault) {
    static const char *const ends[] = {"-wal", "-shm", "-journal", ""};
    char one[AREA_PATH + 16];
    enum vrs_err e = VRS_OK;
    for (size_t i = 0; i < sizeof ends / sizeof *ends && e == VRS_OK; i++) {
        (void)snprintf(one, sizeof one, "%s%s", path, ends[i]);
        e = remove_file(one, fault);
    }
    return e;
}

struct copy_paths {
    char db[AREA_PATH], keys[AREA_PATH], tmp[AREA_PATH], own_keys[AREA_PATH];
    char db2[AREA_PATH], keys2[AREA_PATH]; /* the second place */
};

static enum vrs_err paths(const struct area *a, const char *code, const char *name,
                          struct copy_paths *p, struct vrs_fault *fault) {
    if (!name_valid(name))
        return err_fail(fault, ERR_BAD_FIELD, "name of a backup");
    (void)snprintf(p->db, sizeof p->db, "%s/backup/%s-%s.db", a->state_dir, code, name);
    (void)snprintf(p->keys, sizeof p->keys, "%s/backup/%s-%s.keys", a->state_dir, code, name);
    (void)snprintf(p->tmp, sizeof p->tmp, "%s/stage/%s.tmp", a->state_dir, code);
    (void)snprintf(p->db2, sizeof p->db2, "%s/%s-%.64s.db", a->second_dir, code, name);
    (void)snprintf(p->keys2, sizeof p->keys2, "%s/%s-%.64s.keys", a->second_dir, code, name);
    keyring_path(a->keys, code, p->own_keys, sizeof p->own_keys);
    return VRS_OK;
}

/* The .db is moved in last: where it is, the backup is whole. */
enum vrs_err area_backup(struct area *a, const char *code, const char *name,
                         struct vrs_fault *fault) {
    struct copy_paths at;
    struct partition *p = NULL;
    enum vrs_err e = paths(a, code, name, &at, fault);
    if (e == VRS_OK && (there(at.db) || there(at.db2)))
        e = ERR_CONFLICT;
    if (e == VRS_OK)
        e = area_room(a, code, false, &p, fault);
    if (e == VRS_OK)
        e = file_copy(at.own_keys, at.keys, fault);
    if (e == VRS_OK && (e = remove_db(at.tmp, fault)) == VRS_OK &&
        (e = a->engine->backup(partition_store(p), at.tmp, fault)) == VRS_OK)
        e = file_move(at.tmp, at.db, fault);
    if (e == VRS_OK && (e = file_copy(at.keys, at.keys2, fault)) == VRS_OK)
        e = file_copy(at.db, at.db2, fault);
    if (e != VRS_OK)
        (void)remove_db(at.tmp, NULL);
    if (p != NULL)
        area_rest(a, p);
    return e;
}

/* ---- restore */

/* The keys here may have been rotated since the backup was made, and what was destroyed must not
 * come back out of it: rows are opened under the backup's own keys and sealed under those here. */
struct pouring {
    struct partition *to;
    enum store_table table;
    struct record_id last;
    uint64_t rows;
};

static enum vrs_err pour_row(struct record *r, void *arg) {
    struct pouring *g = arg;
    struct store_row held;
    g->last = r->id;
    g->rows++;
    enum vrs_err e =
        partition_engine(g->to)->get(partition_store(g->to), g->table, r->id.bytes, &held);
    if (e != ERR_NOT_FOUND)
        return e; /* the journal: there already */
    e = g->table == TABLE_NUMBER ? area_index(g->to, r) : VRS_OK;
    return e == VRS_OK ? record_insert(g->to, g->table, r) : e;
}

static enum vrs_err pour_table(struct partition *from, struct partition *to, enum store_table t) {
    struct pouring g = {.to = to, .table = t};
    uint64_t before;
    enum vrs_err e;
    do {
        before = g.rows;
        e = record_walk(from, t, before == 0 ? NULL : &g.last, PAGE_ROWS, pour_row, &g);
    } while (e == VRS_OK && g.rows - before == PAGE_ROWS);
    return e == ERR_NOT_FOUND ? ERR_TAMPERED : e;
}

static enum vrs_err pour_tables(struct partition *from, struct partition *to,
                                const enum store_table *tables, size_t n) {
    enum vrs_err e = partition_begin(from);
    if (e != VRS_OK)
        return e;
    for (size_t i = 0; i < n && e == VRS_OK; i++)
        e = pour_table(from, to, tables[i]);
    partition_rollback(from);
    return e;
}

struct stage {
    char dir[AREA_PATH], db[AREA_PATH + 16], keys[AREA_PATH + 16];
    char fresh_dir[AREA_PATH + 8], fresh[AREA_PATH + 32];
    struct keyring *ring;
    struct partition *backup, *fresh_room;
};

static enum vrs_err clear_stage(const struct stage *s, struct vrs_fault *fault) {
    enum vrs_err e = remove_db(s->db, fault);
    if (e == VRS_OK)
        e = remove_db(s->fresh, fault);
    return e == VRS_OK ? remove_file(s->keys, fault) : e;
}

static enum vrs_err open_stage(struct area *a, const char *code, const struct copy_paths *at,
                               struct stage *s, struct vrs_fault *fault) {
    (void)snprintf(s->dir, sizeof s->dir, "%s/stage", a->state_dir);
    (void)snprintf(s->db, sizeof s->db, "%s/%s.db", s->dir, code);
    (void)snprintf(s->keys, sizeof s->keys, "%s/%s.keys", s->dir, code);
    (void)snprintf(s->fresh_dir, sizeof s->fresh_dir, "%s/fresh", s->dir);
    (void)snprintf(s->fresh, sizeof s->fresh, "%s/%s.db", s->fresh_dir, code);
    enum vrs_err e = clear_stage(s, fault);
    if (e == VRS_OK)
        e = file_copy(at->db, s->db, fault);
    if (e == VRS_OK)
        e = file_copy(at->keys, s->keys, fault);
    if (e == VRS_OK)
        e = keyring_open_beside(a->keys, s->dir, &s->ring, fault);
    if (e == VRS_OK)
        e = partition_open(a->engine, s->dir, code, s->ring, 0, &s->backup, fault);
    if (e == VRS_OK)
        e = partition_open(a->engine, s->fresh_dir, code, a->keys, STORE_CREATE, &s->fresh_room,
                           fault);
    return e;
}

/* A4: the present journal, too; and how far a rotation of the keys here has come. */
static enum vrs_err pour_all(struct area *a, const char *code, struct stage *s,
                             struct vrs_fault *fault) {
    static const enum store_table from_backup[] = {TABLE_NUMBER, TABLE_JOURNAL};
    static const enum store_table from_here[] = {TABLE_JOURNAL, TABLE_ROTATION};
    struct partition *here = NULL;
    enum vrs_err e = partition_begin(s->fresh_room);
    if (e != VRS_OK)
        return e;
    e = pour_tables(s->backup, s->fresh_room, from_backup, 2);
    if (e != VRS_OK)
        e = err_fail(fault, e, "the backup does not open under its keys");
    if (e == VRS_OK)
        e = area_room(a, code, false, &here, fault);
    if (e == VRS_OK)
        e = pour_tables(here, s->fresh_room, from_here, 2);
    else if (e == ERR_NOT_FOUND)
        e = VRS_OK;
    if (e == VRS_OK)
        return partition_commit(s->fresh_room);
    partition_rollback(s->fresh_room);
    return e;
}

/* The backup's numbers under the keys that are here, with the present journal, whole in `tmp`. */
static enum vrs_err prepare(struct area *a, const char *code, const struct copy_paths *at,
                            struct vrs_fault *fault) {
    struct stage s = {.ring = NULL};
    enum vrs_err e = open_stage(a, code, at, &s, fault);
    if (e == VRS_OK)
        e = pour_all(a, code, &s, fault);
    if (e == VRS_OK && (e = remove_db(at->tmp, fault)) == VRS_OK)
        e = a->engine->backup(partition_store(s.fresh_room), at->tmp, fault);
    partition_close(&s.fresh_room);
    partition_close(&s.backup);
    if (s.ring != NULL)
        keyring_close(&s.ring);
    if (clear_stage(&s, NULL) != VRS_OK && e == VRS_OK)
        e = err_fail(fault, ERR_IO, "clear the stage");
    return e;
}

enum vrs_err area_restore(struct area *a, const char *code, const char *name,
                          struct vrs_fault *fault) {
    struct copy_paths at;
    char live[AREA_PATH];
    enum vrs_err e = paths(a, code, name, &at, fault);
    if (e == VRS_OK && !there(at.db) && there(at.db2)) { /* the first place is lost */
        memcpy(at.db, at.db2, sizeof at.db);
        memcpy(at.keys, at.keys2, sizeof at.keys);
    }
    if (e == VRS_OK && !there(at.db))
        e = ERR_NOT_FOUND;
    /* Present keys stay: what was destroyed must not come back out of a backup.  With all of them
     * destroyed the municipality was erased. */
    const struct secret_key *key;
    uint32_t key_id;
    if (e == VRS_OK && there(at.own_keys) &&
        keyring_active(a->keys, code, KEY_NUMBERS, KEY_ENCRYPT, &key_id, &key) != VRS_OK)
        e = err_fail(fault, ERR_CRYPTO, "the keys of %s are destroyed", code);
    if (e == VRS_OK && !there(at.own_keys)) {
        e = file_copy(at.keys, at.own_keys, fault);
        keyring_forget(a->keys, code);
    }
    if (e == VRS_OK)
        e = prepare(a, code, &at, fault);
    if (e == VRS_OK) {
        area_leave(a, code); /* a clean close checkpoints, so that its -wal may go first */
        (void)snprintf(live, sizeof live, "%s/%s.db-wal", a->files_dir, code);
        e = remove_file(live, fault);
        (void)snprintf(live, sizeof live, "%s/%s.db", a->files_dir, code);
        if (e == VRS_OK)
            e = file_move(at.tmp, live, fault);
    }
    if (e != VRS_OK)
        (void)remove_db(at.tmp, NULL);
    return e;
}

/* ---- the end of a municipality */

enum vrs_err area_destroy(struct area *a, const char *code, struct vrs_fault *fault) {
    char dir[AREA_PATH];
    area_leave(a, code);
    (void)snprintf(dir, sizeof dir, "%s/backup", a->state_dir);
    enum vrs_err e = key_file_destroy_copies(dir, code, fault);
    if (e == VRS_OK)
        e = key_file_destroy_copies(a->second_dir, code, fault);
    if (e == VRS_OK && keyring_has(a->keys, code))
        e = keyring_destroy_area(a->keys, code, KEY_NUMBERS, fault);
    return e;
}
