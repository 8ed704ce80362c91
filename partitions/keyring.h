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

#include "lib/buffer.h"
#include "lib/err.h"
#include "lib/secret.h"

enum key_area { KEY_RECORDS = 1, KEY_LOG = 2, KEY_NUMBERS = 3 };
enum key_purpose { KEY_ENCRYPT = 1, KEY_INDEX = 2 };
enum key_state { KEY_PRE_ACTIVE = 1, KEY_ACTIVE, KEY_DECRYPT_ONLY, KEY_DESTROYED };

struct keyring;

/* Where a KEK comes from: a table of functions, so that a PKCS#11 token can stand in later.  An area
 * has the current KEK, which wraps, and for the time of a rotation the previous one, which only
 * unwraps (ERR_NOT_FOUND: there is none). */
struct kek_source {
    const char *name;
    enum vrs_err (*load)(const char *where, enum key_area area, bool previous,
                         struct secret_key *out, struct vrs_fault *fault);
};
/* development: where/kek-records, kek-log, kek-numbers, and the same with ".previous" behind */
extern const struct kek_source kek_file;
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
/* All keys of the area are destroyed: the municipality left. */
bool keyring_ended(struct keyring *k, const char *municipality, enum key_area area);
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

/* ---- rotation (docs/decisions/0007-rotation.md)
 *
 *   (none) ─► pre-active ─► active ─► decrypt-only ─► destroyed
 *
 * Each state is durable in the file before the key is used in it.  A municipality's keys are changed
 * by the thread that works in its partition only, so that no borrowed key goes away under another. */

/* A new active key; the one so far decrypts only.  Goes on where a crash cut it off: a pre-active
 * key that is there is taken.  ERR_CONFLICT while another decrypt-only key of this area and purpose
 * is there, unless `keep_old` (the log's: they stay). */
VRS_CHECK enum vrs_err keyring_new_version(struct keyring *k, const char *municipality,
                                           enum key_area area, enum key_purpose purpose,
                                           bool keep_old, uint32_t *key_id,
                                           struct vrs_fault *fault);
/* The newest decrypt-only key.  ERR_NOT_FOUND: none. */
VRS_CHECK enum vrs_err keyring_previous(struct keyring *k, const char *municipality,
                                        enum key_area area, enum key_purpose purpose,
                                        uint32_t *key_id, const struct secret_key **key);
/* Of a decrypt-only key (else ERR_CONFLICT): its wrapped form leaves the file, its bytes the
 * memory.  VRS_OK also when it is destroyed already.  The caller has made sure that no row names
 * it. */
VRS_CHECK enum vrs_err keyring_destroy(struct keyring *k, const char *municipality, uint32_t key_id,
                                       struct vrs_fault *fault);
/* Every key of an area, the active ones, too: what they sealed can never be read again, here or from
 * a copy (C127).  No new ones are made for it afterwards. */
VRS_CHECK enum vrs_err keyring_destroy_area(struct keyring *k, const char *municipality,
                                            enum key_area area, struct vrs_fault *fault);
/* Wraps what stands under the previous KEK under the current one; `wrapped` counts. */
VRS_CHECK enum vrs_err keyring_rewrap(struct keyring *k, const char *municipality, size_t *wrapped,
                                      struct vrs_fault *fault);
/* How many of its keys stand under the previous KEK still. */
size_t keyring_under_previous(struct keyring *k, const char *municipality);
/* True when a previous KEK was loaded. */
bool keyring_has_previous_kek(const struct keyring *k);
/* Calls `each` for every municipality that has a key file, in no order. */
void keyring_each(struct keyring *k, void (*each)(const char *municipality, void *arg), void *arg);
/* Another folder of wrapped keys under the same KEKs: a backup's, read only by intent. */
VRS_CHECK enum vrs_err keyring_open_beside(const struct keyring *k, const char *dir,
                                           struct keyring **out, struct vrs_fault *fault);

/* Migration (keyring_carry.c): the keys of this keyring's areas in the clear, appended to *out, which
 * the caller seals and wipes; and back into this keyring's folder, under the KEKs that are here. */
VRS_CHECK enum vrs_err keyring_carry_out(struct keyring *k, const char *municipality,
                                         struct buffer *out);
VRS_CHECK enum vrs_err keyring_carry_in(struct keyring *k, const char *municipality, const void *p,
                                        size_t n, struct vrs_fault *fault);

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
