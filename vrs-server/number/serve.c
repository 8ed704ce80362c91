#include "vrs-server/number/serve.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/secret.h"
#include "lib/wire.h"

enum {
    BACKLOG = 128,
    IN_MAX = 1 << 18,       /* unread requests of a connection */
    IN_STEP = 1 << 14,      /* one read */
    OUT_MAX = 1 << 20,      /* unsent answers of a connection: no more requests are run above */
    ROUND_MAX = 4096,       /* requests of a round */
    SMALL_ANSWER = 256,     /* longest answer but of LIST and STATUS */
    STACK_WIPED = 64 * 1024 /* deeper than any call below serve_run that sees a number */
};

struct connection {
    int fd;
    struct buffer in;
    struct buffer out;
    size_t sent;     /* of out */
    size_t reserved; /* for answers of this round */
    bool ended; /* the peer closed, or broke the protocol: flush what is answered, then close */
};

struct job {
    struct connection *connection;
    struct number_request request;
    bool taken; /* into a municipality's group */
};

struct serve {
    const struct serve_options *o;
    struct area *area;
    int listener;
    struct connection *connections; /* max_connections, the first `n` in use */
    size_t n;
    struct pollfd *polled; /* [0] the listener, [1 + i] connection i */
    struct job *jobs;      /* ROUND_MAX */
    size_t job_count;
    struct number_request **group; /* ROUND_MAX */
    uint64_t accepted, refused_peers, bad_messages, requests, rounds;
};

static volatile sig_atomic_t stopping;
static sigset_t unblocked; /* what ppoll waits with: the signals get in only there */

static void on_stop(int number) {
    (void)number;
    stopping = 1;
}

enum vrs_err serve_signals(struct vrs_fault *fault) {
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

enum vrs_err serve_listen(const char *path, uid_t uid, gid_t gid, int *fd,
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
        s->refused_peers++;
        log_event(LOG_WARN, "number.peer_refused", LF_INT("uid", peer.uid));
        (void)close(fd);
        return;
    }
    struct connection *c = &s->connections[s->n++];
    *c = (struct connection){.fd = fd};
    buffer_init(&c->in, IN_MAX + IN_STEP);
    buffer_init(&c->out, OUT_MAX + NUMBER_MAX_MESSAGE);
    s->accepted++;
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

static size_t longest_answer(const struct number_request *r) {
    return r->verb == NUMBER_LIST || r->verb == NUMBER_STATUS
               ? NUMBER_MAX_MESSAGE + NUMBER_HEAD_BYTES
               : SMALL_ANSWER;
}

static bool has_room(const struct connection *c) {
    return c->out.len + c->reserved < OUT_MAX;
}

/* Moves whole messages of a connection into the round. */
static void take_requests(struct serve *s, struct connection *c) {
    size_t at = 0;
    if (c->in.len == 0)
        return;
    while (s->job_count < ROUND_MAX && has_room(c)) {
        size_t len;
        enum vrs_err e = number_message_length(c->in.data + at, c->in.len - at, &len);
        if (e == VRS_OK && len == 0)
            break;
        struct job *job = &s->jobs[s->job_count];
        if (e == VRS_OK) {
            job->connection = c;
            job->taken = false;
            e = number_request_read(&job->request, c->in.data + at + NUMBER_HEAD_BYTES, len);
            if (e != VRS_OK)
                number_request_fini(&job->request);
        }
        if (e != VRS_OK) {
            s->bad_messages++;
            log_plain(LOG_ERROR, "number.bad_message");
            c->ended = true;
            at = c->in.len;
            break;
        }
        s->job_count++;
        c->reserved += longest_answer(&job->request);
        at += NUMBER_HEAD_BYTES + len;
    }
    buffer_drop_front(&c->in, at);
}

/* True when a request could be run without hearing anything new. */
static bool waits_to_run(const struct connection *c) {
    size_t len;
    return has_room(c) && (number_message_length(c->in.data, c->in.len, &len) != VRS_OK || len > 0);
}

static void status(struct serve *s, struct number_request *r) {
    struct buffer text;
    buffer_init(&text, NUMBER_MAX_MESSAGE - 256);
    (void)buffer_puts(&text, s->o->facts == NULL ? "" : s->o->facts);
    (void)buffer_printf(&text,
                        "connections=%zu\naccepted_total=%llu\nrefused_peers_total=%llu\n"
                        "bad_messages_total=%llu\nrequests_total=%llu\nrounds_total=%llu\n",
                        s->n, (unsigned long long)s->accepted, (unsigned long long)s->refused_peers,
                        (unsigned long long)s->bad_messages, (unsigned long long)s->requests,
                        (unsigned long long)s->rounds);
    area_status(s->area, &text);
    if (text.failed)
        r->err = ERR_TOO_LARGE;
    else
        wire_put(&r->fields, NUMBER_T_TEXT, text.data, text.len);
    buffer_fini(&text);
}

/* Groups by municipality; order inside a municipality is kept. */
static void run_round(struct serve *s) {
    for (size_t i = 0; i < s->job_count; i++) {
        struct job *first = &s->jobs[i];
        size_t n = 0;
        if (first->taken)
            continue;
        if (first->request.verb == NUMBER_STATUS) {
            status(s, &first->request);
            continue;
        }
        for (size_t k = i; k < s->job_count; k++) {
            struct job *job = &s->jobs[k];
            if (job->taken || job->request.verb == NUMBER_STATUS ||
                strcmp(job->request.municipality, first->request.municipality) != 0)
                continue;
            job->taken = true;
            s->group[n++] = &job->request;
        }
        area_run(s->area, s->group, n);
    }
}

static void answer_round(struct serve *s) {
    for (size_t i = 0; i < s->job_count; i++) {
        struct job *job = &s->jobs[i];
        number_answer_write(&job->request, &job->connection->out);
        number_request_fini(&job->request);
    }
    s->requests += s->job_count;
    s->job_count = 0;
}

/* Hash functions and copies leave pieces of a number below us on the stack. */
static __attribute__((noinline)) void wipe_stack(void) {
    uint8_t below[STACK_WIPED];
    secret_wipe(below, sizeof below);
}

static enum vrs_err wait(struct serve *s, struct vrs_fault *fault) {
    static const struct timespec now;
    bool at_once = false;
    s->polled[0] = (struct pollfd){
        .fd = s->n < s->o->max_connections ? s->listener : -1,
        .events = POLLIN,
    };
    for (size_t i = 0; i < s->n; i++) {
        const struct connection *c = &s->connections[i];
        bool hear = !c->ended && c->in.len < IN_MAX && has_room(c);
        bool tell = c->sent < c->out.len;
        at_once |= waits_to_run(c);
        s->polled[1 + i] = (struct pollfd){
            .fd = hear || tell ? c->fd : -1,
            .events = (short)((hear ? POLLIN : 0) | (tell ? POLLOUT : 0)),
        };
    }
    int n = ppoll(s->polled, 1 + s->n, at_once ? &now : NULL, &unblocked);
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
    if (s->job_count > 0) {
        s->rounds++;
        run_round(s);
        answer_round(s);
        wipe_stack();
    }
    for (size_t i = 0; i < heard; i++) {
        s->connections[i].reserved = 0;
        transmit(&s->connections[i]);
    }
    for (size_t i = heard; i-- > 0;) {
        const struct connection *c = &s->connections[i];
        if (c->out.failed || (c->ended && !waits_to_run(c) && c->sent == c->out.len))
            drop(s, i);
    }
    if ((s->polled[0].revents & POLLIN) != 0)
        accept_all(s);
}

enum vrs_err serve_run(int listener, const struct serve_options *o, struct area *a,
                       struct vrs_fault *fault) {
    struct serve s = {.o = o, .area = a, .listener = listener};
    s.connections = calloc(o->max_connections, sizeof *s.connections);
    s.polled = calloc(1 + o->max_connections, sizeof *s.polled);
    s.jobs = calloc(ROUND_MAX, sizeof *s.jobs);
    s.group = calloc(ROUND_MAX, sizeof *s.group);
    enum vrs_err e = VRS_OK;
    if (s.connections == NULL || s.polled == NULL || s.jobs == NULL || s.group == NULL) {
        e = err_fail(fault, ERR_MEMORY, "the loop");
        goto out;
    }
    while (e == VRS_OK && !stopping) {
        e = wait(&s, fault);
        if (e == VRS_OK)
            round_once(&s);
    }
    while (s.n > 0)
        drop(&s, s.n - 1);
out:
    (void)close(listener);
    free(s.group);
    free(s.jobs);
    free(s.polled);
    free(s.connections);
    return e;
}
