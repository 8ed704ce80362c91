/* Keys: KEK per area → data key per municipality × area × purpose × version.
 *
 * Wrapped data keys lie in DIR/<code>.keys (one small file a municipality, replaced atomically,
 * 0600), each with AAD (kek id, key id, municipality, area, purpose, version) and a check value.
 * A keyring belongs to one process; lookups are thread-safe and borrow from locked memory that
 * lives until keyring_close. */
#ifndef PARTITIONS_KEYRING_H
#define PARTITIONS_KEYRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/secret.h"

enum key_area { KEY_RECORDS = 1, KEY_LOG = 2, KEY_NUMBERS = 3 };
enum key_purpose { KEY_ENCRYPT = 1, KEY_INDEX = 2 };
enum key_state { KEY_PRE_ACTIVE = 1, KEY_ACTIVE, KEY_DECRYPT_ONLY, KEY_DESTROYED };

struct keyring;

/* Where a KEK comes from: a table of functions, so that a PKCS#11 token can stand in later. */
struct kek_source {
    const char *name;
    enum vrs_err (*load)(const char *where, enum key_area area, struct secret_key *out,
                         struct vrs_fault *fault);
};
extern const struct kek_source kek_file; /* development: where/kek-records, kek-log, kek-numbers */
extern const struct kek_source kek_credential; /* $CREDENTIALS_DIRECTORY (systemd) */

VRS_CHECK enum vrs_err kek_file_make(const char *where, enum key_area area,
                                     struct vrs_fault *fault); /* O_EXCL, 0600 */

/* `areas` is a mask of 1 << key_area: only those KEKs are loaded. */
VRS_CHECK enum vrs_err keyring_open(const char *dir, const struct kek_source *source,
                                    const char *where, unsigned areas, struct keyring **out,
                                    struct vrs_fault *fault);
void keyring_close(struct keyring **k);
unsigned keyring_areas(const struct keyring *k); /* the mask it was opened with */
/* True when the municipality has keys already; does no I/O beyond the first look. */
bool keyring_has(struct keyring *k, const char *municipality);
/* Makes the municipality's missing keys in the areas of this keyring; durable before it returns. */
VRS_CHECK enum vrs_err keyring_ensure(struct keyring *k, const char *municipality,
                                      struct vrs_fault *fault);
/* The key that writes use. ERR_NOT_FOUND before keyring_ensure. */
VRS_CHECK enum vrs_err keyring_active(struct keyring *k, const char *municipality,
                                      enum key_area area, enum key_purpose purpose,
                                      uint32_t *key_id, const struct secret_key **key);
/* The key a stored row names. ERR_NOT_FOUND: destroyed or never there. */
VRS_CHECK enum vrs_err keyring_by_id(struct keyring *k, const char *municipality,
                                     enum key_area area, enum key_purpose purpose, uint32_t key_id,
                                     const struct secret_key **key);

struct key_info {
    enum key_area area;
    enum key_purpose purpose;
    uint32_t key_id;
    enum key_state state;
    int64_t made_ms;
};
/* Newest first; returns how many there are (may exceed cap). */
size_t keyring_list(struct keyring *k, const char *municipality, struct key_info *out, size_t cap);
/* Tools: the wrapped key file's path, for backup and restore. */
void keyring_path(struct keyring *k, const char *municipality, char *out, size_t cap);
/* Forget what is cached of a municipality (after a restore replaced its file). */
void keyring_forget(struct keyring *k, const char *municipality);

#endif
