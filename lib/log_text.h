/* The clear texts that entries of an access log commit to, so that an outsider, who cannot open the
 * entries, can tell a restore from a fork and a purge from a theft.  docs/proof.md says the same.
 *
 *   epoch = "vrs-epoch/1\n" municipality "\n" epoch "\n" previous epoch "\n" last known size "\n"
 *           hex(root of that size) "\n" size restored "\n"
 *   purge = "vrs-purge/1\n" municipality "\n" epoch "\n" entries purged "\n"
 *           hex(root of that size) "\n"       counted from the first entry ever */
#ifndef VRS_LIB_LOG_TEXT_H
#define VRS_LIB_LOG_TEXT_H

#include "lib/buffer.h"
#include "lib/merkle.h"

enum { LOG_TEXT_BYTES = 320, LOG_TEXT_EPOCH_BYTES = 40 };

struct log_epoch_text {
    char municipality[7];
    char epoch[LOG_TEXT_EPOCH_BYTES], previous[LOG_TEXT_EPOCH_BYTES];
    uint64_t known; /* size of the last head of `previous` that is known */
    struct merkle_hash known_root;
    uint64_t restored; /* entries that the restored file has: what is between was lost */
};
void log_epoch_text(const struct log_epoch_text *t, char out[LOG_TEXT_BYTES]);
bool log_epoch_parse(const char *text, struct log_epoch_text *out);

struct log_purge_text {
    char municipality[7];
    char epoch[LOG_TEXT_EPOCH_BYTES];
    uint64_t size;
    struct merkle_hash root;
};
void log_purge_text(const struct log_purge_text *t, char out[LOG_TEXT_BYTES]);
bool log_purge_parse(const char *text, struct log_purge_text *out);

#endif
