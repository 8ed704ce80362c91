#include "lib/local.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/daemon.h"
#include "lib/log.h"
#include "lib/sandbox.h"
#include "lib/secret.h"

enum {
    BACKLOG = 128,
    IN_MAX = 1 << 18,       /* unread requests of a connection */
    IN_STEP = 1 << 14,      /* one read */
    OUT_MAX = 1 << 20,      /* unsent answers of a connection: no more requests are run above */
    STACK_WIPED = 64 * 1024 /* deeper than any call below local_serve that sees a secret */
};

struct connection {
    int fd;
    struct buffer in;
    struct buffer out;
    size_t sent;     /* of out */
    size_t reserved; /* for answers of this round */
    bool ended; /* the peer closed, or broke the protocol: flush what is answered, then close */
};

struct serve {
    const struct local_options *o;
    const struct local_service *service;
    int listener;
    int idle_ms;                    /* what the service asked for; -1 nothing */
    struct connection *connections; /* max_connections, the first `n` in use */
    size_t n;
    struct pollfd *polled;     /* [0] the listener, [1 + i] connection i */
    uint8_t *requests;         /* LOCAL_ROUND_MAX of the service's size */
    struct connection **asked; /* by request */
    size_t request_count;
    struct local_counts counts;
};

static volatile sig_atomic_t stopping;
static sigset_t unblocked; /* what ppoll waits with: the signals get in only there */

static void on_stop(int number) {
    (void)number;
    stopping = 1;
}

enum vrs_err local_signals(struct vrs_fault *fault) {
    struct sigaction stop = {.sa_handler = on_stop};
    sigset_t blocked;
    stopping = 0;
    (void)sigemptyset(&blocked);
    (void)sigaddset(&blocked, SIGTERM);
    (void)sigaddset(&blocked, SIGINT);
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || sigaction(SIGTERM, &stop, NULL) != 0 ||
        sigaction(SIGINT, &stop, NULL) != 0 || sigprocmask(SIG_BLOCK, &blocked, &unblocked) != 0)
        return err_fail(fault, ERR_INTERNAL, "signals");
    (void)sigdelset(&unblocked, SIGTERM);
    (void)sigdelset(&unblocked, SIGINT);
    return VRS_OK;
}

enum vrs_err local_listen(const char *path, uid_t uid, gid_t gid, int *fd,
                          struct vrs_fault *fault) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct stat st;
    *fd = -1;
    if (path[0] == '\0' || strlen(path) >= sizeof at.sun_path)
        return err_fail(fault, ERR_CONFIG, "socket: the path is empty or too long");
    memcpy(at.sun_path, path, strlen(path) + 1);
    if (lstat(path, &st) == 0) {
        if (!S_ISSOCK(st.st_mode))
            return err_fail(fault, ERR_CONFIG, "%s is there and no socket", path);
        if (unlink(path) != 0)
            return err_fail(fault, ERR_IO, "remove the old %s", path);
    }
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0)
        return err_fail(fault, ERR_IO, "make a socket");
    /* Made closed, opened for the group only when it has its owner. */
    mode_t mask = umask(0177);
    int bound = bind(s, (const struct sockaddr *)&at, sizeof at);
    (void)umask(mask);
    if (bound != 0 || ((uid != (uid_t)-1 || gid != (gid_t)-1) && lchown(path, uid, gid) != 0) ||
        chmod(path, 0660) != 0 || listen(s, BACKLOG) != 0) {
        enum vrs_err e = err_fail(fault, ERR_IO, "listen on %s", path);
        (void)close(s);
        return e;
    }
    *fd = s;
    return VRS_OK;
}

/* ---- messages */

enum vrs_err local_message_length(const uint8_t *p, size_t n, size_t max, size_t *len) {
    *len = 0;
    if (n < LOCAL_HEAD_BYTES)
        return VRS_OK;
    size_t said = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
    if (said == 0 || said > max)
        return ERR_PROTOCOL;
    if (n - LOCAL_HEAD_BYTES >= said)
        *len = said;
    return VRS_OK;
}

size_t local_begin(struct buffer *b) {
    size_t mark = b->len;
    (void)buffer_grow(b, LOCAL_HEAD_BYTES);
    return mark;
}

void local_end(struct buffer *b, size_t mark) {
    if (b->failed)
        return;
    size_t n = b->len - mark - LOCAL_HEAD_BYTES;
    uint8_t *p = b->data + mark;
    p[0] = (uint8_t)(n >> 24);
    p[1] = (uint8_t)(n >> 16);
    p[2] = (uint8_t)(n >> 8);
    p[3] = (uint8_t)n;
}

/* ---- connections */

/* The one way in which a connection ends. */
static void drop(struct serve *s, size_t i) {
    struct connection *c = &s->connections[i];
    (void)close(c->fd);
    buffer_fini(&c->in);
    buffer_fini(&c->out);
    *c = s->connections[--s->n];
    memset(&s->connections[s->n], 0, sizeof *c);
}

static void accept_one(struct serve *s, int fd) {
    struct ucred peer;
    socklen_t len = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0 || peer.uid != s->o->peer_uid) {
        s->counts.refused_peers++;
        log_event(LOG_WARN, s->service->peer_refused, LF_INT("uid", peer.uid));
        (void)close(fd);
        return;
    }
    struct connection *c = &s->connections[s->n++];
    *c = (struct connection){.fd = fd};
    buffer_init(&c->in, IN_MAX + IN_STEP);
    buffer_init(&c->out, OUT_MAX + s->service->max_message + LOCAL_HEAD_BYTES);
    s->counts.accepted++;
}

static void accept_all(struct serve *s) {
    while (s->n < s->o->max_connections) {
        int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return; /* none waits, or it went away; without descriptors the next round tries again
                     */
        accept_one(s, fd);
    }
}

static void receive(struct connection *c) {
    while (!c->ended && c->in.len < IN_MAX) {
        uint8_t *p = buffer_grow(&c->in, IN_STEP);
        ssize_t n = p == NULL ? 0 : recv(c->fd, p, IN_STEP, 0);
        if (p != NULL)
            c->in.len -= IN_STEP - (n > 0 ? (size_t)n : 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0)
            c->ended = true;
        else if (n < IN_STEP)
            return;
    }
}

static void transmit(struct connection *c) {
    while (c->sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN && errno != EINTR) {
                c->ended = true;
                c->sent = c->out.len;
            }
            break;
        }
        c->sent += (size_t)n;
    }
    if (c->sent == c->out.len) {
        if (c->out.len > 0)
            buffer_clear(&c->out);
        c->sent = 0;
    }
}

/* ---- one round */

static bool has_room(const struct connection *c) {
    return c->out.len + c->reserved < OUT_MAX;
}

static void *request_at(const struct serve *s, size_t i) {
    return s->requests + i * s->service->request_bytes;
}

/* Moves whole messages of a connection into the round. */
static void take_requests(struct serve *s, struct connection *c) {
    const struct local_service *service = s->service;
    size_t at = 0;
    if (c->in.len == 0)
        return;
    while (s->request_count < LOCAL_ROUND_MAX && has_room(c)) {
        size_t len;
        enum vrs_err e =
            local_message_length(c->in.data + at, c->in.len - at, service->max_message, &len);
        if (e == VRS_OK && len == 0)
            break;
        void *request = request_at(s, s->request_count);
        if (e == VRS_OK) {
            e = service->read(request, c->in.data + at + LOCAL_HEAD_BYTES, len);
            if (e != VRS_OK)
                service->fini(request);
        }
        if (e != VRS_OK) {
            s->counts.bad_messages++;
            log_plain(LOG_ERROR, service->bad_message);
            c->ended = true;
            at = c->in.len;
            break;
        }
        s->asked[s->request_count++] = c;
        c->reserved += service->longest_answer(request);
        at += LOCAL_HEAD_BYTES + len;
    }
    buffer_drop_front(&c->in, at);
}

/* True when a request could be run without hearing anything new. */
static bool waits_to_run(const struct serve *s, const struct connection *c) {
    size_t len;
    return has_room(c) &&
           (local_message_length(c->in.data, c->in.len, s->service->max_message, &len) != VRS_OK ||
            len > 0);
}

static void run_round(struct serve *s) {
    const struct local_service *service = s->service;
    s->counts.connections = s->n;
    s->counts.rounds++;
    service->run(s->requests, s->request_count, &s->counts, service->arg);
    for (size_t i = 0; i < s->request_count; i++) {
        service->write(request_at(s, i), &s->asked[i]->out);
        service->fini(request_at(s, i));
    }
    s->counts.requests += s->request_count;
    s->request_count = 0;
}

/* Hash functions and copies leave pieces of secrets below us on the stack. */
static __attribute__((noinline)) void wipe_stack(void) {
    uint8_t below[STACK_WIPED];
    secret_wipe(below, sizeof below);
}

static enum vrs_err wait(struct serve *s, struct vrs_fault *fault) {
    struct timespec until = {.tv_sec = s->idle_ms / 1000, .tv_nsec = s->idle_ms % 1000 * 1000000L};
    bool timed = s->idle_ms >= 0;
    s->polled[0] = (struct pollfd){
        .fd = s->n < s->o->max_connections ? s->listener : -1,
        .events = POLLIN,
    };
    for (size_t i = 0; i < s->n; i++) {
        const struct connection *c = &s->connections[i];
        bool hear = !c->ended && c->in.len < IN_MAX && has_room(c);
        bool tell = c->sent < c->out.len;
        if (waits_to_run(s, c)) {
            until = (struct timespec){0};
            timed = true;
        }
        s->polled[1 + i] = (struct pollfd){
            .fd = hear || tell ? c->fd : -1,
            .events = (short)((hear ? POLLIN : 0) | (tell ? POLLOUT : 0)),
        };
    }
    int n = ppoll(s->polled, 1 + s->n, timed ? &until : NULL, &unblocked);
    if (n < 0 && errno != EINTR)
        return err_fail(fault, ERR_IO, "poll");
    if (n < 0)
        for (size_t i = 0; i <= s->n; i++)
            s->polled[i].revents = 0;
    return VRS_OK;
}

static void round_once(struct serve *s) {
    size_t heard = s->n; /* what accept adds has no pollfd yet */
    for (size_t i = 0; i < heard; i++) {
        struct connection *c = &s->connections[i];
        c->reserved = 0;
        if ((s->polled[1 + i].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
            receive(c);
        take_requests(s, c);
    }
    if (s->request_count > 0) {
        run_round(s);
        wipe_stack();
    }
    for (size_t i = 0; i < heard; i++) {
        s->connections[i].reserved = 0;
        transmit(&s->connections[i]);
    }
    for (size_t i = heard; i-- > 0;) {
        const struct connection *c = &s->connections[i];
        if (c->out.failed || (c->ended && !waits_to_run(s, c) && c->sent == c->out.len))
            drop(s, i);
    }
    if ((s->polled[0].revents & POLLIN) != 0)
        accept_all(s);
}

enum vrs_err local_serve(int listener, const struct local_options *o,
                         const struct local_service *service, struct vrs_fault *fault) {
    struct serve s = {.o = o, .service = service, .listener = listener, .idle_ms = -1};
    s.connections = calloc(o->max_connections, sizeof *s.connections);
    s.polled = calloc(1 + o->max_connections, sizeof *s.polled);
    s.requests = calloc(LOCAL_ROUND_MAX, service->request_bytes);
    s.asked = calloc(LOCAL_ROUND_MAX, sizeof *s.asked);
    enum vrs_err e = VRS_OK;
    if (s.connections == NULL || s.polled == NULL || s.requests == NULL || s.asked == NULL) {
        e = err_fail(fault, ERR_MEMORY, "the loop");
        goto out;
    }
    while (e == VRS_OK && !stopping) {
        e = wait(&s, fault);
        if (e == VRS_OK)
            round_once(&s);
        if (e == VRS_OK && service->idle != NULL)
            s.idle_ms = service->idle(service->arg);
    }
    while (s.n > 0)
        drop(&s, s.n - 1);
out:
    (void)close(listener);
    free(s.asked);
    free(s.requests);
    free(s.polled);
    free(s.connections);
    return e;
}

/* --- starting --- */

enum vrs_err local_start(const struct local_start *o, int *listener, struct vrs_fault *fault) {
    const struct daemon_options d = {
        .program = o->program, .uid = o->uid, .dumpable = o->dumpable, .max_files = o->max_files};
    bool shifted = o->clock_file[0] != '\0';
    bool give_away = geteuid() == 0 && o->uid > 0;
    if (shifted && !o->development)
        return err_fail(fault, ERR_CONFIG, "clock_file is for development only");
    enum vrs_err e =
        local_listen(o->socket, give_away ? (uid_t)o->uid : (uid_t)-1,
                     o->socket_gid >= 0 ? (gid_t)o->socket_gid : (gid_t)-1, listener, fault);
    if (e == VRS_OK)
        e = daemon_start(&d, fault);
    if (e == VRS_OK)
        clock_use_file(shifted ? o->clock_file : NULL);
    return e;
}

void local_facts(uid_t peer_uid, bool dumpable, char out[LOCAL_FACTS]) {
    struct sandbox_probe kernel = sandbox_probe_fn();
    (void)snprintf(
        out, LOCAL_FACTS, "pid=%d\nuid=%u\npeer_uid=%u\ndumpable=%d\nlandlock_abi=%d\nseccomp=%d\n",
        (int)getpid(), geteuid(), peer_uid, dumpable, kernel.landlock_abi, kernel.seccomp);
}
