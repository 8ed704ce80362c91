#include "tests/lib/stand.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void give_up(const char *what) {
    perror(what);
    abort();
}

void stand_open(struct stand *r, unsigned areas) {
    *r = (struct stand){0};
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(r->dir, sizeof r->dir, "%s/vrs-XXXXXX",
                   tmp != NULL && strlen(tmp) < 40 ? tmp : "/tmp");
    if (mkdtemp(r->dir) == NULL)
        give_up("mkdtemp");
    (void)snprintf(r->keys, sizeof r->keys, "%s/keys", r->dir);
    (void)snprintf(r->keks, sizeof r->keks, "%s/keks", r->dir);
    (void)snprintf(r->partitions, sizeof r->partitions, "%s/partitions", r->dir);
    if (areas == 0)
        return;
    struct vrs_fault fault;
    for (int area = KEY_RECORDS; area <= KEY_NUMBERS; area++) {
        if (kek_file_make(r->keks, (enum key_area)area, &fault) != VRS_OK)
            give_up(fault.text);
    }
    if (keyring_open(r->keys, &kek_file, r->keks, areas, &r->ring, &fault) != VRS_OK)
        give_up(fault.text);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    (void)remove(path);
    return 0;
}

void stand_close(struct stand *r) {
    keyring_close(&r->ring);
    (void)nftw(r->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *stand_path(const struct stand *r, const char *name) {
    static char paths[8][160];
    static unsigned next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", r->dir, name);
    return path;
}

size_t stand_files(const char *dir) {
    DIR *d = opendir(dir);
    if (d == NULL)
        return 0;
    size_t n = 0;
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    (void)closedir(d);
    return n;
}

static const void *needle;
static size_t needle_len;
static bool needle_found;

static int search_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)ftw;
    if (type != FTW_F || st->st_size == 0)
        return 0;
    FILE *f = fopen(path, "rb");
    char *all = malloc((size_t)st->st_size);
    if (f == NULL || all == NULL || fread(all, 1, (size_t)st->st_size, f) != (size_t)st->st_size)
        give_up(path);
    needle_found |= memmem(all, (size_t)st->st_size, needle, needle_len) != NULL;
    free(all);
    (void)fclose(f);
    return 0;
}

bool stand_holds(const char *dir, const void *bytes, size_t n) {
    needle = bytes;
    needle_len = n;
    needle_found = false;
    (void)nftw(dir, search_one, 16, FTW_PHYS);
    return needle_found;
}

/* ---- the disk */

struct stand_disk stand_disk;

static bool due(atomic_int *at) {
    if (*at <= 0)
        return false;
    if (*at > 1) {
        --*at;
        return false;
    }
    if (!stand_disk.stay)
        *at = 0;
    return true;
}

/* In place of the C library's, for every shared library of this program. */
int fdatasync(int fd) {
    stand_disk.syncs++;
    if (due(&stand_disk.fail_sync_at)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd) {
    stand_disk.syncs++;
    if (due(&stand_disk.fail_sync_at)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}

static ssize_t failing_pwrite(int fd, const void *p, size_t n, off_t at) {
    stand_disk.writes++;
    if (due(&stand_disk.fail_write_at)) {
        errno = stand_disk.write_errno == 0 ? EIO : stand_disk.write_errno;
        return -1;
    }
    return pwrite(fd, p, n, at);
}

void stand_disk_install(void) {
    sqlite3_vfs *vfs = sqlite3_vfs_find("unix");
    if (vfs == NULL)
        give_up("no unix VFS");
    (void)vfs->xSetSystemCall(vfs, "pwrite", (sqlite3_syscall_ptr)failing_pwrite);
    (void)vfs->xSetSystemCall(vfs, "pwrite64", (sqlite3_syscall_ptr)failing_pwrite);
}

void stand_disk_heal(void) {
    stand_disk.fail_sync_at = 0;
    stand_disk.fail_write_at = 0;
    stand_disk.write_errno = 0;
    stand_disk.stay = false;
}
