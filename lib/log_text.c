#include "lib/log_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void log_epoch_text(const struct log_epoch_text *t, char out[LOG_TEXT_BYTES]) {
    char root[2 * CRYPTO_HASH_BYTES + 1];
    crypto_hex(t->known_root.bytes, sizeof t->known_root.bytes, root);
    (void)snprintf(out, LOG_TEXT_BYTES, "vrs-epoch/1\n%s\n%s\n%s\n%" PRIu64 "\n%s\n%" PRIu64 "\n",
                   t->municipality, t->epoch, t->previous, t->known, root, t->restored);
}

/* What is read must give the same text again: there is one form only. */
bool log_epoch_parse(const char *text, struct log_epoch_text *out) {
    char root[2 * CRYPTO_HASH_BYTES + 1], again[LOG_TEXT_BYTES];
    memset(out, 0, sizeof *out);
    if (sscanf(text, "vrs-epoch/1\n%6s\n%39s\n%39s\n%20" SCNu64 "\n%64s\n%20" SCNu64,
               out->municipality, out->epoch, out->previous, &out->known, root,
               &out->restored) != 6 ||
        !crypto_unhex(root, out->known_root.bytes, sizeof out->known_root.bytes))
        return false;
    log_epoch_text(out, again);
    return strcmp(again, text) == 0;
}

void log_purge_text(const struct log_purge_text *t, char out[LOG_TEXT_BYTES]) {
    char root[2 * CRYPTO_HASH_BYTES + 1];
    crypto_hex(t->root.bytes, sizeof t->root.bytes, root);
    (void)snprintf(out, LOG_TEXT_BYTES, "vrs-purge/1\n%s\n%s\n%" PRIu64 "\n%s\n", t->municipality,
                   t->epoch, t->size, root);
}

bool log_purge_parse(const char *text, struct log_purge_text *out) {
    char root[2 * CRYPTO_HASH_BYTES + 1], again[LOG_TEXT_BYTES];
    memset(out, 0, sizeof *out);
    if (sscanf(text, "vrs-purge/1\n%6s\n%39s\n%20" SCNu64 "\n%64s", out->municipality, out->epoch,
               &out->size, root) != 4 ||
        !crypto_unhex(root, out->root.bytes, sizeof out->root.bytes))
        return false;
    log_purge_text(out, again);
    return strcmp(again, text) == 0;
}
