#include "ocr-ingest/proof_keys.h"

#include <stdio.h>
#include <string.h>

enum { FILE_MAX_BYTES = 1 << 16 };

static const char blanks[] = " \r\n\t";

static bool from_json(struct proof_keys *k, const void *text, size_t len) {
    json_t *doc = NULL, *one;
    size_t i, n = 0;
    bool good = json_parse(text, len, &doc, NULL) == VRS_OK;
    json_array_foreach(json_object_get(doc, "keys"), i, one) {
        const char *key = json_string_value(json_object_get(one, "key"));
        good = good && key != NULL && k->count < PROOF_KEYS_MAX &&
               crypto_unbase64(key, k->key[k->count], sizeof k->key[0], &n) &&
               n == sizeof k->key[0];
        k->count += good;
    }
    json_decref(doc);
    return good;
}

static bool from_hex(struct proof_keys *k, const char *at, const char *end) {
    char word[2 * CRYPTO_ED25519_BYTES + 1];
    while (at < end) {
        size_t n = 0;
        while (at + n < end && memchr(blanks, at[n], sizeof blanks - 1) == NULL)
            n++;
        if (n > 0) {
            if (n != sizeof word - 1 || k->count == PROOF_KEYS_MAX)
                return false;
            memcpy(word, at, n);
            word[n] = '\0';
            if (!crypto_unhex(word, k->key[k->count], sizeof k->key[0]))
                return false;
            k->count++;
        }
        at += n + 1;
    }
    return true;
}

enum vrs_err proof_keys_parse(struct proof_keys *k, const void *text, size_t n) {
    const char *at = text;
    size_t before = k->count;
    bool good = n > 0 && (at[0] == '{' ? from_json(k, text, n) : from_hex(k, at, at + n)) &&
                k->count > before;
    if (!good)
        k->count = before;
    return good ? VRS_OK : ERR_CORRUPT;
}

enum vrs_err proof_keys_load(struct proof_keys *k, const char *path, struct vrs_fault *fault) {
    char text[FILE_MAX_BYTES];
    FILE *f = fopen(path, "rbe");
    size_t n = f != NULL ? fread(text, 1, sizeof text, f) : 0;
    bool read = f != NULL && ferror(f) == 0;
    if (f != NULL)
        (void)fclose(f);
    if (!read)
        return err_fail(fault, ERR_IO, "%s", path);
    if (n == sizeof text || proof_keys_parse(k, text, n) != VRS_OK)
        return err_fail(fault, ERR_CONFIG, "%s: 公開鍵ではありません / no public keys", path);
    return VRS_OK;
}

bool proof_keys_head_check(const struct proof_keys *k, const struct log_signed_head *h) {
    for (size_t i = 0; i < k->count; i++)
        if (proof_head_check(h, k->key[i]))
            return true;
    return false;
}

bool proof_keys_check(const struct proof_keys *k, const struct log_proof *p,
                      const struct proof_statement *s) {
    for (size_t i = 0; i < k->count; i++)
        if (proof_check(p, s, k->key[i]))
            return true;
    return false;
}
