/* Backup and restore of one municipality, inside the area's own folder: names come in, never paths.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static enum vrs_err sync_dir(const char *path, struct vrs_fault *fault) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_fail(fault, ERR_IO, "open %s", path);
    enum vrs_err e = fsync(fd) == 0 ? VRS_OK : err_fail(fault, ERR_STORAGE, "sync %s", path);
    (void)close(fd);
    return e;
}

static enum vrs_err move_into(const char *from, const char *to, const char *dir,
                              struct vrs_fault *fault) {
    if (rename(from, to) != 0)
        return err_fail(fault, ERR_IO, "rename to %s", to);
    return sync_dir(dir, fault);
}

static enum vrs_err pour(int from, int to, const char *path, struct vrs_fault *fault) {
    static char block[1 << 16]; /* ciphertext only */
    for (;;) {
        ssize_t n = read(from, block, sizeof block);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_fail(fault, ERR_IO, "read for %s", path);
        if (n == 0)
            return fsync(to) == 0 ? VRS_OK : err_fail(fault, ERR_STORAGE, "sync %s", path);
        for (ssize_t done = 0; done < n;) {
            ssize_t w = write(to, block + done, (size_t)(n - done));
            if (w < 0 && errno != EINTR)
                return err_fail(fault, ERR_STORAGE, "write %s", path);
            done += w < 0 ? 0 : w;
        }
    }
}

/* `to` is made, synced; never half there under its name when the caller renames it. */
static enum vrs_err copy_file(const char *from, const char *to, struct vrs_fault *fault) {
    enum vrs_err e = remove_file(to, fault);
    if (e != VRS_OK)
        return e;
    int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (in < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : err_fail(fault, ERR_IO, "open %s", from);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (out < 0)
        e = err_fail(fault, ERR_STORAGE, "make %s", to);
    else
        e = pour(in, out, to, fault);
    if (out >= 0)
        (void)close(out);
    (void)close(in);
    return e;
}

struct copy_paths {
    char dir[AREA_PATH], db[AREA_PATH], keys[AREA_PATH], tmp[AREA_PATH], own_keys[AREA_PATH];
};

static enum vrs_err paths(const struct area *a, const char *code, const char *name,
                          struct copy_paths *p, struct vrs_fault *fault) {
    if (!name_valid(name))
        return err_fail(fault, ERR_BAD_FIELD, "name of a backup");
    (void)snprintf(p->dir, sizeof p->dir, "%s/backup", a->state_dir);
    (void)snprintf(p->db, sizeof p->db, "%s/backup/%s-%s.db", a->state_dir, code, name);
    (void)snprintf(p->keys, sizeof p->keys, "%s/backup/%s-%s.keys", a->state_dir, code, name);
    (void)snprintf(p->tmp, sizeof p->tmp, "%s/stage/%s.tmp", a->state_dir, code);
    keyring_path(a->keys, code, p->own_keys, sizeof p->own_keys);
    return VRS_OK;
}

/* The .db is moved in last: where it is, the backup is whole. */
enum vrs_err area_backup(struct area *a, const char *code, const char *name,
                         struct vrs_fault *fault) {
    struct copy_paths at;
    struct partition *p = NULL;
    enum vrs_err e = paths(a, code, name, &at, fault);
    if (e == VRS_OK && there(at.db))
        e = ERR_CONFLICT;
    if (e == VRS_OK)
        e = area_room(a, code, false, &p, fault);
    if (e == VRS_OK && (e = copy_file(at.own_keys, at.tmp, fault)) == VRS_OK)
        e = move_into(at.tmp, at.keys, at.dir, fault);
    if (e == VRS_OK && (e = remove_db(at.tmp, fault)) == VRS_OK &&
        (e = a->engine->backup(partition_store(p), at.tmp, fault)) == VRS_OK)
        e = move_into(at.tmp, at.db, at.dir, fault);
    if (e != VRS_OK)
        (void)remove_db(at.tmp, NULL);
    return e;
}

/* ---- restore */

struct paging {
    const struct store_engine *engine;
    struct store *to;
    struct record_id last;
    uint64_t rows;
};

static enum vrs_err authenticate_row(struct record *r, void *arg) {
    struct paging *g = arg;
    g->last = r->id;
    g->rows++;
    return VRS_OK;
}

/* Every number must open under the keys that are here, or the present file stays. */
static enum vrs_err authenticate(struct partition *p) {
    struct paging g = {.rows = 0};
    uint64_t before;
    enum vrs_err e = partition_begin(p);
    if (e != VRS_OK)
        return e;
    do {
        before = g.rows;
        e = record_walk(p, TABLE_NUMBER, before == 0 ? NULL : &g.last, PAGE_ROWS, authenticate_row,
                        &g);
    } while (e == VRS_OK && g.rows - before == PAGE_ROWS);
    partition_rollback(p);
    return e == ERR_NOT_FOUND ? ERR_TAMPERED : e;
}

static enum vrs_err carry_row(const struct store_row *row, void *arg) {
    struct paging *g = arg;
    struct store_row held;
    memcpy(g->last.bytes, row->id, STORE_ID_BYTES);
    g->rows++;
    enum vrs_err e = g->engine->get(g->to, TABLE_JOURNAL, row->id, &held);
    return e == ERR_NOT_FOUND ? g->engine->insert(g->to, TABLE_JOURNAL, row) : e;
}

/* A4: sealed rows of the same municipality move as they are. */
static enum vrs_err carry_journal(struct area *a, struct partition *from, struct partition *to) {
    struct paging g = {.engine = a->engine, .to = partition_store(to)};
    uint64_t before;
    enum vrs_err e = partition_begin(from);
    if (e != VRS_OK)
        return e;
    e = partition_begin(to);
    if (e == VRS_OK) {
        do {
            before = g.rows;
            e = a->engine->walk(partition_store(from), TABLE_JOURNAL,
                                before == 0 ? NULL : g.last.bytes, PAGE_ROWS, carry_row, &g);
        } while (e == VRS_OK && g.rows - before == PAGE_ROWS);
        if (e == VRS_OK)
            e = partition_commit(to);
        else
            partition_rollback(to);
    }
    partition_rollback(from);
    return e;
}

/* stage/<code>.db ← backup, checked, with the present journal; copied out whole into `tmp`. */
static enum vrs_err prepare(struct area *a, const char *code, const struct copy_paths *at,
                            struct vrs_fault *fault) {
    char dir[AREA_PATH], staged[AREA_PATH + 16];
    struct partition *old = NULL, *new = NULL;
    (void)snprintf(dir, sizeof dir, "%s/stage", a->state_dir);
    (void)snprintf(staged, sizeof staged, "%s/%s.db", dir, code);
    enum vrs_err e = remove_db(staged, fault);
    if (e == VRS_OK)
        e = copy_file(at->db, staged, fault);
    if (e == VRS_OK)
        e = partition_open(a->engine, dir, code, a->keys, 0, &new, fault);
    if (e == VRS_OK && (e = authenticate(new)) != VRS_OK)
        e = err_fail(fault, e, "the backup does not open under the keys that are here");
    if (e == VRS_OK) {
        e = area_room(a, code, false, &old, fault);
        if (e == VRS_OK)
            e = carry_journal(a, old, new);
        else if (e == ERR_NOT_FOUND)
            e = VRS_OK;
    }
    if (e == VRS_OK && (e = remove_db(at->tmp, fault)) == VRS_OK)
        e = a->engine->backup(partition_store(new), at->tmp, fault);
    if (new != NULL)
        partition_close(&new);
    (void)remove_db(staged, NULL);
    return e;
}

enum vrs_err area_restore(struct area *a, const char *code, const char *name,
                          struct vrs_fault *fault) {
    struct copy_paths at;
    char live[AREA_PATH];
    enum vrs_err e = paths(a, code, name, &at, fault);
    if (e == VRS_OK && !there(at.db))
        e = ERR_NOT_FOUND;
    /* Present keys stay: what was destroyed must not come back out of a backup. */
    if (e == VRS_OK && !there(at.own_keys)) {
        char dir[AREA_PATH];
        (void)snprintf(dir, sizeof dir, "%s", at.own_keys);
        char *slash = strrchr(dir, '/');
        if (slash != NULL)
            *slash = '\0';
        e = copy_file(at.keys, at.tmp, fault);
        if (e == VRS_OK)
            e = move_into(at.tmp, at.own_keys, dir, fault);
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
            e = move_into(at.tmp, live, a->files_dir, fault);
    }
    if (e != VRS_OK)
        (void)remove_db(at.tmp, NULL);
    return e;
}
