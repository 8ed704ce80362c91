#include "vrs-server/control_verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/log.h"
#include "lib/pki.h"
#include "partitions/access_log.h"
#include "vrs-server/account.h"
#include "vrs-server/line_out.h"
#include "vrs-server/session.h"

enum { PATH_BYTES = 512, MAX_KEYS = 64, COPY_BYTES = 1 << 16, DAY_MS = 86400000 };

struct control_call {
    struct pool_job job; /* first */
    struct server *server;
    json_t *request;
    json_t *reply;
    const struct verb *verb;
    size_t step; /* of the verb's steps */
    control_done_fn *done;
    void *arg;
    uint64_t replayed;
    char revoked[48]; /* serial to refuse from now on, "" none */
};

typedef enum vrs_err step_fn(struct control_call *c, struct partition *p);

enum step_where { AT_REGISTRY, AT_MUNICIPALITY, AT_MUNICIPALITY_IDLE, AT_MUNICIPALITY_CLOSED };

struct step {
    step_fn *run;
    enum step_where where;
};

struct verb {
    const char *name;
    struct step steps[4];
    bool snapshot; /* accounts or terminals change: a new snapshot afterwards */
    bool replay;   /* inbox entries are pulled again afterwards */
};

static const char *text(const struct control_call *c, const char *name) {
    const char *s = json_string_value(json_object_get(c->request, name));
    return s != NULL ? s : "";
}

static enum vrs_err answer(struct control_call *c, json_t *reply) {
    json_decref(c->reply); /* the job may run again */
    c->reply = reply;
    return reply != NULL ? VRS_OK : ERR_MEMORY;
}

static enum vrs_err log_command(struct control_call *c, struct partition *p, const char *detail) {
    const struct log_entry entry = {
        .actor = {.user = text(c, "by")[0] != '\0' ? text(c, "by") : "operator",
                  .section = "operation",
                  .terminal = "vrsctl",
                  .source = "control"},
        .act = c->verb->name,
        .purpose = "operation",
        .result = "ok",
        .detail = detail};
    return access_log_append(p, &entry, NULL);
}

#define SET(field, name) (void)snprintf(field, sizeof(field), "%s", text(c, name))

/* --- users --- */

static bool words_known(const char *roles, right_mask *rights) {
    char copy[128];
    *rights = 0;
    (void)snprintf(copy, sizeof copy, "%s", roles);
    for (char *save, *w = strtok_r(copy, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save)) {
        right_mask more;
        if (!role_rights(w, &more))
            return false;
        *rights |= more;
    }
    return rights_compatible(roles);
}

static void rights_text(right_mask rights, char *out, size_t cap) {
    out[0] = '\0';
    for (int r = 0; r < RIGHT_COUNT; r++) {
        size_t len = strlen(out);
        if ((rights >> r & 1) != 0)
            (void)snprintf(out + len, cap - len, "%s%s", len > 0 ? " " : "",
                           right_name((enum right)r));
    }
}

static enum vrs_err user_apply(struct control_call *c, struct partition *registry) {
    struct application a = {.state = APPLICATION_OPEN, .applied_ms = clock_now_ms()};
    struct civil_date until;
    right_mask rights, asked;
    char id[33];
    record_id_new(&a.id);
    SET(a.account.user, "user_id");
    SET(a.account.person_name, "person_name");
    SET(a.account.municipality, "municipality_code");
    SET(a.account.section, "section");
    SET(a.account.roles, "roles");
    SET(a.account.valid_until, "valid_until");
    SET(a.applicant, "by");
    if (a.account.user[0] == '\0' || a.account.person_name[0] == '\0' || a.applicant[0] == '\0' ||
        strlen(text(c, "password")) < 12)
        return ERR_MISSING_FIELD;
    if (clock_parse_date(a.account.valid_until, &until) != VRS_OK ||
        !words_known(a.account.roles, &rights))
        return ERR_BAD_FIELD;
    if (until.days - clock_today_jst().days > 366)
        return ERR_BAD_FIELD; /* C44 */
    if (municipality_find(c->server->municipalities, a.account.municipality) == NULL)
        return ERR_NO_SUCH_MUNICIPALITY;
    if (text(c, "rights")[0] != '\0') {
        if (!right_mask_parse(text(c, "rights"), &asked) || (asked & ~rights) != 0)
            return ERR_BAD_FIELD;
        rights = asked;
    }
    rights_text(rights, a.account.rights, sizeof a.account.rights);
    enum vrs_err e = crypto_password_hash(text(c, "password"), a.account.password_hash);
    if (e == VRS_OK)
        e = application_put(registry, &a);
    if (e == VRS_OK)
        e = log_command(c, registry, a.account.user);
    record_id_format(&a.id, id);
    secret_wipe(&a, sizeof a);
    return e == VRS_OK ? answer(c, json_pack("{s:s}", "application_id", id)) : e;
}

static enum vrs_err user_approve(struct control_call *c, struct partition *registry) {
    struct record_id id;
    struct application a;
    if (!record_id_parse(text(c, "application_id"), &id))
        return ERR_NOT_FOUND;
    enum vrs_err e = application_get(registry, &id, &a);
    if (e == VRS_OK)
        e = application_approve(registry, &a, text(c, "by"));
    if (e == VRS_OK)
        e = log_command(c, registry, a.account.user);
    secret_wipe(&a, sizeof a);
    return e;
}

static enum vrs_err user_disable(struct control_call *c, struct partition *registry) {
    struct account a;
    enum vrs_err e = account_get(registry, text(c, "user_id"), &a);
    a.state = ACCOUNT_DISABLED;
    if (e == VRS_OK)
        e = account_put(registry, &a);
    if (e == VRS_OK)
        e = log_command(c, registry, a.user);
    secret_wipe(&a, sizeof a);
    return e;
}

static enum vrs_err add_user(struct account *a, void *arg) {
    json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "user_id", a->user, "municipality_code",
                          a->municipality, "section", a->section, "roles", a->roles, "rights",
                          a->rights, "valid_until", a->valid_until, "state",
                          a->state == ACCOUNT_ACTIVE ? "active" : "disabled");
    return o != NULL && json_array_append_new(arg, o) == 0 ? VRS_OK : ERR_MEMORY;
}

static enum vrs_err user_list(struct control_call *c, struct partition *registry) {
    json_t *users = json_array();
    enum vrs_err e = account_walk(registry, add_user, users);
    if (e == VRS_OK)
        e = log_command(c, registry, NULL);
    if (e == VRS_OK)
        e = answer(c, json_pack("{s:O}", "users", users));
    json_decref(users);
    return e;
}

static enum vrs_err add_application(struct application *a, void *arg) {
    char id[33];
    record_id_format(&a->id, id);
    json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:s}", "application_id", id, "user_id", a->account.user,
                          "municipality_code", a->account.municipality, "roles", a->account.roles,
                          "by", a->applicant);
    return o != NULL && json_array_append_new(arg, o) == 0 ? VRS_OK : ERR_MEMORY;
}

static enum vrs_err user_applications(struct control_call *c, struct partition *registry) {
    json_t *list = json_array();
    enum vrs_err e = application_walk(registry, APPLICATION_OPEN, add_application, list);
    if (e == VRS_OK)
        e = log_command(c, registry, NULL);
    if (e == VRS_OK)
        e = answer(c, json_pack("{s:O}", "applications", list));
    json_decref(list);
    return e;
}

/* --- terminals --- */

static enum vrs_err terminal_add(struct control_call *c, struct partition *registry) {
    struct terminal t = {.state = TERMINAL_ACTIVE};
    record_id_new(&t.id);
    SET(t.name, "name");
    SET(t.kind, "kind");
    SET(t.municipality, "municipality_code");
    SET(t.serial, "serial");
    SET(t.fingerprint, "fingerprint");
    SET(t.rights, "rights");
    SET(t.valid_until, "valid_until");
    if (t.name[0] == '\0' || t.serial[0] == '\0')
        return ERR_MISSING_FIELD;
    /* Only a system client may stand for no municipality. */
    if ((t.municipality[0] != '\0' || strcmp(t.kind, "system") != 0) &&
        municipality_find(c->server->municipalities, t.municipality) == NULL)
        return ERR_NO_SUCH_MUNICIPALITY;
    enum vrs_err e = terminal_put(registry, &t);
    return e == VRS_OK ? log_command(c, registry, t.name) : e;
}

static enum vrs_err terminal_revoke(struct control_call *c, struct partition *registry) {
    struct terminal t;
    enum vrs_err e = terminal_by_name(registry, text(c, "name"), &t);
    if (e != VRS_OK)
        return e;
    t.state = TERMINAL_REVOKED;
    (void)snprintf(c->revoked, sizeof c->revoked, "%s", t.serial);
    e = terminal_put(registry, &t);
    return e == VRS_OK ? log_command(c, registry, t.name) : e;
}

static enum vrs_err add_terminal(struct terminal *t, void *arg) {
    json_t *o =
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "name", t->name, "kind", t->kind,
                  "municipality_code", t->municipality, "serial", t->serial, "valid_until",
                  t->valid_until, "state", t->state == TERMINAL_ACTIVE ? "active" : "revoked");
    return o != NULL && json_array_append_new(arg, o) == 0 ? VRS_OK : ERR_MEMORY;
}

static enum vrs_err terminal_list(struct control_call *c, struct partition *registry) {
    json_t *list = json_array();
    enum vrs_err e = terminal_walk(registry, add_terminal, list);
    if (e == VRS_OK)
        e = log_command(c, registry, NULL);
    if (e == VRS_OK)
        e = answer(c, json_pack("{s:O}", "terminals", list));
    json_decref(list);
    return e;
}

/* --- keys, log, selfcheck --- */

static enum vrs_err keys_status(struct control_call *c, struct partition *registry) {
    static const char *const areas[] = {"", "records", "log", "numbers"};
    static const char *const purposes[] = {"", "encrypt", "index"};
    static const char *const states[] = {"", "pre-active", "active", "decrypt-only", "destroyed"};
    struct key_info keys[MAX_KEYS];
    const char *code = text(c, "municipality_code");
    size_t n = keyring_has(c->server->keys, code)
                   ? keyring_list(c->server->keys, code, keys, MAX_KEYS)
                   : 0;
    json_t *list = json_array();
    for (size_t i = 0; i < n && i < MAX_KEYS; i++) {
        char made[25];
        clock_format_rfc3339(keys[i].made_ms, made);
        (void)json_array_append_new(
            list, json_pack("{s:s,s:s,s:I,s:s,s:s}", "area", areas[keys[i].area], "purpose",
                            purposes[keys[i].purpose], "key_id", (json_int_t)keys[i].key_id,
                            "state", states[keys[i].state], "made_at", made));
    }
    enum vrs_err e = log_command(c, registry, code);
    if (e == VRS_OK)
        e = answer(c, json_pack("{s:O}", "keys", list));
    json_decref(list);
    return e;
}

static enum vrs_err verify_log(struct control_call *c, struct partition *p) {
    struct log_head head;
    uint64_t bad = 0;
    char chain[65];
    enum vrs_err e = access_log_verify(p, NULL, &head, &bad);
    if (e == ERR_TAMPERED || e == ERR_CORRUPT) {
        (void)answer(c, json_pack("{s:I,s:s}", "bad_sequence", (json_int_t)bad, "detail",
                                  "the log does not verify"));
        return e;
    }
    crypto_hex(head.chain, sizeof head.chain, chain);
    if (e == VRS_OK)
        e = answer(c, json_pack("{s:I,s:s,s:s}", "entries", (json_int_t)head.size, "head", chain,
                                "epoch", head.epoch));
    return e;
}

static enum vrs_err verify_log_note(struct control_call *c, struct partition *registry) {
    return log_command(c, registry, text(c, "municipality_code"));
}

static enum vrs_err selfcheck(struct control_call *c, struct partition *p) {
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
        e = answer(c, json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:b,s:I}", "store", buffer_cstr(&facts),
                                "number", away == VRS_OK ? buffer_cstr(&numbers) : "",
                                "number_state", err_name(away), "seconds_since_pull",
                                (json_int_t)line_out_seconds_since_pull(c->server->line),
                                "open_files", (json_int_t)files.rlim_cur, "open_files_needed",
                                2 * (json_int_t)c->server->config.max_open, "core_dumps",
                                (int)(core.rlim_cur > 0), "certificate_days", days));
    buffer_fini(&facts);
    buffer_fini(&numbers);
    return e == VRS_OK ? log_command(c, p, NULL) : e;
}

/* --- backup and restore of one municipality --- */

static bool plain_name(const char *s) {
    size_t n = strlen(s);
    return n > 0 && n <= 64 && s[0] != '.' &&
           strspn(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.") == n;
}

static void backup_path(const struct control_call *c, const char *suffix, char out[PATH_BYTES]) {
    (void)snprintf(out, PATH_BYTES, "%s/backup/%s-%s%s", c->server->config.state_dir,
                   c->job.municipality, text(c, "name"), suffix);
}

static bool copy_all(int from, int to) {
    char bytes[COPY_BYTES];
    ssize_t n;
    while ((n = read(from, bytes, sizeof bytes)) > 0) {
        for (ssize_t done = 0; done < n;) {
            ssize_t w = write(to, bytes + done, (size_t)(n - done));
            if (w <= 0)
                return false;
            done += w;
        }
    }
    return n == 0 && fsync(to) == 0;
}

static void sync_parent(const char *path) {
    char dir[PATH_BYTES];
    (void)snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash == NULL)
        return;
    *slash = '\0';
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
}

/* Copies beside `to` and renames: there is the old file or the new one, never half of one. */
static enum vrs_err copy_file(struct control_call *c, const char *from, const char *to) {
    char part[PATH_BYTES];
    (void)snprintf(part, sizeof part, "%s.part", to);
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = in >= 0 ? open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    bool ok = out >= 0 && copy_all(in, out);
    if (in >= 0)
        (void)close(in);
    if (out >= 0)
        ok = close(out) == 0 && ok;
    if (ok)
        ok = rename(part, to) == 0;
    if (!ok)
        return err_fail(&c->job.fault, ERR_IO, "cannot copy to %s", to);
    sync_parent(to);
    return VRS_OK;
}

static enum vrs_err backup_copy(struct control_call *c, struct partition *p) {
    char records[PATH_BYTES], keys[PATH_BYTES], from[PATH_BYTES];
    if (!plain_name(text(c, "name")))
        return ERR_BAD_FIELD;
    backup_path(c, ".db", records);
    backup_path(c, ".keys", keys);
    keyring_path(c->server->keys, c->job.municipality, from, sizeof from);
    enum vrs_err e = partition_engine(p)->backup(partition_store(p), records, &c->job.fault);
    if (e == VRS_OK)
        e = copy_file(c, from, keys);
    if (e == VRS_OK)
        e = number_backup(c->server->number[c->job.worker_index], c->job.municipality,
                          text(c, "name"));
    return e == ERR_NOT_FOUND ? VRS_OK : e; /* a municipality without a number yet */
}

static enum vrs_err note_municipality(struct control_call *c, struct partition *registry) {
    return log_command(c, registry, text(c, "municipality_code"));
}

/* With the partition closed: its files are replaced. */
static enum vrs_err restore_files(struct control_call *c, struct partition *p) {
    char records[PATH_BYTES], keys[PATH_BYTES], live[PATH_BYTES], live_keys[PATH_BYTES];
    char journal[PATH_BYTES];
    (void)p;
    if (!plain_name(text(c, "name")))
        return ERR_BAD_FIELD;
    backup_path(c, ".db", records);
    backup_path(c, ".keys", keys);
    keyring_path(c->server->keys, c->job.municipality, live_keys, sizeof live_keys);
    (void)snprintf(live, sizeof live, "%.400s/partitions/%s.db", c->server->config.state_dir,
                   c->job.municipality);
    if (access(records, R_OK) != 0 || access(keys, R_OK) != 0)
        return ERR_NOT_FOUND;
    enum vrs_err e = copy_file(c, keys, live_keys);
    (void)snprintf(journal, sizeof journal, "%.500s-wal", live);
    if (e == VRS_OK && unlink(journal) != 0 && errno != ENOENT)
        e = ERR_IO;
    if (e == VRS_OK)
        e = copy_file(c, records, live);
    keyring_forget(c->server->keys, c->job.municipality);
    if (e == VRS_OK)
        e = number_restore(c->server->number[c->job.worker_index], c->job.municipality,
                           text(c, "name"));
    return e == ERR_NOT_FOUND ? VRS_OK : e;
}

static enum vrs_err restore_epoch(struct control_call *c, struct partition *p) {
    const struct log_actor who = {.user = text(c, "by")[0] != '\0' ? text(c, "by") : "operator",
                                  .section = "operation",
                                  .terminal = "vrsctl",
                                  .source = "control"};
    return access_log_open_epoch(p, &who, text(c, "name"));
}

static const struct verb verbs[] = {
    {.name = "user.apply", .steps = {{user_apply, AT_REGISTRY}}},
    {.name = "user.approve", .steps = {{user_approve, AT_REGISTRY}}, .snapshot = true},
    {.name = "user.disable", .steps = {{user_disable, AT_REGISTRY}}, .snapshot = true},
    {.name = "user.list", .steps = {{user_list, AT_REGISTRY}}},
    {.name = "user.applications", .steps = {{user_applications, AT_REGISTRY}}},
    {.name = "terminal.add", .steps = {{terminal_add, AT_REGISTRY}}, .snapshot = true},
    {.name = "terminal.revoke", .steps = {{terminal_revoke, AT_REGISTRY}}, .snapshot = true},
    {.name = "terminal.list", .steps = {{terminal_list, AT_REGISTRY}}},
    {.name = "keys.status", .steps = {{keys_status, AT_REGISTRY}}},
    {.name = "selfcheck", .steps = {{selfcheck, AT_REGISTRY}}},
    {.name = "log.verify",
     .steps = {{verify_log, AT_MUNICIPALITY}, {verify_log_note, AT_REGISTRY}}},
    {.name = "backup",
     .steps = {{backup_copy, AT_MUNICIPALITY_IDLE}, {note_municipality, AT_REGISTRY}}},
    {.name = "restore",
     .steps = {{note_municipality, AT_REGISTRY},
               {restore_files, AT_MUNICIPALITY_CLOSED},
               {restore_epoch, AT_MUNICIPALITY}},
     .replay = true},
};

/* --- running a verb step by step --- */

static void finish(struct control_call *c, enum vrs_err e) {
    if (e != VRS_OK)
        log_fault(LOG_WARN, "control.failed", &c->job.fault);
    if (e == VRS_OK && c->revoked[0] != '\0') /* before vrsctl hears that it is done (C31) */
        e = sessions_add_revoked(c->server->sessions, c->revoked);
    if (e == VRS_OK && c->verb->snapshot) {
        line_out_snapshot_changed(c->server->line);
        if (text(c, "user_id")[0] != '\0')
            sessions_end_user(c->server->sessions, text(c, "user_id"));
    }
    if (e == VRS_OK && c->verb->replay) {
        json_decref(c->reply);
        c->reply = json_pack("{s:I}", "replayed", (json_int_t)c->replayed);
    }
    c->done(c, e, c->reply, c->arg);
    json_decref(c->request);
    free(c);
}

static void next_step(struct control_call *c);

static void replay_done(enum vrs_err e, uint64_t replayed, void *arg) {
    struct control_call *c = arg;
    c->replayed = replayed;
    finish(c, e);
}

static void step_done(struct pool_job *job) {
    struct control_call *c = (struct control_call *)job;
    if (job->err != VRS_OK) {
        finish(c, job->err);
        return;
    }
    c->step++;
    next_step(c);
}

static enum vrs_err step_run(struct pool_job *job, struct partition *p) {
    struct control_call *c = (struct control_call *)job;
    return c->verb->steps[c->step].run(c, p);
}

static void next_step(struct control_call *c) {
    const struct step *s = &c->verb->steps[c->step];
    if (c->step >= sizeof c->verb->steps / sizeof *c->verb->steps || s->run == NULL) {
        if (c->verb->replay)
            line_out_replay(c->server->line, text(c, "municipality_code"), replay_done, c);
        else
            finish(c, VRS_OK);
        return;
    }
    const char *code = s->where == AT_REGISTRY ? REGISTRY : text(c, "municipality_code");
    if (strlen(code) != sizeof c->job.municipality - 1) {
        finish(c, ERR_NO_SUCH_MUNICIPALITY);
        return;
    }
    memcpy(c->job.municipality, code, sizeof c->job.municipality);
    c->job.flags = s->where == AT_REGISTRY ? POOL_CREATE : 0;
    c->job.run = step_run;
    c->job.done = step_done;
    c->job.err = VRS_OK;
    enum vrs_err e =
        s->where == AT_MUNICIPALITY_IDLE || s->where == AT_MUNICIPALITY_CLOSED
            ? pool_submit_exclusive(c->server->pool, &c->job, s->where == AT_MUNICIPALITY_CLOSED)
            : pool_submit(c->server->pool, &c->job);
    if (e != VRS_OK)
        finish(c, e);
}

enum vrs_err control_start(struct server *s, json_t *request, control_done_fn *done, void *arg,
                           struct control_call **out) {
    const char *name = json_string_value(json_object_get(request, "verb"));
    struct control_call *c = NULL;
    const struct verb *verb = NULL;
    for (size_t i = 0; name != NULL && i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(verbs[i].name, name) == 0)
            verb = &verbs[i];
    }
    if (verb != NULL)
        c = calloc(1, sizeof *c);
    if (c == NULL) {
        json_decref(request);
        return verb == NULL ? ERR_NOT_FOUND : ERR_MEMORY;
    }
    c->server = s;
    c->request = request;
    c->verb = verb;
    c->done = done;
    c->arg = arg;
    *out = c;
    next_step(c);
    return VRS_OK;
}
