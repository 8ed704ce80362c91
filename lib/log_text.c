#include "lib/log_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/text.h"

static bool line_of(const char **p, char *out, size_t cap) {
    size_t n = strcspn(*p, "\n");
    if ((*p)[n] != '\n' || n >= cap)
        return false;
    memcpy(out, *p, n);
    out[n] = '\0';
    *p += n + 1;
    return true;
}

static bool number_of(const char **p, uint64_t *out) {
    return text_u64(p, UINT64_MAX, out) && *(*p)++ == '\n';
}

static bool hash_of(const char **p, struct merkle_hash *out) {
    char hex[2 * CRYPTO_HASH_BYTES + 1];
    return line_of(p, hex, sizeof hex) && crypto_unhex(hex, out->bytes, sizeof out->bytes);
}

void log_epoch_text(const struct log_epoch_text *t, char out[LOG_TEXT_BYTES]) {
    char root[2 * CRYPTO_HASH_BYTES + 1];
    crypto_hex(t->known_root.bytes, sizeof t->known_root.bytes, root);
    (void)snprintf(out, LOG_TEXT_BYTES, "vrs-epoch/1\n%s\n%s\n%s\n%" PRIu64 "\n%s\n%" PRIu64 "\n",
                   t->municipality, t->epoch, t->previous, t->known, root, t->restored);
}

/* What is read must give the same text again: there is one form only. */
bool log_epoch_parse(const char *text, struct log_epoch_text *out) {
    char kind[16], again[LOG_TEXT_BYTES];
    const char *p = text;
    memset(out, 0, sizeof *out);
    if (!line_of(&p, kind, sizeof kind) ||
        !line_of(&p, out->municipality, sizeof out->municipality) ||
        !line_of(&p, out->epoch, sizeof out->epoch) ||
        !line_of(&p, out->previous, sizeof out->previous) || !number_of(&p, &out->known) ||
        !hash_of(&p, &out->known_root) || !number_of(&p, &out->restored))
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
    char kind[16], again[LOG_TEXT_BYTES];
    const char *p = text;
    memset(out, 0, sizeof *out);
    if (!line_of(&p, kind, sizeof kind) ||
        !line_of(&p, out->municipality, sizeof out->municipality) ||
        !line_of(&p, out->epoch, sizeof out->epoch) || !number_of(&p, &out->size) ||
        !hash_of(&p, &out->root))
        return false;
    log_purge_text(out, again);
    return strcmp(again, text) == 0;
}
