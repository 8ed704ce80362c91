#include "partitions/key_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/crypto.h"
#include "lib/file.h"
#include "partitions/keyring.h"

static const char *const kek_names[] = {
    [KEY_RECORDS] = "kek-records", [KEY_LOG] = "kek-log", [KEY_NUMBERS] = "kek-numbers"};

/* ---- sources of KEKs */

static enum vrs_err kek_read(const char *dir, enum key_area area, bool previous, mode_t forbidden,
                             struct secret_key *out, struct vrs_fault *fault) {
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/%s%s", dir, kek_names[area],
                         previous ? ".previous" : "") >= sizeof path)
        return err_fail(fault, ERR_CONFIG, "path of %s too long", kek_names[area]);
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return err_fail(fault, errno == ENOENT ? ERR_NOT_FOUND : ERR_CONFIG, "open %s", path);
    enum vrs_err e = VRS_OK;
    struct stat st;
    uint8_t more;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        e = err_fail(fault, ERR_CONFIG, "%s is not a file", path);
    else if ((st.st_mode & forbidden) != 0)
        e = err_fail(fault, ERR_CONFIG, "%s may be read by others: chmod 600", path);
    else if (st.st_uid != geteuid() && st.st_uid != 0)
        e = err_fail(fault, ERR_CONFIG, "%s belongs to another user", path);
    else if (read(fd, out->bytes, sizeof out->bytes) != sizeof out->bytes ||
             read(fd, &more, 1) != 0)
        e = err_fail(fault, ERR_CONFIG, "%s does not hold 32 bytes", path);
    (void)close(fd);
    if (e != VRS_OK)
        secret_wipe(out, sizeof *out);
    return e;
}

static enum vrs_err load_file(const char *where, enum key_area area, bool previous,
                              struct secret_key *out, struct vrs_fault *fault) {
    return kek_read(where, area, previous, 077, out, fault);
}

/* systemd grants the service user its credentials by an ACL, which shows as group bits. */
static enum vrs_err load_credential(const char *where, enum key_area area, bool previous,
                                    struct secret_key *out, struct vrs_fault *fault) {
    (void)where;
    const char *dir = secure_getenv("CREDENTIALS_DIRECTORY");
    if (dir == NULL)
        return err_fail(fault, ERR_CONFIG, "CREDENTIALS_DIRECTORY is not set");
    return kek_read(dir, area, previous, 037, out, fault);
}

const struct kek_source kek_file = {"file", load_file};
const struct kek_source kek_credential = {"credential", load_credential};

enum vrs_err kek_file_make(const char *where, enum key_area area, struct vrs_fault *fault) {
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", where, kek_names[area]) >= sizeof path)
        return err_fail(fault, ERR_CONFIG, "path of %s too long", kek_names[area]);
    if (mkdir(where, 0700) != 0 && errno != EEXIST)
        return err_fail(fault, ERR_STORAGE, "make %s", where);
    struct secret_key key;
    crypto_random(key.bytes, sizeof key.bytes);
    enum vrs_err e = file_write_new(path, key.bytes, sizeof key.bytes, fault);
    secret_wipe(&key, sizeof key);
    return e != VRS_OK ? e : file_sync_dir(where, fault);
}

/* ---- copies that must go */

static enum vrs_err destroy_one(const char *path, struct vrs_fault *fault) {
    static const char zeros[4096];
    struct stat st;
    int fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    bool ok = fd >= 0 && fstat(fd, &st) == 0;
    for (off_t left = ok ? st.st_size : 0; ok && left > 0;) {
        size_t n = left < (off_t)sizeof zeros ? (size_t)left : sizeof zeros;
        ok = write(fd, zeros, n) == (ssize_t)n;
        left -= (off_t)n;
    }
    ok = ok && fsync(fd) == 0;
    if (fd >= 0)
        (void)close(fd);
    return ok && unlink(path) == 0 ? VRS_OK : err_fail(fault, ERR_STORAGE, "destroy %s", path);
}

enum vrs_err key_file_destroy_copies(const char *dir, const char *municipality,
                                     struct vrs_fault *fault) {
    char path[4096 + 300];
    DIR *d = opendir(dir);
    enum vrs_err e = VRS_OK;
    if (d == NULL)
        return errno == ENOENT ? VRS_OK : err_fail(fault, ERR_STORAGE, "open %s", dir);
    for (const struct dirent *f; e == VRS_OK && (f = readdir(d)) != NULL;) {
        size_t n = strlen(f->d_name);
        if (strncmp(f->d_name, municipality, 6) != 0 || f->d_name[6] != '-' || n < 12 ||
            strcmp(f->d_name + n - 5, ".keys") != 0)
            continue;
        (void)snprintf(path, sizeof path, "%.4000s/%s", dir, f->d_name);
        e = destroy_one(path, fault);
    }
    (void)closedir(d);
    return e == VRS_OK ? file_sync_dir(dir, fault) : e;
}
