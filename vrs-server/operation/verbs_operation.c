#include "vrs-server/alerts/alert.h"
#include "vrs-server/operation/verbs.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/pki.h"
#include "lib/text.h"
#include "partitions/access_log.h"
#include "vrs-server/doses/line_out.h"
#include "vrs-server/operation/backup.h"

enum { DAY_MS = 86400000 };

/* known_size=, known_root= [known_epoch=]: a head that was kept outside. */
static enum vrs_err known_head(const struct control_call *c, struct log_head *out, bool *known) {
    const char *size = control_text(c, "known_size"), *root = control_text(c, "known_root");
    const char *epoch = control_text(c, "known_epoch");
    memset(out, 0, sizeof *out);
    *known = size[0] != '\0' || root[0] != '\0';
    (void)snprintf(out->epoch, sizeof out->epoch, "%s", epoch[0] != '\0' ? epoch : "1");
    bool good = !*known || (text_u64(&size, INT64_MAX, &out->size) && *size == '\0' &&
                            strlen(root) == 2 * sizeof out->root.bytes &&
                            crypto_unhex(root, out->root.bytes, sizeof out->root.bytes));
    return good ? VRS_OK : ERR_BAD_FIELD;
}

enum vrs_err verb_verify_log(struct control_call *c, struct partition *p) {
    struct log_head head, from;
    uint64_t bad = 0;
    bool known = false;
    char root[65], ja[200], en[200];
    enum vrs_err e = known_head(c, &from, &known);
    if (e == VRS_OK)
        e = access_log_verify(p, known ? &from : NULL, &head, &bad);
    if (e == ERR_TAMPERED || e == ERR_CORRUPT) {
        (void)snprintf(ja, sizeof ja, "異常があります。%llu 件目を確認してください。",
                       (unsigned long long)bad);
        (void)control_answer(c, json_pack("{s:I,s:s,s:s}", "bad_sequence", (json_int_t)bad,
                                          "detail", "the log does not verify", "result", ja));
        alert_note(c->server, "log_break", partition_code(p));
        return e;
    }
    if (e != VRS_OK)
        return e;
    crypto_hex(head.root.bytes, sizeof head.root.bytes, root);
    (void)snprintf(ja, sizeof ja, "%llu 件すべてを確認しました。異常はありません。%s",
                   (unsigned long long)head.size,
                   known ? "" : "（控えたヘッドがないため、末尾の切り捨ては検出できません）");
    (void)snprintf(en, sizeof en, "all %llu entries verify%s", (unsigned long long)head.size,
                   known ? ", and so does the head that was given"
                         : "; without a head kept outside a cut end would not be noticed");
    return control_answer(c,
                          json_pack("{s:I,s:s,s:s,s:s,s:s}", "entries", (json_int_t)head.size,
                                    "head", root, "epoch", head.epoch, "result", ja, "detail", en));
}
enum vrs_err verb_verify_log_note(struct control_call *c, struct partition *registry) {
    return control_log(c, registry, control_text(c, "municipality_code"));
}

/* What vrsctl looks at from outside: modes of key files, who is behind the sockets. */
static enum vrs_err add_surroundings(const struct server_config *s, json_t *reply) {
    const char *const keys[] = {s->key_file, s->line_key_file, s->inbox_key_file,
                                s->snapshot_key_file, s->alert_webhook_secret_file};
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (keys[i][0] != '\0')
            (void)json_array_append_new(list, json_string(keys[i]));
    }
    struct buffer weak; /* C130 */
    struct vrs_fault fault = {0};
    buffer_init(&weak, 4096);
    if (backup_check(s, &weak, &fault) != VRS_OK)
        (void)buffer_puts(&weak, fault.text);
    json_t *more =
        json_pack("{s:s,s:b,s:b,s:s,s:s,s:o}", "backup_weak", buffer_cstr(&weak), "development",
                  (int)s->development, "dumpable", prctl(PR_GET_DUMPABLE) != 0, "number_socket",
                  s->number_socket, "signer_socket", s->signer_socket, "key_files", list);
    buffer_fini(&weak);
    int failed = more != NULL ? json_object_update(reply, more) : -1;
    json_decref(more);
    return failed == 0 ? VRS_OK : ERR_MEMORY;
}

enum vrs_err verb_selfcheck(struct control_call *c, struct partition *p) {
    struct buffer facts;
    buffer_init(&facts, 1 << 16);
    enum vrs_err e = partition_engine(p)->describe(partition_store(p), &facts);
    struct buffer numbers;
    buffer_init(&numbers, 1 << 16);
    enum vrs_err away = number_status(c->server->number[c->job.worker_index], &numbers);
    struct rlimit files = {0}, core = {.rlim_cur = 1};
    char serial[48];
    int64_t not_after_ms = 0;
    struct vrs_fault fault = {0};
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || getrlimit(RLIMIT_CORE, &core) != 0)
        e = ERR_IO;
    if (e == VRS_OK)
        e = pki_cert_info(c->server->config.cert_file, serial, &not_after_ms, &fault);
    json_int_t days = not_after_ms - clock_now_ms();
    days /= DAY_MS;
    if (e == VRS_OK)
        e = control_answer(
            c, json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:b,s:I}", "store", buffer_cstr(&facts),
                         "number", away == VRS_OK ? buffer_cstr(&numbers) : "", "number_state",
                         err_name(away), "seconds_since_pull",
                         (json_int_t)line_out_seconds_since_pull(c->server->line), "open_files",
                         (json_int_t)files.rlim_cur, "open_files_needed",
                         2 * (json_int_t)c->server->config.max_open, "core_dumps",
                         (int)(core.rlim_cur > 0), "certificate_days", days));
    if (e == VRS_OK)
        e = add_surroundings(&c->server->config, c->reply);
    buffer_fini(&facts);
    buffer_fini(&numbers);
    return e == VRS_OK ? control_log(c, p, NULL) : e;
}
