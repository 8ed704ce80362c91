#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/local.h"

enum { READ_STEP = 1 << 14 };

struct local_client {
    struct sockaddr_un at;
    int fd; /* -1: not connected */
    size_t max_answer;
    struct buffer out, in;
};

enum vrs_err local_client_open(const char *path, size_t max_request, size_t max_answer,
                               struct local_client **out) {
    *out = NULL;
    if (strlen(path) >= sizeof(*out)->at.sun_path)
        return ERR_CONFIG;
    struct local_client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return ERR_MEMORY;
    c->at.sun_family = AF_UNIX;
    memcpy(c->at.sun_path, path, strlen(path) + 1);
    c->fd = -1;
    c->max_answer = max_answer;
    buffer_init(&c->out, max_request);
    buffer_init(&c->in, max_answer + LOCAL_HEAD_BYTES + READ_STEP);
    *out = c;
    return VRS_OK;
}

static void disconnect(struct local_client *c) {
    if (c->fd >= 0)
        (void)close(c->fd);
    c->fd = -1;
}

void local_client_close(struct local_client **c) {
    if (*c == NULL)
        return;
    disconnect(*c);
    buffer_fini(&(*c)->out);
    buffer_fini(&(*c)->in);
    free(*c);
    *c = NULL;
}

struct buffer *local_client_out(struct local_client *c) {
    return &c->out;
}

/* Between calls nothing may come: what is readable is the end of the connection. */
static enum vrs_err connected(struct local_client *c) {
    if (c->fd >= 0) {
        struct pollfd p = {.fd = c->fd, .events = POLLIN};
        if (poll(&p, 1, 0) == 0)
            return VRS_OK;
        disconnect(c);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return ERR_INSIDE_AWAY;
    if (connect(fd, (const struct sockaddr *)&c->at, sizeof c->at) != 0) {
        (void)close(fd);
        return ERR_INSIDE_AWAY;
    }
    c->fd = fd;
    return VRS_OK;
}

static enum vrs_err take_answers(struct local_client *c, local_answer_fn *fn, bool *done,
                                 void *arg) {
    size_t at = 0, n;
    enum vrs_err e = VRS_OK;
    while (e == VRS_OK && !*done) {
        e = local_message_length(c->in.data + at, c->in.len - at, c->max_answer, &n);
        if (e != VRS_OK || n == 0)
            break;
        e = fn(c->in.data + at + LOCAL_HEAD_BYTES, n, done, arg);
        at += LOCAL_HEAD_BYTES + n;
    }
    if (e == VRS_OK)
        buffer_drop_front(&c->in, at);
    return e == VRS_OK && *done && c->in.len > 0 ? ERR_PROTOCOL : e;
}

static enum vrs_err receive(struct local_client *c, local_answer_fn *fn, bool *done, void *arg) {
    for (;;) {
        uint8_t *p = buffer_grow(&c->in, READ_STEP);
        if (p == NULL)
            return ERR_PROTOCOL; /* longer than any answer */
        ssize_t n = recv(c->fd, p, READ_STEP, 0);
        c->in.len -= READ_STEP - (n > 0 ? (size_t)n : 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return VRS_OK;
        if (n <= 0)
            return ERR_UNKNOWN;
        enum vrs_err e = take_answers(c, fn, done, arg);
        if (e != VRS_OK || *done || n < READ_STEP)
            return e;
    }
}

static enum vrs_err transmit(struct local_client *c, size_t *sent) {
    while (*sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.data + *sent, c->out.len - *sent, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? VRS_OK : ERR_UNKNOWN;
        *sent += (size_t)n;
    }
    return VRS_OK;
}

enum vrs_err local_exchange(struct local_client *c, local_answer_fn *fn, void *arg,
                            int64_t until_ms) {
    size_t sent = 0;
    bool done = false;
    enum vrs_err e = c->out.failed ? ERR_TOO_LARGE : connected(c);
    /* Most peers take it at once: no round of poll before the first byte. */
    if (e == VRS_OK)
        e = transmit(c, &sent);
    while (e == VRS_OK && !done) {
        int64_t wait_ms = until_ms - clock_mono_ms();
        struct pollfd p = {.fd = c->fd,
                           .events = (short)(POLLIN | (sent < c->out.len ? POLLOUT : 0))};
        if (wait_ms <= 0)
            e = ERR_TIMEOUT;
        else if (poll(&p, 1, wait_ms > 60000 ? 60000 : (int)wait_ms) > 0) {
            if ((p.revents & POLLOUT) != 0)
                e = transmit(c, &sent);
            if (e == VRS_OK && (p.revents & (POLLIN | POLLHUP | POLLERR)) != 0)
                e = receive(c, fn, &done, arg);
        }
    }
    if (e == ERR_UNKNOWN && sent == 0)
        e = ERR_INSIDE_AWAY;
    if (e != VRS_OK)
        disconnect(c);
    buffer_clear(&c->out);
    buffer_clear(&c->in);
    return e;
}
