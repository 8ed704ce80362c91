#include "vrs-server/residents/scanner.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { DEADLINE_S = 15, REPLY_MAX = 512 };

struct scanner {
    int fd;
};

static bool send_all(int fd, const void *p, size_t n) {
    const uint8_t *at = p;
    while (n > 0) {
        ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        at += sent;
        n -= (size_t)sent;
    }
    return true;
}

enum vrs_err scanner_open(const char *socket_path, struct scanner **out) {
    static const char hello[] = "zINSTREAM"; /* with its NUL */
    const struct timeval deadline = {.tv_sec = DEADLINE_S};
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    *out = NULL;
    if (socket_path[0] == '\0')
        return VRS_OK;
    if (strlen(socket_path) >= sizeof at.sun_path)
        return ERR_SCANNER_AWAY;
    memcpy(at.sun_path, socket_path, strlen(socket_path) + 1);
    struct scanner *s = calloc(1, sizeof *s);
    if (s == NULL)
        return ERR_MEMORY;
    s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->fd < 0 || setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline) != 0 ||
        setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline) != 0 ||
        connect(s->fd, (const struct sockaddr *)&at, sizeof at) != 0 ||
        !send_all(s->fd, hello, sizeof hello)) {
        scanner_close(&s);
        return ERR_SCANNER_AWAY;
    }
    *out = s;
    return VRS_OK;
}

enum vrs_err scanner_feed(struct scanner *s, const void *p, size_t n) {
    if (s == NULL || n == 0) /* a length of zero would end the stream */
        return VRS_OK;
    uint32_t length = htonl((uint32_t)n);
    return n <= UINT32_MAX && send_all(s->fd, &length, sizeof length) && send_all(s->fd, p, n)
               ? VRS_OK
               : ERR_SCANNER_AWAY;
}

/* "stream: OK", "stream: NAME FOUND", "… ERROR", ended by a NUL or the end of the connection. */
enum vrs_err scanner_verdict(struct scanner *s, char finding[64]) {
    static const char prefix[] = "stream: ", found[] = " FOUND";
    const uint32_t end = 0;
    char reply[REPLY_MAX];
    size_t len = 0;
    finding[0] = '\0';
    if (s == NULL)
        return VRS_OK;
    if (!send_all(s->fd, &end, sizeof end))
        return ERR_SCANNER_AWAY;
    while (len < sizeof reply - 1) {
        ssize_t n = recv(s->fd, reply + len, sizeof reply - 1 - len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
        if (memchr(reply, '\0', len) != NULL)
            break;
    }
    reply[len] = '\0';
    reply[strcspn(reply, "\r\n")] = '\0';
    len = strlen(reply);
    if (strcmp(reply, "stream: OK") == 0)
        return VRS_OK;
    size_t tail = sizeof found - 1, head = sizeof prefix - 1;
    if (len <= head + tail || strncmp(reply, prefix, head) != 0 ||
        strcmp(reply + len - tail, found) != 0)
        return ERR_SCANNER_AWAY;
    (void)snprintf(finding, 64, "%.*s", (int)(len - head - tail), reply + head);
    return ERR_F011;
}

void scanner_close(struct scanner **s) {
    if (*s == NULL)
        return;
    if ((*s)->fd >= 0)
        (void)close((*s)->fd);
    free(*s);
    *s = NULL;
}
