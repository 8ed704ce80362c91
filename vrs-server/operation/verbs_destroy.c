/* A municipality leaves (C127, C76): the keys of its records and numbers are destroyed, in the
 * backups that are here, too; its sealed log and the record of the act stay.  Needs the approval
 * that the municipality's own approver gave (kind "destroy").  Cut off, the command is given again:
 * the record is there, and it goes on. */
#include "vrs-server/operation/verbs.h"

#include <string.h>

#include "lib/log.h"
#include "partitions/key_file.h"
#include "vrs-server/keeping/erasure.h"
#include "vrs-server/operation/backup.h"
#include "vrs-server/second.h"

enum { TEXT_MAX_BYTES = 16 << 10 };

static enum vrs_err see_last(struct tombstone *t, void *arg) {
    struct record_id *last = arg;
    if (t->what == TOMBSTONE_PARTITION)
        *last = t->id;
    return VRS_OK;
}

static enum vrs_err count_rows(struct partition *p, struct tombstone *t) {
    static const struct {
        enum store_table table;
        enum erased_kind kind;
    } counted[] = {{TABLE_PERSON, ERASED_PERSON},
                   {TABLE_PERSON_HISTORY, ERASED_PERSON_VERSION},
                   {TABLE_COUPON, ERASED_COUPON},
                   {TABLE_CLAIM, ERASED_DOSE},
                   {TABLE_CLAIM_HISTORY, ERASED_DOSE_VERSION},
                   {TABLE_NUMBER_LINK, ERASED_NUMBER},
                   {TABLE_INQUIRY, ERASED_INQUIRY},
                   {TABLE_IDEMPOTENCY, ERASED_ANSWER},
                   {TABLE_REQUEST, ERASED_REQUEST},
                   {TABLE_IMPORT, ERASED_IMPORT}};
    enum vrs_err e = VRS_OK;
    for (size_t i = 0; i < sizeof counted / sizeof *counted && e == VRS_OK; i++)
        e = partition_engine(p)->count(partition_store(p), counted[i].table, UINT32_MAX,
                                       &t->count[counted[i].kind]);
    return e;
}

static enum vrs_err record_end(struct control_call *c, struct partition *p, struct tombstone *t) {
    struct second_request approval;
    enum vrs_err e = second_use(p, "destroy", NULL, "partition.destroy", &approval);
    if (e != VRS_OK)
        return e;
    t->what = TOMBSTONE_PARTITION;
    record_id_format(&approval.id, t->request);
    (void)snprintf(t->by, sizeof t->by, "%s",
                   control_text(c, "by")[0] != '\0' ? control_text(c, "by") : "operator");
    (void)snprintf(t->approver, sizeof t->approver, "%s", approval.decided_by);
    (void)snprintf(t->reason, sizeof t->reason, "%s", approval.reason);
    e = tombstone_head_now(p, &t->before);
    if (e == VRS_OK)
        e = count_rows(p, t);
    if (e == VRS_OK)
        e = control_log(c, p, approval.reason);
    if (e == VRS_OK)
        e = tombstone_head_now(p, &t->after);
    return e == VRS_OK ? tombstone_put(p, t) : e;
}

/* Found, or made with the approval; committed. */
static enum vrs_err record_of(struct control_call *c, struct partition *p, struct tombstone *t) {
    static const struct record_id none;
    struct record_id last = none;
    enum vrs_err e = partition_begin(p);
    if (e != VRS_OK)
        return e;
    e = tombstone_list(p, 0, INT64_MAX, see_last, &last);
    if (e == VRS_OK && record_id_equal(&last, &none))
        e = record_end(c, p, t);
    else if (e == VRS_OK)
        e = tombstone_get(p, &last, t);
    if (e == VRS_OK)
        return partition_commit(p);
    partition_rollback(p);
    return e;
}

static enum vrs_err destroy_keys(struct control_call *c, const struct tombstone *t) {
    struct server *s = c->server;
    const char *code = c->job.municipality;
    struct vrs_fault *fault = &c->job.fault;
    struct backup_dirs dirs;
    char dir[BACKUP_PATH];
    const struct tombstone_file file = {.dir = backup_tombstones(s, dir), .keys = s->keys};
    enum vrs_err e = tombstone_append(&file, code, t, fault);
    if (e == VRS_OK)
        e = backup_dirs_of(&s->config, &dirs, fault);
    if (e == VRS_OK)
        backup_keep_tombstones(s, code);
    for (size_t i = 0; e == VRS_OK && i < dirs.count; i++)
        e = key_file_destroy_copies(dirs.dir[i], code, fault);
    if (e == VRS_OK)
        e = number_destroy(s->number[c->job.worker_index], code);
    if (e == VRS_OK)
        e = keyring_destroy_area(s->keys, code, KEY_RECORDS, fault);
    return e;
}

/* Alone in the partition, outside a transaction. */
enum vrs_err verb_destroy(struct control_call *c, struct partition *p) {
    struct tombstone t;
    struct buffer text;
    uint8_t signature[CRYPTO_SIGNATURE_BYTES];
    char base64[4 * ((CRYPTO_SIGNATURE_BYTES + 2) / 3) + 1] = "", key_id[9] = "", id[33];
    tombstone_init(&t);
    buffer_init(&text, TEXT_MAX_BYTES);
    enum vrs_err e = record_of(c, p, &t);
    if (e == VRS_OK)
        e = destroy_keys(c, &t);
    if (e == VRS_OK) {
        log_event(LOG_WARN, "partition.destroyed", LF_STR("municipality", c->job.municipality));
        e = erasure_certificate(c->server, c->job.municipality, &t, &text);
    }
    if (e == VRS_OK)
        e = signer_statement(c->server->signer[c->job.worker_index], "erasure", text.data, text.len,
                             key_id, signature);
    if (e == VRS_OK) {
        crypto_base64(signature, sizeof signature, base64);
        record_id_format(&t.id, id);
        e = control_answer(c, json_pack("{s:s,s:s,s:s,s:s,s:s}", "erasure_id", id, "kind",
                                        "erasure", "text", buffer_cstr(&text), "key_id", key_id,
                                        "signature", base64));
    }
    buffer_fini(&text);
    tombstone_fini(&t);
    return e;
}
