/* The folder of vrs-signer's keys: the log key, its rotation, and the terminals' authorities, whose
 * private keys stand nowhere else. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/buffer.h"
#include "lib/crypto.h"
#include "vrs-server/vrsctl/vrsctl.h"

enum { PATH_BYTES = 512, PEM_MAX = 1 << 16 };

static const char *const authorities[] = {"ca-tablets", "ca-lgwan"};

static enum vrs_err write_new(const char *path, const void *bytes, size_t n, mode_t mode,
                              struct vrs_fault *fault) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    bool ok = fd >= 0 && write(fd, bytes, n) == (ssize_t)n && fsync(fd) == 0;
    if (fd >= 0)
        (void)close(fd);
    return ok ? VRS_OK : err_fail(fault, ERR_IO, "cannot write %s", path);
}

/* The highest n of log-<n>.pub, 0 none. */
static unsigned long newest(const char *keys_dir) {
    unsigned long highest = 0;
    DIR *d = opendir(keys_dir);
    if (d == NULL)
        return 0;
    for (const struct dirent *one; (one = readdir(d)) != NULL;) {
        char *end;
        unsigned long n =
            strncmp(one->d_name, "log-", 4) == 0 ? strtoul(one->d_name + 4, &end, 10) : 0;
        if (n > highest && strcmp(end, ".pub") == 0)
            highest = n;
    }
    (void)closedir(d);
    return highest;
}

/* The public half comes last: vrs-signer goes by it. */
static enum vrs_err new_key(const char *keys_dir, unsigned long n, struct vrs_fault *fault) {
    char path[PATH_BYTES], hex[2 * CRYPTO_ED25519_BYTES + 1];
    struct secret_key key;
    uint8_t public_key[CRYPTO_ED25519_BYTES];
    crypto_ed25519_keypair(&key, public_key);
    crypto_hex(key.bytes, sizeof key.bytes, hex);
    (void)snprintf(path, sizeof path, "%s/log-%lu.key", keys_dir, n);
    enum vrs_err e = write_new(path, hex, sizeof hex - 1, 0600, fault);
    crypto_hex(public_key, sizeof public_key, hex);
    (void)snprintf(path, sizeof path, "%s/log-%lu.pub", keys_dir, n);
    if (e == VRS_OK)
        e = write_new(path, hex, sizeof hex - 1, 0644, fault);
    secret_wipe(&key, sizeof key);
    secret_wipe(hex, sizeof hex);
    return e;
}

static enum vrs_err copy_pem(const char *from, const char *to, struct vrs_fault *fault) {
    char pem[PEM_MAX];
    FILE *f = fopen(from, "re");
    size_t n = f != NULL ? fread(pem, 1, sizeof pem, f) : 0;
    if (f != NULL)
        (void)fclose(f);
    return n > 0 && n < sizeof pem ? write_new(to, pem, n, 0644, fault)
                                   : err_fail(fault, ERR_IO, "cannot read %s", from);
}

/* Moves the private key, copies the certificate.  Done before: VRS_OK. */
static enum vrs_err take_authority(const char *dir, const char *name, struct vrs_fault *fault) {
    char pem[PATH_BYTES], own_pem[PATH_BYTES], key[PATH_BYTES], own_key[PATH_BYTES];
    struct stat st;
    (void)snprintf(pem, sizeof pem, "%s/pki/%s.pem", dir, name);
    (void)snprintf(own_pem, sizeof own_pem, "%s/signer-keys/%s.pem", dir, name);
    (void)snprintf(key, sizeof key, "%s/pki/%s.key", dir, name);
    (void)snprintf(own_key, sizeof own_key, "%s/signer-keys/%s.key", dir, name);
    enum vrs_err e = stat(own_pem, &st) == 0 ? VRS_OK : copy_pem(pem, own_pem, fault);
    if (e == VRS_OK && stat(own_key, &st) != 0 && rename(key, own_key) != 0)
        e = err_fail(fault, ERR_IO, "cannot move %s", key);
    return e;
}

enum vrs_err vrsctl_signer_make(const char *dir, struct vrs_fault *fault) {
    static const char *const folders[] = {"vrs-signer", "signer-keys"};
    char path[PATH_BYTES];
    enum vrs_err e = VRS_OK;
    for (size_t i = 0; e == VRS_OK && i < sizeof folders / sizeof *folders; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, folders[i]);
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            e = err_fail(fault, ERR_IO, "cannot make %s", path);
    }
    if (e == VRS_OK && newest(path) == 0)
        e = new_key(path, 1, fault);
    for (size_t i = 0; e == VRS_OK && i < sizeof authorities / sizeof *authorities; i++)
        e = take_authority(dir, authorities[i], fault);
    return e;
}

static int told(enum vrs_err e, const struct vrs_fault *fault) {
    if (e == VRS_OK)
        return 0;
    (void)fprintf(stderr, "vrsctl: %s%s%s\n", fault->text, fault->sys_errno != 0 ? ": " : "",
                  fault->sys_errno != 0 ? strerror(fault->sys_errno) : "");
    return 1;
}

int vrsctl_signer_init(const char *dir) {
    struct vrs_fault fault = {0};
    return told(vrsctl_signer_make(dir, &fault), &fault);
}

int vrsctl_signer_new_key(const char *keys_dir) {
    struct vrs_fault fault = {0};
    unsigned long last = newest(keys_dir);
    enum vrs_err e =
        last > 0 ? new_key(keys_dir, last + 1, &fault)
                 : err_fail(&fault, ERR_CONFIG, "%s has no log key: signer.init first", keys_dir);
    if (e == VRS_OK)
        (void)printf("%s/log-%lu.pub signs from vrs-signer's next start\n", keys_dir, last + 1);
    return told(e, &fault);
}
