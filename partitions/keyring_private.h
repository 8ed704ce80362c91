/* What keyring.c (the ring in memory), keyring_file.c (its file) and keyring_rotate.c (new keys, old
 * keys) share.  All under the lock. */
#ifndef PARTITIONS_KEYRING_PRIVATE_H
#define PARTITIONS_KEYRING_PRIVATE_H

#include <pthread.h>

#include "lib/crypto.h"
#include "partitions/keyring.h"

enum {
    AREAS = 4, /* indexed by enum key_area */
    WRAPPED_BYTES = sizeof(struct secret_key) + CRYPTO_SEAL_OVERHEAD,
    CHECK_BYTES = 8,
    SLAB_KEYS = 128, /* one locked page */
    BUCKETS = 1024,
    FILE_MAX_BYTES = 1 << 20,
    FILE_MAX_KEYS = 4096
};

struct entry {
    struct key_info info;
    uint64_t kek_id;
    uint8_t wrapped[WRAPPED_BYTES];
    uint8_t check[CHECK_BYTES];
    struct secret_key *key; /* NULL: destroyed, or an area that is not open here */
};

/* What is known of a municipality's file. */
struct ring {
    struct ring *next;
    char municipality[7];
    bool synced; /* seen durable by this process */
    size_t count;
    struct entry *entries; /* oldest first */
};

struct slab {
    struct slab *next;
    size_t used;
    struct secret_key *keys; /* SLAB_KEYS of them, locked */
};

enum { KEK_CURRENT, KEK_PREVIOUS, KEKS };

struct kek {
    bool here;
    uint64_t id;
};

struct keyring {
    char *dir;
    unsigned areas;
    struct kek keks[AREAS][KEKS];
    struct secret_key *kek_keys; /* AREAS * KEKS, locked */
    pthread_mutex_t lock;        /* all below */
    struct ring *rings[BUCKETS];
    struct slab *slabs;
};

/* keyring.c */
bool keyring_area_open(const struct keyring *k, enum key_area area);
bool keyring_code_ok(const char *municipality);
/* Room for one key in locked memory that lives until keyring_close. */
struct secret_key *keyring_room(struct keyring *k);
struct entry *keyring_add_entry(struct ring *ring);
VRS_CHECK enum vrs_err keyring_ring(struct keyring *k, const char *municipality, struct ring **out,
                                    struct vrs_fault *fault);
void keyring_drop(struct keyring *k, const char *municipality);
const struct entry *keyring_find(const struct ring *ring, enum key_area area,
                                 enum key_purpose purpose, enum key_state state); /* newest */
VRS_CHECK enum vrs_err keyring_make(struct keyring *k, struct ring *ring, enum key_area area,
                                    enum key_purpose purpose, enum key_state state);

/* keyring_file.c */
uint64_t keyring_kek_id(const struct secret_key *kek);
/* Seals the entry's key anew, under the current KEK and with all that the entry says. */
VRS_CHECK enum vrs_err keyring_wrap(struct keyring *k, const char *municipality, struct entry *en);
/* No file is no keys. */
VRS_CHECK enum vrs_err keyring_load(struct keyring *k, struct ring *ring, struct vrs_fault *fault);
/* Replaces the file; durable before it returns. */
VRS_CHECK enum vrs_err keyring_save(struct keyring *k, const struct ring *ring,
                                    struct vrs_fault *fault);
VRS_CHECK enum vrs_err keyring_sync(struct keyring *k, const struct ring *ring,
                                    struct vrs_fault *fault);

#endif
