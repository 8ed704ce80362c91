/* A disk in memory below "/sim", under the real storage code: the calls of the C library that name
 * a path there, or a descriptor of it, come here instead of to the kernel (disk_calls.c), those of
 * libsqlite3.so, too.  So SQLite's own unix VFS decides what it syncs and when, and so do the small
 * files beside it.
 *
 * What a power loss leaves (disk_power_on) is drawn from the seed, as badly as POSIX permits:
 *
 *   bytes     of every write since the file's last sync each sector is there or not, whatever came
 *             before or after it: lost, in another order, torn.  A sector that was lost beyond the
 *             old end of the file is zeros, or what some deleted file had there
 *   lengths   so is each truncation and growth
 *   names     so is each creation, removal and renaming since the folder's last sync; a sync of the
 *             file does not keep its name
 *
 * In half the runs the order is kept (a journalling file system: a prefix, its last write torn), in
 * half a sector has 4096 bytes instead of 512.
 *
 * A failed sync (disk_fail) does what Linux does: what was to be written is on the disk or not, and
 * the pages are clean all the same, so that the next sync answers 0 without it.
 *
 * One thread. */
#ifndef TESTS_SIM_DISK_H
#define TESTS_SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/sim/chance.h"

#define DISK_ROOT "/sim"

/* Folders of DISK_ROOT belong to one process each: a process that was killed writes no more. */
enum disk_part { DISK_TABLET, DISK_SERVER, DISK_NUMBER, DISK_SIGNER, DISK_PARTS };

enum disk_call {
    DISK_WRITE = 1,    /* write, pwrite */
    DISK_TRUNCATE = 2, /* ftruncate */
    DISK_SYNC = 4,     /* fsync, fdatasync */
    DISK_OPEN = 8,     /* open, opendir */
    DISK_NAME = 16,    /* rename, unlink, mkdir */
    DISK_READ = 32,    /* read, pread */
    DISK_CHANGES = DISK_WRITE | DISK_TRUNCATE | DISK_SYNC | DISK_NAME
};

/* Empty but for one folder a part, all of it on the disk. */
void disk_format(uint64_t seed);
/* The disk as it is now, synced, to begin again from: one at a time. */
void disk_keep(void);
void disk_reset(uint64_t seed);

/* The power goes at the n-th call from now that changes something (0: never); everything fails with
 * EIO from then on. */
void disk_cut_at(uint64_t n);
void disk_power_off(void);
bool disk_is_off(void);
void disk_power_on(void);

void disk_kill(enum disk_part part); /* its calls fail with EIO … */
void disk_revive(enum disk_part part);

/* The n-th call of these kinds from now fails with this errno (0: none does); `stay`: and all after
 * it.  A write that finds no room may have written some. */
void disk_fail(unsigned calls, uint64_t n, int error, bool stay);
bool disk_failed(void); /* it came to that call */
uint64_t disk_changes(void);
/* Of everything that was asked of the disk since it was formatted or reset: what a seed must make
 * again. */
uint64_t disk_trace(void);

/* Mistakes that a test must catch. */
struct disk_lies {
    bool sync;        /* fsync answers 0 and does nothing */
    bool folder_sync; /* that of a folder */
    bool failed_sync; /* a sync that failed answers 0 */
};
extern struct disk_lies disk_lies;

size_t disk_open_files(void);
/* Whether these bytes stand in any file, as it is read or as it would be after a power loss. */
bool disk_holds(const void *bytes, size_t n);

#endif
