/* A municipality goes to another system of this kind (C131): the whole of it as it stands, with its
 * log, sealed to the receiving system's keys and signed.  vrs-server sees no number: those are sealed
 * and opened by vrs-number, here and there.
 *
 *   there  migrate.key      → to, a pair of public keys, and its fingerprint
 *   here   migrate.export   with the approval of the municipality's own approver (kind "migrate",
 *                           for this fingerprint)
 *   there  migrate.import   everything is checked and opened before anything changes; then the way
 *                           of a restore, with a new log epoch
 *
 * Accounts and terminals are the registry's and do not go along. */
#include "vrs-server/operation/verbs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/secret.h"
#include "lib/wire.h"
#include "vrs-server/keeping/tombstone.h"
#include "vrs-server/operation/backup.h"
#include "vrs-server/operation/migration.h"
#include "vrs-server/second.h"

enum {
    PIECE = 1 << 20,
    MANIFEST_BYTES = 16 << 10,
    KEYS_BYTES = 1 << 19,
    TO_BYTES = 64,
    NAME_MAX_BYTES = 40
};

static const enum store_table counted[] = {
    TABLE_PERSON,  TABLE_PERSON_HISTORY, TABLE_COUPON,  TABLE_CLAIM,       TABLE_CLAIM_HISTORY,
    TABLE_INQUIRY, TABLE_PROVISION,      TABLE_SETTING, TABLE_NUMBER_LINK, TABLE_LOG};
static const char *const counted_names[] = {
    "persons",   "person_versions", "coupons",  "doses",        "dose_versions",
    "inquiries", "provisions",      "settings", "number_links", "log_entries"};
enum { COUNTED = sizeof counted / sizeof *counted };
enum {
    CONTENT = 4 /* persons, their versions, coupons, doses: what a receiving side may not have */
};

/* --- keys --- */

/* It follows from the municipality's key of its records here, so that no other secret is kept. */
static enum vrs_err own_key(struct server *s, const char *code, struct secret_key *out) {
    const struct secret_key *key = NULL;
    uint32_t id = 0;
    enum vrs_err e = keyring_active(s->keys, code, KEY_RECORDS, KEY_ENCRYPT, &id, &key);
    if (e == VRS_OK)
        crypto_hkdf(key->bytes, sizeof key->bytes, code, strlen(code), "vrs migration records 1",
                    out);
    return e;
}

static void fingerprint(const uint8_t to[TO_BYTES], char out[33]) {
    uint8_t hash[CRYPTO_HASH_BYTES];
    crypto_sha256(to, TO_BYTES, hash);
    crypto_hex(hash, 16, out);
}

enum vrs_err verb_migrate_key(struct control_call *c, struct partition *p) {
    struct secret_key own;
    uint8_t to[TO_BYTES];
    char hex[2 * TO_BYTES + 1], print[33];
    enum vrs_err e = own_key(c->server, partition_code(p), &own);
    if (e == VRS_OK)
        e = crypto_x25519_public(&own, to);
    secret_wipe(&own, sizeof own);
    if (e == VRS_OK)
        e = number_carry_key(c->server->number[c->job.worker_index], partition_code(p),
                             to + CRYPTO_X25519_BYTES);
    if (e != VRS_OK)
        return e;
    crypto_hex(to, sizeof to, hex);
    fingerprint(to, print);
    e = control_log(c, p, print);
    return e == VRS_OK ? control_answer(c, json_pack("{s:s,s:s}", "to", hex, "fingerprint", print))
                       : e;
}

/* --- export --- */

struct export {
    struct control_call *call;
    struct partition *partition;
    struct migration_out *out;
    struct migration_id id;
    uint8_t to[TO_BYTES];
    char path[BACKUP_PATH], copy[BACKUP_PATH], print[33], act[64], approver[64], approval[33];
    uint64_t count[COUNTED], numbers;
    struct tombstone_head before, after;
};

static enum vrs_err folder(struct control_call *c, const char *name, char out[BACKUP_PATH]) {
    (void)snprintf(out, BACKUP_PATH, "%.400s/%s", c->server->config.state_dir, name);
    return mkdir(out, 0700) == 0 || errno == EEXIST
               ? VRS_OK
               : err_fail(&c->job.fault, ERR_STORAGE, "make %s", out);
}

static enum vrs_err count_all(struct partition *p, uint64_t count[COUNTED]) {
    enum vrs_err e = VRS_OK;
    for (size_t i = 0; i < COUNTED && e == VRS_OK; i++)
        e = partition_engine(p)->count(partition_store(p), counted[i], UINT32_MAX, &count[i]);
    return e;
}

/* The approval is used and the act logged, in one transaction. */
static enum vrs_err permit(struct export *x) {
    struct partition *p = x->partition;
    struct second_request approval;
    enum vrs_err e = partition_begin(p);
    if (e != VRS_OK)
        return e;
    e = second_use(p, "migrate", NULL, x->act, &approval);
    if (e == VRS_OK)
        e = tombstone_head_now(p, &x->before);
    if (e == VRS_OK)
        e = control_log(x->call, p, x->act);
    if (e == VRS_OK)
        e = tombstone_head_now(p, &x->after);
    if (e == VRS_OK)
        e = count_all(p, x->count);
    if (e != VRS_OK) {
        partition_rollback(p);
        return e;
    }
    record_id_format(&approval.id, x->approval);
    (void)snprintf(x->approver, sizeof x->approver, "%s", approval.decided_by);
    return partition_commit(p);
}

static enum vrs_err write_keys(struct export *x) {
    struct buffer b;
    buffer_init(&b, KEYS_BYTES);
    enum vrs_err e = keyring_carry_out(x->call->server->keys, x->id.municipality, &b);
    if (e == VRS_OK)
        e = migration_seal(x->out, MIGRATION_KEYS, true, b.data, b.len);
    buffer_fini(&b);
    return e;
}

static enum vrs_err write_records(struct export *x) {
    struct vrs_fault *fault = &x->call->job.fault;
    (void)unlink(x->copy);
    enum vrs_err e =
        partition_engine(x->partition)->backup(partition_store(x->partition), x->copy, fault);
    FILE *f = e == VRS_OK ? fopen(x->copy, "rbe") : NULL;
    uint8_t *piece = malloc(PIECE);
    if (e == VRS_OK && (f == NULL || piece == NULL))
        e = err_fail(fault, ERR_STORAGE, "read %s", x->copy);
    for (bool last = false; e == VRS_OK && !last;) {
        size_t n = fread(piece, 1, PIECE, f);
        int more = n == PIECE ? fgetc(f) : EOF;
        last = more == EOF;
        e = ferror(f) != 0 || (!last && ungetc(more, f) == EOF)
                ? err_fail(fault, ERR_STORAGE, "read %s", x->copy)
                : migration_seal(x->out, MIGRATION_RECORDS, last, piece, n);
    }
    free(piece);
    if (f != NULL)
        (void)fclose(f);
    (void)unlink(x->copy);
    return e;
}

static enum vrs_err write_numbers(struct export *x) {
    struct number_client *client = x->call->server->number[x->call->job.worker_index];
    const char *by = control_text(x->call, "by");
    struct number_page page = {.after = {{0}}};
    struct buffer b;
    bool any = true;
    enum vrs_err e = VRS_OK;
    buffer_init(&page.sealed, NUMBER_MAX_MESSAGE);
    buffer_init(&b, NUMBER_MAX_MESSAGE + 64);
    while (e == VRS_OK && any) {
        e = number_carry_out(client, x->id.municipality, x->to + CRYPTO_X25519_BYTES,
                             by[0] != '\0' ? by : "operator", &page, &any);
        if (e != VRS_OK || !any)
            break;
        buffer_clear(&b);
        (void)buffer_put(&b, page.after.bytes, sizeof page.after.bytes);
        (void)buffer_put(&b, page.last.bytes, sizeof page.last.bytes);
        (void)buffer_put(&b, page.sealed.data, page.sealed.len);
        e = b.failed ? ERR_TOO_LARGE : migration_put(x->out, MIGRATION_NUMBERS, b.data, b.len);
        page.after = page.last;
        x->numbers++;
    }
    buffer_fini(&page.sealed);
    buffer_fini(&b);
    return e;
}

static json_t *head_json(const struct tombstone_head *h) {
    return json_pack("{s:s,s:I,s:s}", "epoch", h->epoch, "size", (json_int_t)h->size, "root",
                     h->root);
}

static enum vrs_err manifest(struct export *x, struct buffer *out) {
    uint8_t digest[CRYPTO_HASH_BYTES];
    char hex[2 * CRYPTO_HASH_BYTES + 1], id[2 * MIGRATION_ID_BYTES + 1], at[25];
    json_t *counts = json_object();
    migration_digest(x->out, digest);
    crypto_hex(digest, sizeof digest, hex);
    crypto_hex(x->id.id, sizeof x->id.id, id);
    clock_format_rfc3339(clock_now_ms(), at);
    for (size_t i = 0; i < COUNTED; i++)
        (void)json_object_set_new(counts, counted_names[i], json_integer((json_int_t)x->count[i]));
    (void)json_object_set_new(counts, "number_pages", json_integer((json_int_t)x->numbers));
    json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:o,s:o,s:o,s:s}", "title",
                          "移行データの目録 / manifest of a migration", "municipality_code",
                          x->id.municipality, "migration_id", id, "made_at", at, "by",
                          control_text(x->call, "by"), "approver", x->approver, "approval",
                          x->approval, "recipient", x->print, "counts", counts, "log_before",
                          head_json(&x->before), "log_after", head_json(&x->after), "sha256", hex);
    bool good = o != NULL && json_write(out, o) && buffer_cstr(out) != NULL;
    json_decref(o);
    return good ? VRS_OK : ERR_MEMORY;
}

static enum vrs_err write_end(struct export *x) {
    struct control_call *c = x->call;
    uint8_t signature[CRYPTO_SIGNATURE_BYTES];
    char key_id[9], base64[4 * ((CRYPTO_SIGNATURE_BYTES + 2) / 3) + 1];
    struct buffer b, text;
    buffer_init(&b, 512);
    buffer_init(&text, MANIFEST_BYTES);
    enum vrs_err e = manifest(x, &text);
    if (e == VRS_OK)
        e = signer_statement(c->server->signer[c->job.worker_index], "migration", text.data,
                             text.len, key_id, signature);
    if (e == VRS_OK)
        e = migration_put(x->out, MIGRATION_MANIFEST, text.data, text.len);
    wire_put_str(&b, 1, key_id);
    wire_put(&b, 2, signature, sizeof signature);
    if (e == VRS_OK)
        e = b.failed ? ERR_MEMORY : migration_put(x->out, MIGRATION_SIGNATURE, b.data, b.len);
    if (e == VRS_OK)
        e = migration_end(&x->out, true, &c->job.fault);
    if (e == VRS_OK) {
        crypto_base64(signature, sizeof signature, base64);
        e = control_answer(c, json_pack("{s:s,s:s,s:s,s:s,s:s}", "file", x->path, "kind",
                                        "migration", "text", buffer_cstr(&text), "key_id", key_id,
                                        "signature", base64));
    }
    buffer_fini(&b);
    buffer_fini(&text);
    return e;
}

static enum vrs_err prepare_export(struct export *x) {
    struct control_call *c = x->call;
    const char *name = control_text(c, "name");
    char dir[BACKUP_PATH], stage[BACKUP_PATH];
    if (!backup_name_valid(name) || strlen(name) > NAME_MAX_BYTES ||
        !crypto_unhex(control_text(c, "to"), x->to, sizeof x->to))
        return err_fail(&c->job.fault, ERR_BAD_FIELD, "name or to");
    enum vrs_err e = folder(c, "migration", dir);
    if (e == VRS_OK)
        e = folder(c, "stage", stage);
    (void)snprintf(x->path, sizeof x->path, "%.400s/%.6s-%.64s.migration", dir, c->job.municipality,
                   name);
    (void)snprintf(x->copy, sizeof x->copy, "%.400s/%.6s.migrating", stage, c->job.municipality);
    memcpy(x->id.municipality, c->job.municipality, sizeof x->id.municipality);
    memcpy(x->id.to, x->to, sizeof x->id.to);
    crypto_random(x->id.id, sizeof x->id.id);
    fingerprint(x->to, x->print);
    (void)snprintf(x->act, sizeof x->act, "migrate.export %s", x->print);
    return e;
}

/* Alone in the partition, outside a transaction. */
enum vrs_err verb_migrate_export(struct control_call *c, struct partition *p) {
    struct export x = {.call = c, .partition = p};
    enum vrs_err e = prepare_export(&x);
    if (e == VRS_OK)
        e = migration_create(x.path, &x.id, &x.out, &c->job.fault);
    if (e == VRS_OK)
        e = permit(&x);
    if (e == VRS_OK)
        e = write_keys(&x);
    if (e == VRS_OK)
        e = write_records(&x);
    if (e == VRS_OK)
        e = write_numbers(&x);
    if (e == VRS_OK)
        e = write_end(&x);
    enum vrs_err ended = migration_end(&x.out, false, NULL);
    if (e == VRS_OK)
        log_event(LOG_WARN, "migration.exported", LF_STR("municipality", c->job.municipality),
                  LF_STR("recipient", x.print));
    return e == VRS_OK ? ended : e;
}

/* --- import --- */

struct import {
    struct control_call *call;
    struct migration_id id;
    struct crypto_opener *opener;
    struct keyring *beside;
    char path[BACKUP_PATH], db[BACKUP_PATH], keys_dir[BACKUP_PATH], keys[BACKUP_PATH];
    FILE *file;
    struct buffer text;
    uint64_t pieces, pages;
    bool records_end, store;
    struct record_id after; /* last number so far */
};

static enum vrs_err take_keys(struct import *m, const struct migration_piece *piece) {
    struct control_call *c = m->call;
    buffer_clear(&m->text);
    enum vrs_err e = m->pieces == 0
                         ? migration_unseal(m->opener, &m->id, piece, m->pieces++, true, &m->text)
                         : ERR_TAMPERED;
    if (e == VRS_OK)
        e = keyring_open_beside(c->server->keys, m->keys_dir, &m->beside, &c->job.fault);
    if (e == VRS_OK)
        e = keyring_carry_in(m->beside, c->job.municipality, m->text.data, m->text.len,
                             &c->job.fault);
    return e;
}

/* Its last piece says so. */
static enum vrs_err take_records(struct import *m, const struct migration_piece *piece) {
    if (m->pieces == 0 || m->records_end)
        return ERR_TAMPERED;
    buffer_clear(&m->text);
    enum vrs_err e = migration_unseal(m->opener, &m->id, piece, m->pieces, false, &m->text);
    if (e == ERR_TAMPERED) {
        buffer_clear(&m->text);
        e = migration_unseal(m->opener, &m->id, piece, m->pieces, true, &m->text);
        m->records_end = e == VRS_OK;
    }
    m->pieces++;
    return e != VRS_OK || fwrite(m->text.data, 1, m->text.len, m->file) == m->text.len
               ? e
               : err_fail(&m->call->job.fault, ERR_STORAGE, "write %s", m->db);
}

static enum vrs_err take_numbers(struct import *m, const struct migration_piece *piece) {
    struct number_page page;
    const size_t ids = 2 * sizeof page.after.bytes;
    if (piece->len <= ids)
        return ERR_TAMPERED;
    memcpy(page.after.bytes, piece->data, sizeof page.after.bytes);
    memcpy(page.last.bytes, piece->data + sizeof page.after.bytes, sizeof page.last.bytes);
    if (!record_id_equal(&page.after, &m->after))
        return ERR_TAMPERED;
    buffer_init(&page.sealed, NUMBER_MAX_MESSAGE);
    enum vrs_err e = buffer_put(&page.sealed, piece->data + ids, piece->len - ids)
                         ? number_carry_in(m->call->server->number[m->call->job.worker_index],
                                           m->call->job.municipality, &page, m->store)
                         : ERR_TOO_LARGE;
    buffer_fini(&page.sealed);
    m->after = page.last;
    m->pages++;
    return e;
}

static enum vrs_err take(const struct migration_piece *piece, void *arg) {
    struct import *m = arg;
    if (piece->type == MIGRATION_NUMBERS)
        return take_numbers(m, piece);
    if (m->store || piece->type == MIGRATION_MANIFEST)
        return VRS_OK;
    return piece->type == MIGRATION_KEYS      ? take_keys(m, piece)
           : piece->type == MIGRATION_RECORDS ? take_records(m, piece)
                                              : ERR_TAMPERED;
}

/* Nobody lives here yet: neither persons nor coupons nor doses.  `aside`: what is here (its log) is
 * kept as a backup of this name. */
static enum vrs_err must_be_empty(struct import *m, const char *aside) {
    struct control_call *c = m->call;
    struct backup_dirs dirs;
    char live[BACKUP_PATH], keys[BACKUP_PATH], to[BACKUP_PATH];
    struct partition *p = NULL;
    uint64_t count[COUNTED] = {0};
    (void)snprintf(live, sizeof live, "%.400s/partitions", c->server->config.state_dir);
    enum vrs_err e = partition_open(&store_sqlite, live, c->job.municipality, c->server->keys, 0,
                                    &p, &c->job.fault);
    if (e != VRS_OK)
        return e == ERR_NOT_FOUND ? VRS_OK : e;
    e = partition_begin(p);
    if (e == VRS_OK) {
        e = count_all(p, count);
        partition_rollback(p);
    }
    for (size_t i = 0; i < CONTENT && e == VRS_OK; i++) {
        if (count[i] > 0)
            e = err_fail(&c->job.fault, ERR_CONFLICT, "%s has %s here already", c->job.municipality,
                         counted_names[i]);
    }
    if (e == VRS_OK)
        e = backup_dirs_of(&c->server->config, &dirs, &c->job.fault);
    keyring_path(c->server->keys, c->job.municipality, keys, sizeof keys);
    for (size_t i = 0; e == VRS_OK && aside != NULL && i < dirs.count; i++) {
        (void)snprintf(to, sizeof to, "%s/%s-%s.db", dirs.dir[i], c->job.municipality, aside);
        (void)unlink(to); /* of an import that was cut off */
        e = store_sqlite.backup(partition_store(p), to, &c->job.fault);
        (void)snprintf(to, sizeof to, "%s/%s-%s.keys", dirs.dir[i], c->job.municipality, aside);
        if (e == VRS_OK)
            e = file_copy(keys, to, &c->job.fault);
    }
    partition_close(&p);
    return e;
}

/* What came stands among the backups; a restore of it is all that is left. */
static enum vrs_err as_backup(struct import *m, const char *name) {
    struct control_call *c = m->call;
    struct backup_dirs dirs;
    char to[BACKUP_PATH];
    enum vrs_err e = backup_dirs_of(&c->server->config, &dirs, &c->job.fault);
    for (size_t i = 0; e == VRS_OK && i < dirs.count; i++) {
        (void)snprintf(to, sizeof to, "%s/%s-%s.db", dirs.dir[i], c->job.municipality, name);
        e = file_copy(m->db, to, &c->job.fault);
        (void)snprintf(to, sizeof to, "%s/%s-%s.keys", dirs.dir[i], c->job.municipality, name);
        if (e == VRS_OK)
            e = file_copy(m->keys, to, &c->job.fault);
    }
    return e;
}

/* Reads all of it: seals, order, ends; into the stage, nothing else changes. */
static enum vrs_err open_all(struct import *m, const uint8_t signer[CRYPTO_ED25519_BYTES]) {
    struct control_call *c = m->call;
    struct secret_key own;
    enum vrs_err e = own_key(c->server, c->job.municipality, &own);
    if (e == VRS_OK && (m->opener = crypto_opener_open(&own)) == NULL)
        e = ERR_MEMORY;
    secret_wipe(&own, sizeof own);
    (void)unlink(m->db);
    if (e == VRS_OK && (m->file = fopen(m->db, "wxe")) == NULL)
        e = err_fail(&c->job.fault, ERR_STORAGE, "make %s", m->db);
    if (e == VRS_OK)
        e = migration_read(m->path, signer, &m->id, take, m, &c->job.fault);
    if (m->file != NULL && (fflush(m->file) != 0 || fsync(fileno(m->file)) != 0) && e == VRS_OK)
        e = err_fail(&c->job.fault, ERR_STORAGE, "write %s", m->db);
    if (e == VRS_OK && (!m->records_end || strcmp(m->id.municipality, c->job.municipality) != 0))
        e = ERR_TAMPERED;
    return e == ERR_TAMPERED || e == ERR_CORRUPT || e == ERR_CRYPTO
               ? err_fail(
                     &c->job.fault, ERR_TAMPERED,
                     "the file was changed, or is not for this system, or not from this signer")
               : e;
}

static enum vrs_err import_run(struct import *m, const uint8_t signer[CRYPTO_ED25519_BYTES]) {
    struct control_call *c = m->call;
    char id[2 * MIGRATION_ID_BYTES + 1], aside[64], name[64];
    enum vrs_err e = must_be_empty(m, NULL);
    if (e == VRS_OK)
        e = open_all(m, signer);
    if (e != VRS_OK)
        return e;
    crypto_hex(m->id.id, sizeof m->id.id, id);
    (void)snprintf(aside, sizeof aside, "before-%.16s", id);
    (void)snprintf(name, sizeof name, "migrated-%.16s", id);
    e = must_be_empty(m, aside);
    if (e == VRS_OK)
        e = as_backup(m, name);
    /* Numbers first: should the rest fail they are nobody's, and are swept. */
    m->store = true;
    memset(&m->after, 0, sizeof m->after);
    if (e == VRS_OK)
        e = migration_read(m->path, signer, &m->id, take, m, &c->job.fault);
    if (e == VRS_OK)
        (void)json_object_set_new(c->request, "name", json_string(name));
    return e == VRS_OK ? verb_restore_incoming(c) : e;
}

/* With the partition closed. */
enum vrs_err verb_migrate_import(struct control_call *c, struct partition *p) {
    struct import m = {.call = c};
    const char *file = control_text(c, "file");
    uint8_t signer[CRYPTO_ED25519_BYTES];
    char dir[BACKUP_PATH], stage[BACKUP_PATH];
    (void)p;
    if (!backup_name_valid(file) || !crypto_unhex(control_text(c, "signer"), signer, sizeof signer))
        return err_fail(&c->job.fault, ERR_BAD_FIELD, "file or signer");
    enum vrs_err e = folder(c, "migration", dir);
    if (e == VRS_OK)
        e = folder(c, "stage", stage);
    (void)snprintf(m.path, sizeof m.path, "%.400s/%.64s", dir, file);
    (void)snprintf(m.db, sizeof m.db, "%.400s/%.6s.incoming", stage, c->job.municipality);
    (void)snprintf(m.keys_dir, sizeof m.keys_dir, "%.400s/incoming", stage);
    (void)snprintf(m.keys, sizeof m.keys, "%.400s/%.6s.keys", m.keys_dir, c->job.municipality);
    buffer_init(&m.text, MIGRATION_FRAME_MAX);
    if (e == VRS_OK)
        e = import_run(&m, signer);
    buffer_fini(&m.text);
    if (m.file != NULL)
        (void)fclose(m.file);
    crypto_opener_close(&m.opener);
    if (m.beside != NULL)
        keyring_close(&m.beside);
    (void)unlink(m.db);
    (void)unlink(m.keys);
    if (e == VRS_OK)
        log_event(LOG_WARN, "migration.imported", LF_STR("municipality", c->job.municipality));
    return e;
}
