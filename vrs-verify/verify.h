/* vrs-verify: checks what the service says of its logs, from outside: no keys but public ones, no
 * partition, no network.  docs/proof.md tells what is checked and why that is enough.
 *
 *   vrs-verify log EXPORT.ndjson … --key log.pub … [--checkpoint FILE …]
 *   vrs-verify receipt RECEIPT.json --key log.pub …
 *   vrs-verify statement STATEMENT.json --key log.pub …
 *   vrs-verify entries LIST.ndjson --key log.pub …
 *
 * Each finding is one line, Japanese and English; exit status 0 when nothing is wrong, 1 when
 * something is, 2 when it was not asked properly. */
#ifndef VRS_VERIFY_VERIFY_H
#define VRS_VERIFY_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/json.h"
#include "ocr-ingest/proof_keys.h"

enum { VERIFY_MAX_FILE = 64 << 20, VERIFY_MAX_LINE = 1 << 20 };

/* A signed head that was kept outside of the log, or came with an export. */
struct point {
    struct log_signed_head head;
    const char *source; /* borrowed: file name */
    bool settled;       /* it has been compared, or explained */
};

struct verifier {
    struct proof_keys keys;
    struct point *points; /* owned */
    size_t point_count, point_room;
    unsigned bad; /* findings */
};

void say_good(const char *ja, const char *en, ...)
    __attribute__((format(printf, 1, 3), format(printf, 2, 3)));
void say_note(const char *ja, const char *en, ...)
    __attribute__((format(printf, 1, 3), format(printf, 2, 3)));
void say_bad(struct verifier *v, const char *ja, const char *en, ...)
    __attribute__((format(printf, 2, 4), format(printf, 3, 4)));

/* false: it has been said why not. */
bool key_read(struct verifier *v, const char *path);
/* Signed heads: one, a list, {"checkpoints": […]}, a receipt with its proof, or one a line. */
bool points_read(struct verifier *v, const char *path);
bool point_add(struct verifier *v, const struct log_signed_head *h, const char *source);
json_t *file_json(struct verifier *v, const char *path); /* new, NULL: said */

void verify_log(struct verifier *v, char *const paths[], size_t count);
void verify_receipt(struct verifier *v, const char *path);
void verify_statement(struct verifier *v, const char *path);
void verify_entries(struct verifier *v, const char *path);

#endif
