/* A throw-away folder with KEKs and a key ring, and a disk that fails when told. */
#ifndef TESTS_LIB_STAND_H
#define TESTS_LIB_STAND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "partitions/keyring.h"

struct stand {
    char dir[64];        /* everything below it is removed by stand_close */
    char keys[96];       /* wrapped keys */
    char keks[96];       /* key files */
    char partitions[96]; /* not made yet */
    struct keyring *ring;
};

/* `areas` as in keyring_open; 0: no key ring. Fails the test when it cannot. */
void stand_open(struct stand *r, unsigned areas);
void stand_close(struct stand *r);
const char *stand_path(const struct stand *r, const char *name); /* static; a few stay valid */
size_t stand_files(const char *dir);                             /* entries in it, 0 when absent */
/* Whether `bytes` stand anywhere in any file below `dir`. */
bool stand_holds(const char *dir, const void *bytes, size_t n);

/* The disk of this process, for SQLite's files: each counts down when positive and fails at 1;
 * `stay` keeps it failing. */
struct stand_disk {
    atomic_int fail_sync_at;
    atomic_int fail_write_at;
    atomic_int write_errno; /* 0: EIO */
    atomic_bool stay;
    atomic_int syncs; /* seen */
    atomic_int writes;
};
extern struct stand_disk stand_disk;
void stand_disk_install(void); /* once SQLite is initialised: after the first open */
void stand_disk_heal(void);

#endif
