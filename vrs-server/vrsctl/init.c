/* Keys and certificates of a new stack, and certificates of terminals.  Nothing is overwritten: a
 * second init stops at the first file that is there. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/pki.h"
#include "partitions/keyring.h"
#include "vrs-server/vrsctl/vrsctl.h"

enum { PATH_BYTES = 512, CA_DAYS = 3650, SERVER_DAYS = 397, MAX_TERMINAL_DAYS = 1826 };

static int fail(const struct vrs_fault *fault) {
    (void)fprintf(stderr, "vrsctl: %s%s%s\n", fault->text, fault->sys_errno != 0 ? ": " : "",
                  fault->sys_errno != 0 ? strerror(fault->sys_errno) : "");
    return 1;
}

static const char *word(int argc, char **argv, const char *name, const char *otherwise) {
    size_t n = strlen(name);
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], name, n) == 0 && argv[i][n] == '=')
            return argv[i] + n + 1;
    }
    return otherwise;
}

/* valid_from=YYYY-MM-DD, for a stack whose clock is set back; "" or absent: from now. */
static enum vrs_err valid_from(int argc, char **argv, int64_t *begins_ms, struct vrs_fault *fault) {
    struct civil_date day;
    const char *text = word(argc, argv, "valid_from", "");
    *begins_ms = 0;
    if (text[0] == '\0')
        return VRS_OK;
    if (clock_parse_date(text, &day) != VRS_OK)
        return err_fail(fault, ERR_BAD_FIELD, "valid_from is not a date");
    *begins_ms = (int64_t)day.days * 86400000;
    return VRS_OK;
}

static enum vrs_err make_dir(const char *dir, const char *name, struct vrs_fault *fault) {
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return err_fail(fault, ERR_IO, "cannot make %s", path);
    return VRS_OK;
}

static enum vrs_err write_hex(const char *dir, const char *name, const void *bytes, size_t n,
                              mode_t mode, struct vrs_fault *fault) {
    char path[PATH_BYTES], hex[2 * 64 + 1];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    crypto_hex(bytes, n, hex);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    bool ok = fd >= 0 && write(fd, hex, 2 * n) == (ssize_t)(2 * n) && fsync(fd) == 0;
    secret_wipe(hex, sizeof hex);
    if (fd >= 0)
        (void)close(fd);
    return ok ? VRS_OK : err_fail(fault, ERR_IO, "cannot write %s", path);
}

struct pki_paths {
    char cert[PATH_BYTES], key[PATH_BYTES];
};

static struct pki_paths pki_paths(const char *dir, const char *name) {
    struct pki_paths p;
    (void)snprintf(p.cert, sizeof p.cert, "%s/pki/%s.pem", dir, name);
    (void)snprintf(p.key, sizeof p.key, "%s/pki/%s.key", dir, name);
    return p;
}

static enum vrs_err make_authorities(const char *dir, struct vrs_fault *fault) {
    static const struct {
        const char *file, *name;
    } authorities[] = {{"ca", "VRS servers"},
                       {"ca-tablets", "VRS tablets"},
                       {"ca-lgwan", "VRS LG-WAN terminals"},
                       {"ca-line", "VRS line"}};
    enum vrs_err e = VRS_OK;
    for (size_t i = 0; e == VRS_OK && i < sizeof authorities / sizeof *authorities; i++) {
        struct pki_paths p = pki_paths(dir, authorities[i].file);
        e = pki_make_ca(p.cert, p.key, authorities[i].name, CA_DAYS, fault);
    }
    return e;
}

/* The terminals' authorities are vrs-signer's. */
static struct pki_paths authority_paths(const char *dir, const char *ca) {
    struct pki_paths p = pki_paths(dir, ca);
    if (strcmp(ca, "ca-tablets") == 0 || strcmp(ca, "ca-lgwan") == 0)
        (void)snprintf(p.key, sizeof p.key, "%s/signer-keys/%s.key", dir, ca);
    return p;
}

static enum vrs_err issue(const char *dir, const char *ca, const char *file,
                          const struct pki_subject *subject, const char *addresses, int days,
                          struct vrs_fault *fault) {
    struct pki_paths by = authority_paths(dir, ca), p = pki_paths(dir, file);
    return pki_make_cert(by.cert, by.key, subject, addresses, days, p.cert, p.key, fault);
}

static enum vrs_err make_servers(const char *dir, const char *server, const char *inside,
                                 int64_t begins_ms, struct vrs_fault *fault) {
    const struct pki_subject outer = {.name = "tablet-api", .begins_ms = begins_ms};
    const struct pki_subject inner = {.name = "vrs-server", .begins_ms = begins_ms};
    const struct pki_subject line = {.name = "tablet-api line", .begins_ms = begins_ms};
    const struct pki_subject puller = {
        .name = "vrs-server", .kind = "line", .begins_ms = begins_ms};
    enum vrs_err e = issue(dir, "ca", "tablet-api", &outer, server, SERVER_DAYS, fault);
    if (e == VRS_OK)
        e = issue(dir, "ca", "vrs-server", &inner, inside, SERVER_DAYS, fault);
    if (e == VRS_OK)
        e = issue(dir, "ca-line", "line-server", &line, server, SERVER_DAYS, fault);
    if (e == VRS_OK)
        e = issue(dir, "ca-line", "line-client", &puller, NULL, SERVER_DAYS, fault);
    return e;
}

static enum vrs_err make_keys(const char *dir, struct vrs_fault *fault) {
    char records[PATH_BYTES], numbers[PATH_BYTES], pki[PATH_BYTES];
    struct secret_key inbox, sign;
    uint8_t inbox_public[CRYPTO_X25519_BYTES], sign_public[CRYPTO_ED25519_BYTES];
    (void)snprintf(records, sizeof records, "%s/kek", dir);
    (void)snprintf(numbers, sizeof numbers, "%s/kek-number", dir);
    (void)snprintf(pki, sizeof pki, "%s/pki", dir);
    enum vrs_err e = kek_file_make(records, KEY_RECORDS, fault);
    if (e == VRS_OK)
        e = kek_file_make(records, KEY_LOG, fault);
    if (e == VRS_OK)
        e = kek_file_make(numbers, KEY_NUMBERS, fault);
    crypto_x25519_keypair(&inbox, inbox_public);
    crypto_ed25519_keypair(&sign, sign_public);
    if (e == VRS_OK)
        e = write_hex(pki, "inbox.key", inbox.bytes, sizeof inbox.bytes, 0600, fault);
    if (e == VRS_OK)
        e = write_hex(pki, "snapshot.key", sign.bytes, sizeof sign.bytes, 0600, fault);
    if (e == VRS_OK)
        e = write_hex(pki, "snapshot.pub", sign_public, sizeof sign_public, 0644, fault);
    secret_wipe(&inbox, sizeof inbox);
    secret_wipe(&sign, sizeof sign);
    return e;
}

/* The authority of the allow-list is the municipalities', not the operator's: its key is used by
 * allow-list.sign alone and belongs off this machine. */
static enum vrs_err make_allow_list_key(const char *dir, struct vrs_fault *fault) {
    char pki[PATH_BYTES];
    struct secret_key key;
    uint8_t public_key[CRYPTO_ED25519_BYTES];
    (void)snprintf(pki, sizeof pki, "%s/pki", dir);
    crypto_ed25519_keypair(&key, public_key);
    enum vrs_err e = write_hex(pki, "allow-list.key", key.bytes, sizeof key.bytes, 0600, fault);
    if (e == VRS_OK)
        e = write_hex(pki, "allow-list.pub", public_key, sizeof public_key, 0644, fault);
    secret_wipe(&key, sizeof key);
    return e;
}

int vrsctl_allow_list_init(const char *dir) {
    struct vrs_fault fault = {0};
    return make_allow_list_key(dir, &fault) == VRS_OK ? 0 : fail(&fault);
}

int vrsctl_init(int argc, char **argv) {
    static const char *const dirs[] = {"",
                                       "pki",
                                       "etc",
                                       "kek",
                                       "kek-number",
                                       "sock",
                                       "log",
                                       "tablet-api",
                                       "vrs-server",
                                       "vrs-server/partitions",
                                       "vrs-server/keys",
                                       "vrs-server/backup",
                                       "vrs-number"};
    const char *dir = argv[0];
    struct vrs_fault fault = {0};
    int64_t begins_ms;
    enum vrs_err e = valid_from(argc, argv, &begins_ms, &fault);
    for (size_t i = 0; e == VRS_OK && i < sizeof dirs / sizeof *dirs; i++)
        e = make_dir(dir, dirs[i], &fault);
    if (e == VRS_OK)
        e = make_keys(dir, &fault);
    if (e == VRS_OK)
        e = make_allow_list_key(dir, &fault);
    if (e == VRS_OK)
        e = make_authorities(dir, &fault);
    if (e == VRS_OK)
        e = make_servers(dir, word(argc, argv, "server", "127.0.0.1,localhost"),
                         word(argc, argv, "inside", "127.0.0.2"), begins_ms, &fault);
    if (e == VRS_OK)
        e = vrsctl_signer_make(dir, &fault);
    if (e != VRS_OK)
        return fail(&fault);
    (void)printf("keys and certificates are in %s\n", dir);
    return 0;
}

/* --- terminals --- */

/* SHA-256 of the certificate and of its public key. */
static bool hashes(const char *pem_file, char print[65], char key[65]) {
    char pem[PKI_REQUEST_MAX];
    FILE *f = fopen(pem_file, "re");
    if (f == NULL)
        return false;
    size_t n = fread(pem, 1, sizeof pem, f);
    (void)fclose(f);
    return n < sizeof pem && pki_cert_fingerprint(pem, n, print) == VRS_OK &&
           pki_cert_key(pem, n, key) == VRS_OK;
}

static bool terminal_kind(const char *kind) {
    static const char *const kinds[] = {"tablet", "reader", "system", "lgwan", "lgwan-system"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kind, kinds[i]) == 0)
            return true;
    }
    return false;
}

/* What vrs-server refused is nobody's terminal: its certificate does not stay.  Without an answer
 * it may be registered, and stays. */
static int not_registered(enum vrs_err e, const json_t *reply, const struct pki_paths *made,
                          const char *p12) {
    const char *why = json_string_value(json_object_get(reply, "detail"));
    if (e != VRS_OK || reply == NULL) {
        (void)fprintf(stderr,
                      "vrsctl: %s is made, but vrs-server did not answer: see terminal.list\n",
                      made->cert);
        return 1;
    }
    (void)unlink(made->cert);
    (void)unlink(made->key);
    if (p12[0] != '\0')
        (void)unlink(p12);
    (void)fprintf(stderr, "vrsctl: not registered, nothing is kept: %s\n", why != NULL ? why : "");
    return 1;
}

int vrsctl_terminal_issue(const char *socket_path, int argc, char **argv) {
    const char *dir = word(argc, argv, "dir", NULL), *name = word(argc, argv, "name", NULL);
    const char *kind = word(argc, argv, "kind", "tablet");
    const char *code = word(argc, argv, "municipality_code", "");
    const char *rights = word(argc, argv, "rights", "");
    const char *password = word(argc, argv, "p12_password", NULL);
    char *after, p12[PATH_BYTES] = "";
    long days = strtol(word(argc, argv, "days", "365"), &after, 10);
    bool inside_system = strcmp(kind, "lgwan-system") == 0;
    bool inside = inside_system || strcmp(kind, "lgwan") == 0;
    struct vrs_fault fault = {0};
    char serial[48], print[65], key[65], until[11];
    int64_t not_after_ms;
    if (dir == NULL || name == NULL || name[0] == '\0' || strchr(name, '/') != NULL) {
        (void)fputs("vrsctl: terminal.issue needs dir= and name=\n", stderr);
        return 2;
    }
    if (!terminal_kind(kind) || *after != '\0' || days < 1 || days > MAX_TERMINAL_DAYS) {
        (void)fprintf(
            stderr,
            "vrsctl: kind is tablet, reader, system, lgwan or lgwan-system; days are 1 to %d\n",
            MAX_TERMINAL_DAYS);
        return 2;
    }
    const char *ca = inside ? "ca-lgwan" : "ca-tablets";
    struct pki_paths p = pki_paths(dir, name), by = pki_paths(dir, ca);
    struct pki_subject subject = {.name = name,
                                  .municipality = code[0] != '\0' ? code : NULL,
                                  .kind = inside_system ? "system" : kind};
    enum vrs_err e = valid_from(argc, argv, &subject.begins_ms, &fault);
    if (e == VRS_OK)
        e = issue(dir, ca, name, &subject, NULL, (int)days, &fault);
    if (e == VRS_OK)
        e = pki_cert_info(p.cert, serial, &not_after_ms, &fault);
    if (e == VRS_OK && password != NULL) {
        char secret[128] = "";
        (void)snprintf(p12, sizeof p12, "%s/pki/%s.p12", dir, name);
        if (strcmp(password, "-") == 0) {
            if (fgets(secret, sizeof secret, stdin) != NULL)
                secret[strcspn(secret, "\r\n")] = '\0';
            password = secret;
        }
        e = pki_write_p12(p.cert, p.key, by.cert, password, p12, &fault);
        secret_wipe(secret, sizeof secret);
    }
    if (e != VRS_OK)
        return fail(&fault);
    if (!hashes(p.cert, print, key)) {
        (void)fprintf(stderr, "vrsctl: cannot read %s\n", p.cert);
        return 1;
    }
    clock_format_date(clock_date_jst(not_after_ms), until);
    json_t *reply = NULL;
    json_t *request =
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "verb", "terminal.add", "name",
                  name, "kind", kind, "municipality_code", code, "serial", serial, "fingerprint",
                  print, "key_hash", key, "rights", rights, "valid_until", until, "site",
                  word(argc, argv, "site", ""), "binding", word(argc, argv, "binding", ""));
    e = vrsctl_call(socket_path, request, &reply);
    if (e != VRS_OK || !json_is_true(json_object_get(reply, "ok"))) {
        int status = not_registered(e, reply, &p, p12);
        json_decref(reply);
        return status;
    }
    json_decref(reply);
    (void)printf("%s\n%s\n", p.cert, p.key);
    return 0;
}
