/* What disk.c and disk_calls.c share: the file system behind the calls.  All answer -1 with errno. */
#ifndef TESTS_SIM_DISK_PRIVATE_H
#define TESTS_SIM_DISK_PRIVATE_H

#include <sys/stat.h>
#include <sys/types.h>

#include "tests/sim/disk.h"

enum { DISK_FIRST_FD = 1 << 20, DISK_FDS = 256 };

bool disk_path(const char *path); /* is it ours? */
int disk_open(const char *path, int flags);
int disk_close(int fd);
ssize_t disk_read(int fd, void *p, size_t n, off_t at); /* at -1: from the descriptor's place */
ssize_t disk_write(int fd, const void *p, size_t n, off_t at); /* the same */
int disk_truncate(int fd, off_t size);
int disk_sync(int fd);
int disk_fstat(int fd, struct stat *st);
int disk_stat(const char *path, struct stat *st);
int disk_mkdir(const char *path);
int disk_unlink(const char *path, bool folder);
int disk_rename(const char *from, const char *to);
/* The n-th name of an open folder that is there; false: no more. */
bool disk_entry(int fd, size_t n, char name[256]);

#endif
