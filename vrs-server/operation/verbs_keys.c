#include "vrs-server/operation/rotation.h"
#include "vrs-server/operation/verbs.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"

enum { MAX_KEYS = 64 };

static bool is_all(const struct control_call *c) {
    return strcmp(control_text(c, "municipality_code"), "all") == 0;
}

static json_t *list_keys(struct keyring *ring, const char *code) {
    static const char *const areas[] = {"", "records", "log", "numbers"};
    static const char *const purposes[] = {"", "encrypt", "index"};
    static const char *const states[] = {"", "pre-active", "active", "decrypt-only", "destroyed"};
    struct key_info keys[MAX_KEYS];
    size_t n = keyring_has(ring, code) ? keyring_list(ring, code, keys, MAX_KEYS) : 0;
    json_t *list = json_array();
    for (size_t i = 0; i < n && i < MAX_KEYS; i++) {
        char made[25];
        clock_format_rfc3339(keys[i].made_ms, made);
        (void)json_array_append_new(
            list, json_pack("{s:s,s:s,s:I,s:s,s:s}", "area", areas[keys[i].area], "purpose",
                            purposes[keys[i].purpose], "key_id", (json_int_t)keys[i].key_id,
                            "state", states[keys[i].state], "made_at", made));
    }
    return list;
}

/* "under_way" is what vrsctl's exit status says. */
enum vrs_err verb_keys_status(struct control_call *c, struct partition *p) {
    bool under_way = false;
    json_t *reply = is_all(c) ? rotation_show_all(c->server, p, &under_way)
                              : rotation_show(c->server, c->job.worker_index, p, &under_way);
    if (reply != NULL && !is_all(c))
        (void)json_object_set_new(reply, "keys", list_keys(c->server->keys, partition_code(p)));
    if (reply != NULL)
        (void)json_object_set_new(reply, "under_way", json_boolean(under_way));
    return control_answer(c, reply);
}

enum vrs_err verb_keys_rotate(struct control_call *c, struct partition *p) {
    unsigned order = rotation_order(control_text(c, "what"), control_text(c, "area"));
    const char *by = control_text(c, "by")[0] != '\0' ? control_text(c, "by") : "operator";
    if (order == 0)
        return err_fail(&c->job.fault, ERR_BAD_FIELD, "what= or area= is unknown");
    return is_all(c) ? rotation_begin_all(p, order, by)
                     : rotation_begin(c->server, c->job.worker_index, p, order, by);
}

enum vrs_err verb_keys_note(struct control_call *c, struct partition *registry) {
    char detail[120];
    (void)snprintf(detail, sizeof detail, "%.6s %.10s %.10s", control_text(c, "municipality_code"),
                   control_text(c, "what"), control_text(c, "area"));
    return control_log(c, registry, detail);
}
