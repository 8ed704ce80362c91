#include "vrs-server/operation/control.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/json.h"
#include "lib/log.h"
#include "vrs-server/operation/control_verbs.h"

enum { MAX_LINE_BYTES = 1 << 16, MAX_CONNECTIONS = 16 };

struct control {
    struct server *server;
    struct evconnlistener *listener;
    char path[108];
    size_t connections;
};

/* One connection, one command, one answer. */
struct connection {
    struct control *control;
    struct bufferevent *bev;
    struct control_call *call;
    bool gone; /* the peer left while its command ran */
};

static void connection_close(struct connection *c) {
    if (c->bev != NULL)
        bufferevent_free(c->bev);
    c->bev = NULL;
    c->gone = true;
    if (c->call == NULL) {
        c->control->connections--;
        free(c);
    }
}

static void written(struct bufferevent *bev, void *arg) {
    (void)bev;
    connection_close(arg);
}

static void answer(struct connection *c, json_t *reply) {
    struct buffer text;
    buffer_init(&text, 16 << 20);
    bool ok = json_write(&text, reply) && buffer_puts(&text, "\n");
    json_decref(reply);
    if (!c->gone && ok) {
        bufferevent_setcb(c->bev, NULL, written, NULL, c);
        (void)evbuffer_add(bufferevent_get_output(c->bev), text.data, text.len);
    }
    buffer_fini(&text);
    if (c->gone || !ok)
        connection_close(c);
}

static void call_done(struct control_call *call, enum vrs_err e, json_t *reply, void *arg) {
    struct connection *c = arg;
    (void)call;
    c->call = NULL;
    if (reply == NULL)
        reply = json_object();
    (void)json_object_set_new(reply, "ok", json_boolean(e == VRS_OK));
    if (e != VRS_OK) {
        (void)json_object_set_new(reply, "code", json_string(err_name(e)));
        if (json_object_get(reply, "detail") == NULL)
            (void)json_object_set_new(reply, "detail", json_string(err_title(e)));
    }
    answer(c, reply);
}

static void readable(struct bufferevent *bev, void *arg) {
    struct connection *c = arg;
    struct evbuffer *in = bufferevent_get_input(bev);
    size_t len = 0;
    char *line = evbuffer_readln(in, &len, EVBUFFER_EOL_LF);
    struct vrs_fault fault = {0};
    json_t *request = NULL;
    if (line == NULL) {
        if (evbuffer_get_length(in) > MAX_LINE_BYTES)
            connection_close(c);
        return;
    }
    bufferevent_disable(bev, EV_READ); /* one command a connection */
    enum vrs_err e = json_parse(line, len, &request, &fault);
    secret_wipe(line, len); /* may hold a password */
    free(line);
    if (e == VRS_OK)
        e = control_start(c->control->server, request, call_done, c, &c->call);
    if (e != VRS_OK)
        call_done(NULL, e, NULL, c);
}

static void ended(struct bufferevent *bev, short what, void *arg) {
    (void)bev, (void)what;
    connection_close(arg);
}

static bool peer_allowed(evutil_socket_t fd) {
    struct ucred peer;
    socklen_t len = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
           (peer.uid == 0 || peer.uid == geteuid());
}

static void accepted(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *from, int len,
                     void *arg) {
    (void)from, (void)len;
    struct control *control = arg;
    struct connection *c = NULL;
    const struct timeval deadline = {.tv_sec = 600};
    if (!peer_allowed(fd) || control->connections >= MAX_CONNECTIONS ||
        (c = calloc(1, sizeof *c)) == NULL) {
        log_plain(LOG_WARN, "control.refused");
        (void)close(fd);
        return;
    }
    c->control = control;
    c->bev = bufferevent_socket_new(evconnlistener_get_base(l), fd, BEV_OPT_CLOSE_ON_FREE);
    control->connections++;
    if (c->bev == NULL) {
        (void)close(fd);
        connection_close(c);
        return;
    }
    bufferevent_setcb(c->bev, readable, NULL, ended, c);
    bufferevent_set_timeouts(c->bev, &deadline, NULL);
    (void)bufferevent_enable(c->bev, EV_READ | EV_WRITE);
}

enum vrs_err control_open(struct server *s, struct control **out, struct vrs_fault *fault) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct control *c = calloc(1, sizeof *c);
    *out = c;
    if (c == NULL)
        return ERR_MEMORY;
    c->server = s;
    int len = snprintf(c->path, sizeof c->path, "%s/control.sock", s->config.state_dir);
    if (len < 0 || (size_t)len >= sizeof at.sun_path)
        return err_fail(fault, ERR_CONFIG, "state_dir is too long for a socket in it");
    memcpy(at.sun_path, c->path, sizeof at.sun_path);
    (void)unlink(c->path);
    mode_t before = umask(0177);
    c->listener =
        evconnlistener_new_bind(s->base, accepted, c, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC,
                                8, (const struct sockaddr *)&at, sizeof at);
    (void)umask(before);
    return c->listener != NULL ? VRS_OK : err_fail(fault, ERR_IO, "cannot listen on %s", c->path);
}

void control_close(struct control **c) {
    if (*c == NULL)
        return;
    if ((*c)->listener != NULL)
        evconnlistener_free((*c)->listener);
    (void)unlink((*c)->path);
    free(*c);
    *c = NULL;
}
