/* In place of the C library's, for every part of this program and for libsqlite3.so: paths below
 * DISK_ROOT and descriptors of it go to the simulated disk, all else to the kernel. */
#undef _FORTIFY_SOURCE
#include "tests/sim/disk_private.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool ours(int fd) {
    return fd >= DISK_FIRST_FD;
}

/* ---- descriptors */

static int open_any(const char *path, int flags, unsigned mode) {
    return disk_path(path) ? disk_open(path, flags)
                           : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...);                                                    \
    int name(const char *path, int flags, ...) {                                                   \
        va_list ap;                                                                                \
        va_start(ap, flags);                                                                       \
        unsigned mode = va_arg(ap, unsigned);                                                      \
        va_end(ap);                                                                                \
        return open_any(path, flags, mode);                                                        \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    return ours(fd) ? disk_close(fd) : (int)syscall(SYS_close, fd);
}

ssize_t read(int fd, void *p, size_t n) {
    return ours(fd) ? disk_read(fd, p, n, -1) : syscall(SYS_read, fd, p, n);
}
ssize_t __read_chk(int fd, void *p, size_t n, size_t room); /* NOLINT: the C library's name */
ssize_t __read_chk(int fd, void *p, size_t n, size_t room) {
    if (n > room)
        abort();
    return read(fd, p, n);
}

ssize_t write(int fd, const void *p, size_t n) {
    return ours(fd) ? disk_write(fd, p, n, -1) : syscall(SYS_write, fd, p, n);
}

#define AT(name, type, mine, number)                                                               \
    ssize_t name(int fd, type p, size_t n, off_t at);                                              \
    ssize_t name(int fd, type p, size_t n, off_t at) {                                             \
        return ours(fd) ? mine(fd, p, n, at) : syscall(number, fd, p, n, at);                      \
    }
AT(pread, void *, disk_read, SYS_pread64)
AT(pread64, void *, disk_read, SYS_pread64)
AT(pwrite, const void *, disk_write, SYS_pwrite64)
AT(pwrite64, const void *, disk_write, SYS_pwrite64)

int ftruncate(int fd, off_t size) {
    return ours(fd) ? disk_truncate(fd, size) : (int)syscall(SYS_ftruncate, fd, size);
}
int ftruncate64(int fd, off_t size) {
    return ftruncate(fd, size);
}

int fsync(int fd) {
    return ours(fd) ? disk_sync(fd) : (int)syscall(SYS_fsync, fd);
}
int fdatasync(int fd) {
    return ours(fd) ? disk_sync(fd) : (int)syscall(SYS_fdatasync, fd);
}

int fstat(int fd, struct stat *st) {
    return ours(fd) ? disk_fstat(fd, st) : (int)syscall(SYS_fstat, fd, st);
}
_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "one shape");
int fstat64(int fd, struct stat64 *st) {
    return fstat(fd, (struct stat *)st);
}

/* One user, no other process: locks are granted, rights stay. */
static int fcntl_any(int fd, int what, void *arg) {
    if (!ours(fd))
        return (int)syscall(SYS_fcntl, fd, what, arg);
    if (what == F_GETLK)
        ((struct flock *)arg)->l_type = F_UNLCK;
    return 0;
}
#define FCNTL(name)                                                                                \
    int name(int fd, int what, ...);                                                               \
    int name(int fd, int what, ...) {                                                              \
        va_list ap;                                                                                \
        va_start(ap, what);                                                                        \
        void *arg = va_arg(ap, void *);                                                            \
        va_end(ap);                                                                                \
        return fcntl_any(fd, what, arg);                                                           \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

int fchmod(int fd, mode_t mode) {
    return ours(fd) ? 0 : (int)syscall(SYS_fchmod, fd, mode);
}
int fchown(int fd, uid_t uid, gid_t gid) {
    return ours(fd) ? 0 : (int)syscall(SYS_fchown, fd, uid, gid);
}
int posix_fadvise(int fd, off_t at, off_t len, int advice) {
    return ours(fd) ? 0 : (int)syscall(SYS_fadvise64, fd, at, len, advice);
}

/* ---- names */

int stat(const char *path, struct stat *st) {
    return disk_path(path) ? disk_stat(path, st)
                           : (int)syscall(SYS_newfstatat, AT_FDCWD, path, st, 0);
}
int lstat(const char *path, struct stat *st) {
    return disk_path(path) ? disk_stat(path, st)
                           : (int)syscall(SYS_newfstatat, AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}
int stat64(const char *path, struct stat64 *st) {
    return stat(path, (struct stat *)st);
}
int lstat64(const char *path, struct stat64 *st) {
    return lstat(path, (struct stat *)st);
}

int access(const char *path, int mode) {
    struct stat st;
    return disk_path(path) ? disk_stat(path, &st)
                           : (int)syscall(SYS_faccessat, AT_FDCWD, path, mode);
}

ssize_t readlink(const char *path, char *out, size_t cap) {
    if (!disk_path(path))
        return syscall(SYS_readlinkat, AT_FDCWD, path, out, cap);
    errno = EINVAL;
    return -1;
}

int mkdir(const char *path, mode_t mode) {
    return disk_path(path) ? disk_mkdir(path) : (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}
int rmdir(const char *path) {
    return disk_path(path) ? disk_unlink(path, true)
                           : (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);
}
int unlink(const char *path) {
    return disk_path(path) ? disk_unlink(path, false)
                           : (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}
int rename(const char *from, const char *to) {
    return disk_path(from) ? disk_rename(from, to)
                           : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* ---- folders and streams */

static void *real(const char *name) {
    return dlsym(RTLD_NEXT, name);
}

static struct folder {
    int fd; /* 0: free */
    size_t next;
    struct dirent entry;
} folders[8];

static struct folder *folder_of(DIR *d) {
    struct folder *f = (struct folder *)(void *)d;
    return f >= folders && f < folders + sizeof folders / sizeof *folders ? f : NULL;
}

DIR *opendir(const char *path) {
    if (!disk_path(path)) {
        DIR *(*call)(const char *);
        *(void **)&call = real("opendir");
        return call(path);
    }
    struct folder *f = folders;
    while (f->fd != 0)
        if (++f == folders + sizeof folders / sizeof *folders)
            abort();
    int fd = disk_open(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return NULL;
    *f = (struct folder){.fd = fd};
    return (DIR *)(void *)f;
}

struct dirent *readdir(DIR *d) {
    struct folder *f = folder_of(d);
    if (f == NULL) {
        struct dirent *(*call)(DIR *);
        *(void **)&call = real("readdir");
        return call(d);
    }
    return disk_entry(f->fd, f->next++, f->entry.d_name) ? &f->entry : NULL;
}

int closedir(DIR *d) {
    struct folder *f = folder_of(d);
    if (f == NULL) {
        int (*call)(DIR *);
        *(void **)&call = real("closedir");
        return call(d);
    }
    (void)disk_close(f->fd);
    f->fd = 0;
    return 0;
}

static ssize_t read_stream(void *cookie, char *out, size_t n) {
    return disk_read((int)(intptr_t)cookie, out, n, -1);
}
static int close_stream(void *cookie) {
    return disk_close((int)(intptr_t)cookie);
}

static FILE *open_stream(const char *path, const char *mode, const char *name) {
    if (!disk_path(path)) {
        FILE *(*call)(const char *, const char *);
        *(void **)&call = real(name);
        return call(path, mode);
    }
    if (mode[0] != 'r')
        abort(); /* the programs write with write(2) */
    int fd = disk_open(path, O_RDONLY);
    const cookie_io_functions_t io = {.read = read_stream, .close = close_stream};
    return fd < 0 ? NULL : fopencookie((void *)(intptr_t)fd, "r", io);
}
FILE *fopen(const char *path, const char *mode) {
    return open_stream(path, mode, "fopen");
}
FILE *fopen64(const char *path, const char *mode) {
    return open_stream(path, mode, "fopen64");
}
