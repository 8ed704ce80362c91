#include "tablet-api/published.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "lib/arena.h"
#include "lib/json.h"
#include "ocr-ingest/proof.h"

enum {
    ARENA_BYTES = 128 << 20,
    MAX_USERS = 500000,
    MAX_REVOKED = 500000,
    MAX_TERMINALS = 500000,
    MAX_SYSTEMS = 1000
};

struct published {
    struct arena *arena;
    uint64_t version;
    int64_t made_ms;
    int64_t max_age_ms;
    uint8_t inbox_key[CRYPTO_X25519_BYTES];
    struct published_user *users; /* by user_id */
    size_t user_count;
    const char **revoked; /* serials, sorted */
    size_t revoked_count;
    struct published_terminal *terminals; /* by serial */
    size_t terminal_count;
    struct published_system *systems; /* by fingerprint */
    size_t system_count;
    struct published_log_key log_keys[PUBLISHED_MAX_LOG_KEYS];
    size_t log_key_count;
};

static const struct {
    const char *name;
    unsigned right;
} right_names[] = {
    {"dose.post", RIGHT_DOSE_POST},         {"dose.cancel", RIGHT_DOSE_CANCEL},
    {"receipt.read", RIGHT_RECEIPT_READ},   {"coupon.check", RIGHT_COUPON_CHECK},
    {"outbox.unlock", RIGHT_OUTBOX_UNLOCK},
};

static const struct {
    const char *name;
    unsigned rights;
} roles[] = {
    {"site_staff", RIGHT_DOSE_POST | RIGHT_DOSE_CANCEL | RIGHT_RECEIPT_READ | RIGHT_COUPON_CHECK},
};

unsigned right_by_name(const char *name) {
    for (size_t i = 0; i < sizeof right_names / sizeof right_names[0]; i++) {
        if (strcmp(right_names[i].name, name) == 0)
            return right_names[i].right;
    }
    return 0;
}

json_t *rights_write(unsigned rights) {
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof right_names / sizeof right_names[0]; i++) {
        if (list != NULL && (rights & right_names[i].right) != 0)
            (void)json_array_append_new(list, json_string(right_names[i].name));
    }
    return list;
}

static unsigned rights_of_role(const char *name) {
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        if (strcmp(roles[i].name, name) == 0)
            return roles[i].rights;
    }
    return 0;
}

enum vrs_err published_verify(const void *body, size_t body_len,
                              const uint8_t key[CRYPTO_ED25519_BYTES], char **text, size_t *len,
                              uint8_t signature[CRYPTO_SIGNATURE_BYTES], struct vrs_fault *fault) {
    json_t *doc = NULL;
    const char *signed_text = NULL;
    const char *signature_text = NULL;
    const struct json_field fields[] = {JF_STR("signature", true, 128, &signature_text),
                                        JF_STR("snapshot", true, PUBLISHED_MAX_BYTES, &signed_text),
                                        JF_END};
    size_t n = 0;
    *text = NULL;
    enum vrs_err e = json_parse(body, body_len, &doc, fault);
    if (e == VRS_OK)
        e = json_read(doc, fields, fault);
    if (e != VRS_OK)
        goto out;
    *len = strlen(signed_text);
    if (!crypto_unbase64(signature_text, signature, CRYPTO_SIGNATURE_BYTES, &n) ||
        n != CRYPTO_SIGNATURE_BYTES || crypto_verify(key, signed_text, *len, signature) != VRS_OK) {
        e = err_fail(fault, ERR_BAD_FIELD, "signature");
        goto out;
    }
    *text = strdup(signed_text);
    if (*text == NULL)
        e = err_fail(fault, ERR_MEMORY, "snapshot");
out:
    json_decref(doc);
    return e;
}

/* The rights of an account: those that are named one by one, else those of its roles. */
static enum vrs_err read_rights(const json_t *list, unsigned (*by_name)(const char *),
                                unsigned *out, struct vrs_fault *fault) {
    size_t i;
    json_t *one;
    *out = 0;
    json_array_foreach(list, i, one) {
        if (!json_is_string(one))
            return err_fail(fault, ERR_BAD_FIELD, "rights");
        *out |= by_name(json_string_value(one));
    }
    return VRS_OK;
}

static enum vrs_err read_user(struct published *p, const json_t *from, struct published_user *u,
                              struct vrs_fault *fault) {
    const char *user_id = NULL;
    const char *hash = NULL;
    const char *municipality = "";
    const char *site = "";
    const char *until = NULL;
    json_t *role_list = NULL;
    json_t *right_list = NULL;
    const struct json_field fields[] = {JF_STR("user_id", true, 63, &user_id),
                                        JF_STR("password_hash", true, 127, &hash),
                                        JF_ARRAY("roles", true, &role_list),
                                        JF_ARRAY("rights", false, &right_list),
                                        JF_STR("municipality_code", false, 6, &municipality),
                                        JF_STR("site", false, 255, &site),
                                        JF_STR("valid_until", false, 10, &until),
                                        JF_END};
    struct buffer text;
    enum vrs_err e = json_read(from, fields, fault);
    if (e == VRS_OK)
        e = right_list != NULL ? read_rights(right_list, right_by_name, &u->rights, fault)
                               : read_rights(role_list, rights_of_role, &u->rights, fault);
    if (e != VRS_OK)
        return e;
    if (until != NULL && until[0] != '\0') {
        if (clock_parse_date(until, &u->valid_until) != VRS_OK)
            return err_fail(fault, ERR_BAD_FIELD, "valid_until");
        u->ends = true;
    }
    buffer_init(&text, 4096);
    if (!json_write(&text, role_list))
        e = err_fail(fault, ERR_BAD_FIELD, "roles");
    else
        u->roles_json = arena_strndup(p->arena, (const char *)text.data, text.len);
    buffer_fini(&text);
    u->user_id = arena_strdup(p->arena, user_id);
    u->password_hash = arena_strdup(p->arena, hash);
    u->municipality = arena_strdup(p->arena, municipality);
    u->site = arena_strdup(p->arena, site);
    if (e == VRS_OK && (u->user_id == NULL || u->password_hash == NULL || u->site == NULL ||
                        u->municipality == NULL || u->roles_json == NULL))
        e = err_fail(fault, ERR_MEMORY, "snapshot");
    return e;
}

static enum vrs_err read_system(struct published *p, const json_t *from, struct published_system *s,
                                struct vrs_fault *fault) {
    const char *fingerprint = NULL;
    const char *name = NULL;
    json_t *right_list = NULL;
    uint8_t bytes[CRYPTO_HASH_BYTES];
    char hex[2 * CRYPTO_HASH_BYTES + 1];
    const struct json_field fields[] = {JF_STR("fingerprint", true, 64, &fingerprint),
                                        JF_STR("name", true, 63, &name),
                                        JF_ARRAY("rights", true, &right_list), JF_END};
    enum vrs_err e = json_read(from, fields, fault);
    if (e == VRS_OK)
        e = read_rights(right_list, right_by_name, &s->rights, fault);
    if (e != VRS_OK)
        return e;
    if (!crypto_unhex(fingerprint, bytes, sizeof bytes))
        return err_fail(fault, ERR_BAD_FIELD, "fingerprint");
    crypto_hex(bytes, sizeof bytes, hex);
    s->fingerprint = arena_strdup(p->arena, hex);
    s->name = arena_strdup(p->arena, name);
    return s->fingerprint != NULL && s->name != NULL ? VRS_OK
                                                     : err_fail(fault, ERR_MEMORY, "snapshot");
}

/* Serials are compared as they are written by the certificate reader: lower case, no leading
 * zeros. */
static void plain_serial(const char *from, char out[48]) {
    size_t n = 0;
    while (from[0] == '0' && from[1] != '\0')
        from++;
    for (; *from != '\0' && n < 47; from++)
        out[n++] = (char)tolower((unsigned char)*from);
    out[n] = '\0';
}

static int by_user(const void *a, const void *b) {
    return strcmp(((const struct published_user *)a)->user_id,
                  ((const struct published_user *)b)->user_id);
}

static int by_serial(const void *a, const void *b) {
    return strcmp(((const struct published_terminal *)a)->serial,
                  ((const struct published_terminal *)b)->serial);
}

static int by_fingerprint(const void *a, const void *b) {
    return strcmp(((const struct published_system *)a)->fingerprint,
                  ((const struct published_system *)b)->fingerprint);
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum vrs_err read_users(struct published *p, const json_t *list, struct vrs_fault *fault) {
    p->user_count = json_array_size(list);
    if (p->user_count > MAX_USERS)
        return err_fail(fault, ERR_BAD_FIELD, "users");
    p->users = arena_alloc(p->arena, (p->user_count + 1) * sizeof *p->users);
    if (p->users == NULL)
        return err_fail(fault, ERR_MEMORY, "snapshot");
    for (size_t i = 0; i < p->user_count; i++) {
        enum vrs_err e = read_user(p, json_array_get(list, i), &p->users[i], fault);
        if (e != VRS_OK)
            return e;
    }
    qsort(p->users, p->user_count, sizeof *p->users, by_user);
    for (size_t i = 1; i < p->user_count; i++) {
        if (by_user(&p->users[i - 1], &p->users[i]) == 0)
            return err_fail(fault, ERR_BAD_FIELD, "users");
    }
    return VRS_OK;
}

static enum vrs_err read_revoked(struct published *p, const json_t *list, struct vrs_fault *fault) {
    p->revoked_count = json_array_size(list);
    if (p->revoked_count > MAX_REVOKED)
        return err_fail(fault, ERR_BAD_FIELD, "revoked");
    p->revoked = arena_alloc(p->arena, (p->revoked_count + 1) * sizeof *p->revoked);
    if (p->revoked == NULL)
        return err_fail(fault, ERR_MEMORY, "snapshot");
    for (size_t i = 0; i < p->revoked_count; i++) {
        const char *serial = json_string_value(json_array_get(list, i));
        char plain[48];
        if (serial == NULL || strlen(serial) >= sizeof plain)
            return err_fail(fault, ERR_BAD_FIELD, "revoked");
        plain_serial(serial, plain);
        p->revoked[i] = arena_strdup(p->arena, plain);
        if (p->revoked[i] == NULL)
            return err_fail(fault, ERR_MEMORY, "snapshot");
    }
    qsort(p->revoked, p->revoked_count, sizeof *p->revoked, by_text);
    return VRS_OK;
}

static enum vrs_err read_terminal(struct published *p, const json_t *from,
                                  struct published_terminal *t, struct vrs_fault *fault) {
    char plain[48];
    const char *serial = NULL, *name = NULL, *kind = NULL;
    const char *municipality = "", *site = "", *binding = "", *until = NULL;
    const struct json_field fields[] = {JF_STR("serial", true, 47, &serial),
                                        JF_STR("name", true, 63, &name),
                                        JF_STR("kind", true, 15, &kind),
                                        JF_STR("municipality_code", false, 6, &municipality),
                                        JF_STR("site", false, 255, &site),
                                        JF_STR("binding", false, 15, &binding),
                                        JF_STR("works_until", false, 40, &until),
                                        JF_END};
    enum vrs_err e = json_read(from, fields, fault);
    if (e != VRS_OK)
        return e;
    if (until != NULL && !clock_parse_rfc3339(until, &t->works_until_ms))
        return err_fail(fault, ERR_BAD_FIELD, "works_until");
    plain_serial(serial, plain);
    t->serial = arena_strdup(p->arena, plain);
    t->name = arena_strdup(p->arena, name);
    t->kind = arena_strdup(p->arena, kind);
    t->municipality = arena_strdup(p->arena, municipality);
    t->site = arena_strdup(p->arena, site);
    t->binding = arena_strdup(p->arena, binding);
    return t->serial != NULL && t->name != NULL && t->kind != NULL && t->municipality != NULL &&
                   t->site != NULL && t->binding != NULL
               ? VRS_OK
               : err_fail(fault, ERR_MEMORY, "snapshot");
}

static enum vrs_err read_terminals(struct published *p, const json_t *list,
                                   struct vrs_fault *fault) {
    p->terminal_count = json_array_size(list);
    if (p->terminal_count > MAX_TERMINALS)
        return err_fail(fault, ERR_BAD_FIELD, "terminals");
    p->terminals = arena_alloc(p->arena, (p->terminal_count + 1) * sizeof *p->terminals);
    if (p->terminals == NULL)
        return err_fail(fault, ERR_MEMORY, "snapshot");
    for (size_t i = 0; i < p->terminal_count; i++) {
        enum vrs_err e = read_terminal(p, json_array_get(list, i), &p->terminals[i], fault);
        if (e != VRS_OK)
            return e;
    }
    qsort(p->terminals, p->terminal_count, sizeof *p->terminals, by_serial);
    return VRS_OK;
}

static enum vrs_err read_systems(struct published *p, const json_t *list, struct vrs_fault *fault) {
    p->system_count = json_array_size(list);
    if (p->system_count > MAX_SYSTEMS)
        return err_fail(fault, ERR_BAD_FIELD, "system_clients");
    p->systems = arena_alloc(p->arena, (p->system_count + 1) * sizeof *p->systems);
    if (p->systems == NULL)
        return err_fail(fault, ERR_MEMORY, "snapshot");
    for (size_t i = 0; i < p->system_count; i++) {
        enum vrs_err e = read_system(p, json_array_get(list, i), &p->systems[i], fault);
        if (e != VRS_OK)
            return e;
    }
    qsort(p->systems, p->system_count, sizeof *p->systems, by_fingerprint);
    return VRS_OK;
}

static enum vrs_err read_log_keys(struct published *p, const json_t *list,
                                  struct vrs_fault *fault) {
    p->log_key_count = json_array_size(list);
    if (p->log_key_count > PUBLISHED_MAX_LOG_KEYS)
        return err_fail(fault, ERR_BAD_FIELD, "log_keys");
    for (size_t i = 0; i < p->log_key_count; i++) {
        struct published_log_key *k = &p->log_keys[i];
        const char *text = json_string_value(json_array_get(list, i));
        size_t n = 0;
        if (text == NULL || !crypto_unbase64(text, k->key, sizeof k->key, &n) || n != sizeof k->key)
            return err_fail(fault, ERR_BAD_FIELD, "log_keys");
        proof_key_id(k->key, k->key_id);
    }
    return VRS_OK;
}

static enum vrs_err read_all(struct published *p, const json_t *doc, struct vrs_fault *fault) {
    int64_t version = 0;
    int64_t max_age_s = 0;
    const char *made_at = NULL;
    const char *key = NULL;
    json_t *users = NULL;
    json_t *revoked = NULL;
    json_t *systems = NULL;
    json_t *log_keys = NULL;
    json_t *terminals = NULL;
    size_t n = 0;
    const struct json_field fields[] = {
        JF_INT("version", true, &version),       JF_STR("made_at", true, 40, &made_at),
        JF_INT("max_age_s", true, &max_age_s),   JF_STR("inbox_key", true, 64, &key),
        JF_ARRAY("users", true, &users),         JF_ARRAY("revoked", true, &revoked),
        JF_ARRAY("terminals", true, &terminals), JF_ARRAY("system_clients", true, &systems),
        JF_ARRAY("log_keys", false, &log_keys),  JF_END};
    enum vrs_err e = json_read(doc, fields, fault);
    if (e != VRS_OK)
        return e;
    if (version < 1)
        return err_fail(fault, ERR_BAD_FIELD, "version");
    if (!clock_parse_rfc3339(made_at, &p->made_ms))
        return err_fail(fault, ERR_BAD_FIELD, "made_at");
    if (max_age_s < 1 || max_age_s > 366 * 86400)
        return err_fail(fault, ERR_BAD_FIELD, "max_age_s");
    if (!crypto_unbase64(key, p->inbox_key, sizeof p->inbox_key, &n) || n != sizeof p->inbox_key)
        return err_fail(fault, ERR_BAD_FIELD, "inbox_key");
    p->version = (uint64_t)version;
    p->max_age_ms = max_age_s * 1000;
    e = read_users(p, users, fault);
    if (e == VRS_OK)
        e = read_revoked(p, revoked, fault);
    if (e == VRS_OK)
        e = read_systems(p, systems, fault);
    if (e == VRS_OK)
        e = read_log_keys(p, log_keys, fault);
    if (e == VRS_OK)
        e = read_terminals(p, terminals, fault);
    return e;
}

enum vrs_err published_read(const void *text, size_t len, struct published **out,
                            struct vrs_fault *fault) {
    *out = NULL;
    json_t *doc = NULL;
    struct published *p = calloc(1, sizeof *p);
    if (p == NULL || (p->arena = arena_open(ARENA_BYTES)) == NULL) {
        free(p);
        return err_fail(fault, ERR_MEMORY, "snapshot");
    }
    enum vrs_err e = json_parse(text, len, &doc, fault);
    if (e == VRS_OK)
        e = read_all(p, doc, fault);
    json_decref(doc);
    if (e != VRS_OK)
        published_close(&p);
    *out = p;
    return e;
}

void published_close(struct published **p) {
    if (*p == NULL)
        return;
    arena_close(&(*p)->arena);
    free(*p);
    *p = NULL;
}

uint64_t published_version(const struct published *p) {
    return p != NULL ? p->version : 0;
}

int64_t published_made_ms(const struct published *p) {
    return p != NULL ? p->made_ms : 0;
}

size_t published_log_keys(const struct published *p, const struct published_log_key **out) {
    *out = p != NULL ? p->log_keys : NULL;
    return p != NULL ? p->log_key_count : 0;
}

const uint8_t *published_inbox_key(const struct published *p) {
    return p->inbox_key;
}

bool published_fresh(const struct published *p, int64_t now_ms) {
    return p != NULL && now_ms - p->made_ms <= p->max_age_ms;
}

const struct published_user *published_user(const struct published *p, const char *user_id) {
    const struct published_user key = {.user_id = user_id};
    if (p == NULL)
        return NULL;
    return bsearch(&key, p->users, p->user_count, sizeof *p->users, by_user);
}

bool published_revoked(const struct published *p, const char *serial_hex) {
    char plain[48];
    const char *key = plain;
    if (p == NULL || p->revoked_count == 0)
        return false;
    plain_serial(serial_hex, plain);
    return bsearch(&key, p->revoked, p->revoked_count, sizeof *p->revoked, by_text) != NULL;
}

const struct published_system *published_system(const struct published *p,
                                                const uint8_t fingerprint[CRYPTO_HASH_BYTES]) {
    char hex[2 * CRYPTO_HASH_BYTES + 1];
    const struct published_system key = {.fingerprint = hex};
    if (p == NULL || p->system_count == 0)
        return NULL;
    crypto_hex(fingerprint, CRYPTO_HASH_BYTES, hex);
    return bsearch(&key, p->systems, p->system_count, sizeof *p->systems, by_fingerprint);
}

const struct published_terminal *published_terminal(const struct published *p,
                                                    const char *serial_hex) {
    char plain[48];
    const struct published_terminal key = {.serial = plain};
    if (p == NULL || p->terminal_count == 0)
        return NULL;
    plain_serial(serial_hex, plain);
    return bsearch(&key, p->terminals, p->terminal_count, sizeof *p->terminals, by_serial);
}

bool published_bound(const struct published_terminal *t, const struct published_user *u) {
    if (t == NULL || u == NULL)
        return false;
    if (strcmp(t->binding, "none") == 0 || t->municipality[0] == '\0')
        return true;
    return strcmp(t->municipality, u->municipality) == 0 &&
           (strcmp(t->binding, "site") != 0 || strcmp(t->site, u->site) == 0);
}
