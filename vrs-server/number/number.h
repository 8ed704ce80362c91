/* What vrs-server and vrs-number say to each other over the unix socket, and vrs-server's client.
 *
 * 個人番号 live only in vrs-number: own program, uid, keys and files.  The socket checks the peer's
 * credentials (uid of vrs-server).  Messages: u32be length, then lib/wire fields; an unexpected one
 * ends the connection.  Every answer carries the request's 64-bit id.
 *
 *   PUT     municipality, row id, number, right → ok          idempotent under the row id
 *   MATCH   municipality, number, right+purpose → row id or none; a read-only look-up that leaves
 *                                                 nothing, creates nothing (rule 6)
 *   REVEAL  municipality, row id, right, purpose, user → number; journalled and durable first
 *   ERASE   municipality, row id → ok (also when absent)
 *   LIST    municipality, after row id → row ids           orphan sweep; no numbers
 *   BACKUP  municipality, name → ok                        sealed copy into its own folder
 *   RESTORE municipality, name → ok
 *   ROTATE  municipality, name, user → how far new keys are (number_rotation below)
 *   DESTROY municipality → ok                              its keys, those of its backups, too
 *   CARRY_KEY   municipality → public key (TEXT)           to which its numbers may be sealed
 *   CARRY_OUT   municipality, row id or none, key (NAME, hex), user → sealed page, last row id
 *                                                 (none: no more); journalled and durable first
 *   CARRY_IN    municipality, row id, "check" or "store" (NAME), sealed page (TEXT) → ok
 *   STATUS  → key=value lines (PRAGMA read-back, sandbox, counts)
 *
 * The right of the acting user is in the message and checked again here (C51): ERR_FORBIDDEN or
 * ERR_PURPOSE without any look-up.  The closed list (access.c):
 *
 *   PUT     resident.register   any purpose
 *   MATCH   resident.register   register
 *           inquire             transfer_in certificate
 *           inquire.bulk        transfer_in
 *           inquiry.approve     transfer_out_answer
 *           number.search       transfer_in transfer_out_answer certificate
 *           certificate         certificate
 *   REVEAL  number.reveal       transfer_in transfer_out_answer certificate; with a user
 *
 * Other answers: ERR_R170 no number; ERR_CONFLICT the row id holds another number; ERR_R183 the
 * number stands under another row id of the municipality (number_match tells which);
 * ERR_LOG_UNWRITABLE the journal could not be written, so nothing was revealed. */
#ifndef VRS_SERVER_NUMBER_NUMBER_H
#define VRS_SERVER_NUMBER_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buffer.h"
#include "lib/crypto.h"
#include "lib/err.h"
#include "partitions/partition.h"
#include "partitions/rotate.h"

/* Twelve digits.  Wipe it (secret_wipe) as soon as it was used. */
struct personal_number {
    char digits[13];
};

enum number_verb {
    NUMBER_PUT = 1,
    NUMBER_MATCH,
    NUMBER_REVEAL,
    NUMBER_ERASE,
    NUMBER_LIST,
    NUMBER_BACKUP,
    NUMBER_RESTORE,
    NUMBER_STATUS,
    NUMBER_ROTATE,
    NUMBER_DESTROY,
    NUMBER_CARRY_KEY,
    NUMBER_CARRY_OUT,
    NUMBER_CARRY_IN,
    NUMBER_ANSWER = 100
};

/* Field tags of both directions. */
enum number_tag {
    NUMBER_T_VERB = 1,
    NUMBER_T_ID,
    NUMBER_T_MUNICIPALITY,
    NUMBER_T_ROW,
    NUMBER_T_NUMBER,
    NUMBER_T_RIGHT,
    NUMBER_T_PURPOSE,
    NUMBER_T_USER,
    NUMBER_T_NAME,
    NUMBER_T_ERR,
    NUMBER_T_TEXT
};

/* Lengths of texts without the terminator: a longer one is ERR_BAD_FIELD at the client. */
enum {
    NUMBER_MAX_MESSAGE = 1 << 16,
    NUMBER_MAX_RIGHT = 31,
    NUMBER_MAX_PURPOSE = 31,
    NUMBER_MAX_USER = 127,
    NUMBER_MAX_NAME = 64 /* of a backup: letters, digits, - _ . but not first */
};

/* Who asks and why; borrowed. */
struct number_access {
    const char *right;   /* of the list above */
    const char *purpose; /* of the list above */
    const char *user;
};

/* One client belongs to one worker thread: blocking, with a deadline for each call, reconnects; a
 * call that a broken connection cut off is sent once more, except backup and restore.  Opening does
 * not connect: vrs-number may start later.  After a call without an answer nothing is asked for two
 * seconds, and then with less patience: one that hangs must not hold up all that the worker does.
 * Errors: ERR_NUMBER_AWAY (not asked), ERR_UNKNOWN (asked, no answer), what vrs-number answered. */
struct number_client;
VRS_CHECK enum vrs_err number_client_open(const char *socket_path, int64_t deadline_ms,
                                          struct number_client **out);
void number_client_close(struct number_client **c);
VRS_CHECK enum vrs_err number_put(struct number_client *c, const char *municipality,
                                  const struct record_id *row, const struct personal_number *n,
                                  const struct number_access *why);
/* Many puts in flight at once, one durable answer for all: for imports. errs[i] per item. */
VRS_CHECK enum vrs_err number_put_many(struct number_client *c, const char *municipality,
                                       const struct record_id *rows,
                                       const struct personal_number *n, size_t count,
                                       const struct number_access *why, enum vrs_err *errs);
/* ERR_NOT_FOUND: none. */
VRS_CHECK enum vrs_err number_match(struct number_client *c, const char *municipality,
                                    const struct personal_number *n,
                                    const struct number_access *why, struct record_id *row);
/* Many in flight at once; errs[i] and rows[i] per item. */
void number_match_many(struct number_client *c, const char *municipality,
                       const struct personal_number *n, size_t count,
                       const struct number_access *why, struct record_id *rows, enum vrs_err *errs);
VRS_CHECK enum vrs_err number_reveal(struct number_client *c, const char *municipality,
                                     const struct record_id *row, const struct number_access *why,
                                     struct personal_number *out);
VRS_CHECK enum vrs_err number_erase(struct number_client *c, const char *municipality,
                                    const struct record_id *row);
/* Many row ids, side by side: vrs-number looks through its file once for all of them, not for each,
 * and is not asked for none.  The first error; a row that is not there is none. */
VRS_CHECK enum vrs_err number_erase_many(struct number_client *c, const char *municipality,
                                         const struct buffer *rows);
typedef enum vrs_err number_row_fn(const struct record_id *row, void *arg);
/* A page of row ids, ascending, after *last (all zero: from the first), which then is
 * the last one told.  *more: ask again. */
VRS_CHECK enum vrs_err number_list(struct number_client *c, const char *municipality,
                                   struct record_id *last, bool *more, number_row_fn *fn,
                                   void *arg);
VRS_CHECK enum vrs_err number_backup(struct number_client *c, const char *municipality,
                                     const char *name);
VRS_CHECK enum vrs_err number_restore(struct number_client *c, const char *municipality,
                                      const char *name);
/* The municipality leaves: its numbers can never be read again.  VRS_OK also when there were none. */
VRS_CHECK enum vrs_err number_destroy(struct number_client *c, const char *municipality);
VRS_CHECK enum vrs_err number_status(struct number_client *c, struct buffer *text);

/* Migration (carry.c): vrs-server carries sealed pages and opens none.  The receiving system's key
 * follows from the municipality's own data key there and changes with it.  `after` NULL: from the
 * start.  *any false: there are no more. */
struct number_page {
    struct record_id after, last;
    struct buffer sealed;
};
VRS_CHECK enum vrs_err number_carry_key(struct number_client *c, const char *municipality,
                                        uint8_t out[CRYPTO_X25519_BYTES]);
VRS_CHECK enum vrs_err number_carry_out(struct number_client *c, const char *municipality,
                                        const uint8_t to[CRYPTO_X25519_BYTES], const char *by,
                                        struct number_page *page, bool *any);
/* ERR_TAMPERED: not sealed for this municipality and key, or not this page.  Without `store` it is
 * only opened. */
VRS_CHECK enum vrs_err number_carry_in(struct number_client *c, const char *municipality,
                                       const struct number_page *page, bool store);

/* Keys of the municipality's numbers.  `order`:
 *   "data", "index"  a new key is wanted; one under way goes on
 *   "kek"            its wrapped keys under the present KEK
 *   "step"           one step of what is under way, but for the destruction of an old key
 *   "destroy"        the same with it: vrs-server has logged it
 *   "status"         nothing is changed
 * ERR_NOT_FOUND: it has no numbers. */
struct number_rotation {
    struct rotation of[2]; /* data, index; phase 0: never rotated */
    uint64_t keys_under_previous_kek;
};
/* In NUMBER_T_TEXT: a count, and a nested message a rotation: phase, from_key, to_key, done, total,
 * changed, begun_ms, ended_ms under the tags 1 to 8, and who ordered it. */
enum { NUMBER_ROTATION_KEKS = 1, NUMBER_ROTATION_DATA, NUMBER_ROTATION_INDEX };
enum { NUMBER_ROTATION_BY = 9 };
VRS_CHECK enum vrs_err number_rotate(struct number_client *c, const char *municipality,
                                     const char *order, const char *by,
                                     struct number_rotation *out);

#endif
