#include "lib/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/crypto.h"

enum { BLOCK = 1 << 16 };

enum vrs_err file_sync_dir(const char *dir, struct vrs_fault *fault) {
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum vrs_err e = VRS_OK;
    if (fd < 0 || fsync(fd) != 0)
        e = err_fail(fault, ERR_STORAGE, "sync folder %s", dir);
    if (fd >= 0)
        (void)close(fd);
    return e;
}

enum vrs_err file_sync_dir_of(const char *path, struct vrs_fault *fault) {
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - path);
    char *dir = slash == NULL ? strdup(".") : strndup(path, len == 0 ? 1 : len);
    if (dir == NULL)
        return err_fail(fault, ERR_MEMORY, "sync folder of %s", path);
    enum vrs_err e = file_sync_dir(dir, fault);
    free(dir);
    return e;
}

static bool write_all(int fd, const void *p, size_t n) {
    for (const uint8_t *at = p; n > 0;) {
        ssize_t done = write(fd, at, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        at += done;
        n -= (size_t)done;
    }
    return true;
}

enum vrs_err file_write_new(const char *path, const void *p, size_t n, struct vrs_fault *fault) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_fail(fault, errno == EEXIST ? ERR_CONFLICT : ERR_STORAGE, "create %s", path);
    enum vrs_err e = VRS_OK;
    if (!write_all(fd, p, n) || fsync(fd) != 0)
        e = err_fail(fault, ERR_STORAGE, "write %s", path);
    (void)close(fd);
    if (e != VRS_OK)
        (void)unlink(path);
    return e;
}

enum vrs_err file_move(const char *from, const char *to, struct vrs_fault *fault) {
    if (rename(from, to) != 0)
        return err_fail(fault, ERR_IO, "rename to %s", to);
    return file_sync_dir_of(to, fault);
}

static bool pour(int from, int to) {
    char bytes[BLOCK];
    for (;;) {
        ssize_t n = read(from, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 && fsync(to) == 0;
        if (!write_all(to, bytes, (size_t)n))
            return false;
    }
}

static bool digest_of(const char *path, uint8_t out[CRYPTO_HASH_BYTES]) {
    char bytes[BLOCK];
    ssize_t n = -1;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    struct crypto_digest *d = fd >= 0 ? crypto_digest_open() : NULL;
    if (d != NULL) {
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* from the disk, not from memory */
        while ((n = read(fd, bytes, sizeof bytes)) > 0)
            crypto_digest_add(d, bytes, (size_t)n);
        crypto_digest_close(&d, out);
    }
    if (fd >= 0)
        (void)close(fd);
    return n == 0;
}

enum vrs_err file_same_content(const char *a, const char *b, struct vrs_fault *fault) {
    uint8_t one[CRYPTO_HASH_BYTES], other[CRYPTO_HASH_BYTES];
    if (!digest_of(a, one) || !digest_of(b, other))
        return err_fail(fault, ERR_IO, "read back %s", b);
    return memcmp(one, other, sizeof one) == 0
               ? VRS_OK
               : err_fail(fault, ERR_STORAGE, "%s is not what was written", b);
}

enum vrs_err file_copy(const char *from, const char *to, struct vrs_fault *fault) {
    char part[PATH_MAX];
    if ((size_t)snprintf(part, sizeof part, "%s.part", to) >= sizeof part)
        return err_fail(fault, ERR_IO, "the name of %s is too long", to);
    int in = open(from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (in < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : err_fail(fault, ERR_IO, "open %s", from);
    int out = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool ok = out >= 0 && pour(in, out);
    (void)close(in);
    if (out >= 0)
        ok = close(out) == 0 && ok;
    if (!ok)
        return err_fail(fault, ERR_STORAGE, "write %s", part);
    enum vrs_err e = file_same_content(from, part, fault);
    return e == VRS_OK ? file_move(part, to, fault) : e;
}
