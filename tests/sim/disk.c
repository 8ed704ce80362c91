#include "tests/sim/disk_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 512, ENTRIES = 64, PAST = 16, ROOT_NODE = 0, NO_PART = DISK_PARTS };

struct bytes {
    uint8_t *p;
    size_t len, cap;
};

/* What is not synced yet, in order. */
struct change {
    uint64_t seq;
    bool truncate;
    size_t at, len;
    uint8_t *data;
};

struct node;
struct entry {
    char name[64];
    struct node *view, *stable; /* NULL: no such name */
    struct {
        uint64_t seq; /* the same for both names of a renaming */
        struct node *to;
    } past[PAST];
    size_t count;
};

struct node {
    bool folder;
    enum disk_part part;
    unsigned number, opens;
    struct bytes view, stable;
    struct change *changes;
    size_t count, cap;
    bool doubtful; /* a sync failed: what is read may not be on the disk */
    struct entry *entries;
    size_t entry_count;
};

struct fd {
    struct node *node;
    int flags;
    off_t at;
};

static struct disk {
    struct node nodes[NODES];
    unsigned node_count;
    struct fd fds[DISK_FDS];
    struct chance chance;
    uint64_t seq, changes, trace;
    uint64_t cut_left;
    bool off, dead[DISK_PARTS + 1];
    unsigned fail_calls;
    uint64_t fail_left;
    int fail_errno;
    bool fail_stay, failed;
} disk;
static struct node kept[NODES];
static unsigned kept_count;
struct disk_lies disk_lies;

static void give_up(const char *why) {
    (void)fprintf(stderr, "simulated disk: %s\n", why);
    abort();
}

static void note(uint64_t a, uint64_t b) {
    disk.trace = chance_mix(disk.trace ^ chance_mix(a * 31 + b));
}

/* ---- bytes */

static void reach(struct bytes *b, size_t len) {
    if (len > b->cap) {
        size_t cap = b->cap == 0 ? 4096 : b->cap;
        while (cap < len)
            cap *= 2;
        b->p = realloc(b->p, cap);
        if (b->p == NULL)
            give_up("memory");
        memset(b->p + b->cap, 0, cap - b->cap);
        b->cap = cap;
    }
}

/* What lies between the old end and the new one is zeros. */
static void set_len(struct bytes *b, size_t len) {
    reach(b, len);
    if (len < b->len)
        memset(b->p + len, 0, b->len - len);
    b->len = len;
}

static void put(struct bytes *b, size_t at, const void *p, size_t n) {
    if (at + n > b->len)
        set_len(b, at + n);
    memcpy(b->p + at, p, n);
}

static void copy_bytes(struct bytes *to, const struct bytes *from) {
    set_len(to, 0);
    if (from->len > 0)
        put(to, 0, from->p, from->len);
}

static void drop_changes(struct node *n) {
    for (size_t i = 0; i < n->count; i++)
        free(n->changes[i].data);
    n->count = 0;
}

static void remember(struct node *n, bool truncate, size_t at, const void *p, size_t len) {
    if (n->count == n->cap) {
        n->cap = n->cap == 0 ? 16 : 2 * n->cap;
        n->changes = reallocarray(n->changes, n->cap, sizeof *n->changes);
        if (n->changes == NULL)
            give_up("memory");
    }
    struct change *c = &n->changes[n->count++];
    *c = (struct change){.seq = ++disk.seq, .truncate = truncate, .at = at, .len = len};
    if (!truncate && (c->data = malloc(len > 0 ? len : 1)) == NULL)
        give_up("memory");
    if (!truncate)
        memcpy(c->data, p, len);
}

static void apply(struct bytes *b, const struct change *c) {
    if (c->truncate)
        set_len(b, c->at);
    else
        put(b, c->at, c->data, c->len);
}

/* ---- nodes and names */

static struct node *new_node(bool folder, enum disk_part part) {
    if (disk.node_count == NODES)
        give_up("too many files");
    struct node *n = &disk.nodes[disk.node_count];
    *n = (struct node){.folder = folder, .part = part, .number = disk.node_count++};
    if (folder && (n->entries = calloc(ENTRIES, sizeof *n->entries)) == NULL)
        give_up("memory");
    return n;
}

static void free_node(struct node *n) {
    drop_changes(n);
    free(n->changes);
    free(n->view.p);
    free(n->stable.p);
    free(n->entries);
    *n = (struct node){0};
}

static struct entry *entry_of(struct node *folder, const char *name, bool make) {
    for (size_t i = 0; i < folder->entry_count; i++)
        if (strcmp(folder->entries[i].name, name) == 0)
            return &folder->entries[i];
    if (!make)
        return NULL;
    if (folder->entry_count == ENTRIES || strlen(name) >= sizeof folder->entries[0].name)
        give_up("too many names, or too long");
    struct entry *e = &folder->entries[folder->entry_count++];
    *e = (struct entry){0};
    (void)snprintf(e->name, sizeof e->name, "%s", name);
    return e;
}

static void set_name(struct entry *e, struct node *to, uint64_t seq) {
    if (e->count == PAST) { /* the oldest is on the disk by now */
        e->stable = e->past[0].to;
        memmove(&e->past[0], &e->past[1], (PAST - 1) * sizeof e->past[0]);
        e->count--;
    }
    e->view = to;
    e->past[e->count].seq = seq;
    e->past[e->count++].to = to;
}

bool disk_path(const char *path) {
    return strncmp(path, DISK_ROOT, sizeof DISK_ROOT - 1) == 0 &&
           (path[sizeof DISK_ROOT - 1] == '/' || path[sizeof DISK_ROOT - 1] == '\0');
}

/* The folder that a path's last name is in, and that name ("" for the root itself). */
static struct node *walk(const char *path, char name[64]) {
    struct node *n = &disk.nodes[ROOT_NODE];
    const char *at = path + sizeof DISK_ROOT - 1;
    name[0] = '\0';
    for (;;) {
        at += strspn(at, "/");
        size_t len = strcspn(at, "/");
        if (len == 0)
            return n;
        if (name[0] != '\0') {
            const struct entry *e = entry_of(n, name, false);
            if (e == NULL || e->view == NULL || !e->view->folder) {
                errno = ENOENT;
                return NULL;
            }
            n = e->view;
        }
        if (len >= 64) {
            errno = ENAMETOOLONG;
            return NULL;
        }
        memcpy(name, at, len);
        name[len] = '\0';
        at += len;
    }
}

static struct node *look(const char *path, struct node **folder, char name[64]) {
    *folder = walk(path, name);
    if (*folder == NULL)
        return NULL;
    if (name[0] == '\0')
        return *folder;
    const struct entry *e = entry_of(*folder, name, false);
    if (e == NULL || e->view == NULL) {
        errno = ENOENT;
        return NULL;
    }
    return e->view;
}

/* ---- what may go wrong with a call */

static void power_off(void) {
    disk.off = true;
    disk.cut_left = 0;
}

static int refused(int error) {
    errno = error;
    return -1;
}

/* 0: it may take place; *dying: the power goes right after it. */
static int gate(enum disk_call call, const struct node *n, bool *dying) {
    note(call, n->number);
    *dying = false;
    if (disk.off || disk.dead[n->part])
        return refused(EIO);
    if ((disk.fail_calls & call) != 0 && disk.fail_left > 0 && --disk.fail_left == 0) {
        disk.failed = true;
        disk.fail_left = disk.fail_stay ? 1 : 0;
        return refused(disk.fail_errno);
    }
    if ((DISK_CHANGES & call) != 0) {
        disk.changes++;
        if (disk.cut_left > 0 && --disk.cut_left == 0) {
            if (chance_one_in(&disk.chance, 2)) {
                power_off();
                return refused(EIO);
            }
            *dying = true;
        }
    }
    return 0;
}

static ssize_t leave(bool dying, ssize_t answer) {
    if (!dying)
        return answer;
    power_off();
    return refused(EIO);
}

static struct fd *fd_of(int fd) {
    if (fd < DISK_FIRST_FD || fd >= DISK_FIRST_FD + DISK_FDS ||
        disk.fds[fd - DISK_FIRST_FD].node == NULL) {
        errno = EBADF;
        return NULL;
    }
    return &disk.fds[fd - DISK_FIRST_FD];
}

/* ---- the calls */

int disk_open(const char *path, int flags) {
    struct node *folder;
    char name[64];
    bool dying;
    struct node *n = look(path, &folder, name);
    if (folder == NULL)
        return -1;
    if (gate(DISK_OPEN, n != NULL ? n : folder, &dying) != 0)
        return -1;
    if (n == NULL && (flags & O_CREAT) == 0)
        return refused(ENOENT);
    if (n != NULL && (flags & O_CREAT) != 0 && (flags & O_EXCL) != 0)
        return refused(EEXIST);
    if (n != NULL && !n->folder && (flags & O_DIRECTORY) != 0)
        return refused(ENOTDIR);
    if (n != NULL && n->folder && (flags & O_ACCMODE) != O_RDONLY)
        return refused(EISDIR);
    size_t i = 0;
    while (i < DISK_FDS && disk.fds[i].node != NULL)
        i++;
    if (i == DISK_FDS)
        give_up("too many descriptors");
    bool fresh = n == NULL, cuts = !fresh && (flags & O_TRUNC) != 0 && n->view.len > 0;
    if ((fresh || cuts) && gate(fresh ? DISK_NAME : DISK_TRUNCATE, folder, &dying) != 0)
        return -1;
    if (fresh) {
        n = new_node(false, folder->part);
        set_name(entry_of(folder, name, true), n, ++disk.seq);
    } else if (cuts) {
        set_len(&n->view, 0);
        remember(n, true, 0, NULL, 0);
    }
    if (dying)
        return (int)leave(dying, 0);
    disk.fds[i] = (struct fd){.node = n, .flags = flags};
    n->opens++;
    return (int)(DISK_FIRST_FD + i);
}

int disk_close(int fd) {
    struct fd *f = fd_of(fd);
    if (f == NULL)
        return -1;
    struct node *n = f->node;
    f->node = NULL;
    if (--n->opens == 0 && n->doubtful) { /* the pages leave the memory */
        copy_bytes(&n->view, &n->stable);
        for (size_t i = 0; i < n->count; i++)
            apply(&n->view, &n->changes[i]);
        n->doubtful = false;
    }
    return 0;
}

ssize_t disk_read(int fd, void *p, size_t n, off_t at) {
    struct fd *f = fd_of(fd);
    bool dying;
    if (f == NULL || gate(DISK_READ, f->node, &dying) != 0)
        return -1;
    const struct bytes *b = &f->node->view;
    size_t from = (size_t)(at < 0 ? f->at : at);
    size_t got = from >= b->len ? 0 : b->len - from < n ? b->len - from : n;
    if (got > 0)
        memcpy(p, b->p + from, got);
    if (at < 0)
        f->at += (off_t)got;
    return (ssize_t)got;
}

ssize_t disk_write(int fd, const void *p, size_t n, off_t at) {
    struct fd *f = fd_of(fd);
    bool dying;
    if (f == NULL)
        return -1;
    struct node *file = f->node;
    size_t to = (size_t)(at < 0 ? f->at : at);
    if ((f->flags & O_APPEND) != 0)
        to = file->view.len;
    bool failed_before = disk.failed;
    int refusal = gate(DISK_WRITE, file, &dying);
    if (refusal != 0 && disk.failed && !failed_before && errno == ENOSPC)
        n /= 2; /* found room for some of it */
    else if (refusal != 0)
        return -1;
    note(to, n);
    if (n > 0) {
        put(&file->view, to, p, n);
        remember(file, false, to, p, n);
    }
    if (refusal != 0)
        return refused(ENOSPC);
    if (at < 0)
        f->at += (off_t)n;
    return leave(dying, (ssize_t)n);
}

int disk_truncate(int fd, off_t size) {
    struct fd *f = fd_of(fd);
    bool dying;
    if (f == NULL || gate(DISK_TRUNCATE, f->node, &dying) != 0)
        return -1;
    set_len(&f->node->view, (size_t)size);
    remember(f->node, true, (size_t)size, NULL, 0);
    return (int)leave(dying, 0);
}

static void draw_loss(uint64_t oldest);
static void keep_some(struct node *n);

static void sync_node(struct node *n) {
    if (n->folder) {
        for (size_t i = 0; i < n->entry_count; i++) {
            n->entries[i].stable = n->entries[i].view;
            n->entries[i].count = 0;
        }
        return;
    }
    for (size_t i = 0; i < n->count; i++)
        apply(&n->stable, &n->changes[i]);
    drop_changes(n);
}

int disk_sync(int fd) {
    struct fd *f = fd_of(fd);
    bool dying;
    if (f == NULL)
        return -1;
    struct node *n = f->node;
    bool failed_before = disk.failed;
    if (gate(DISK_SYNC, n, &dying) != 0) {
        bool by_order = disk.failed && !failed_before && !disk.off && !disk.dead[n->part];
        if (by_order && !n->folder && n->count > 0) {
            draw_loss(n->changes[0].seq);
            keep_some(n);
            n->doubtful = true;
        }
        return by_order && disk_lies.failed_sync ? 0 : refused(EIO);
    }
    if (!disk_lies.sync && !(n->folder && disk_lies.folder_sync))
        sync_node(n);
    return (int)leave(dying, 0);
}

static int stat_node(const struct node *n, struct stat *st) {
    if (disk.off || disk.dead[n->part])
        return refused(EIO);
    memset(st, 0, sizeof *st);
    st->st_dev = 7;
    st->st_ino = n->number + 1;
    st->st_mode = n->folder ? S_IFDIR | 0700 : S_IFREG | 0600;
    st->st_nlink = 1;
    st->st_size = (off_t)n->view.len;
    st->st_blksize = 4096;
    st->st_blocks = (blkcnt_t)((n->view.len + 511) / 512);
    return 0;
}

int disk_fstat(int fd, struct stat *st) {
    const struct fd *f = fd_of(fd);
    return f == NULL ? -1 : stat_node(f->node, st);
}

int disk_stat(const char *path, struct stat *st) {
    struct node *folder;
    char name[64];
    const struct node *n = look(path, &folder, name);
    if (n == NULL && folder != NULL && (disk.off || disk.dead[folder->part]))
        return refused(EIO);
    return n == NULL ? -1 : stat_node(n, st);
}

int disk_mkdir(const char *path) {
    struct node *folder;
    char name[64];
    bool dying;
    const struct node *n = look(path, &folder, name);
    if (folder == NULL)
        return -1;
    if (n != NULL)
        return refused(EEXIST);
    if (gate(DISK_NAME, folder, &dying) != 0)
        return -1;
    set_name(entry_of(folder, name, true), new_node(true, folder->part), ++disk.seq);
    return (int)leave(dying, 0);
}

int disk_unlink(const char *path, bool folder_wanted) {
    struct node *folder;
    char name[64];
    bool dying;
    const struct node *n = look(path, &folder, name);
    if (n == NULL)
        return -1;
    if (n->folder != folder_wanted)
        return refused(n->folder ? EISDIR : ENOTDIR);
    if (gate(DISK_NAME, folder, &dying) != 0)
        return -1;
    set_name(entry_of(folder, name, true), NULL, ++disk.seq);
    return (int)leave(dying, 0);
}

int disk_rename(const char *from, const char *to) {
    struct node *from_folder, *to_folder;
    char from_name[64], to_name[64];
    bool dying;
    struct node *n = look(from, &from_folder, from_name);
    if (n == NULL || (to_folder = walk(to, to_name)) == NULL)
        return -1;
    if (gate(DISK_NAME, to_folder, &dying) != 0)
        return -1;
    uint64_t seq = ++disk.seq;
    set_name(entry_of(to_folder, to_name, true), n, seq);
    set_name(entry_of(from_folder, from_name, true), NULL, seq);
    return (int)leave(dying, 0);
}

bool disk_entry(int fd, size_t n, char name[256]) {
    const struct fd *f = fd_of(fd);
    if (f == NULL || !f->node->folder)
        return false;
    for (size_t i = 0; i < f->node->entry_count; i++) {
        if (f->node->entries[i].view != NULL && n-- == 0) {
            (void)snprintf(name, 256, "%s", f->node->entries[i].name);
            return true;
        }
    }
    return false;
}

/* ---- the power goes and comes back */

static struct { /* drawn anew for each loss */
    size_t sector;
    uint64_t salt, cutoff;
    unsigned kept; /* of 8 */
    bool in_order, garbage;
} loss;

static bool coin(uint64_t seq, uint64_t part) {
    return chance_mix(loss.salt ^ chance_mix(seq * 1000003 + part)) % 8 < loss.kept;
}

/* Of a write, the sectors that reached the disk. */
static void apply_torn(struct bytes *b, const struct change *c) {
    size_t end = c->at + c->len, old_len = b->len;
    for (size_t at = c->at; at < end;) {
        size_t next = (at / loss.sector + 1) * loss.sector;
        next = next < end ? next : end;
        if (coin(c->seq, at / loss.sector)) {
            put(b, at, c->data + (at - c->at), next - at);
        } else if (loss.garbage && at >= old_len && coin(c->seq, ~(uint64_t)at)) {
            set_len(b, next > b->len ? next : b->len);
            memset(b->p + at, 0xa5, next - at);
        }
        at = next;
    }
}

static void draw_loss(uint64_t oldest) {
    struct chance *c = &disk.chance;
    static const unsigned kept_of_8[] = {1, 4, 4, 7};
    loss.sector = chance_one_in(c, 2) ? 512 : 4096;
    loss.in_order = chance_one_in(c, 2);
    loss.garbage = chance_one_in(c, 4);
    loss.salt = chance_next(c);
    loss.kept = kept_of_8[chance_below(c, 4)];
    loss.cutoff = oldest + chance_below(c, disk.seq + 2 - oldest);
}

static uint64_t oldest_change(void) {
    uint64_t oldest = disk.seq;
    for (unsigned i = 0; i < disk.node_count; i++) {
        const struct node *n = &disk.nodes[i];
        if (n->count > 0 && n->changes[0].seq < oldest)
            oldest = n->changes[0].seq;
        for (size_t k = 0; k < n->entry_count; k++)
            if (n->entries[k].count > 0 && n->entries[k].past[0].seq < oldest)
                oldest = n->entries[k].past[0].seq;
    }
    return oldest;
}

/* What of the unsynced changes is on the disk. */
static void keep_some(struct node *n) {
    for (size_t i = 0; i < n->count; i++) {
        const struct change *c = &n->changes[i];
        bool before = c->seq < loss.cutoff;
        if (loss.in_order && c->seq > loss.cutoff)
            break;
        if ((loss.in_order && before) || (c->truncate && coin(c->seq, 0)))
            apply(&n->stable, c);
        else if (!c->truncate)
            apply_torn(&n->stable, c);
    }
    drop_changes(n);
}

static void lose_bytes(struct node *n) {
    keep_some(n);
    copy_bytes(&n->view, &n->stable);
    n->doubtful = false;
}

static void lose_names(struct node *n) {
    for (size_t i = 0; i < n->entry_count; i++) {
        struct entry *e = &n->entries[i];
        for (size_t k = 0; k < e->count; k++) {
            bool there = loss.in_order ? e->past[k].seq < loss.cutoff : coin(e->past[k].seq, 0);
            if (there)
                e->stable = e->past[k].to;
        }
        e->count = 0;
        e->view = e->stable;
    }
}

void disk_power_on(void) {
    draw_loss(oldest_change());
    for (unsigned i = 0; i < disk.node_count; i++) {
        struct node *n = &disk.nodes[i];
        if (n->folder)
            lose_names(n);
        else
            lose_bytes(n);
        n->opens = 0;
    }
    memset(disk.fds, 0, sizeof disk.fds);
    disk.off = false;
}

void disk_cut_at(uint64_t n) {
    disk.cut_left = n;
}

void disk_power_off(void) {
    power_off();
}

bool disk_is_off(void) {
    return disk.off;
}

void disk_kill(enum disk_part part) {
    disk.dead[part] = true;
}

void disk_revive(enum disk_part part) {
    disk.dead[part] = false;
}

void disk_fail(unsigned calls, uint64_t n, int error, bool stay) {
    disk.fail_calls = calls;
    disk.fail_left = n;
    disk.fail_errno = error;
    disk.fail_stay = stay;
    disk.failed = false;
}

bool disk_failed(void) {
    return disk.failed;
}

uint64_t disk_changes(void) {
    return disk.changes;
}

uint64_t disk_trace(void) {
    return disk.trace;
}

size_t disk_open_files(void) {
    size_t open = 0;
    for (size_t i = 0; i < DISK_FDS; i++)
        open += disk.fds[i].node != NULL;
    return open;
}

static bool holds(const struct bytes *b, const void *bytes, size_t n) {
    return b->len > 0 && memmem(b->p, b->len, bytes, n) != NULL;
}

bool disk_holds(const void *bytes, size_t n) {
    for (unsigned i = 0; i < disk.node_count; i++)
        if (holds(&disk.nodes[i].view, bytes, n) || holds(&disk.nodes[i].stable, bytes, n))
            return true;
    return false;
}

/* ---- beginning */

static void clear(uint64_t seed) {
    for (unsigned i = 0; i < disk.node_count; i++)
        free_node(&disk.nodes[i]);
    memset(&disk, 0, sizeof disk);
    disk.chance.state = chance_mix(seed + 1);
}

void disk_format(uint64_t seed) {
    static const char *const parts[DISK_PARTS] = {"tablet", "server", "number", "signer"};
    clear(seed);
    struct node *root = new_node(true, (enum disk_part)NO_PART);
    for (int i = 0; i < DISK_PARTS; i++)
        set_name(entry_of(root, parts[i], true), new_node(true, (enum disk_part)i), ++disk.seq);
    sync_node(root);
}

/* A deep copy: names point into the copy. */
static void copy_nodes(struct node *to, const struct node *from, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        to[i] = (struct node){.folder = from[i].folder, .part = from[i].part, .number = i};
        copy_bytes(&to[i].view, &from[i].view);
        copy_bytes(&to[i].stable, &from[i].view);
        if (!from[i].folder)
            continue;
        to[i].entries = calloc(ENTRIES, sizeof *to[i].entries);
        if (to[i].entries == NULL)
            give_up("memory");
        for (size_t k = 0; k < from[i].entry_count; k++) {
            const struct entry *e = &from[i].entries[k];
            if (e->view == NULL)
                continue;
            struct entry *mine = &to[i].entries[to[i].entry_count++];
            memcpy(mine->name, e->name, sizeof mine->name);
            mine->view = mine->stable = &to[e->view->number];
        }
    }
}

void disk_keep(void) {
    if (disk_open_files() > 0)
        give_up("kept with open files");
    for (unsigned i = 0; i < kept_count; i++)
        free_node(&kept[i]);
    copy_nodes(kept, disk.nodes, disk.node_count);
    kept_count = disk.node_count;
}

void disk_reset(uint64_t seed) {
    clear(seed);
    copy_nodes(disk.nodes, kept, kept_count);
    disk.node_count = kept_count;
}
