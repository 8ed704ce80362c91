#include "tests/load/reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void reply_init(struct reply *r, size_t max_bytes) {
    memset(r, 0, sizeof *r);
    buffer_init(&r->in, max_bytes);
    buffer_init(&r->body, max_bytes);
}

void reply_fini(struct reply *r) {
    buffer_fini(&r->in);
    buffer_fini(&r->body);
}

void reply_reset(struct reply *r) {
    buffer_clear(&r->in);
    buffer_clear(&r->body);
    r->state = REPLY_HEAD;
    r->at = 0;
    r->status = 0;
    r->close = false;
    r->chunked = false;
    r->left = 0;
}

/* The next whole line, without its end; NULL when it has not come yet. */
static const char *next_line(struct reply *r, size_t *len) {
    const char *from = (const char *)r->in.data + r->at;
    const char *end = r->in.len > r->at ? memchr(from, '\n', r->in.len - r->at) : NULL;
    if (end == NULL)
        return NULL;
    *len = (size_t)(end - from);
    r->at += *len + 1;
    if (*len > 0 && from[*len - 1] == '\r')
        (*len)--;
    return from;
}

static bool field(const char *line, size_t len, const char *name, const char **value) {
    size_t n = strlen(name);
    if (len <= n || strncasecmp(line, name, n) != 0 || line[n] != ':')
        return false;
    *value = line + n + 1 + strspn(line + n + 1, " ");
    return true;
}

static enum reply_state read_head(struct reply *r) {
    const char *head = (const char *)r->in.data;
    size_t len = 0;
    if (r->in.len == 0 || memmem(head, r->in.len, "\r\n\r\n", 4) == NULL)
        return REPLY_HEAD;
    const char *line = next_line(r, &len);
    if (len < 12 || strncmp(line, "HTTP/1.1 ", 9) != 0)
        return REPLY_BAD;
    r->status = (int)strtol(line + 9, NULL, 10);
    while ((line = next_line(r, &len)) != NULL && len > 0) {
        const char *value = NULL;
        if (field(line, len, "Content-Length", &value))
            r->left = strtoul(value, NULL, 10);
        else if (field(line, len, "Transfer-Encoding", &value))
            r->chunked = strncasecmp(value, "chunked", 7) == 0;
        else if (field(line, len, "Connection", &value))
            r->close = strncasecmp(value, "close", 5) == 0;
    }
    return r->chunked ? REPLY_CHUNK : REPLY_BODY;
}

/* Moves what there is of `left` bytes into the body; true when all of them came. */
static bool take(struct reply *r) {
    size_t n = r->in.len - r->at;
    if (n > r->left)
        n = r->left;
    (void)buffer_put(&r->body, r->in.data + r->at, n);
    r->at += n;
    r->left -= n;
    return r->left == 0;
}

static enum reply_state read_chunk(struct reply *r) {
    size_t len = 0;
    if (r->left == 0) {
        const char *line = next_line(r, &len);
        if (line == NULL)
            return REPLY_CHUNK;
        r->left = strtoul(line, NULL, 16);
        if (r->left == 0)
            return REPLY_TRAILER;
        r->left += 2; /* its line end, taken off below */
    }
    if (!take(r))
        return REPLY_CHUNK;
    r->body.len -= 2;
    return REPLY_CHUNK;
}

static enum reply_state step(struct reply *r) {
    size_t len = 0;
    switch (r->state) {
    case REPLY_HEAD:
        return read_head(r);
    case REPLY_BODY:
        return take(r) ? REPLY_DONE : REPLY_BODY;
    case REPLY_CHUNK:
        return read_chunk(r);
    case REPLY_TRAILER:
        return next_line(r, &len) == NULL ? REPLY_TRAILER : len == 0 ? REPLY_DONE : REPLY_TRAILER;
    case REPLY_DONE:
    case REPLY_BAD:
        break;
    }
    return r->state;
}

enum reply_state reply_read(struct reply *r) {
    for (;;) {
        size_t at = r->at;
        enum reply_state before = r->state;
        r->state = step(r);
        if (r->in.failed || r->body.failed)
            r->state = REPLY_BAD;
        if (r->state == REPLY_DONE && r->at != r->in.len)
            r->state = REPLY_BAD; /* more than was asked for */
        if (r->state == REPLY_DONE || r->state == REPLY_BAD || (r->state == before && r->at == at))
            return r->state;
    }
}

bool reply_member(const char *json, size_t len, const char *name, char *out, size_t cap) {
    char quoted[64];
    int n = snprintf(quoted, sizeof quoted, "\"%s\":", name);
    const char *at = len > 0 ? memmem(json, len, quoted, (size_t)n) : NULL;
    if (at == NULL)
        return false;
    at += n;
    size_t left = len - (size_t)(at - json);
    bool text = left > 0 && *at == '"';
    size_t size = 0;
    at += text;
    left -= text;
    while (size < left && (text ? at[size] != '"' : at[size] >= '0' && at[size] <= '9'))
        size++;
    if (size == left || size >= cap)
        return false;
    memcpy(out, at, size);
    out[size] = '\0';
    return true;
}
