/* What the verbs of the control socket share; one verbs_*.c a subject.  A verb is one or several
 * steps, each a pool job in the registry or in the municipality of the request (control_verbs.c has
 * the table).  A step may run again when its commit had to be repeated: it answers with
 * control_answer, which forgets an earlier answer. */
#ifndef VRS_SERVER_OPERATION_VERBS_H
#define VRS_SERVER_OPERATION_VERBS_H

#include "vrs-server/operation/control_verbs.h"
#include "vrs-server/terminals/terminal.h"

struct verb;

struct control_call {
    struct pool_job job; /* first */
    struct server *server;
    json_t *request;
    json_t *reply;
    const struct verb *verb;
    size_t step;         /* of the verb's steps */
    enum vrs_err failed; /* told when its entry is committed */
    control_done_fn *done;
    void *arg;
    uint64_t replayed;
    struct terminal terminal; /* that the verb made or changed; serial "" none */
};

/* A value of the request, "" when it is absent.  Borrowed. */
const char *control_text(const struct control_call *c, const char *name);
#define CONTROL_SET(field, name) (void)snprintf(field, sizeof(field), "%s", control_text(c, name))
/* `reply` is stolen; NULL is ERR_MEMORY. */
enum vrs_err control_answer(struct control_call *c, json_t *reply);
/* The command's entry in the access log of `p` (C72). */
VRS_CHECK enum vrs_err control_log(struct control_call *c, struct partition *p, const char *detail);

VRS_CHECK enum vrs_err verb_user_apply(struct control_call *c, struct partition *p);
VRS_CHECK enum vrs_err verb_user_approve(struct control_call *c, struct partition *p);
VRS_CHECK enum vrs_err verb_user_disable(struct control_call *c, struct partition *p);
VRS_CHECK enum vrs_err verb_user_list(struct control_call *c, struct partition *p);
VRS_CHECK enum vrs_err verb_user_applications(struct control_call *c, struct partition *p);
VRS_CHECK enum vrs_err verb_terminal_add(struct control_call *c, struct partition *p);
VRS_CHECK enum vrs_err verb_terminal_enrol_code(struct control_call *c, struct partition *p);
VRS_CHECK enum vrs_err verb_allow_list_load(struct control_call *c, struct partition *p);
VRS_CHECK enum vrs_err verb_terminal_revoke(struct control_call *c, struct partition *p);
VRS_CHECK enum vrs_err verb_terminal_list(struct control_call *c, struct partition *p);
VRS_CHECK enum vrs_err verb_keys_status(struct control_call *c, struct partition *p);
VRS_CHECK enum vrs_err verb_keys_rotate(struct control_call *c, struct partition *p);
VRS_CHECK enum vrs_err verb_keys_note(struct control_call *c, struct partition *p);
VRS_CHECK enum vrs_err verb_verify_log(struct control_call *c, struct partition *p);
VRS_CHECK enum vrs_err verb_verify_log_note(struct control_call *c, struct partition *p);
VRS_CHECK enum vrs_err verb_selfcheck(struct control_call *c, struct partition *p);
VRS_CHECK enum vrs_err verb_backup_copy(struct control_call *c, struct partition *p);
VRS_CHECK enum vrs_err verb_note_municipality(struct control_call *c, struct partition *p);
VRS_CHECK enum vrs_err verb_destroy(struct control_call *c, struct partition *p);
VRS_CHECK enum vrs_err verb_restore_files(struct control_call *c, struct partition *p);
/* The same of a "name" that came from another system. */
VRS_CHECK enum vrs_err verb_restore_incoming(struct control_call *c);
VRS_CHECK enum vrs_err verb_migrate_key(struct control_call *c, struct partition *p);
VRS_CHECK enum vrs_err verb_migrate_export(struct control_call *c, struct partition *p);
VRS_CHECK enum vrs_err verb_migrate_import(struct control_call *c, struct partition *p);

#endif
