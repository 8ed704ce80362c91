#include "vrs-server/signer/keys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum vrs_err read_hex(const char *path, uint8_t out[32], struct vrs_fault *fault) {
    char hex[80];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_fail(fault, ERR_CONFIG, "open %s", path);
    ssize_t n = read(fd, hex, sizeof hex - 1);
    (void)close(fd);
    hex[n > 0 ? n : 0] = '\0';
    hex[strcspn(hex, "\r\n")] = '\0';
    bool good = crypto_unhex(hex, out, 32);
    secret_wipe(hex, sizeof hex);
    return good ? VRS_OK : err_fail(fault, ERR_CONFIG, "%s is not 64 hex digits", path);
}

/* n of "log-<n>.<suffix>", 0: another name. */
static unsigned long number_of(const char *name, const char *suffix) {
    char *end;
    if (strncmp(name, "log-", 4) != 0 || name[4] < '1' || name[4] > '9')
        return 0;
    unsigned long n = strtoul(name + 4, &end, 10);
    return strcmp(end, suffix) == 0 ? n : 0;
}

static int newest_first(const void *a, const void *b) {
    unsigned long x = *(const unsigned long *)a, y = *(const unsigned long *)b;
    return (x < y) - (x > y);
}

static enum vrs_err find(const char *dir, unsigned long numbers[SIGNER_MAX_KEYS], size_t *count,
                         struct vrs_fault *fault) {
    DIR *d = opendir(dir);
    if (d == NULL)
        return err_fail(fault, ERR_CONFIG, "open %s", dir);
    enum vrs_err e = VRS_OK;
    *count = 0;
    for (const struct dirent *one; e == VRS_OK && (one = readdir(d)) != NULL;) {
        unsigned long n = number_of(one->d_name, ".pub");
        if (n > 0 && *count == SIGNER_MAX_KEYS)
            e = err_fail(fault, ERR_CONFIG, "%s: more than %d log keys", dir, SIGNER_MAX_KEYS);
        else if (n > 0)
            numbers[(*count)++] = n;
    }
    (void)closedir(d);
    if (e == VRS_OK && *count == 0)
        e = err_fail(fault, ERR_CONFIG, "%s has no log key: vrsctl signer.init", dir);
    if (e == VRS_OK)
        qsort(numbers, *count, sizeof *numbers, newest_first);
    return e;
}

enum vrs_err log_keys_read(const char *dir, struct log_keys *out, struct vrs_fault *fault) {
    unsigned long number[SIGNER_MAX_KEYS] = {0};
    uint8_t signature[CRYPTO_SIGNATURE_BYTES];
    char path[600];
    memset(out, 0, sizeof *out);
    enum vrs_err e = find(dir, number, &out->count, fault);
    if (e != VRS_OK)
        return e;
    for (size_t i = 0; e == VRS_OK && i < out->count; i++) {
        (void)snprintf(path, sizeof path, "%s/log-%lu.pub", dir, number[i]);
        e = read_hex(path, out->key[i].key, fault);
        proof_key_id(out->key[i].key, out->key[i].key_id);
    }
    struct secret_key private;
    (void)snprintf(path, sizeof path, "%s/log-%lu.key", dir, number[0]);
    if (e == VRS_OK)
        e = read_hex(path, private.bytes, fault);
    if (e == VRS_OK && (out->signer = crypto_signer_open(&private)) == NULL)
        e = err_fail(fault, ERR_MEMORY, "log key");
    secret_wipe(&private, sizeof private);
    if (e == VRS_OK && (log_keys_sign(out, "pair", 4, signature) != VRS_OK ||
                        crypto_verify(out->key[0].key, "pair", 4, signature) != VRS_OK))
        e = err_fail(fault, ERR_CONFIG, "%s and its .pub are not a pair", path);
    return e;
}

void log_keys_fini(struct log_keys *k) {
    crypto_signer_close(&k->signer);
    memset(k, 0, sizeof *k);
}

enum vrs_err log_keys_sign(const struct log_keys *k, const void *p, size_t n,
                           uint8_t signature[CRYPTO_SIGNATURE_BYTES]) {
    return crypto_signer_sign(k->signer, p, n, signature);
}
