/* 照会許可用照合リスト: who may ask whom for what, and which items.  A list of its own, with a version
 * that only grows, signed by its own authority (Ed25519) and checked by each side for itself (C84,
 * C86).  Missing, unsigned, older than one that was in force, or empty: every inquiry is refused.
 *
 *   {"signature": base64 over the exact bytes of `allow_list`, "allow_list": "<JSON text>"}
 *   {"format": "vrs-allow-list/1", "version": 1, "entries": [
 *     {"business": "transfer_in", "asker": "*", "provider": "*", "from": "2021-04-12", "to": null,
 *      "items": ["dose_number", …]}]}
 *
 * Entries that name a partner stand before those with "*": the most particular ones in force decide
 * alone, so a partner may be given fewer items than all others, or none (C99). */
#ifndef VRS_SERVER_INQUIRIES_ALLOW_LIST_H
#define VRS_SERVER_INQUIRIES_ALLOW_LIST_H

#include "lib/buffer.h"
#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/err.h"

/* --- a list (also in vrsctl) --- */

enum { ALLOW_LIST_MAX_BYTES = 4 << 20 };
struct allow_list;
/* The list's text. */
VRS_CHECK enum vrs_err allow_list_read(const void *text, size_t len, struct allow_list **out,
                                       struct vrs_fault *fault);
/* The signed form: the signature is checked over the text's exact bytes before it is read. */
VRS_CHECK enum vrs_err allow_list_open(const void *body, size_t len,
                                       const uint8_t key[CRYPTO_ED25519_BYTES],
                                       struct allow_list **out, struct vrs_fault *fault);
VRS_CHECK enum vrs_err allow_list_sign(const void *text, size_t len, const struct secret_key *key,
                                       struct buffer *out, struct vrs_fault *fault);
void allow_list_close(struct allow_list **l);
uint64_t allow_list_version(const struct allow_list *l);
/* ERR_NOT_ON_ALLOW_LIST unless (business, asker, provider, item) is listed and in force; item NULL
 * asks for any.  No list (NULL) refuses everything. */
VRS_CHECK enum vrs_err allow_list_permits(const struct allow_list *l, const char *business,
                                          const char *asker, const char *provider, const char *item,
                                          struct civil_date on);

/* --- the one in force (vrs-server) --- */

struct server;
struct partition;
struct allow_guard;
/* Reads the configured file and compares its version with the registry's, in the background: until
 * then, and when anything is wrong, everything is refused.  Errors only of the configuration. */
VRS_CHECK enum vrs_err allow_guard_open(struct server *s, struct allow_guard **out,
                                        struct vrs_fault *fault);
void allow_guard_close(struct allow_guard **g);
/* In a job of the registry: the file again.  ERR_CONFLICT: older than one that was in force;
 * ERR_CONFIG: missing, unsigned, malformed.  The list in force stays then. */
VRS_CHECK enum vrs_err allow_guard_load(struct allow_guard *g, struct partition *registry,
                                        uint64_t *version, struct vrs_fault *fault);
/* By the list in force; any thread. */
VRS_CHECK enum vrs_err allow_guard_permits(struct allow_guard *g, const char *business,
                                           const char *asker, const char *provider,
                                           const char *item, struct civil_date on);

#endif
