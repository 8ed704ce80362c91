#include "vrs-server/alert.h"
#include "vrs-server/verbs.h"

#include <sys/resource.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/pki.h"
#include "partitions/access_log.h"
#include "vrs-server/line_out.h"

enum { DAY_MS = 86400000 };

enum vrs_err verb_verify_log(struct control_call *c, struct partition *p) {
    struct log_head head;
    uint64_t bad = 0;
    char root[65];
    enum vrs_err e = access_log_verify(p, NULL, &head, &bad);
    if (e == ERR_TAMPERED || e == ERR_CORRUPT) {
        (void)control_answer(c, json_pack("{s:I,s:s}", "bad_sequence", (json_int_t)bad, "detail",
                                          "the log does not verify"));
        alert_note(c->server, "log_break", partition_code(p));
        return e;
    }
    crypto_hex(head.root.bytes, sizeof head.root.bytes, root);
    if (e == VRS_OK)
        e = control_answer(c, json_pack("{s:I,s:s,s:s}", "entries", (json_int_t)head.size, "head",
                                        root, "epoch", head.epoch));
    return e;
}

enum vrs_err verb_verify_log_note(struct control_call *c, struct partition *registry) {
    return control_log(c, registry, control_text(c, "municipality_code"));
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
    buffer_fini(&facts);
    buffer_fini(&numbers);
    return e == VRS_OK ? control_log(c, p, NULL) : e;
}
