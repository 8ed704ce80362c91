/* What makes a run restartable: the key of every reading is on the disk before the reading is sent,
 * and its outcome after the answer.
 *
 *   J1  A key is synced (fdatasync) before any request that holds it leaves.
 *   J2  A reading keeps its key for as long as its content may have been stored anywhere.
 *   J3  Only what was not yet synced can be cut off at the end, so a key that is cut off was never
 *       sent.
 *
 * The file (0600, locked while open) is text, one record a line, each with a keyed checksum:
 *     ocr-ingest-journal 1 <journal key>
 *     K <row> <idempotency key> <mac>        mac: HMAC(journal key, content)
 *     S <row> <state> <code> <receipt id>    "-" where there is none
 *     Y <bytes>                              so many bytes before this were synced
 * It holds no coupon number in clear. */
#ifndef OCR_INGEST_FEED_JOURNAL_H
#define OCR_INGEST_FEED_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

enum feed_state {
    FEED_NEW,      /* nothing known */
    FEED_KEYED,    /* has a key; may have been sent */
    FEED_REFUSED,  /* the server cannot store it as it is; nothing was stored */
    FEED_PENDING,  /* stored outside, outcome not known yet */
    FEED_RECORDED, /* by the server's word alone, as FEED_DUPLICATE */
    FEED_DUPLICATE,
    FEED_REVIEW,
    FEED_WAITING, /* for its coupon to be registered */
    FEED_CONFLICT,
    FEED_PROVEN,           /* recorded, with a proof that holds */
    FEED_DUPLICATE_PROVEN, /* a duplicate, likewise */
    FEED_UNPROVEN,         /* recorded or a duplicate, but the proof is still missing */
    FEED_BAD_PROOF,        /* whatever the server says, its proof does not hold */
    FEED_STATES
};

enum { FEED_KEY_SIZE = 37, FEED_MAC_BYTES = 16, FEED_CODE_SIZE = 96, FEED_RECEIPT_SIZE = 65 };

struct feed_entry {
    uint8_t state; /* enum feed_state */
    char key[FEED_KEY_SIZE];
    uint8_t mac[FEED_MAC_BYTES];
    char *code;    /* error code or warnings joined by commas, NULL: none; owned */
    char *receipt; /* owned */
};

struct feed_journal;

const char *feed_state_name(enum feed_state s);
/* Stored somewhere for good: never sent again. */
bool feed_state_stored(enum feed_state s);

/* Makes or resumes the journal.  ERR_BUSY: another run holds it; ERR_CORRUPT: damaged before its
 * end, or not a journal. */
VRS_CHECK enum vrs_err feed_journal_open(const char *path, struct feed_journal **out,
                                         struct vrs_fault *fault);
void feed_journal_close(struct feed_journal **j);
uint64_t feed_journal_rows(const struct feed_journal *j); /* highest row with an entry */
/* NULL when the row has none.  Borrowed until the next call that adds a row. */
const struct feed_entry *feed_journal_find(const struct feed_journal *j, uint64_t row);

/* The key for sending `content` as this row, new or as before.  ERR_R141: the row was stored (or
 * may have been) with other content, and must not be sent. */
VRS_CHECK enum vrs_err feed_journal_key(struct feed_journal *j, uint64_t row, const void *content,
                                        size_t len, char key[FEED_KEY_SIZE],
                                        struct vrs_fault *fault);
/* J1: must succeed before the keys given since the last sync are used. */
VRS_CHECK enum vrs_err feed_journal_sync(struct feed_journal *j, struct vrs_fault *fault);
/* `code` and `receipt` may be NULL; characters that a journal line does not take are dropped. */
VRS_CHECK enum vrs_err feed_journal_state(struct feed_journal *j, uint64_t row, enum feed_state s,
                                          const char *code, const char *receipt,
                                          struct vrs_fault *fault);

#endif
