#include "tests/load/login.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/json.h"
#include "tests/load/reply.h"

/* The account may be on its way to the server with the snapshot, so refusals are borne for a while;
 * the pause keeps below the throttle of log-ins. */
enum { PAUSE_MS = 250, REFUSED_PAUSE_MS = 2000, PATIENCE_MS = 20000 };

struct login {
    const struct load_options *options;
    const struct conn_target *target;
    struct conn *conn;
    struct event *timer;
    char password[256];
    char header[512];
    bool none; /* a system client, or a token that was given */
    bool ready;
    bool hopeless;
    int64_t since_ms; /* refused since, 0: not refused */
};

static void try_login(struct login *l) {
    struct buffer request;
    json_t *doc = json_pack("{s:s, s:s}", "user_id", l->options->user, "password", l->password);
    char *body = json_dumps(doc, JSON_COMPACT);
    buffer_init(&request, 4096);
    if (body != NULL)
        (void)buffer_printf(&request,
                            "POST /v1/sessions HTTP/1.1\r\nHost: %s\r\nContent-Type: "
                            "application/json\r\nContent-Length: %zu\r\n\r\n%s",
                            conn_target_authority(l->target), strlen(body), body);
    conn_send(l->conn, request.data, request.len, (int64_t)l->options->timeout_ms);
    buffer_fini(&request);
    free(body);
    json_decref(doc);
}

static void on_timer(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    try_login(arg);
}

static void answered(struct conn *c, const struct conn_reply *r, void *arg) {
    struct login *l = arg;
    char token[256];
    int64_t pause_ms = PAUSE_MS;
    (void)c;
    if (r->complete && r->status == 201 &&
        reply_member(r->body, r->len, "token", token, sizeof token)) {
        (void)snprintf(l->header, sizeof l->header, "Authorization: Bearer %s\r\n", token);
        l->ready = true;
        l->since_ms = 0;
        return;
    }
    if (r->complete && r->status >= 400 && r->status < 500) {
        int64_t now = clock_mono_ms();
        pause_ms = REFUSED_PAUSE_MS;
        if (l->since_ms == 0)
            l->since_ms = now;
        if (now - l->since_ms > PATIENCE_MS) {
            (void)fprintf(stderr, "vrs-load: log-in refused: %d %.200s\n", r->status, r->body);
            l->hopeless = true;
            return;
        }
    }
    const struct timeval in = {.tv_sec = pause_ms / 1000, .tv_usec = pause_ms % 1000 * 1000};
    (void)event_add(l->timer, &in);
}

static enum vrs_err read_password(const char *path, char *out, size_t cap,
                                  struct vrs_fault *fault) {
    FILE *f = fopen(path, "re");
    if (f == NULL || fgets(out, (int)cap, f) == NULL)
        out[0] = '\0';
    out[strcspn(out, "\r\n")] = '\0';
    if (f != NULL)
        (void)fclose(f);
    return out[0] != '\0' ? VRS_OK : err_fail(fault, ERR_CONFIG, "no password in %s", path);
}

enum vrs_err login_open(struct event_base *base, const struct conn_target *t,
                        const struct load_options *o, struct login **out, struct vrs_fault *fault) {
    struct login *l = calloc(1, sizeof *l);
    *out = l;
    if (l == NULL)
        return err_fail(fault, ERR_MEMORY, "log-in");
    l->options = o;
    l->target = t;
    l->none = o->user == NULL;
    l->ready = l->none;
    if (o->token != NULL)
        (void)snprintf(l->header, sizeof l->header, "Authorization: Bearer %s\r\n", o->token);
    if (l->none)
        return VRS_OK;
    enum vrs_err e = read_password(o->password_file, l->password, sizeof l->password, fault);
    l->conn = e == VRS_OK ? conn_new(base, t, answered, l) : NULL;
    l->timer = e == VRS_OK ? event_new(base, -1, 0, on_timer, l) : NULL;
    if (e == VRS_OK && (l->conn == NULL || l->timer == NULL))
        e = err_fail(fault, ERR_MEMORY, "log-in");
    if (e == VRS_OK)
        try_login(l);
    else
        login_close(out);
    return e;
}

void login_close(struct login **login) {
    struct login *l = *login;
    if (l == NULL)
        return;
    conn_free(l->conn);
    if (l->timer != NULL)
        event_free(l->timer);
    free(l);
    *login = NULL;
}

const char *login_header(struct login *l) {
    return l->ready ? l->header : NULL;
}

void login_lost(struct login *l, const char *header) {
    if (l->none) {
        l->hopeless = true;
        return;
    }
    if (!l->ready || strcmp(header, l->header) != 0)
        return; /* it is being opened, or has been meanwhile */
    l->ready = false;
    try_login(l);
}

bool login_hopeless(const struct login *l) {
    return l->hopeless;
}
