#include "vrs-server/operation/verbs.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/text.h"
#include "vrs-server/inquiries/allow_list.h"
#include "vrs-server/terminals/enrolment.h"
#include "vrs-server/terminals/terminal_list.h"

static bool known_kind(const char *kind) {
    static const char *const kinds[] = {TERMINAL_TABLET, TERMINAL_READER, TERMINAL_SYSTEM,
                                        TERMINAL_LGWAN, TERMINAL_LGWAN_SYSTEM};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kind, kinds[i]) == 0)
            return true;
    }
    return false;
}

static bool known_binding(const char *binding) {
    return binding[0] == '\0' || strcmp(binding, "site") == 0 || strcmp(binding, "none") == 0;
}

enum vrs_err verb_terminal_add(struct control_call *c, struct partition *registry) {
    struct terminal t = {.state = TERMINAL_ACTIVE, .made_ms = clock_now_ms()};
    record_id_new(&t.id);
    CONTROL_SET(t.name, "name");
    CONTROL_SET(t.kind, "kind");
    CONTROL_SET(t.municipality, "municipality_code");
    CONTROL_SET(t.serial, "serial");
    CONTROL_SET(t.fingerprint, "fingerprint");
    CONTROL_SET(t.rights, "rights");
    CONTROL_SET(t.valid_until, "valid_until");
    CONTROL_SET(t.site, "site");
    CONTROL_SET(t.binding, "binding");
    CONTROL_SET(t.key_hash, "key_hash");
    CONTROL_SET(t.made_by, "by");
    if (t.made_by[0] == '\0')
        (void)snprintf(t.made_by, sizeof t.made_by, "operator");
    if (t.name[0] == '\0' || t.serial[0] == '\0')
        return ERR_MISSING_FIELD;
    if (!known_kind(t.kind) || !known_binding(t.binding))
        return ERR_BAD_FIELD;
    /* A system client, and the LG-WAN terminals of prefectures, the nation and auditors, may stand
     * for no municipality. */
    if ((t.municipality[0] != '\0' ||
         (strcmp(t.kind, TERMINAL_SYSTEM) != 0 && strcmp(t.kind, TERMINAL_LGWAN) != 0)) &&
        municipality_find(c->server->municipalities, t.municipality) == NULL)
        return ERR_NO_SUCH_MUNICIPALITY;
    enum vrs_err e = terminal_put(registry, &t);
    c->terminal = t;
    return e == VRS_OK ? control_log(c, registry, t.name) : e;
}

enum vrs_err verb_terminal_revoke(struct control_call *c, struct partition *registry) {
    struct terminal t;
    bool one = control_text(c, "serial")[0] != '\0'; /* certificate; by name: the device */
    enum vrs_err e = one ? terminal_by_serial(registry, control_text(c, "serial"), &t)
                         : terminal_by_name(registry, control_text(c, "name"), &t);
    if (e != VRS_OK)
        return e;
    t.state = TERMINAL_REVOKED;
    t.revoked_ms = clock_now_ms();
    CONTROL_SET(t.revoked_by, "by");
    CONTROL_SET(t.revoke_reason, "reason");
    e = one ? terminal_put(registry, &t) : terminal_revoke(registry, &t);
    c->terminal = t;
    return e == VRS_OK ? control_log(c, registry, t.name) : e;
}

static enum vrs_err add_terminal(struct terminal *t, void *arg) {
    char id[33];
    record_id_format(&t->id, id);
    json_t *o =
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "terminal_id", id, "name", t->name,
                  "kind", t->kind, "municipality_code", t->municipality, "site", t->site, "rights",
                  t->rights, "serial", t->serial, "valid_until", t->valid_until, "state",
                  t->state == TERMINAL_ACTIVE ? "active" : "revoked");
    return o != NULL && json_array_append_new(arg, o) == 0 ? VRS_OK : ERR_MEMORY;
}

enum vrs_err verb_terminal_list(struct control_call *c, struct partition *registry) {
    json_t *list = json_array();
    enum vrs_err e = terminal_walk(registry, add_terminal, list);
    if (e == VRS_OK)
        e = control_log(c, registry, NULL);
    if (e == VRS_OK)
        e = control_answer(c, json_pack("{s:O}", "terminals", list));
    json_decref(list);
    return e;
}

enum vrs_err verb_terminal_enrol_code(struct control_call *c, struct partition *registry) {
    struct enrolment e = {0};
    char code[ENROLMENT_CODE_SIZE];
    const char *minutes = control_text(c, "valid_minutes");
    uint64_t valid = 60;
    CONTROL_SET(e.kind, "kind");
    CONTROL_SET(e.name, "name");
    CONTROL_SET(e.site, "site");
    CONTROL_SET(e.municipality, "municipality_code");
    CONTROL_SET(e.rights, "rights");
    CONTROL_SET(e.binding, "binding");
    CONTROL_SET(e.made_by, "by");
    if (minutes[0] != '\0' && !text_u64(&minutes, ENROLMENT_MAX_MINUTES, &valid))
        return ERR_BAD_FIELD;
    if (!known_binding(e.binding))
        return ERR_BAD_FIELD;
    if (municipality_find(c->server->municipalities, e.municipality) == NULL)
        return ERR_NO_SUCH_MUNICIPALITY;
    enum vrs_err err = enrolment_make(registry, &e, (int64_t)valid, code);
    if (err == VRS_OK)
        err = control_log(c, registry, e.name);
    if (err == VRS_OK)
        err = control_answer(c, json_pack("{s:s}", "code", code));
    secret_wipe(code, sizeof code);
    return err;
}

enum vrs_err verb_allow_list_load(struct control_call *c, struct partition *registry) {
    uint64_t version = 0;
    char detail[40];
    enum vrs_err e = allow_guard_load(c->server->allow, registry, &version, &c->job.fault);
    (void)snprintf(detail, sizeof detail, "version=%llu", (unsigned long long)version);
    if (e == VRS_OK)
        e = control_log(c, registry, detail);
    return e == VRS_OK ? control_answer(c, json_pack("{s:I}", "version", (json_int_t)version)) : e;
}
